//! `main_figures [--quick] [--only ID,…] [--mlosd PATH] [--patience SECONDS]`: what a daemon gives its clients, as
//! figures. Progress goes to standard error; the last line of standard output is one JSON object.
//!
//! Every ratio is taken on one daemon, A and B in turn; the samples of all rounds count together.
#![forbid(unsafe_code)]

mod beside;
mod disturbed;
mod http;
mod idle;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use mlos_benches::daemon::{Daemon, Mode, Start};
use mlos_benches::figures::{Group, Measured, Program, Setting};
use mlos_benches::models;

const GROUPS: [Group<Bench>; 9] = [
    Group {
        name: "rt",
        figures: &["rt_p99_x", "rt_p999_extra_ms", "bulk_kept_pct"],
        measure: beside::realtime,
    },
    Group {
        name: "rt_layer",
        figures: &["rt_layer_p99_extra_ms", "rt_layer_p999_extra_ms"],
        measure: beside::layer,
    },
    Group {
        name: "high",
        figures: &["high_p99_x"],
        measure: beside::high,
    },
    Group {
        name: "all_cores",
        figures: &["all_cores_rt_p99_x"],
        measure: beside::all_cores,
    },
    Group {
        name: "same_model",
        figures: &["rt_same_model_p99_x"],
        measure: beside::same_model,
    },
    Group {
        name: "load",
        figures: &["load_disturb_p99_x"],
        measure: disturbed::by_loading,
    },
    Group {
        name: "http",
        figures: &["http_extra_us"],
        measure: http::over_in_process,
    },
    Group {
        name: "vision",
        figures: &["http_json_vision_extra_ms"],
        measure: http::over_compute,
    },
    Group {
        name: "idle",
        figures: &["start_ms", "idle_rss_mib", "idle_cpu_pct"],
        measure: idle::start_and_idle,
    },
];

/// How long, and how often.
pub(crate) struct Bench {
    setting: Setting,
}

impl Bench {
    /// Turns of each side.
    fn rounds(&self) -> usize {
        if self.setting.quick { 3 } else { 5 }
    }

    /// How long a turn is. In three of the quick ones 200 requests a second make 3,000, enough for a p99.9.
    fn turn(&self) -> Duration {
        Duration::from_secs(if self.setting.quick { 5 } else { 10 })
    }

    /// How often the urgent client asks.
    fn rate_hz(&self) -> f64 {
        if self.setting.quick { 200.0 } else { 100.0 }
    }

    fn daemon(&self, mode: Mode, cores: &[usize]) -> Result<Daemon> {
        Daemon::start(&Start {
            mlosd: &self.setting.mlosd,
            mode,
            cores,
        })
    }

    /// A daemon on one processor that serves the digits.
    fn digits_daemon(&self, mode: Mode) -> Result<Daemon> {
        let daemon = self.daemon(mode, &[self.setting.server])?;
        daemon.register(models::DIGITS, &models::digits())?;
        Ok(daemon)
    }
}

fn main() -> ExitCode {
    let program = Program {
        name: "main_figures",
        groups: &GROUPS,
        patience_s: 300,
        bench: |setting| Ok(Bench { setting }),
        setting: |bench| &bench.setting,
        details: Vec::new,
    };
    program.main()
}
