//! How strong a thread is against the others of its core.
//!
//! No privilege is needed to make a thread weaker. The front keeps the default policy, and is preferred where that is
//! permitted; a lane is weaker the less urgent its class is, so that the kernel hands the core to the front within
//! microseconds of its waking.

use rustix::process::setpriority_process;
use thread_priority::{
    NormalThreadSchedulePolicy as Policy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id, thread_schedule_policy,
};
use tracing::debug;

/// Ten times the weight of other programs.
const FRONT_NICE: i32 = -10;

/// A scheduling policy and a nice value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strength {
    /// `SCHED_OTHER` with this nice value.
    Nice(i32),
    /// `SCHED_BATCH` with nice 19: never preempts on waking.
    Batch,
    /// `SCHED_IDLE`: runs when nothing else wants the core.
    Idle,
}

impl Strength {
    /// Name of the mechanism, as `/stats` shows it.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Nice(nice) => format!("SCHED_OTHER nice {nice}"),
            Self::Batch => "SCHED_BATCH nice 19".to_owned(),
            Self::Idle => "SCHED_IDLE".to_owned(),
        }
    }
}

/// Makes the calling thread this strong. Returns what holds now: where a policy is refused, the weakest nice value.
#[must_use]
pub fn weaken_current_thread(strength: Strength) -> Strength {
    let policy = match strength {
        Strength::Nice(nice) => return Strength::Nice(renice(nice)),
        Strength::Batch => Policy::Batch,
        Strength::Idle => Policy::Idle,
    };
    if become_policy(policy) {
        strength
    } else {
        Strength::Nice(renice(19))
    }
}

/// Prefers the calling thread to others of its core, where the process may: with CAP_SYS_NICE, or a limit on nice values
/// that permits it. However weak a lane is, it is due a tick of the kernel (4 ms) for every second or so that the front
/// has run, and then the front waits though it could run; so preferred, it does a tenth as often. Returns the
/// nice value that holds now.
#[must_use]
pub fn prefer_current_thread() -> i32 {
    let nice = renice(FRONT_NICE);
    if nice != FRONT_NICE {
        debug!("a front may not be preferred: grant CAP_SYS_NICE, or a limit on nice values of {FRONT_NICE}");
    }
    nice
}

/// On Linux a nice value belongs to the thread that sets it, not to its process.
fn renice(nice: i32) -> i32 {
    if setpriority_process(None, nice).is_ok() {
        nice
    } else {
        0
    }
}

/// The answer is what the kernel says afterwards: the call may fail on the nice value after it has set the policy.
fn become_policy(policy: Policy) -> bool {
    let wanted = ThreadSchedulePolicy::Normal(policy);
    let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, wanted);
    thread_schedule_policy().is_ok_and(|now| now == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_preferred_or_stays_as_it_was() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let held = std::thread::scope(|scope| {
            let thread = scope.spawn(|| (nice(), prefer_current_thread(), nice()));
            thread.join().expect("the thread does not panic")
        });
        let (before, told, after) = held;
        assert_eq!(
            (told, after),
            if after == before {
                (0, before)
            } else {
                (FRONT_NICE, FRONT_NICE)
            }
        );
    }

    #[test]
    fn a_thread_can_be_weakened_without_privilege() {
        for strength in [Strength::Nice(10), Strength::Batch, Strength::Idle] {
            let held = std::thread::scope(|scope| scope.spawn(|| weaken_current_thread(strength)).join());
            assert_eq!(held.expect("the thread does not panic"), strength);
        }
    }
}
