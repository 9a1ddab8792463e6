//! What a figure depends on, beside the code: the commit, the machine, the versions.

use std::fs;
use std::path::Path;

use crate::error::Result;
use crate::json::Value;
use crate::process::{command, output};
use crate::setup::library_version;

/// The facts, as members of a report.
pub fn gather(library: &Path) -> Result<Vec<(String, Value)>> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let machine = object([
        ("cpu", field(&read("/proc/cpuinfo"), "model name").into()),
        ("cores", Value::Number(cores as f64)),
        ("kernel", read("/proc/sys/kernel/osrelease").trim().into()),
        ("mem", field(&read("/proc/meminfo"), "MemTotal").into()),
    ]);
    let versions = object([
        ("mlos", env!("CARGO_PKG_VERSION").into()),
        ("rustc", output(command("rustc").arg("--version"))?.trim().into()),
        ("onnxruntime", library_version(library).as_str().into()),
    ]);
    // A tarball of the source has no commit.
    let commit =
        output(command("git").args(["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]));
    Ok(vec![
        ("commit".to_owned(), commit.unwrap_or_default().trim().into()),
        (
            "date".to_owned(),
            output(command("date").args(["-u", "+%FT%TZ"]))?.trim().into(),
        ),
        ("machine".to_owned(), machine),
        ("versions".to_owned(), versions),
    ])
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(
        members
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

/// The value of `key: value` in a file of `/proc`.
fn field<'a>(text: &'a str, key: &str) -> &'a str {
    let values = text
        .lines()
        .filter_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix(':'));
    values.map(str::trim).next().unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_read() {
        let text = "model\t: 1\nmodel name\t: A: B\nMemTotal:   12 kB\n";
        for (key, expect) in [
            ("model name", "A: B"),
            ("MemTotal", "12 kB"),
            ("flags", "unknown"),
        ] {
            assert_eq!(field(text, key), expect);
        }
    }
}
