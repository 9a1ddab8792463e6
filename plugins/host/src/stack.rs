use crate::error::Error;
use crate::limits::{CALLS_PER_THREAD_MAX, STACK_BYTES, STACKS_IDLE_MAX};
use corosensei::stack::{DefaultStack, Stack, StackPointer};
use std::cell::RefCell;

/// The stacks of one thread: `live` are in use, `idle` wait, warm in the cache, for the next call.
struct Stacks {
    live: usize,
    idle: Vec<DefaultStack>,
}

thread_local! {
    static STACKS: RefCell<Stacks> = const { RefCell::new(Stacks { live: 0, idle: Vec::new() }) };
}

/// A guard-paged stack on loan from its thread's pool.
pub(crate) struct PooledStack(Option<DefaultStack>);

impl PooledStack {
    /// The stack that this thread used last, or a new one.
    #[inline]
    pub(crate) fn take() -> Result<Self, Error> {
        STACKS.with_borrow_mut(|stacks| {
            if stacks.live >= CALLS_PER_THREAD_MAX {
                return Err(Error::TooManyCalls {
                    limit: CALLS_PER_THREAD_MAX,
                });
            }
            let stack = match stacks.idle.pop() {
                Some(stack) => stack,
                None => DefaultStack::new(STACK_BYTES).map_err(Error::Stack)?,
            };
            stacks.live += 1;
            Ok(Self(Some(stack)))
        })
    }

    fn inner(&self) -> &DefaultStack {
        self.0.as_ref().expect("a stack is there until it is dropped")
    }
}

impl Drop for PooledStack {
    fn drop(&mut self) {
        let Some(stack) = self.0.take() else { return };
        // While the thread ends its pool may be gone; then the stack is simply unmapped.
        let _ = STACKS.try_with(|stacks| {
            let mut stacks = stacks.borrow_mut();
            stacks.live -= 1;
            if stacks.idle.len() < STACKS_IDLE_MAX {
                stacks.idle.push(stack);
            }
        });
    }
}

// SAFETY: both ends are those of the DefaultStack inside, which keeps its promises and lives as long as this.
unsafe impl Stack for PooledStack {
    fn base(&self) -> StackPointer {
        self.inner().base()
    }

    fn limit(&self) -> StackPointer {
        self.inner().limit()
    }
}

/// Stacks of the calling thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StackStats {
    /// Belong to calls that have not finished.
    pub live: usize,
    /// Wait for a call.
    pub idle: usize,
}

/// Counts the calling thread's stacks.
pub fn stack_stats() -> StackStats {
    STACKS.with_borrow(|stacks| StackStats {
        live: stacks.live,
        idle: stacks.idle.len(),
    })
}
