//! Errors of a script: a sentence for the person who typed the command. Nothing here is matched on.

/// What a command comes to.
pub type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;
