//! `axon version`.

use serde_json::json;

use crate::answer::Answer;

pub(crate) fn run() -> Answer {
    let (version, os, arch) = (
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
    );
    let json = json!({ "version": version, "os": os, "arch": arch, "manifest": axon_package::manifest::API_VERSION });
    Answer::new(json, format!("axon {version} ({os} {arch})"))
}
