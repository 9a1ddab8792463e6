//! The system as its users meet it: the real daemon and the real command line as processes, one file per subject.

mod correctness;
mod inputs;
mod lifecycle;
mod traffic;
