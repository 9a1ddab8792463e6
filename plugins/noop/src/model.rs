use crate::declared::{Declared, Fill};
use mlos_smi::{Call, Description, Dim, Failure, Model, TensorRef, TensorSpec, abi};

/// A loaded model that computes nothing.
#[derive(Debug)]
pub struct NoopModel(Declared);

impl NoopModel {
    pub(crate) fn new(declared: Declared) -> Self {
        Self(declared)
    }

    fn write(&self, call: &Call<'_>, index: usize, spec: &TensorSpec) -> Result<(), Failure> {
        let twin = match self.0.fill {
            Fill::Echo => call.inputs().get(index),
            Fill::Zeros | Fill::Nothing => None,
        };
        let mut sizes = [0; abi::RANK_MAX];
        let shape = shape(spec, twin.or_else(|| call.inputs().first()), &mut sizes)?;
        let byte_len = match twin {
            Some(twin) => twin.byte_len(),
            None => bytes(spec, shape)?,
        };
        let mut memory = call.alloc_output(index, spec.dtype, shape, byte_len)?;
        match (self.0.fill, twin) {
            (Fill::Echo, Some(twin)) => memory.copy_from_tensor(twin)?,
            (Fill::Nothing, _) => {}
            _ => memory.zero(),
        }
        Ok(())
    }
}

/// The declared dimensions, with sizes of `like` for those that are known per call only.
fn shape<'s>(
    spec: &TensorSpec,
    like: Option<&TensorRef>,
    sizes: &'s mut [usize; abi::RANK_MAX],
) -> Result<&'s [usize], Failure> {
    let like = like.map_or(&[][..], TensorRef::shape);
    for (axis, (size, dim)) in sizes.iter_mut().zip(&spec.dims).enumerate() {
        *size = match dim {
            Dim::Fixed(fixed) => *fixed,
            Dim::Dynamic(_) => {
                let size = like.get(axis).and_then(|&size| usize::try_from(size).ok());
                size.ok_or_else(|| Failure::invalid(format!("the first input has no dimension {axis}")))?
            }
        };
    }
    Ok(&sizes[..spec.dims.len()])
}

fn bytes(spec: &TensorSpec, shape: &[usize]) -> Result<usize, Failure> {
    let element = spec.dtype.size_bytes().unwrap_or(0);
    shape
        .iter()
        .try_fold(element, |bytes, &size| bytes.checked_mul(size))
        .ok_or_else(|| Failure::invalid(format!("output `{}` is too large", spec.name)))
}

impl Model for NoopModel {
    fn description(&self) -> &Description {
        &self.0.description
    }

    fn infer(&self, call: &Call<'_>) -> Result<(), Failure> {
        for _ in 0..self.0.checkpoints {
            call.checkpoint()?;
        }
        for (index, spec) in self.0.description.outputs.iter().enumerate() {
            if call.wants(index) {
                self.write(call, index, spec)?;
            }
        }
        Ok(())
    }
}
