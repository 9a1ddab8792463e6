//! ONNX Runtime's shared library: named, at hand, the system's, or fetched and checked.

use std::fs;
use std::path::{Path, PathBuf};

use super::{archive, wheel};
use crate::error::Result;
use crate::process::{command, output, target};

/// Names the library for every program that loads it; whoever sets it means that very file.
pub const VARIABLE: &str = "ORT_DYLIB_PATH";

/// The release that is fetched, and with which everything is tested.
pub const VERSION: &str = "1.31.1";

/// Major and minor number of a release.
type Release = (u32, u32);

/// The oldest release whose API is enough.
const OLDEST: Release = (1, 24);

const FILE_NAME: &str = "libonnxruntime.so";

/// Where the system may have it, beside what `ldconfig` knows.
const SYSTEM_DIRS: [&str; 5] = [
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/opt/onnxruntime/lib",
];

/// What is fetched for one kind of processor.
pub struct Pin {
    /// As in `std::env::consts::ARCH`.
    pub arch: &'static str,
    /// The wheel's platform tag.
    pub wheel_platform: &'static str,
    /// What the vendor's archive calls the processor.
    pub archive_arch: &'static str,
    /// SHA-256 of the library in the wheel.
    pub sha256: &'static str,
    /// Whether anybody has run this project there.
    pub is_tested: bool,
}

const PINS: [Pin; 2] = [
    Pin {
        arch: "x86_64",
        wheel_platform: "manylinux_2_28_x86_64",
        archive_arch: "x64",
        sha256: "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3",
        is_tested: true,
    },
    Pin {
        arch: "aarch64",
        wheel_platform: "manylinux_2_28_aarch64",
        archive_arch: "aarch64",
        sha256: "8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467",
        is_tested: false,
    },
];

/// The library if the machine has one: the named one, the one fetched before, the system's.
pub fn locate() -> Result<Option<PathBuf>> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        return Ok(Some(named_library(Path::new(&named))?));
    }
    if let Some(fetched) = fetched_before()? {
        return Ok(Some(fetched));
    }
    Ok(system_candidates()
        .into_iter()
        .find(|path| version_of(path).is_some_and(is_enough)))
}

/// Fetches the pinned release: the wheel, else the vendor's archive.
pub fn fetch() -> Result<PathBuf> {
    let arch = std::env::consts::ARCH;
    let pin = PINS.iter().find(|pin| pin.arch == arch).ok_or_else(|| {
        format!(
            "no ONNX Runtime is pinned for {arch}; install {VERSION} and set {VARIABLE} to its {FILE_NAME}"
        )
    })?;
    println!("setup: fetching ONNX Runtime {VERSION}, which runs the models");
    if !pin.is_tested {
        println!("setup: note: nobody has tested this project on {arch} yet");
    }
    let work = dir().join("fetch");
    fs::create_dir_all(&work)?;
    let (library, source) = match wheel::fetch(pin, &work) {
        Ok(library) => (library, "wheel"),
        Err(error) => {
            println!("setup: not from the wheel: {error}");
            let library = archive::fetch(pin, &work).map_err(|error| {
                format!(
                    "{error}\ninstall ONNX Runtime {VERSION} by hand and set {VARIABLE} to its {FILE_NAME}"
                )
            })?;
            (library, "archive")
        }
    };
    let placed = place(&library, source)?;
    fs::remove_dir_all(&work)?;
    Ok(placed)
}

fn dir() -> PathBuf {
    target().join("onnxruntime")
}

/// Puts the library in its place, whole or not at all, with a line beside it that says what it is.
fn place(library: &Path, source: &str) -> Result<PathBuf> {
    let placed = dir().join(FILE_NAME);
    fs::write(record(), format!("{VERSION} {} {source}\n", sha256(library)?))?;
    fs::rename(library, &placed)?;
    println!(
        "setup: ONNX Runtime {VERSION} from the {source} is at {}",
        placed.display()
    );
    Ok(placed)
}

fn record() -> PathBuf {
    dir().join(".version")
}

/// The library fetched by an earlier run, if it is still what was fetched and what is pinned now.
fn fetched_before() -> Result<Option<PathBuf>> {
    let library = dir().join(FILE_NAME);
    if !library.is_file() {
        return Ok(None);
    }
    let sha256 = sha256(&library)?;
    let record = fs::read_to_string(record()).unwrap_or_default();
    let recorded = record.starts_with(&format!("{VERSION} {sha256} "));
    if recorded
        || PINS
            .iter()
            .any(|pin| pin.arch == std::env::consts::ARCH && pin.sha256 == sha256)
    {
        return Ok(Some(library));
    }
    println!(
        "setup: {} is not ONNX Runtime {VERSION} as it was fetched; it is replaced",
        library.display()
    );
    Ok(None)
}

fn named_library(named: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(named)?;
    if !path.is_file() {
        return Err(format!(
            "{VARIABLE} names {}, which is not there; correct or unset it",
            path.display()
        )
        .into());
    }
    match version_of(&path) {
        Some(version) if !is_enough(version) => Err(format!(
            "{VARIABLE} names ONNX Runtime {}.{}; {}.{} or newer is needed",
            version.0, version.1, OLDEST.0, OLDEST.1
        )
        .into()),
        _ => Ok(path),
    }
}

fn system_candidates() -> Vec<PathBuf> {
    let listed =
        output(command("ldconfig").arg("-p")).or_else(|_| output(command("/sbin/ldconfig").arg("-p")));
    let mut candidates = listed_libraries(&listed.unwrap_or_default());
    let triplet = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let dirs = std::iter::once(triplet.as_str()).chain(SYSTEM_DIRS);
    candidates.extend(dirs.map(|dir| Path::new(dir).join(FILE_NAME)));
    candidates.retain(|path| path.is_file());
    candidates
}

/// The paths in what `ldconfig -p` prints: `libonnxruntime.so.1 (libc6,x86-64) => /usr/lib/libonnxruntime.so.1`.
fn listed_libraries(listed: &str) -> Vec<PathBuf> {
    let lines = listed
        .lines()
        .filter(|line| line.trim_start().starts_with(FILE_NAME));
    lines
        .filter_map(|line| line.split(" => ").nth(1))
        .map(PathBuf::from)
        .collect()
}

fn is_enough((major, minor): Release) -> bool {
    major == OLDEST.0 && minor >= OLDEST.1
}

/// The release that a library says it is.
fn version_of(library: &Path) -> Option<Release> {
    release(&version_text(library)?)
}

/// The same, as the library has it: `1.31.1`.
pub fn version_text(library: &Path) -> Option<String> {
    version_in(&fs::read(library).ok()?)
}

/// ONNX Runtime names its exported symbols' version after the release: `VERS_1.31.1`.
fn version_in(bytes: &[u8]) -> Option<String> {
    const TAG: &[u8] = b"\0VERS_";
    const LENGTH_MAX: usize = 16;
    let tags = bytes
        .windows(TAG.len())
        .enumerate()
        .filter(|(_, window)| *window == TAG);
    let mut texts = tags.filter_map(|(at, _)| {
        let text = bytes[at + TAG.len()..].split(|byte| *byte == 0).next()?;
        String::from_utf8(text[..text.len().min(LENGTH_MAX)].to_vec()).ok()
    });
    texts.find(|text| release(text).is_some())
}

fn release(version: &str) -> Option<Release> {
    let mut numbers = version.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The file's SHA-256 in hexadecimal.
pub fn sha256(file: &Path) -> Result<String> {
    let line = output(command("sha256sum").arg("--").arg(file))?;
    // A name with odd characters is marked by a backslash before the sum.
    let sum = line
        .trim_start_matches('\\')
        .split(' ')
        .next()
        .unwrap_or_default();
    Ok(sum.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_says_its_release() {
        let cases: [(&[u8], Option<&str>); 5] = [
            (b"abc\0VERS_1.31.1\0def", Some("1.31.1")),
            (b"\0VERS_x\0\0VERS_1.24.0\0", Some("1.24.0")),
            (b"GLIBCVERS_1.2.3\0", None),
            (b"\0VERS_", None),
            (b"", None),
        ];
        for (bytes, expect) in cases {
            assert_eq!(
                version_in(bytes).as_deref(),
                expect,
                "{}",
                String::from_utf8_lossy(bytes)
            );
        }
        assert_eq!(release("1.31.1"), Some((1, 31)));
    }

    #[test]
    fn old_and_foreign_releases_are_not_enough() {
        for (version, expect) in [
            ((1, 23), false),
            ((1, 24), true),
            ((1, 31), true),
            ((2, 0), false),
            ((0, 30), false),
        ] {
            assert_eq!(is_enough(version), expect, "{version:?}");
        }
    }

    #[test]
    fn the_systems_libraries_are_read_from_the_list() {
        let listed = "2 libs found in cache\n\tlibonnx.so (libc6,x86-64) => /usr/lib/libonnx.so\n\
                      \tlibonnxruntime.so.1 (libc6,x86-64) => /usr/lib/libonnxruntime.so.1\n";
        assert_eq!(
            listed_libraries(listed),
            [PathBuf::from("/usr/lib/libonnxruntime.so.1")]
        );
    }

    #[test]
    fn a_named_library_that_is_missing_is_an_error() {
        let error = named_library(Path::new("/nowhere/libonnxruntime.so"))
            .unwrap_err()
            .to_string();
        assert!(error.contains(VARIABLE) && error.contains("/nowhere/"), "{error}");
    }

    #[test]
    fn the_sum_is_that_of_the_content() {
        let sum = sha256(Path::new("/dev/null")).unwrap();
        assert_eq!(
            sum,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
