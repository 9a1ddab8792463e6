//! Progress of files on standard error: bars on a terminal, a line per file elsewhere.

use std::{
    collections::HashMap,
    io::IsTerminal as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axon_adapters::{Progress, Silent};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::{context::Context, size};

/// What fits where standard error goes.
pub(crate) fn progress(context: &Context) -> Arc<dyn Progress> {
    if context.quiet {
        Arc::new(Silent)
    } else if std::io::stderr().is_terminal() {
        Arc::new(Bars::default())
    } else {
        Arc::new(Lines)
    }
}

/// A line when a file is complete.
struct Lines;

impl Progress for Lines {
    fn at(&self, path: &str, have_bytes: u64, total_bytes: u64) {
        if 0 < have_bytes && have_bytes < total_bytes {
            eprintln!(
                "{path}: going on at {} of {}",
                size::human(have_bytes),
                size::human(total_bytes)
            );
        }
    }

    fn advance(&self, _path: &str, _bytes: u64) {}

    fn done(&self, path: &str, total_bytes: u64) {
        eprintln!("{path}: {}", size::human(total_bytes));
    }
}

/// A bar per file that is on its way.
#[derive(Default)]
struct Bars {
    screen: MultiProgress,
    bars: Mutex<HashMap<String, ProgressBar>>,
}

impl Bars {
    fn bar(&self, path: &str, total_bytes: u64) -> ProgressBar {
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let bar = self.screen.add(ProgressBar::new(total_bytes));
            let style = "{prefix:30!} {wide_bar} {decimal_bytes:>9} of {decimal_total_bytes:9} {decimal_bytes_per_sec:>11} {eta:>4}";
            bar.set_style(
                ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar.set_prefix(path.to_owned());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        };
        bars.entry(path.to_owned()).or_insert_with(new).clone()
    }
}

impl Progress for Bars {
    fn at(&self, path: &str, have_bytes: u64, total_bytes: u64) {
        let bar = self.bar(path, total_bytes);
        bar.set_position(have_bytes);
        bar.reset_eta();
    }

    fn advance(&self, path: &str, bytes: u64) {
        let bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = bars.get(path) {
            bar.inc(bytes);
        }
    }

    fn done(&self, path: &str, total_bytes: u64) {
        self.bar(path, total_bytes).finish_and_clear();
        // The screen keeps what is gone as a line above the bars that are left; without one to print to, nothing is lost.
        let _ = self
            .screen
            .println(format!("{path}: {}", size::human(total_bytes)));
    }
}
