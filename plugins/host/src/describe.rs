//! From a plugin's description to checked Rust values.

use crate::error::Error;
use crate::limits::SLICE_PROFILE_ROWS_MAX;
use mlos_smi::{Dim, SliceProfile, abi};
use mlos_tensor_mem::DType;
use mlos_tensor_mem::limits::RANK_MAX;
use std::ffi::{CStr, c_char};
use std::fmt::Display;

/// An input or an output of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: DType,
    /// Its dimensions; none for a scalar, or when the model does not say.
    pub dims: Vec<Dim>,
    /// An input that a call may leave out.
    pub optional: bool,
}

/// What a model declares to need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resources {
    /// Bytes once loaded, weights included; 0 if not known.
    pub memory_bytes: u64,
    /// Threads that one inference keeps busy.
    pub threads: u32,
}

/// What a model takes and gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// In the order in which a [`Work`](crate::Work) passes them.
    pub inputs: Vec<TensorSpec>,
    /// In the order of their indices.
    pub outputs: Vec<TensorSpec>,
    /// Declared needs.
    pub resources: Resources,
    /// The batch may be split: the plugin says that rows are independent, dimension 0 of every input and output is
    /// dynamic, and none of them is packed text.
    pub rows_independent: bool,
    /// Several calls of the model may be unfinished at a time.
    pub reentrant: bool,
}

impl ModelInfo {
    /// Reads the description of a model of `plugin`.
    ///
    /// # Safety
    /// Pointers of `raw` that are not null lead to what `smi_model_info_t` promises.
    pub(crate) unsafe fn read(raw: &abi::ModelInfo, plugin: &str) -> Result<Self, Error> {
        let bad = |what: String| Error::BadPlugin {
            plugin: plugin.into(),
            what,
        };
        // SAFETY: the caller's promise.
        let inputs =
            unsafe { specs(raw.inputs, raw.input_count) }.map_err(|e| bad(format!("inputs: {e}")))?;
        // SAFETY: the caller's promise.
        let outputs =
            unsafe { specs(raw.outputs, raw.output_count) }.map_err(|e| bad(format!("outputs: {e}")))?;
        let flags = raw.resources.flags;
        let rows_independent =
            flags & abi::MODEL_ROWS_INDEPENDENT != 0 && inputs.iter().chain(&outputs).all(is_batched);
        Ok(Self {
            rows_independent: rows_independent && !inputs.is_empty() && !outputs.is_empty(),
            inputs,
            outputs,
            resources: Resources {
                memory_bytes: raw.resources.memory_bytes,
                threads: raw.resources.threads.max(1),
            },
            reentrant: flags & abi::MODEL_REENTRANT != 0,
        })
    }
}

fn is_batched(spec: &TensorSpec) -> bool {
    matches!(spec.dims.first(), Some(Dim::Dynamic(_))) && spec.dtype != DType::String
}

/// # Safety
/// As [`ModelInfo::read`], for one list.
unsafe fn specs(list: *const abi::TensorSpec, count: u32) -> Result<Vec<TensorSpec>, String> {
    if count as usize > abi::TENSORS_MAX {
        return Err(format!(
            "{count} of them, at most {} are allowed",
            abi::TENSORS_MAX
        ));
    }
    // SAFETY: the caller's promise, with the count.
    let list = unsafe { slice(list, count as usize) }.ok_or("the list is NULL")?;
    // SAFETY: the caller's promise, one level down.
    let read = |(index, raw)| unsafe { spec(raw) }.map_err(|e: String| format!("number {index}: {e}"));
    list.iter().enumerate().map(read).collect()
}

/// # Safety
/// As [`ModelInfo::read`], for one specification.
unsafe fn spec(raw: &abi::TensorSpec) -> Result<TensorSpec, String> {
    // SAFETY: the caller's promise.
    let name = unsafe { text(raw.name) }.map_err(|e| format!("the name is {e}"))?;
    let dtype = dtype_of(raw.dtype).ok_or_else(|| format!("`{name}`: unknown element type {}", raw.dtype))?;
    let rank = raw.rank as usize;
    if rank > RANK_MAX {
        return Err(format!(
            "`{name}` has {rank} dimensions, this host knows {RANK_MAX} at most"
        ));
    }
    // SAFETY: the caller's promise: rank sizes.
    let sizes = unsafe { slice(raw.dims, rank) }.ok_or_else(|| format!("`{name}`: dims is NULL"))?;
    let mut dims = Vec::with_capacity(rank);
    for (axis, &size) in sizes.iter().enumerate() {
        dims.push(match usize::try_from(size) {
            Ok(size) => Dim::Fixed(size),
            // SAFETY: the caller's promise: rank names, if any.
            Err(_) if size == -1 => Dim::Dynamic(unsafe { dim_name(raw.dim_names, axis) }?),
            Err(_) => return Err(format!("`{name}`: dimension {axis} is {size}")),
        });
    }
    Ok(TensorSpec {
        name,
        dtype,
        dims,
        optional: raw.flags & abi::SPEC_OPTIONAL != 0,
    })
}

/// # Safety
/// `names` is null or leads to more than `axis` names, each null or a text.
unsafe fn dim_name(names: *const *const c_char, axis: usize) -> Result<Option<String>, String> {
    if names.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise: the list is longer than axis.
    let name = unsafe { names.add(axis) };
    // SAFETY: as above.
    let name = unsafe { *name };
    if name.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    unsafe { text(name) }
        .map(Some)
        .map_err(|e| format!("the name of dimension {axis} is {e}"))
}

/// The slice profile behind the extension's table, or nothing if it makes no sense.
///
/// # Safety
/// `raw` keeps the promises of `smi_slice_profile_t`.
pub(crate) unsafe fn slice_profile(raw: &abi::SliceProfile) -> Vec<SliceProfile> {
    let count = (raw.count as usize).min(SLICE_PROFILE_ROWS_MAX);
    // SAFETY: the caller's promise: at least `count` entries.
    let rows = unsafe { slice(raw.entries, count) }.unwrap_or(&[]);
    rows.iter()
        .map(|row| SliceProfile {
            rows: row.rows,
            total_ns: row.total_ns,
            longest_slice_ns: row.longest_slice_ns,
            checkpoints: row.checkpoints,
        })
        .collect()
}

/// The element type with this number in the ABI: both crates count alike, a test holds it.
pub(crate) fn dtype_of(code: i32) -> Option<DType> {
    usize::try_from(code)
        .ok()
        .and_then(|index| DType::ALL.get(index))
        .copied()
}

/// A list of the plugin; `None` if it is null and should not be.
///
/// # Safety
/// `list` is null or leads to `count` values that live for `'a`.
unsafe fn slice<'a, T>(list: *const T, count: usize) -> Option<&'a [T]> {
    if count == 0 {
        return Some(&[]);
    }
    if list.is_null() || !list.is_aligned() {
        return None;
    }
    // SAFETY: not null, aligned, and the caller's promise.
    Some(unsafe { std::slice::from_raw_parts(list, count) })
}

/// A text of the plugin; the error ends the sentence "the ... is".
///
/// # Safety
/// `text` is null or NUL-terminated.
pub(crate) unsafe fn text(text: *const c_char) -> Result<String, impl Display> {
    if text.is_null() {
        return Err("NULL");
    }
    // SAFETY: not null, and the caller's promise.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map(String::from).map_err(|_| "not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::dtype_of;
    use mlos_tensor_mem::DType;

    #[test]
    fn element_types_have_the_same_numbers_on_both_sides() {
        assert_eq!(DType::ALL.len(), mlos_smi::DType::ALL.len());
        for (ours, theirs) in DType::ALL.into_iter().zip(mlos_smi::DType::ALL) {
            assert_eq!(dtype_of(theirs.code()), Some(ours));
            assert_eq!(ours as i32, theirs.code());
            assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
            assert_eq!(ours.size_bytes(), theirs.size_bytes());
        }
        assert_eq!((dtype_of(-1), dtype_of(14)), (None, None));
    }
}
