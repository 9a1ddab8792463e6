//! `mlos::ReshapeTranspose` and `mlos::TransposeReshape`: both steps in one pass, and a checkpoint before.
//!
//! Attention cuts rows into heads and joins them again by such pairs of small operators. One instead of two pays for
//! the checkpoint, and saves the `Yield` that would stand nearby.

use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput, ShapeInferenceContext,
};
use ort::value::{SymbolicDimensions, TensorElementType, ValueType};
use smallvec::SmallVec;

use crate::sys::{Shape, compute_floats};
use crate::yield_op;

/// Names of the attributes: the axes in their new order, and the sizes as `Reshape` takes them.
pub(crate) const PERMUTATION: &str = "perm";
pub(crate) const SIZES: &str = "shape";

/// Which of the two steps comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    ReshapeFirst,
    TransposeFirst,
}

impl Order {
    pub const ALL: [Self; 2] = [Self::ReshapeFirst, Self::TransposeFirst];

    /// Name of the operator in a graph.
    pub const fn operator(self) -> &'static str {
        match self {
            Self::ReshapeFirst => "ReshapeTranspose",
            Self::TransposeFirst => "TransposeReshape",
        }
    }
}

/// One of the two operators; of floats, as attention is.
pub(crate) struct RearrangeOperator(pub Order);

impl Operator for RearrangeOperator {
    type Kernel<'attr> = Rearrangement;

    fn name(&self) -> &str {
        self.0.operator()
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(TensorElementType::Float32)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<Rearrangement> {
        let permutation: Option<Vec<i64>> = context.get(PERMUTATION);
        let made = permutation
            .zip(context.get(SIZES))
            .and_then(|(permutation, sizes)| Rearrangement::new(self.0, &permutation, sizes));
        made.ok_or_else(|| {
            ort::Error::new("a rearrangement takes a permutation that leaves the last axis, and sizes")
        })
    }

    /// Passes on what is known of the shape, so that the nodes behind can be planned as behind the two operators.
    fn infer_shape(&self, context: &mut ShapeInferenceContext) -> ort::Result<()> {
        let inputs = context.inputs();
        let Some(ValueType::Tensor {
            ty,
            shape,
            dimension_symbols,
        }) = inputs.first()
        else {
            return Ok(());
        };
        let permutation: Vec<i64> = context.attr(PERMUTATION)?;
        let Some(rearrangement) = Rearrangement::new(self.0, &permutation, context.attr(SIZES)?) else {
            return Ok(());
        };
        // A size that is not known is told by its name, if it has one.
        let sizes = shape.iter().zip(dimension_symbols.iter());
        let known: SmallVec<[Size<'_>; 8]> = sizes
            .map(|(size, name)| match size {
                ..0 => Size::Unknown(name),
                size => Size::Known(*size),
            })
            .collect();
        let Some((_, made)) = rearrangement.shapes(&known) else {
            return Ok(());
        };
        let (shape, names): (Vec<i64>, Vec<String>) = made
            .iter()
            .map(|size| match size {
                Size::Known(size) => (*size, String::new()),
                Size::Unknown(name) => (-1, (*name).to_owned()),
            })
            .unzip();
        let made = ValueType::Tensor {
            ty: *ty,
            shape: shape.into(),
            dimension_symbols: SymbolicDimensions::new(names),
        };
        context.set_output(0, &made)
    }
}

/// A size as it is known before a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size<'n> {
    Known(i64),
    /// By name; an empty name is none.
    Unknown(&'n str),
}

type Sizes<'n> = SmallVec<[Size<'n>; 8]>;

pub(crate) struct Rearrangement {
    order: Order,
    permutation: SmallVec<[usize; 8]>,
    sizes: Vec<i64>,
}

impl Rearrangement {
    fn new(order: Order, permutation: &[i64], sizes: Vec<i64>) -> Option<Self> {
        keeps_last_axis(permutation).then(|| Self {
            order,
            permutation: permutation.iter().map(|axis| *axis as usize).collect(),
            sizes,
        })
    }

    /// The shape before the transposition and the one at the end; `None` if the input's has another rank or size.
    fn shapes<'n>(&self, input: &[Size<'n>]) -> Option<(Sizes<'n>, Sizes<'n>)> {
        let transposed = |shape: &[Size<'n>]| -> Option<Sizes<'n>> {
            let fits = shape.len() == self.permutation.len();
            fits.then(|| self.permutation.iter().map(|axis| shape[*axis]).collect())
        };
        Some(match self.order {
            Order::ReshapeFirst => {
                let before = reshaped(input, &self.sizes)?;
                let after = transposed(&before)?;
                (before, after)
            }
            Order::TransposeFirst => (input.into(), reshaped(&transposed(input)?, &self.sizes)?),
        })
    }
}

/// Whether the axes are a permutation which leaves the last one where it is: then whole runs are moved, not elements.
pub(crate) fn keeps_last_axis(permutation: &[i64]) -> bool {
    let mut axes = permutation.to_vec();
    axes.sort_unstable();
    let last = permutation.len() as i64 - 1;
    last >= 0 && permutation.last() == Some(&last) && axes.iter().copied().eq(0..=last)
}

/// The shape that `Reshape` makes: a 0 takes over the size of the axis, a -1 takes what is left.
fn reshaped<'n>(input: &[Size<'n>], sizes: &[i64]) -> Option<Sizes<'n>> {
    let mut made = Sizes::new();
    let (mut left, mut taken) = (Some(1_i64), Some(1_i64));
    let times = |product: Option<i64>, size: &Size<'_>| match size {
        Size::Known(size) => product?.checked_mul(*size),
        Size::Unknown(_) => None,
    };
    for (axis, size) in sizes.iter().enumerate() {
        made.push(match size {
            0 => *input.get(axis)?,
            -1 => Size::Unknown(""),
            size => Size::Known(*size),
        });
        if *size > 0 {
            taken = taken.and_then(|taken| taken.checked_mul(*size));
        }
    }
    for (axis, size) in input.iter().enumerate() {
        // What is taken over cancels out, known or not.
        if sizes.get(axis) != Some(&0) {
            left = times(left, size);
        }
    }
    let (Some(left), Some(taken)) = (left, taken) else {
        return Some(made);
    };
    match sizes.iter().position(|size| *size == -1) {
        Some(axis) => {
            if taken == 0 || left % taken != 0 {
                return None;
            }
            made[axis] = Size::Known(left / taken);
            Some(made)
        }
        None => (left == taken).then_some(made),
    }
}

impl Kernel for Rearrangement {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        yield_op::check()?;
        compute_floats(context, |inputs, output| {
            let input = &inputs[0];
            let known: Sizes<'_> = input.shape.iter().copied().map(Size::Known).collect();
            let (before, after) = self
                .shapes(&known)
                .ok_or_else(|| ort::Error::new("a rearrangement got an input of another shape"))?;
            let sizes = |shape: Sizes<'_>| -> Shape {
                let size = |size| match size {
                    Size::Known(size) => size,
                    Size::Unknown(_) => -1,
                };
                shape.into_iter().map(size).collect()
            };
            transpose(
                input.data,
                &sizes(before),
                &self.permutation,
                output.make(&sizes(after))?,
            );
            Ok(())
        })
    }
}

/// Moves the runs along the last axis to where `permutation` has them.
fn transpose(from: &[f32], shape: &[i64], permutation: &[usize], to: &mut [f32]) {
    let (Some(run), false) = (shape.last().map(|run| *run as usize), from.is_empty()) else {
        return;
    };
    let mut strides: SmallVec<[usize; 8]> = SmallVec::from_elem(1, shape.len());
    for axis in (0..shape.len() - 1).rev() {
        strides[axis] = strides[axis + 1] * shape[axis + 1] as usize;
    }
    // Of the result's axes but the last: how long they are, what a step along them is, and where we are.
    let outer = &permutation[..permutation.len() - 1];
    let mut position: SmallVec<[i64; 8]> = SmallVec::from_elem(0, outer.len());
    let mut start = 0;
    for place in to.chunks_exact_mut(run) {
        place.copy_from_slice(&from[start..start + run]);
        for (axis, at) in outer.iter().zip(&mut position).rev() {
            *at += 1;
            start += strides[*axis];
            if *at < shape[*axis] {
                break;
            }
            start -= strides[*axis] * *at as usize;
            *at = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(shape: &[i64]) -> Sizes<'_> {
        shape.iter().copied().map(Size::Known).collect()
    }

    #[test]
    fn a_shape_is_resolved_as_reshape_does() {
        type Case<'a> = (&'a [i64], &'a [i64], Option<&'a [i64]>);
        let cases: [Case<'_>; 9] = [
            (&[2, 3, 8], &[0, 0, 2, 4], Some(&[2, 3, 2, 4])),
            (&[2, 3, 8], &[0, -1, 4], Some(&[2, 6, 4])),
            (&[2, 3, 2, 4], &[0, 0, 8], Some(&[2, 3, 8])),
            (&[2, 3, 2, 4], &[-1], Some(&[48])),
            (&[0, 3, 8], &[0, 0, 2, 4], Some(&[0, 3, 2, 4])),
            (&[2, 3, 8], &[0, 0, 2, 5], None),
            (&[2, 3, 8], &[0, -1, 7], None),
            (&[2], &[0, 0], None),
            (&[2, 3], &[7], None),
        ];
        for (input, sizes, expect) in cases {
            let made = reshaped(&known(input), sizes);
            assert_eq!(made, expect.map(known), "{input:?} as {sizes:?}");
        }
    }

    #[test]
    fn what_is_not_known_keeps_its_name() {
        let input = [Size::Unknown("N"), Size::Unknown("tokens"), Size::Known(8)];
        let heads = Rearrangement::new(Order::ReshapeFirst, &[0, 2, 1, 3], vec![0, 0, 2, 4]).unwrap();
        let (_, made) = heads.shapes(&input).unwrap();
        let (n, tokens) = (Size::Unknown("N"), Size::Unknown("tokens"));
        assert_eq!(made[..], [n, Size::Known(2), tokens, Size::Known(4)]);
        let merge = Rearrangement::new(Order::TransposeFirst, &[0, 2, 1, 3], vec![0, 0, -1]).unwrap();
        let (_, made) = merge.shapes(&made).unwrap();
        assert_eq!(made[..], input);
        let flat = reshaped(&input, &[-1, 8]).unwrap();
        assert_eq!(flat[..], [Size::Unknown(""), Size::Known(8)]);
    }

    #[test]
    fn only_permutations_that_leave_the_last_axis_are_taken() {
        let cases: [(&[i64], bool); 7] = [
            (&[0, 2, 1, 3], true),
            (&[0], true),
            (&[1, 0, 2], true),
            (&[0, 1, 3, 2], false),
            (&[0, 0, 2], false),
            (&[0, -1, 2], false),
            (&[], false),
        ];
        for (permutation, expect) in cases {
            assert_eq!(keeps_last_axis(permutation), expect, "{permutation:?}");
            let taken = Rearrangement::new(Order::ReshapeFirst, permutation, Vec::new());
            assert_eq!(taken.is_some(), expect, "{permutation:?}");
        }
    }

    #[test]
    fn every_element_comes_where_its_axes_say() {
        let shape = [2_usize, 3, 4, 5];
        let from: Vec<f32> = (0..120).map(|number| number as f32).collect();
        for permutation in [[0, 2, 1, 3], [2, 1, 0, 3], [1, 2, 0, 3], [0, 1, 2, 3]] {
            let mut to = vec![-1.0; from.len()];
            transpose(&from, &shape.map(|size| size as i64), &permutation, &mut to);
            let new: Vec<usize> = permutation.iter().map(|axis| shape[*axis]).collect();
            for (place, value) in to.iter().enumerate() {
                let mut rest = place;
                let mut at = [0; 4];
                for (axis, size) in new.iter().enumerate().rev() {
                    at[permutation[axis]] = rest % size;
                    rest /= size;
                }
                let source = at.iter().zip(shape).fold(0, |sum, (at, size)| sum * size + at);
                assert_eq!(*value, from[source], "{permutation:?} at {place}");
            }
        }
        transpose(&[], &[0, 3], &[0, 1], &mut []);
    }
}
