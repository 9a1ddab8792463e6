//! What a command has to say: once as JSON, once for people.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use serde_json::{Value, json};

use crate::error::Error;

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Text,
    Json,
}

/// The result of a command.
pub(crate) struct Answer {
    pub(crate) json: Value,
    pub(crate) text: String,
    /// 0 unless what was looked at is not as it should be.
    pub(crate) exit_code: u8,
}

impl Answer {
    pub(crate) fn new(json: Value, text: impl Into<String>) -> Answer {
        Answer {
            json,
            text: text.into(),
            exit_code: 0,
        }
    }

    pub(crate) fn print(&self, style: Style) -> ExitCode {
        let text = match style {
            Style::Text => self.text.trim_end().to_owned(),
            Style::Json => self.json.to_string(),
        };
        match print_line(&text) {
            Ok(()) => ExitCode::from(self.exit_code),
            // `axon list | head` is no failure.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(self.exit_code),
            Err(_) => ExitCode::FAILURE,
        }
    }
}

fn print_line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if !text.is_empty() {
        writeln!(out, "{text}")?;
    }
    out.flush()
}

pub(crate) fn print_error(error: &Error, style: Style) -> ExitCode {
    let kind = error.kind();
    match style {
        Style::Text => eprintln!("error: {error}"),
        Style::Json => {
            let json = json!({ "error": { "kind": kind.word(), "message": error.to_string() } });
            // With nowhere to write to, the exit code remains.
            let _ = print_line(&json.to_string());
        }
    }
    ExitCode::from(kind.exit_code())
}

/// Lines of cells, each column as wide as its widest cell.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
