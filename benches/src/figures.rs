//! The frame of a program that measures figures in groups: its flags, what of it is wanted, and what it prints.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use core_affinity::CoreId;
use serde_json::{Map, Value, json};

use crate::histogram::round;
use crate::quiet::Quiet;
use crate::report;

/// Values in the order of a group's figures, and what is behind them.
pub type Measured = (Vec<f64>, Value);

/// Figures that are measured together.
pub struct Group<B> {
    /// What `--only` may call all of them.
    pub name: &'static str,
    /// Their ids.
    pub figures: &'static [&'static str],
    /// Measures them.
    pub measure: fn(&B) -> Result<Measured>,
}

/// A program of this kind. `B` is what its groups measure with.
pub struct Program<B: 'static> {
    /// Its name.
    pub name: &'static str,
    /// In the order in which they are measured.
    pub groups: &'static [Group<B>],
    /// How long to measure turns again that others disturbed, in seconds, if nobody says; 30 in quick runs.
    pub patience_s: u64,
    /// Makes of what the command line says what the groups measure with.
    pub bench: fn(Setting) -> Result<B>,
    /// The setting in it.
    pub setting: fn(&B) -> &Setting,
    /// Details beside those of the groups.
    pub details: fn() -> Vec<(&'static str, Value)>,
}

/// What the command line says, and where things run.
#[derive(Debug)]
pub struct Setting {
    /// The daemon to measure.
    pub mlosd: PathBuf,
    /// Fewer and shorter rounds.
    pub quick: bool,
    /// The processor of daemons that have one: the first.
    pub server: usize,
    /// The processor of clients: the last.
    pub client: usize,
    /// Measures turns again that others disturbed.
    pub quiet: Quiet,
}

impl<B> Group<B> {
    fn is_wanted(&self, only: &[String]) -> bool {
        only.is_empty()
            || only
                .iter()
                .any(|id| id == self.name || self.figures.contains(&id.as_str()))
    }
}

impl<B> Program<B> {
    /// Does what the command line says. Progress goes to standard error; the last line of standard output is one JSON
    /// object.
    #[must_use]
    pub fn main(&self) -> ExitCode {
        if std::env::args().any(|argument| ["--help", "-h"].contains(&argument.as_str())) {
            self.help();
            return ExitCode::SUCCESS;
        }
        match self.arguments() {
            Ok((bench, only)) if self.run(&bench, &only) => ExitCode::SUCCESS,
            Ok(_) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("{}: {error:#}", self.name);
                ExitCode::FAILURE
            }
        }
    }

    fn help(&self) {
        let Self {
            name,
            groups,
            patience_s,
            ..
        } = self;
        println!(
            "\
{name} [--quick] [--only ID,…] [--mlosd PATH] [--patience SECONDS]

  --quick             fewer and shorter rounds
  --only ID,…         these figures or groups, and what is measured along with them
  --mlosd PATH        the daemon to measure; the one beside this program by default
  --patience SECONDS  how long to measure turns again that others disturbed; {patience_s} by default, 30 with --quick

figures, by group:"
        );
        for group in *groups {
            println!("  {:<12}{}", group.name, group.figures.join(" "));
        }
    }

    fn arguments(&self) -> Result<(B, Vec<String>)> {
        let cores = core_affinity::get_core_ids().context("the processors are unknown")?;
        let (Some(first), Some(last)) = (cores.first(), cores.last()) else {
            bail!("there is no processor");
        };
        let (mut mlosd, mut quick) = (beside_this_program("mlosd")?, false);
        let (mut only, mut patience_s) = (Vec::new(), None);
        let mut arguments = std::env::args().skip(1);
        while let Some(flag) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{flag} needs a value"));
            match flag.as_str() {
                "--quick" => quick = true,
                "--only" => only = value()?.split(',').map(str::to_owned).collect(),
                "--mlosd" => mlosd = PathBuf::from(value()?),
                "--patience" => patience_s = Some(value()?.parse().context("--patience is not a number")?),
                _ => bail!("unknown flag {flag}; --help shows what there is"),
            }
        }
        let is_known = |id: &String| {
            let wanted = std::slice::from_ref(id);
            self.groups.iter().any(|group| group.is_wanted(wanted))
        };
        if let Some(unknown) = only.iter().find(|id| !is_known(id)) {
            let ids: Vec<&str> = self
                .groups
                .iter()
                .flat_map(|group| group.figures)
                .copied()
                .collect();
            bail!("there is no figure {unknown}; there are {}", ids.join(" "));
        }
        let patience_s = patience_s.unwrap_or(if quick { 30 } else { self.patience_s });
        let bench = (self.bench)(Setting {
            mlosd,
            quick,
            server: first.id,
            client: last.id,
            quiet: Quiet::new(Duration::from_secs(patience_s)),
        })?;
        Ok((bench, only))
    }

    /// Measures and prints. False if a group failed; the others are there nevertheless.
    fn run(&self, bench: &B, only: &[String]) -> bool {
        let (mut figures, mut details) = (Map::new(), Map::new());
        let mut good = true;
        for group in self.groups.iter().filter(|group| group.is_wanted(only)) {
            eprintln!("{} …", group.figures.join(", "));
            match (group.measure)(bench) {
                Ok((values, detail)) => {
                    for (id, value) in group.figures.iter().zip(values) {
                        eprintln!("  {id} = {}", round(value));
                        figures.insert((*id).to_owned(), json!(round(value)));
                    }
                    details.insert(group.name.to_owned(), detail);
                }
                Err(error) => {
                    good = false;
                    eprintln!("  failed: {error:#}");
                    details.insert(group.name.to_owned(), json!({ "error": format!("{error:#}") }));
                }
            }
        }
        for (name, detail) in (self.details)() {
            details.insert(name.to_owned(), detail);
        }
        details.insert("machine".to_owned(), report::machine());
        details.insert("quiet".to_owned(), (self.setting)(bench).quiet.details());
        println!("{}", json!({ "figures": figures, "details": details }));
        good
    }
}

/// What the same build made.
///
/// # Errors
/// Where this program does not know where it is.
pub fn beside_this_program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own.parent().unwrap_or(Path::new(".")).join(name))
}

/// Measures on a thread that is pinned to a processor.
///
/// # Errors
/// Those of the measurement.
///
/// # Panics
/// If it panics.
pub fn pinned<T: Send>(cpu: usize, measure: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            core_affinity::set_for_current(CoreId { id: cpu });
            measure()
        });
        thread.join().expect("the measuring thread does not panic")
    })
}
