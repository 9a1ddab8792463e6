//! `axon verify`: hashes every file again.

use axon_package::{FileState, Installed, Scan, VerifyReport, scan};
use serde_json::{Value, json};

use crate::{
    answer::Answer,
    cmd,
    context::Context,
    error::{Kind, Result},
    size,
};

/// Hash every file of installed models again, and compare
#[derive(clap::Args)]
#[command(after_help = "\
Exits with 4 if anything is not what was installed.
JSON: {\"intact\",\"models\":[{\"id\",\"intact\",\"size_bytes\",\"files\":[{\"path\",\"state\",\"detail\"}]}],
\"broken\":[{\"path\",\"reason\"}]}
state: intact, missing, resized, altered, unreadable, unlisted")]
pub(crate) struct Verify {
    /// The model's id
    #[arg(required_unless_present = "all")]
    model: Option<String>,
    /// Every installed model
    #[arg(long, conflicts_with = "model")]
    all: bool,
}

pub(crate) fn run(context: &Context, arguments: &Verify) -> Result<Answer> {
    let store = context.store()?;
    let found = match &arguments.model {
        Some(model) => Scan {
            models: vec![cmd::find(&store, model)?],
            broken: Vec::new(),
        },
        None => scan(&store.models_dir())?,
    };
    let mut reports = Vec::new();
    for model in &found.models {
        reports.push((model, model.verify(&mut |_| {})?));
    }
    let is_intact = found.broken.is_empty() && reports.iter().all(|(_, report)| report.is_intact());
    let models: Vec<Value> = reports
        .iter()
        .map(|(model, report)| report_json(model, report))
        .collect();
    let broken: Vec<Value> = found
        .broken
        .iter()
        .map(|(path, error)| json!({ "path": path, "reason": error.to_string() }))
        .collect();
    let mut text: String = reports
        .iter()
        .map(|(model, report)| report_text(model, report))
        .collect();
    for (path, error) in &found.broken {
        text.push_str(&format!("{}: damaged\n  {error}\n", path.display()));
    }
    let mut answer = Answer::new(
        json!({ "intact": is_intact, "models": models, "broken": broken }),
        text,
    );
    if !is_intact {
        answer.exit_code = Kind::Integrity.exit_code();
    }
    Ok(answer)
}

fn report_json(model: &Installed, report: &VerifyReport) -> Value {
    let file = |check: &axon_package::FileCheck| {
        let (state, detail) = words(&check.state);
        json!({ "path": check.path, "state": state, "detail": detail })
    };
    json!({
        "id": report.id.to_string(),
        "intact": report.is_intact(),
        "size_bytes": model.size_bytes(),
        "files": report.files.iter().map(file).collect::<Vec<_>>(),
    })
}

fn report_text(model: &Installed, report: &VerifyReport) -> String {
    if report.is_intact() {
        let (count, bytes) = (report.files.len(), size::human(model.size_bytes()));
        return format!("{}: intact ({count} files, {bytes})\n", report.id);
    }
    let mut text = format!("{}: damaged\n", report.id);
    for check in report.damaged() {
        let (state, detail) = words(&check.state);
        text.push_str(&format!(
            "  {}: {state}{}\n",
            check.path,
            detail.map(|d| format!(" ({d})")).unwrap_or_default()
        ));
    }
    if let Some(hint) = report.hint() {
        text.push_str(&format!("  {hint}\n"));
    }
    text
}

fn words(state: &FileState) -> (&'static str, Option<String>) {
    match state {
        FileState::Intact => ("intact", None),
        FileState::Missing => ("missing", None),
        FileState::Resized { actual } => ("resized", Some(format!("{actual} bytes now"))),
        FileState::Altered { actual } => ("altered", Some(format!("sha256 {actual}"))),
        FileState::Unreadable { reason } => ("unreadable", Some(reason.clone())),
        FileState::Unlisted => ("unlisted", None),
    }
}
