//! `mlos::Yield`: the operator that asks the host whether to go on.
//!
//! It passes its first input through as its output, which ONNX Runtime is told may be the same memory, so nothing is
//! copied. A second input is never looked at: it makes the operator wait for the node that produces it. While the
//! operator waits in the host's `checkpoint`, other inferences may run on the same thread, of the same session too.

use std::cell::Cell;
use std::ops::ControlFlow;

use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput,
    ShapeInferenceContext,
};

use mlos_smi::DType;
use ort::value::ValueType;

use crate::{dtype, sys};

/// Domain of the operator in a graph.
pub(crate) const DOMAIN: &str = "mlos";
/// Names of the operator in a graph: one for each element type, as an operator's output must have one.
pub(crate) const NAMES: [(DType, &str); 13] = [
    (DType::Bool, "YieldBool"),
    (DType::U8, "YieldU8"),
    (DType::U16, "YieldU16"),
    (DType::U32, "YieldU32"),
    (DType::U64, "YieldU64"),
    (DType::I8, "YieldI8"),
    (DType::I16, "YieldI16"),
    (DType::I32, "YieldI32"),
    (DType::I64, "YieldI64"),
    (DType::F16, "YieldF16"),
    (DType::BF16, "YieldBF16"),
    (DType::F32, "YieldF32"),
    (DType::F64, "YieldF64"),
];

/// The operator that passes tensors of a type; none for texts, which are objects and not to be copied as bytes.
pub(crate) fn name_for(dtype: DType) -> Option<&'static str> {
    NAMES
        .iter()
        .find(|(other, _)| *other == dtype)
        .map(|(_, name)| *name)
}
/// Version of the domain that a graph imports.
pub(crate) const OPSET: u64 = 1;

/// What a running inference asks at a layer boundary; `Break` ends the run.
pub(crate) trait Checkpoint {
    fn checkpoint(&self) -> ControlFlow<()>;
}

thread_local! {
    /// Who is asked by the `Yield`s of the run that has the thread now. `None` outside of runs.
    static CURRENT: Cell<Option<*const (dyn Checkpoint + 'static)>> = const { Cell::new(None) };
}

/// Runs `run` with `checkpoint` asked at every `Yield` that is reached on this thread.
pub(crate) fn with_checkpoint<T>(checkpoint: &dyn Checkpoint, run: impl FnOnce() -> T) -> T {
    struct Reset;
    impl Drop for Reset {
        // Not to what it was before: that run may have ended while this one was suspended. A run that waits in a
        // `Yield` sets itself again when it continues.
        fn drop(&mut self) {
            CURRENT.set(None);
        }
    }
    // SAFETY: only the lifetime changes. The pointer is used by `pass` alone, which reads it from CURRENT; it is
    // there only while `run` is on the stack (Reset), or set back by `pass` itself while `run` is.
    let erased: &'static dyn Checkpoint = unsafe { std::mem::transmute(checkpoint) };
    CURRENT.set(Some(erased));
    let _reset = Reset;
    run()
}

/// Asks the run that has this thread.
fn pass() -> ControlFlow<()> {
    let Some(current) = CURRENT.get() else {
        return ControlFlow::Continue(());
    };
    // SAFETY: `with_checkpoint` of this run is below us on this stack, so its borrow is alive.
    let checkpoint = unsafe { &*current };
    let flow = checkpoint.checkpoint();
    // Other runs may have had this thread meanwhile.
    CURRENT.set(Some(current));
    flow
}

/// A checkpoint: an error, which ends the run, if it is not to go on.
pub(crate) fn check() -> ort::Result<()> {
    match pass() {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(ort::Error::new("cancelled at a checkpoint")),
    }
}

/// The operators to register with each session.
pub(crate) fn domain() -> ort::Result<OperatorDomain> {
    let domain = OperatorDomain::new(DOMAIN)?;
    NAMES.into_iter().try_fold(domain, |domain, (dtype, name)| {
        domain.add(YieldOperator { dtype, name })
    })
}

struct YieldOperator {
    dtype: DType,
    name: &'static str,
}

impl Operator for YieldOperator {
    type Kernel<'attr> = YieldKernel;

    const ALIASES: &[(u32, u32)] = &[(0, 0)];

    fn name(&self) -> &str {
        self.name
    }

    // Variadic because that is how an operator says "of any element type": what is waited for may have another.
    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::variadic(1)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(dtype::to_element(self.dtype))]
    }

    fn create_kernel<'attr>(&self, _: &KernelContext<'attr>) -> ort::Result<YieldKernel> {
        Ok(YieldKernel)
    }

    /// Passes the shape on, so that the nodes behind can be planned as without the yield.
    fn infer_shape(&self, context: &mut ShapeInferenceContext) -> ort::Result<()> {
        let inputs = context.inputs();
        match inputs.first() {
            // No dimensions stand for a scalar and for "not known": then nothing is said.
            Some(passed @ ValueType::Tensor { shape, .. }) if !shape.is_empty() => {
                context.set_output(0, passed)
            }
            _ => Ok(()),
        }
    }
}

struct YieldKernel;

impl Kernel for YieldKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        sys::pass_through(context)?;
        check()
    }
}
