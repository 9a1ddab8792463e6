//! The tests of the zoo: what it writes is read back and compared with what it promises.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod command;
mod digits;
mod external;
mod models;
mod parsed;
