//! The library out of the vendor's release archive, where there is no wheel to be had.
//!
//! No hash of this archive is pinned: what is held is the digest that the vendor's release page states for it, and that
//! the library says it is the release that was asked for.

use std::path::{Path, PathBuf};

use super::library::{Pin, VERSION, sha256, version_text};
use crate::error::Result;
use crate::json::Value;
use crate::process::{command, output, run};

const RELEASE: &str = "https://api.github.com/repos/microsoft/onnxruntime/releases/tags/v";
const DOWNLOAD: &str = "https://github.com/microsoft/onnxruntime/releases/download/v";

/// Downloads into `work` and gives the library's path in there.
pub fn fetch(pin: &Pin, work: &Path) -> Result<PathBuf> {
    let stem = format!("onnxruntime-linux-{}-{VERSION}", pin.archive_arch);
    let name = format!("{stem}.tgz");
    println!(
        "setup: note: the archive is checked against the vendor's release page, not against a pin of ours"
    );
    let page = output(curl().arg(format!("{RELEASE}{VERSION}")))?;
    let stated = stated_sha256(&page, &name)?;
    let archive = work.join(&name);
    run(curl()
        .arg("--output")
        .arg(&archive)
        .arg(format!("{DOWNLOAD}{VERSION}/{name}")))?;
    let sum = sha256(&archive)?;
    if sum != stated {
        return Err(format!("{name} has sha256 {sum}, and its release page says {stated}").into());
    }
    let member = format!("{stem}/lib/libonnxruntime.so.{VERSION}");
    output(
        command("tar")
            .arg("-xzf")
            .arg(&archive)
            .arg("-C")
            .arg(work)
            .arg(&member),
    )?;
    let library = work.join(member);
    match version_text(&library) {
        Some(version) if version == VERSION => Ok(library),
        version => Err(format!("the library in {name} says it is release {version:?}, not {VERSION}").into()),
    }
}

fn curl() -> std::process::Command {
    let mut curl = command("curl");
    curl.args([
        "--fail",
        "--silent",
        "--show-error",
        "--location",
        "--proto",
        "=https",
        "--retry",
        "3",
    ]);
    curl
}

/// What the release page says of the file: `{"assets": [{"name": …, "digest": "sha256:…"}, …]}`.
fn stated_sha256(page: &str, name: &str) -> Result<String> {
    let page = Value::parse(page)?;
    let asset = page["assets"]
        .items()
        .iter()
        .find(|asset| asset["name"].as_str() == Some(name));
    let asset = asset.ok_or_else(|| format!("the release page has no {name}"))?;
    let digest = asset["digest"]
        .as_str()
        .and_then(|digest| digest.strip_prefix("sha256:"));
    Ok(digest
        .ok_or_else(|| format!("the release page states no sha256 of {name}"))?
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_page_states_the_sum() {
        let page =
            r#"{"assets": [{"name": "a.tgz", "digest": "sha256:12ab"}, {"name": "b.tgz", "digest": null}]}"#;
        assert_eq!(stated_sha256(page, "a.tgz").unwrap(), "12ab");
        assert!(
            stated_sha256(page, "b.tgz")
                .unwrap_err()
                .to_string()
                .contains("states no sha256")
        );
        assert!(
            stated_sha256(page, "c.tgz")
                .unwrap_err()
                .to_string()
                .contains("has no c.tgz")
        );
    }
}
