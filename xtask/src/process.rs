//! Other programs: shown, run, judged by their exit status. None of them gets this one's standard input.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::Result;

/// The repository's root.
pub fn root() -> &'static Path {
    let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest_dir.parent().expect("this crate lies in the repository")
}

/// Where cargo puts what it builds, and this program what it makes.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) if !dir.is_empty() => root().join(dir),
        _ => root().join("target"),
    }
}

/// A program to be run in the repository's root.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// The cargo that runs this program.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments);
    cargo
}

/// Builds all programs. With some of them only, cargo would choose other features, and `cargo test` build all again.
pub const BUILD: [&str; 3] = ["build", "--workspace", "--bins"];

/// The command as a person would type it in the root.
pub fn line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    // Only cargo is called by a path that nobody types.
    let name = program
        .file_name()
        .filter(|name| *name == "cargo")
        .unwrap_or(program.as_os_str());
    let words = std::iter::once(name).chain(command.get_args());
    words
        .map(|word| quoted(&word.to_string_lossy()))
        .collect::<Vec<_>>()
        .join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:@,%~".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Shows the command, runs it with its output going to ours, and fails if it does.
pub fn run(command: &mut Command) -> Result {
    println!("$ {}", line(command));
    let status = command.status().map_err(|error| cannot_run(command, &error))?;
    if !status.success() {
        return Err(format!("`{}` failed: {status}", line(command)).into());
    }
    Ok(())
}

/// Runs the command without showing it, and gives what it prints; if it fails, the error has what it printed.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(|error| cannot_run(command, &error))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let said = [stdout.trim(), stderr.trim()].join("\n");
        return Err(format!("`{}` failed: {}\n{}", line(command), output.status, said.trim()).into());
    }
    Ok(stdout)
}

/// Whether the command runs and succeeds; what it prints is dropped.
pub fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Whether there is such a program.
pub fn found(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

fn cannot_run(command: &Command, error: &std::io::Error) -> String {
    format!("cannot run {}: {error}", command.get_program().display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let cases: [(&str, &[&str], &str); 4] = [
            ("/x/bin/cargo", &["test", "-p", "a"], "cargo test -p a"),
            ("curl", &["-d", r#"{"a": 1}"#], r#"curl -d '{"a": 1}'"#),
            ("echo", &["it's", ""], r"echo 'it'\''s' ''"),
            ("/bin/axon", &["@1.0"], "/bin/axon @1.0"),
        ];
        for (program, arguments, expect) in cases {
            let mut command = Command::new(program);
            assert_eq!(line(command.args(arguments)), expect);
        }
    }

    #[test]
    fn a_failure_says_what_was_run_and_what_it_printed() {
        let error = output(command("sh").args(["-c", "echo no >&2; exit 3"]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("exit 3") && error.contains("status: 3") && error.ends_with("\nno"),
            "{error}"
        );
        let error = run(&mut command("no-such-program")).unwrap_err().to_string();
        assert!(error.starts_with("cannot run no-such-program"), "{error}");
    }

    #[test]
    fn programs_are_found_on_the_path() {
        assert!(found("sh"));
        assert!(!found("no-such-program"));
    }
}
