//! `mlos::Join`: the whole of a product from its parts, and a checkpoint before.
//!
//! It does what `Concat` does on the last axis. That it asks the host too saves a `Yield`, which takes as long as any
//! other small operator: some microseconds, as the product before has pushed everything else out of the caches.

use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput, ShapeInferenceContext,
};
use ort::value::{TensorElementType, ValueType};

use crate::sys::{Floats, Shape, compute_floats};
use crate::yield_op;

/// Name of the operator in a graph.
pub(crate) const NAME: &str = "Join";

/// The operator; of floats, as no other products are split.
pub(crate) struct JoinOperator;

impl Operator for JoinOperator {
    type Kernel<'attr> = JoinKernel;

    fn name(&self) -> &str {
        NAME
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::variadic(1)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(&self, _: &KernelContext<'attr>) -> ort::Result<JoinKernel> {
        Ok(JoinKernel)
    }

    /// The shape of the first part with the columns of all, where they are known.
    fn infer_shape(&self, context: &mut ShapeInferenceContext) -> ort::Result<()> {
        let inputs = context.inputs();
        let columns: Option<i64> = inputs.iter().map(columns_of).sum();
        let (Some(columns), Some(mut whole)) = (columns, inputs.first().cloned()) else {
            return Ok(());
        };
        if let ValueType::Tensor { shape, .. } = &mut whole {
            *shape = with_columns(shape, columns);
        }
        context.set_output(0, &whole)
    }
}

/// Size of the last axis; none if it is not known.
fn columns_of(part: &ValueType) -> Option<i64> {
    part.tensor_shape()?
        .last()
        .copied()
        .filter(|columns| *columns >= 0)
}

fn with_columns<S: FromIterator<i64>>(shape: &[i64], columns: i64) -> S {
    let rows = shape.len().saturating_sub(1);
    shape[..rows].iter().copied().chain([columns]).collect()
}

pub(crate) struct JoinKernel;

impl Kernel for JoinKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        yield_op::check()?;
        compute_floats(context, |parts, output| {
            let width_of = |part: &Floats<'_>| part.shape.last().copied().unwrap_or(0);
            let whole = parts.iter().map(width_of).sum();
            let joined = output.make(&with_columns::<Shape>(parts[0].shape, whole))?;
            let mut start = 0;
            for part in parts.iter().filter(|part| !part.data.is_empty()) {
                let width = width_of(part) as usize;
                let rows = joined
                    .chunks_exact_mut(whole as usize)
                    .zip(part.data.chunks_exact(width));
                rows.for_each(|(row, part)| row[start..start + width].copy_from_slice(part));
                start += width;
            }
            Ok(())
        })
    }
}
