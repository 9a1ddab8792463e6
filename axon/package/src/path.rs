//! Which paths may stand inside a package.

use crate::limits::{COMPONENT_BYTES_MAX, PATH_BYTES_MAX, PATH_DEPTH_MAX};

/// Name of the manifest, in an archive and in the store. No file of a model may have it.
pub const MANIFEST_NAME: &str = "manifest.yaml";

/// The rule for paths of files inside a package: relative, `/` between components, nothing that a file system or
/// a shell could take for something else. Says what is wrong.
pub(crate) fn check(path: &str) -> Result<(), String> {
    if path.is_empty() {
        return Err("is empty".into());
    }
    if path.len() > PATH_BYTES_MAX {
        return Err(format!("is longer than {PATH_BYTES_MAX} bytes"));
    }
    if path.starts_with('/') {
        return Err("is absolute; paths are relative to the package".into());
    }
    if let Some(c) = path.chars().find(|&c| c.is_control() || c == '\\') {
        return Err(format!("contains {c:?}"));
    }
    if path == MANIFEST_NAME {
        return Err(format!("is {MANIFEST_NAME}, which is the manifest itself"));
    }
    if path.split('/').count() > PATH_DEPTH_MAX {
        return Err(format!("is nested deeper than {PATH_DEPTH_MAX}"));
    }
    path.split('/').try_for_each(check_component)
}

fn check_component(component: &str) -> Result<(), String> {
    match component {
        "" => Err("has an empty component".into()),
        "." | ".." => Err(format!(
            "has a `{component}` component; it must not leave the package"
        )),
        // `C:` is a drive on the one system that reads it so.
        _ if component.as_bytes().get(1) == Some(&b':') => {
            Err(format!("has a drive letter in `{component}`"))
        }
        _ if component.len() > COMPONENT_BYTES_MAX => {
            Err(format!("has a component longer than {COMPONENT_BYTES_MAX} bytes"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_could_escape() {
        for good in [
            "model.onnx",
            "onnx/model.onnx",
            "a b/ü.json",
            ".gitattributes",
            "x/manifest.yaml",
            "..a",
            "a..b",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let long = "a".repeat(256);
        let deep = vec!["d"; 17].join("/");
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a/..",
            "./a",
            "a//b",
            "a/",
            "a\\b",
            "a\0b",
            "a\nb",
            "C:/x",
            "manifest.yaml",
            &long,
            &deep,
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
