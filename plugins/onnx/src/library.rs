//! The ONNX Runtime library: found at run time, opened once per process, one environment.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;

use crate::error::{Error, Result};
use crate::pages;

/// The variable that names the library when the configuration does not.
pub const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";

/// Where distributions and the vendor's archive put the library.
const SYSTEM_PATHS: [&str; 8] = [
    "/usr/lib/x86_64-linux-gnu/libonnxruntime.so",
    "/usr/lib/aarch64-linux-gnu/libonnxruntime.so",
    "/usr/lib/libonnxruntime.so",
    "/usr/lib64/libonnxruntime.so",
    "/usr/local/lib/libonnxruntime.so",
    "/usr/local/lib64/libonnxruntime.so",
    "/opt/onnxruntime/lib/libonnxruntime.so",
    "/usr/lib/mlos/libonnxruntime.so",
];

/// The opened library.
#[derive(Clone)]
pub(crate) struct Runtime {
    /// Keeps ONNX Runtime's process-wide state; it is never taken down, as sessions of any plugin instance use it.
    pub environment: Environment,
    pub library: PathBuf,
    /// Build text of the library: part of the key of everything derived with it.
    pub build: &'static str,
}

static RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);

/// Opens the library, or gives the one that is open: a process can hold only one.
pub(crate) fn open(configured: Option<&Path>) -> Result<Runtime> {
    let mut slot = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = &*slot {
        return Ok(runtime.clone());
    }
    let variable = std::env::var_os(LIBRARY_VARIABLE)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from);
    let library = find(configured, variable.as_deref(), &SYSTEM_PATHS)?;
    let unusable = |reason: String| Error::LibraryUnusable {
        path: library.clone(),
        reason,
    };
    pages::map_large_blocks();
    let builder = ort::init_from(&library).map_err(|error| unusable(error.to_string()))?;
    let environment = builder
        .with_name("mlos")
        .with_telemetry(false)
        .build()
        .map_err(|error| unusable(error.message().to_owned()))?;
    // What fails is in the status that the call returns; a cancelled run is no news at all.
    environment.set_log_level(LogLevel::Fatal);
    let runtime = Runtime {
        environment,
        library: library.clone(),
        build: ort::info(),
    };
    Ok(slot.insert(runtime).clone())
}

/// The process's environment once a plugin was initialised, for whoever compares the plugin with ONNX Runtime itself: a
/// process can have only one.
#[must_use]
pub fn environment() -> Option<Environment> {
    RUNTIME
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .as_ref()
        .map(|runtime| runtime.environment.clone())
}

/// The library's path: configuration, then variable, then the system's places. A named one that is not there is an
/// error and not a reason to look further: somebody meant that very file.
fn find(configured: Option<&Path>, variable: Option<&Path>, system: &[&str]) -> Result<PathBuf> {
    let named = [
        ("plugin configuration `library`", configured),
        (LIBRARY_VARIABLE, variable),
    ];
    for (who, path) in named {
        let Some(path) = path else { continue };
        return match absolute(path).filter(|path| path.is_file()) {
            Some(path) => Ok(path),
            None => Err(Error::LibraryMissing {
                tried: format!("{} from {who}", path.display()),
            }),
        };
    }
    let found = system.iter().map(PathBuf::from).find(|path| path.is_file());
    found.ok_or_else(|| Error::LibraryMissing {
        tried: system.join(", "),
    })
}

/// Relative paths count from the working directory, not from the program's folder as the loader has it.
fn absolute(path: &Path) -> Option<PathBuf> {
    std::path::absolute(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_beats_variable_beats_system() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| dir.path().join(name));
        for path in [&a, &b, &c] {
            std::fs::write(path, "").unwrap();
        }
        let system = [c.to_str().unwrap()];
        assert_eq!(find(Some(&a), Some(&b), &system).unwrap(), a);
        assert_eq!(find(None, Some(&b), &system).unwrap(), b);
        assert_eq!(find(None, None, &system).unwrap(), c);
    }

    #[test]
    fn a_missing_library_says_what_was_tried_and_what_to_do() {
        let gone = Path::new("/nowhere/libonnxruntime.so");
        let cases = [
            (find(Some(gone), None, &SYSTEM_PATHS), "configuration"),
            (find(None, Some(gone), &SYSTEM_PATHS), LIBRARY_VARIABLE),
            (
                find(None, None, &["/nowhere/a.so", "/nowhere/b.so"]),
                "/nowhere/b.so",
            ),
        ];
        for (result, expect) in cases {
            let message = result.unwrap_err().to_string();
            assert!(message.contains(expect), "{message}");
            assert!(message.contains("cargo xtask setup"), "{message}");
        }
    }
}
