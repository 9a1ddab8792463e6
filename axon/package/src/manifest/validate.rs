//! The rules of a manifest. All broken ones are reported at once, each with the path of its field.
//!
//! Looser than the first implementation's rules where those refused real models (case and `.` in names, models
//! without description or licence, empty marker files), stricter where safety asks (paths, duplicates, limits).

use super::{API_VERSION, Dtype, Format, KIND, Manifest, Metadata, Port, Preprocessing, PreprocessingKind};
use crate::{
    Error, ModelId, Problem, Problems, Result, Sha256, id,
    limits::{FILES_MAX, PACKAGE_BYTES_MAX, PORTS_MAX, RANK_MAX},
    path,
};
use std::collections::HashSet;

/// Collects problems.
#[derive(Default)]
struct Report(Vec<Problem>);

impl Report {
    fn add(&mut self, at: impl Into<String>, what: impl Into<String>) {
        self.0.push(Problem {
            at: at.into(),
            what: what.into(),
        });
    }

    fn check(&mut self, at: &str, rule: Result<(), String>) {
        if let Err(what) = rule {
            self.add(at, what);
        }
    }
}

impl Manifest {
    /// Every rule that this manifest breaks; empty when it is valid.
    #[must_use]
    pub fn validate(&self) -> Problems {
        let mut report = Report::default();
        if self.api_version != API_VERSION {
            report.add(
                "apiVersion",
                format!("is `{}`, expected `{API_VERSION}`", self.api_version),
            );
        }
        if self.kind != KIND {
            report.add("kind", format!("is `{}`, expected `{KIND}`", self.kind));
        }
        metadata(&self.metadata, &mut report);
        report.check("spec.framework.name", word(&self.spec.framework.name));
        files(&self.spec.format, &mut report);
        execution_files(&self.spec.format, &mut report);
        ports("spec.io.inputs", &self.spec.io.inputs, self, &mut report);
        ports("spec.io.outputs", &self.spec.io.outputs, self, &mut report);
        self.requirements(&mut report);
        self.dependencies(&mut report);
        self.serving(&mut report);
        self.distribution(&mut report);
        Problems(report.0)
    }

    /// [`Manifest::validate`] as a result.
    pub(crate) fn check(&self, origin: &str) -> Result<()> {
        match self.validate() {
            Problems(none) if none.is_empty() => Ok(()),
            problems => Err(Error::ManifestInvalid {
                origin: origin.into(),
                problems,
            }),
        }
    }

    fn requirements(&self, report: &mut Report) {
        let compute = &self.spec.requirements.compute;
        for (at, cores) in [
            ("min_cores", compute.cpu.min_cores),
            ("recommended_cores", compute.cpu.recommended_cores),
        ] {
            if cores == Some(0) {
                report.add(
                    format!("spec.requirements.compute.cpu.{at}"),
                    "is 0, expected at least 1",
                );
            }
        }
        let storage = &self.spec.requirements.storage;
        for (at, gigabytes) in [
            ("compute.memory.min_gb", compute.memory.min_gb),
            ("compute.memory.recommended_gb", compute.memory.recommended_gb),
            ("compute.gpu.min_vram_gb", compute.gpu.min_vram_gb),
            ("storage.min_gb", storage.min_gb),
            ("storage.recommended_gb", storage.recommended_gb),
        ] {
            if gigabytes.is_some_and(|gb| !gb.is_finite() || gb < 0.0) {
                report.add(format!("spec.requirements.{at}"), "is not a number of at least 0");
            }
        }
    }

    fn dependencies(&self, report: &mut Report) {
        for (i, model) in self.spec.dependencies.models.iter().enumerate() {
            if let Err(e) = ModelId::parse(model) {
                report.add(format!("spec.dependencies.models[{i}]"), e.to_string());
            }
        }
        for (i, package) in self.spec.dependencies.packages.iter().enumerate() {
            if package.name.is_empty() {
                report.add(format!("spec.dependencies.packages[{i}].name"), "is empty");
            }
        }
    }

    fn serving(&self, report: &mut Report) {
        let serving = &self.spec.serving;
        if let Some(super::Priority::Other(other)) = &serving.priority {
            let known = super::Priority::KNOWN.join(", ");
            report.add(
                "spec.serving.priority",
                format!("is `{other}`, expected one of {known}"),
            );
        }
        if serving.max_batch_rows == Some(0) {
            report.add("spec.serving.max_batch_rows", "is 0, expected at least 1");
        }
    }

    fn distribution(&self, report: &mut Report) {
        let sha256 = &self.distribution.package.sha256;
        if !sha256.is_empty() && sha256.parse::<Sha256>().is_err() {
            report.add("distribution.package.sha256", "is not 64 hexadecimal digits");
        }
    }
}

fn metadata(metadata: &Metadata, report: &mut Report) {
    report.check("metadata.namespace", id::check_namespace(&metadata.namespace));
    report.check("metadata.name", id::check_name(&metadata.name));
    report.check("metadata.version", id::check_version(&metadata.version));
}

fn files(format: &Format, report: &mut Report) {
    report.check("spec.format.type", word(&format.kind));
    let at = "spec.format.files";
    if format.files.is_empty() {
        report.add(at, "is empty; a package has at least one file");
    }
    if format.files.len() > FILES_MAX {
        // The rest would be noise, and quadratic in the worst case.
        return report.add(
            at,
            format!(
                "has {} entries, at most {FILES_MAX} are allowed",
                format.files.len()
            ),
        );
    }
    let mut seen = HashSet::new();
    for (i, file) in format.files.iter().enumerate() {
        report.check(&format!("{at}[{i}].path"), path::check(&file.path));
        if !seen.insert(file.path.as_str()) {
            report.add(
                format!("{at}[{i}].path"),
                format!("`{}` is listed twice", file.path),
            );
        }
        if file.sha256.parse::<Sha256>().is_err() {
            report.add(format!("{at}[{i}].sha256"), "is not 64 hexadecimal digits");
        }
    }
    shadowed(&seen, format, report);
    let total_bytes = format
        .files
        .iter()
        .fold(0, |sum: u64, file| sum.saturating_add(file.size));
    if total_bytes > PACKAGE_BYTES_MAX {
        report.add(
            at,
            format!("sum up to {total_bytes} bytes, at most {PACKAGE_BYTES_MAX} are allowed"),
        );
    }
}

/// A path cannot be a file and a directory at once.
fn shadowed(paths: &HashSet<&str>, format: &Format, report: &mut Report) {
    for (i, file) in format.files.iter().enumerate() {
        let parents = file.path.match_indices('/').map(|(end, _)| &file.path[..end]);
        if let Some(parent) = parents.into_iter().find(|parent| paths.contains(parent)) {
            report.add(
                format!("spec.format.files[{i}].path"),
                format!("`{parent}` is a file, not a directory"),
            );
        }
    }
}

fn execution_files(format: &Format, report: &mut Report) {
    if let Some(execution_format) = &format.execution_format {
        report.check("spec.format.execution_format", word(execution_format.as_str()));
    }
    let listed: HashSet<&str> = format.files.iter().map(|file| file.path.as_str()).collect();
    for (i, file) in format.execution_files.iter().enumerate() {
        let at = format!("spec.format.execution_files[{i}]");
        if !listed.contains(file.path.as_str()) {
            report.add(
                format!("{at}.path"),
                format!("`{}` is not one of spec.format.files", file.path),
            );
        }
        report.check(&format!("{at}.format"), word(file.format.as_str()));
        report.check(&format!("{at}.type"), word(file.role.as_str()));
    }
}

fn ports(at: &str, ports: &[Port], manifest: &Manifest, report: &mut Report) {
    if ports.len() > PORTS_MAX {
        return report.add(
            at,
            format!("has {} entries, at most {PORTS_MAX} are allowed", ports.len()),
        );
    }
    let mut seen = HashSet::new();
    for (i, port) in ports.iter().enumerate() {
        let at = format!("{at}[{i}]");
        if port.name.is_empty() {
            report.add(format!("{at}.name"), "is empty");
        }
        if !seen.insert(port.name.as_str()) {
            report.add(format!("{at}.name"), format!("`{}` is listed twice", port.name));
        }
        if let Dtype::Other(other) = &port.dtype {
            report.add(
                format!("{at}.dtype"),
                format!("is `{other}`, expected one of {}", Dtype::KNOWN.join(", ")),
            );
        }
        if port.shape.len() > RANK_MAX {
            report.add(
                format!("{at}.shape"),
                format!("has more than {RANK_MAX} dimensions"),
            );
        }
        if port.shape.iter().any(|&dim| dim < -1) {
            report.add(
                format!("{at}.shape"),
                "has a negative dimension other than -1 (any length)",
            );
        }
        if let Some(preprocessing) = &port.preprocessing {
            self::preprocessing(&format!("{at}.preprocessing"), preprocessing, manifest, report);
        }
    }
}

fn preprocessing(at: &str, preprocessing: &Preprocessing, manifest: &Manifest, report: &mut Report) {
    if let PreprocessingKind::Other(other) = &preprocessing.kind {
        let known = PreprocessingKind::KNOWN.join(", ");
        report.add(
            format!("{at}.type"),
            format!("is `{other}`, expected one of {known}"),
        );
    }
    let tokenizer = &preprocessing.tokenizer;
    if preprocessing.kind == PreprocessingKind::Tokenizer && tokenizer.is_empty() {
        report.add(
            format!("{at}.tokenizer"),
            "is empty; name the tokenizer file of the package",
        );
    }
    if !tokenizer.is_empty() && manifest.file(tokenizer).is_none() {
        report.add(
            format!("{at}.tokenizer"),
            format!("`{tokenizer}` is not one of spec.format.files"),
        );
    }
}

/// A short name such as `pytorch` or `scikit-learn`.
fn word(word: &str) -> Result<(), String> {
    match word {
        "" => Err("is empty".into()),
        _ if word.len() > 64 => Err("is longer than 64 bytes".into()),
        _ if word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) =>
        {
            Ok(())
        }
        _ => Err(format!("is `{word}`; letters, digits, `.`, `_`, `-` are allowed")),
    }
}
