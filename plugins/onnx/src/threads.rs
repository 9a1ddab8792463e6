//! The thread budget of the process: every session's pool draws from it.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{Error, Result};

/// Pool threads of all sessions.
static TAKEN: AtomicU32 = AtomicU32::new(0);

/// The pool threads of one session; given back when dropped.
#[derive(Debug)]
pub(crate) struct Lease(u32);

impl Lease {
    /// Takes the pool threads of a session that keeps `threads` busy: one fewer, as the caller's own is one of them.
    pub fn take(threads: u32, budget: u32) -> Result<Self> {
        let pool = threads.saturating_sub(1);
        // Relaxed: the number guards nothing but itself.
        let taken = TAKEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            taken
                .checked_add(pool)
                .filter(|after| pool == 0 || *after <= budget)
        });
        match taken {
            Ok(_) => Ok(Self(pool)),
            Err(taken) => Err(Error::Threads {
                asked: pool,
                free: budget.saturating_sub(taken),
                budget,
            }),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        TAKEN.fetch_sub(self.0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_end_at_the_budget_and_are_given_back() {
        let free = Lease::take(1, 0).unwrap();
        let first = Lease::take(3, 3).unwrap();
        assert!(Lease::take(3, 3).is_err());
        let second = Lease::take(2, 3).unwrap();
        assert!(Lease::take(1, 3).is_ok());
        drop((free, first));
        assert!(Lease::take(3, 3).is_ok());
        drop(second);
    }
}
