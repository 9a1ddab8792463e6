/// What a [`Gate`] is told at a checkpoint.
#[derive(Debug, Clone, Copy)]
pub struct Checkpoint {
    /// Since the call was started or last resumed.
    pub elapsed_ns: u64,
    /// Since the checkpoint before, or since the call was started or last resumed.
    pub slice_ns: u64,
}

/// What to do with a call that has reached a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Continue,
    /// Leave the stack as it is and return from [`Call::resume`](crate::Call::resume).
    Suspend,
    /// Make the plugin give up; the call ends with [`Error::Cancelled`](crate::Error::Cancelled).
    Cancel,
}

/// Decides at each checkpoint of a call. Runs on the call's stack and in its time: one load in the common case.
///
/// It must not panic: there are frames of a plugin between it and [`Call::resume`](crate::Call::resume), so a panic
/// ends the process.
pub trait Gate {
    /// Whether the call goes on.
    fn at_checkpoint(&self, checkpoint: Checkpoint) -> Verdict;

    /// Whether the next checkpoint would do anything but continue: a hint for plugins that pay for reaching one.
    fn wants_checkpoint(&self) -> bool {
        true
    }
}

/// Lets a call run to its end.
#[derive(Debug, Clone, Copy, Default)]
pub struct Open;

impl Gate for Open {
    fn at_checkpoint(&self, _: Checkpoint) -> Verdict {
        Verdict::Continue
    }

    fn wants_checkpoint(&self) -> bool {
        false
    }
}
