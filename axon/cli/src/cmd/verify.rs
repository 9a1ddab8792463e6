//! `axon verify`: hashes every file again.

use axon_package::{FileState, Installed, VerifyReport};
use serde_json::{Value, json};

use crate::{
    answer::Answer,
    cmd,
    context::Context,
    error::{Error, Kind, Result},
    size,
};

/// Hash every file of installed models again, and compare
#[derive(clap::Args)]
#[command(after_help = "\
Exits with 4 if anything is not what was installed.
JSON: {\"intact\",\"models\":[{\"id\",\"intact\",\"size_bytes\",\"files\":[{\"path\",\"state\",\"detail\"}]}]}
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
    let models = match &arguments.model {
        Some(model) => vec![cmd::find(&store, model)?],
        None => {
            let found = axon_package::scan(&store.models_dir())?;
            if let Some((path, error)) = found.broken.into_iter().next() {
                context.note(&format!("{}: its manifest cannot be used", path.display()));
                return Err(Error::Package(error));
            }
            found.models
        }
    };
    let mut reports = Vec::new();
    for model in &models {
        reports.push((model, model.verify(&mut |_| {})?));
    }
    let is_intact = reports.iter().all(|(_, report)| report.is_intact());
    let json: Vec<Value> = reports
        .iter()
        .map(|(model, report)| report_json(model, report))
        .collect();
    let text: String = reports
        .iter()
        .map(|(model, report)| report_text(model, report))
        .collect();
    let mut answer = Answer::new(json!({ "intact": is_intact, "models": json }), text);
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
