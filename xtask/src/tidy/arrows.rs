//! Who may know whom: every arrow points down, and nothing depends on the watchers.

use super::Finding;
use super::crates::{Crate, Dependency};
use super::tree::Tree;

/// Each crate with those of ours that it may depend on. A crate stands below all that it names, so no circle can be
/// written down here; `the_table_points_down` holds that.
const ARROWS: [(&str, &[&str]); 17] = [
    // ground
    ("mlos-scheduler", &[]),
    ("mlos-tensor-mem", &[]),
    ("mlos-smi", &[]),
    ("axon-package", &[]),
    // contracts
    ("mlos-api", &["mlos-tensor-mem"]),
    // both ends of the local edge
    ("mlos-shm", &["mlos-tensor-mem"]),
    // clients, which know the protocol and nothing of the daemon
    ("mlos-client", &["mlos-shm", "mlos-tensor-mem"]),
    ("mlos-c", &["mlos-client", "mlos-shm", "mlos-tensor-mem"]),
    ("mlos-plugin-host", &["mlos-smi", "mlos-tensor-mem"]),
    ("axon-adapters", &["axon-package"]),
    // the other side of dlopen
    ("mlos-plugin-onnx", &["mlos-smi"]),
    ("mlos-plugin-noop", &["mlos-smi"]),
    // engine
    (
        "mlos-core",
        &[
            "mlos-api",
            "mlos-scheduler",
            "mlos-tensor-mem",
            "mlos-plugin-host",
            "axon-package",
        ],
    ),
    // edges; number arrays are read straight into tensor memory
    ("mlos-http", &["mlos-api", "mlos-tensor-mem"]),
    ("mlos-local", &["mlos-api", "mlos-shm", "mlos-tensor-mem"]),
    // binaries; the daemon composes: it hands built-in plugins to the host
    (
        "mlosd",
        &[
            "mlos-core",
            "mlos-http",
            "mlos-local",
            "mlos-shm",
            "mlos-plugin-host",
            "mlos-plugin-onnx",
            "mlos-smi",
        ],
    ),
    ("axon", &["axon-adapters", "axon-package", "mlos-client"]),
];

/// May depend on anything; only tests may depend on them.
const WATCHERS: [&str; 5] = ["mlos-benches", "mlos-tests", "mlos-zoo", "mlos-hub", "xtask"];

/// A crate depends only on those below it.
pub fn point_down(tree: &Tree) -> Vec<Finding> {
    tree.crates
        .iter()
        .flat_map(|one| wrong_arrows(tree, one))
        .collect()
}

fn wrong_arrows(tree: &Tree, one: &Crate) -> Vec<Finding> {
    if WATCHERS.contains(&one.name.as_str()) {
        return Vec::new();
    }
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == one.name) else {
        let message = format!(
            "{} has no layer yet: give it one in {}, and in ARCHITECTURE.md",
            one.name,
            file!()
        );
        return vec![Finding::new(&one.manifest, 1, message)];
    };
    let is_ours = |dependency: &&Dependency| tree.crates.iter().any(|other| other.name == dependency.name);
    // Tests are watchers.
    let arrows = one
        .dependencies
        .iter()
        .filter(|dependency| !dependency.is_dev)
        .filter(is_ours);
    let wrong = arrows.filter(|dependency| !allowed.contains(&dependency.name.as_str()));
    wrong
        .map(|dependency| Finding::new(&one.manifest, dependency.line, message(one, dependency, allowed)))
        .collect()
}

fn message(one: &Crate, dependency: &Dependency, allowed: &[&str]) -> String {
    let may = if allowed.is_empty() {
        "none of ours".to_owned()
    } else {
        allowed.join(", ")
    };
    format!(
        "{} must not know {}; it may depend on {may}",
        one.name, dependency.name
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::testing::{check, manifest};

    #[test]
    fn the_table_points_down() {
        for (at, (name, allowed)) in ARROWS.iter().enumerate() {
            for other in *allowed {
                assert!(
                    ARROWS[..at].iter().any(|(below, _)| below == other),
                    "{name} -> {other}"
                );
            }
        }
    }

    #[test]
    fn an_arrow_up_is_found() {
        let scheduler = manifest("mlos-scheduler", "[dependencies]\nmlos-core.workspace = true\n");
        let core = manifest(
            "mlos-core",
            "[dependencies]\nmlos-api.workspace = true\n[dev-dependencies]\nmlos-http.workspace = true\n",
        );
        let http = manifest(
            "mlos-http",
            "[dependencies]\nmlos-core.workspace = true\nmlos-api.workspace = true\n",
        );
        let api = manifest("mlos-api", "[dependencies]\nserde.workspace = true\n");
        let tests = manifest("mlos-tests", "[dependencies]\nmlos-core.workspace = true\n");
        let files = [
            ("a/Cargo.toml", scheduler.as_str()),
            ("b/Cargo.toml", &core),
            ("c/Cargo.toml", &http),
            ("d/Cargo.toml", &api),
            ("e/Cargo.toml", &tests),
        ];
        let findings = check(point_down, &files, &["a/Cargo.toml:9", "c/Cargo.toml:9"]);
        assert!(findings[0].message.contains("may depend on none of ours"));
    }

    #[test]
    fn a_crate_without_a_layer_is_found() {
        check(
            point_down,
            &[("a/Cargo.toml", &manifest("new", ""))],
            &["a/Cargo.toml:1"],
        );
    }
}
