//! The system as its users meet it: the real daemon and the real command line as processes, one file per subject.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod command_line;
mod command_line_local;
mod connections;
mod correctness;
mod disorder;
mod inputs;
mod kills;
mod lifecycle;
mod local;
mod local_beside;
mod local_faults;
mod local_greetings;
mod local_models;
mod local_start;
mod refusals;
mod scheduling;
mod sentences;
mod settings;
mod start;
mod traffic;
