//! Models.

use std::ffi::{CString, c_char, c_int};
use std::sync::Arc;
use std::task::Waker;

use mlos_client::{Model, TensorInfo};

use crate::abi::{self, RANK_MAX, Versioned};
use crate::client::ClientHandle;
use crate::error::{Failure, answer, quietly};
use crate::pointers;

/// `mlos_model`. Names stand here once more, as C reads them.
pub struct ModelHandle {
    pub(crate) model: Model,
    /// Of those who poll for its requests.
    pub(crate) waker: Waker,
    id: CString,
    version: Option<CString>,
    inputs: Vec<CString>,
    outputs: Vec<CString>,
}

/// Which side of a model a tensor is on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Input,
    Output,
}

impl Side {
    pub(crate) fn read(direction: c_int) -> Result<Self, Failure> {
        match direction {
            0 => Ok(Self::Input),
            1 => Ok(Self::Output),
            other => Err(Failure::invalid(format!(
                "direction is {other}; it must be MLOS_INPUT or MLOS_OUTPUT"
            ))),
        }
    }

    pub(crate) fn infos(self, model: &Model) -> &[TensorInfo] {
        match self {
            Self::Input => model.inputs(),
            Self::Output => model.outputs(),
        }
    }
}

fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', " ")).unwrap_or_default()
}

impl ModelHandle {
    fn new(model: Model, waker: Waker) -> Self {
        let names = |infos: &[TensorInfo]| infos.iter().map(|info| c_string(&info.name)).collect();
        Self {
            id: c_string(model.id()),
            version: model.version().map(c_string),
            inputs: names(model.inputs()),
            outputs: names(model.outputs()),
            model,
            waker,
        }
    }

    fn info(&self, side: Side, at: usize) -> Result<abi::TensorInfo, Failure> {
        let names = if side == Side::Input {
            &self.inputs
        } else {
            &self.outputs
        };
        let found = side.infos(&self.model).get(at).zip(names.get(at));
        let (info, name) = found
            .ok_or_else(|| Failure::invalid(format!("there is no tensor {at}: there are {}", names.len())))?;
        let mut dims = [0; RANK_MAX];
        for (to, dim) in dims.iter_mut().zip(&info.dims) {
            *to = dim.map_or(-1, |dim| dim as i64);
        }
        Ok(abi::TensorInfo {
            name: name.as_ptr(),
            dtype: info.dtype as u32,
            rank: info.dims.len() as u32,
            dims,
            ..abi::TensorInfo::DEFAULT
        })
    }
}

/// See `mlos.h`.
///
/// # Safety
/// The pointers are as the header asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlos_open(
    client: *mut ClientHandle,
    model: *const c_char,
    component: *const c_char,
    opened: *mut *mut ModelHandle,
) -> i32 {
    answer(|| {
        // SAFETY: as promised to this function.
        let handle = unsafe { pointers::shared(client, "client") }?;
        // SAFETY: as promised to this function.
        let model = unsafe { pointers::text(model, "model") }?;
        // SAFETY: as promised to this function.
        let component = unsafe { pointers::optional_text(component, "component") }?;
        let open = || {
            let model = match component {
                Some(component) => handle.client.open_component(model, component)?,
                None => handle.client.open(model)?,
            };
            Ok(ModelHandle::new(model, Waker::from(Arc::clone(&handle.signal))))
        };
        // SAFETY: as promised to this function.
        unsafe { pointers::give(opened, open, "opened") }
    })
}

/// See `mlos.h`.
///
/// # Safety
/// The pointers are as the header asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlos_model_free(model: *mut ModelHandle) {
    // SAFETY: as promised to this function.
    quietly(|| unsafe { pointers::free(model) });
}

/// See `mlos.h`.
///
/// # Safety
/// The pointers are as the header asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlos_model_id(model: *const ModelHandle) -> *const c_char {
    // SAFETY: as promised to this function.
    let model = unsafe { pointers::shared(model, "model") };
    model.map_or(std::ptr::null(), |model| model.id.as_ptr())
}

/// See `mlos.h`.
///
/// # Safety
/// The pointers are as the header asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlos_model_version(model: *const ModelHandle) -> *const c_char {
    // SAFETY: as promised to this function.
    let model = unsafe { pointers::shared(model, "model") };
    let version = model.ok().and_then(|model| model.version.as_ref());
    version.map_or(std::ptr::null(), |version| version.as_ptr())
}

/// See `mlos.h`.
///
/// # Safety
/// The pointers are as the header asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlos_model_count(model: *const ModelHandle, direction: c_int) -> usize {
    // SAFETY: as promised to this function.
    let model = unsafe { pointers::shared(model, "model") };
    match (model, Side::read(direction)) {
        (Ok(model), Ok(side)) => side.infos(&model.model).len(),
        _ => 0,
    }
}

/// See `mlos.h`.
///
/// # Safety
/// The pointers are as the header asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlos_model_tensor(
    model: *const ModelHandle,
    direction: c_int,
    index: usize,
    info: *mut abi::TensorInfo,
) -> i32 {
    answer(|| {
        // SAFETY: as promised to this function.
        let model = unsafe { pointers::shared(model, "model") }?;
        let found = model.info(Side::read(direction)?, index)?;
        // SAFETY: as promised to this function.
        unsafe { pointers::write(info, &found, "info") }
    })
}
