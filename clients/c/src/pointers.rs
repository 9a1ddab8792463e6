//! Pointers of the caller's, made into checked types at the door.
//!
//! Every function here rests on the same promise, which the header asks of the caller: a pointer that is not NULL is
//! good for what the header says it is, and nobody else uses it meanwhile.

use std::ffi::{CStr, c_char};

use crate::abi::Versioned;
use crate::error::Failure;

/// A struct that claims to be larger than this was not set up.
const STRUCT_BYTES_MAX: usize = 4096;

fn null(what: &str) -> Failure {
    Failure::invalid(format!("{what} is NULL"))
}

/// # Safety
/// NULL, or a valid `T` that nobody writes while the borrow lives.
pub(crate) unsafe fn shared<'a, T>(pointer: *const T, what: &str) -> Result<&'a T, Failure> {
    // SAFETY: as promised to this function.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(what))
}

/// # Safety
/// NULL, or a valid `T` that nobody else uses while the borrow lives.
pub(crate) unsafe fn exclusive<'a, T>(pointer: *mut T, what: &str) -> Result<&'a mut T, Failure> {
    // SAFETY: as promised to this function.
    unsafe { pointer.as_mut() }.ok_or_else(|| null(what))
}

/// # Safety
/// NULL, or a string that ends with NUL and is not changed while the borrow lives.
pub(crate) unsafe fn text<'a>(pointer: *const c_char, what: &str) -> Result<&'a str, Failure> {
    // SAFETY: as promised to this function.
    let text = unsafe { optional_text(pointer, what) }?;
    text.ok_or_else(|| null(what))
}

/// # Safety
/// As [`text`].
pub(crate) unsafe fn optional_text<'a>(
    pointer: *const c_char,
    what: &str,
) -> Result<Option<&'a str>, Failure> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: it is not NULL, and ends with NUL as promised.
    let text = unsafe { CStr::from_ptr(pointer) }.to_str();
    text.map(Some)
        .map_err(|_| Failure::invalid(format!("{what} is not UTF-8")))
}

/// # Safety
/// NULL when `count` is 0, or `count` elements that are not changed while the borrow lives.
pub(crate) unsafe fn list<'a, T>(pointer: *const T, count: usize, what: &str) -> Result<&'a [T], Failure> {
    if count == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(null(what));
    }
    // SAFETY: it is not NULL, and has as many elements as promised.
    Ok(unsafe { std::slice::from_raw_parts(pointer, count) })
}

/// Writes a result.
///
/// # Safety
/// NULL, or a place for a `T`.
pub(crate) unsafe fn put<T>(to: *mut T, value: T, what: &str) -> Result<(), Failure> {
    if to.is_null() {
        return Err(null(what));
    }
    // SAFETY: a place for a `T`, as promised.
    unsafe { to.write(value) };
    Ok(())
}

fn known<T>(size: usize, what: &str) -> Result<usize, Failure> {
    if (size_of::<usize>()..=STRUCT_BYTES_MAX).contains(&size) {
        return Ok(size.min(size_of::<T>()));
    }
    Err(Failure::invalid(format!(
        "{what}->size is {size}; set it to its sizeof"
    )))
}

/// A struct of the caller's, of whichever version: what it does not have is the default. NULL is all defaults.
///
/// # Safety
/// NULL, or a struct that begins with its size and has as many bytes.
pub(crate) unsafe fn read<T: Versioned>(from: *const T, what: &str) -> Result<T, Failure> {
    let mut value = T::DEFAULT;
    if from.is_null() {
        return Ok(value);
    }
    // SAFETY: it begins with its size, as promised.
    let size = unsafe { from.cast::<usize>().read() };
    let bytes = known::<T>(size, what)?;
    let to = (&raw mut value).cast::<u8>();
    // SAFETY: both have that many bytes, and any are valid for `T`, as its trait says.
    unsafe { std::ptr::copy_nonoverlapping(from.cast::<u8>(), to, bytes) };
    Ok(value)
}

/// Fills a struct of the caller's, of whichever version: as much of it as it has, but for its size.
///
/// # Safety
/// NULL, or a struct that begins with its size and has as many bytes.
pub(crate) unsafe fn write<T: Versioned>(to: *mut T, value: &T, what: &str) -> Result<(), Failure> {
    // SAFETY: it begins with its size, as promised.
    let size = *unsafe { exclusive(to.cast::<usize>(), what) }?;
    let bytes = known::<T>(size, what)?;
    let from = std::ptr::from_ref(value).cast::<u8>();
    // SAFETY: both have that many bytes, as promised.
    unsafe { std::ptr::copy_nonoverlapping(from, to.cast::<u8>(), bytes) };
    // SAFETY: as read above; the caller's own size stays what it was.
    unsafe { to.cast::<usize>().write(size) };
    Ok(())
}

/// Gives a handle to the caller.
///
/// # Safety
/// As [`put`].
pub(crate) unsafe fn give<T>(
    to: *mut *mut T,
    value: impl FnOnce() -> Result<T, Failure>,
    what: &str,
) -> Result<(), Failure> {
    if to.is_null() {
        return Err(null(what));
    }
    let handle = Box::into_raw(Box::new(value()?));
    // SAFETY: a place for a pointer, as promised.
    unsafe { to.write(handle) };
    Ok(())
}

/// Takes a handle back from the caller.
///
/// # Safety
/// NULL, or what [`give`] gave and nobody has freed.
pub(crate) unsafe fn free<T>(handle: *mut T) {
    if !handle.is_null() {
        // SAFETY: it came of a box, and is freed once, as promised.
        drop(unsafe { Box::from_raw(handle) });
    }
}
