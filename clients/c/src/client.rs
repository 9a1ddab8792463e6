//! Clients.

use std::ffi::{c_char, c_int};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use mlos_client::{Client, Driver, default_path};

use crate::abi::Options;
use crate::error::{Failure, answer, quietly};
use crate::pointers;
use crate::request::RequestHandle;
use crate::signal::Signal;

/// `mlos_client`.
pub struct ClientHandle {
    pub(crate) client: Client,
    driver: Driver,
    pub(crate) signal: Arc<Signal>,
}

/// See `mlos.h`.
#[unsafe(no_mangle)]
pub extern "C" fn mlos_interface_version() -> u32 {
    1
}

/// See `mlos.h`.
///
/// # Safety
/// The pointers are as the header asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlos_connect(
    path: *const c_char,
    options: *const Options,
    client: *mut *mut ClientHandle,
) -> i32 {
    answer(|| {
        // SAFETY: as promised to this function.
        let path = unsafe { pointers::optional_text(path, "path") }?;
        // SAFETY: as promised to this function.
        let options = unsafe { pointers::read(options, "options") }?;
        // SAFETY: as promised to this function.
        let name = unsafe { pointers::optional_text(options.name, "options->name") }?;
        let options = with_options(&options, name)?;
        let path = path.map_or_else(default_path, Into::into);
        let connect = || {
            let client = options.connect(path)?;
            let driver = client.driver();
            let signal = Signal::new(&driver)?;
            Ok(ClientHandle {
                client,
                driver,
                signal,
            })
        };
        // SAFETY: as promised to this function.
        unsafe { pointers::give(client, connect, "client") }
    })
}

fn with_options(given: &Options, name: Option<&str>) -> Result<mlos_client::Options, Failure> {
    if given.reserved != 0 {
        return Err(Failure::invalid("options->reserved must be 0"));
    }
    let mut options = mlos_client::Options::default()
        .slots(given.slots)
        .arena_bytes(given.arena_bytes);
    if let Some(name) = name {
        options = options.name(name);
    }
    if given.spin_us != 0 {
        let spin_us = u64::try_from(given.spin_us).unwrap_or(0);
        options = options.spin(Duration::from_micros(spin_us));
    }
    if given.timeout_ms != 0 {
        let timeout_ms = u64::try_from(given.timeout_ms)
            .map_err(|_| Failure::invalid("options->timeout_ms must not be negative"))?;
        options = options.timeout(Duration::from_millis(timeout_ms));
    }
    Ok(options)
}

/// See `mlos.h`.
///
/// # Safety
/// The pointers are as the header asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlos_reconnect(client: *mut ClientHandle) -> i32 {
    answer(|| {
        // SAFETY: as promised to this function.
        let handle = unsafe { pointers::exclusive(client, "client") }?;
        handle.client.reconnect()?;
        handle.driver = handle.client.driver();
        handle.signal = Signal::new(&handle.driver)?;
        Ok(())
    })
}

/// See `mlos.h`.
///
/// # Safety
/// The pointers are as the header asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlos_client_free(client: *mut ClientHandle) {
    // SAFETY: as promised to this function.
    quietly(|| unsafe { pointers::free(client) });
}

/// See `mlos.h`.
///
/// # Safety
/// The pointers are as the header asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlos_client_fd(client: *const ClientHandle, fd: *mut c_int) -> i32 {
    answer(|| {
        // SAFETY: as promised to this function.
        let handle = unsafe { pointers::shared(client, "client") }?;
        // SAFETY: as promised to this function.
        unsafe { pointers::put(fd, handle.signal.as_raw_fd(), "fd") }
    })
}

/// See `mlos.h`.
///
/// # Safety
/// The pointers are as the header asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlos_client_on_readable(client: *mut ClientHandle) -> i32 {
    answer(|| {
        // SAFETY: as promised to this function.
        let handle = unsafe { pointers::exclusive(client, "client") }?;
        let seen = handle.driver.on_readable();
        // After the answers were taken: the caller polls now, whoever took them.
        handle.signal.clear();
        Ok(seen?)
    })
}

/// See `mlos.h`.
///
/// # Safety
/// The pointers are as the header asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlos_wait_any(
    client: *mut ClientHandle,
    requests: *const *mut RequestHandle,
    count: usize,
    index: *mut usize,
) -> i32 {
    answer(|| {
        // SAFETY: as promised to this function.
        let handle = unsafe { pointers::shared(client, "client") }?;
        // SAFETY: as promised to this function.
        let requests = unsafe { pointers::list(requests, count, "requests") }?;
        let mut pendings = Vec::with_capacity(count);
        for request in requests {
            // SAFETY: as promised to this function.
            let request = unsafe { pointers::shared(*request, "a request of the list") }?;
            pendings.push(request.pending()?);
        }
        let first = handle.client.wait_first(pendings.into_iter())?;
        let first = first.ok_or_else(|| Failure::invalid("there are no requests to wait for"))?;
        // SAFETY: as promised to this function.
        unsafe { pointers::put(index, first, "index") }
    })
}
