//! The guaranteed shares: credit that a waiting class earns and its running spends.

use crate::config::Config;
use crate::job::{Class, ClassSet};

/// Credit is kept in thousandths of a nanosecond, so that no earning is rounded away.
const MILLI: u64 = 1_000;

/// What earning and spending depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    earn_per_mille: [u64; Class::COUNT],
    credit_max: [i64; Class::COUNT],
    debt_max: [i64; Class::COUNT],
    quantum: i64,
}

impl Rates {
    pub fn new(config: &Config) -> Self {
        let quantum_ns = config.share_quantum_ns.max(1);
        // A class is served in goes of a quantum, so a window can begin just after one and end just before the next. Two
        // quanta on top make up for that: the share holds in *any* window, not on average.
        let spare = (2 * MILLI)
            .saturating_mul(quantum_ns)
            .div_ceil(config.window_ns.max(1))
            .min(MILLI);
        let mut rates = Self {
            earn_per_mille: [0; Class::COUNT],
            credit_max: [0; Class::COUNT],
            debt_max: [0; Class::COUNT],
            quantum: signed(quantum_ns.saturating_mul(MILLI)),
        };
        for class in Class::ALL {
            let share = u64::from(config.share_per_mille[class.index()]).min(MILLI);
            if share > 0 {
                let of_window = signed(share.saturating_mul(config.window_ns));
                rates.earn_per_mille[class.index()] = (share + spare).min(MILLI);
                // What a full window owes; more would let a class take a window's worth in one go after a long wait.
                rates.credit_max[class.index()] = of_window.max(rates.quantum);
                // A run that cannot be overtaken may spend far more than its credit. It pays back, but not so long that a
                // window could pass without its share.
                rates.debt_max[class.index()] = of_window / 4 * 3;
            }
        }
        rates
    }
}

/// Who ran and who waited during a stretch of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub running: Option<Class>,
    pub waiting: ClassSet,
}

/// The shares on one thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shares {
    /// What a class is owed; below zero, what it took too much.
    credit: [i64; Class::COUNT],
    /// The class that took the thread by its share: it goes on until its credit is spent, not only until something more
    /// urgent waits, and what it takes beyond that it owes.
    pub serving: Option<Class>,
}

impl Shares {
    /// Nothing owed.
    pub const NONE: Self = Self {
        credit: [0; Class::COUNT],
        serving: None,
    };

    /// Accounts for a stretch of time.
    pub fn pass(&mut self, elapsed_ns: u64, rates: &Rates, standing: &Standing) {
        if standing.waiting.contains(Class::Realtime) || standing.running == Some(Class::Realtime) {
            return;
        }
        for class in Class::ALL {
            let index = class.index();
            let earn = rates.earn_per_mille[index];
            if earn > 0 {
                let runs = standing.running == Some(class);
                let change = signed(elapsed_ns.saturating_mul(if runs { MILLI - earn } else { earn }));
                let credit = &mut self.credit[index];
                *credit = if runs && self.serving == Some(class) {
                    // It earns while it runs, too.
                    credit.saturating_sub(change).max(-rates.debt_max[index])
                } else if runs && *credit > 0 {
                    // It runs anyway, which uses up what it is owed, but it owes nothing for it: nobody had to wait.
                    credit.saturating_sub(change).max(0)
                } else if standing.waiting.contains(class) && !runs {
                    credit.saturating_add(change).min(rates.credit_max[index])
                } else {
                    // Nothing is owed to those who want nothing, and what they owe is forgiven in time.
                    credit.saturating_add(change).min(0)
                };
            }
        }
    }

    /// The class that should run by its share: the one that does so already, else the most urgent that is owed a quantum.
    pub fn turn(&self, rates: &Rates, waiting: ClassSet) -> Option<Class> {
        if self
            .serving
            .is_some_and(|class| waiting.contains(class) && self.credit[class.index()] > 0)
        {
            return self.serving;
        }
        let due = |class: &Class| {
            waiting.contains(*class)
                && rates.earn_per_mille[class.index()] > 0
                && self.credit[class.index()] >= rates.quantum
        };
        Class::ALL.into_iter().find(due)
    }

    /// How long until a class that waits is owed a quantum, or the one that runs by its share has spent it, if the standing
    /// stays as it is.
    pub fn turn_in_ns(&self, rates: &Rates, standing: &Standing) -> Option<u64> {
        if standing.waiting.contains(Class::Realtime) || standing.running == Some(Class::Realtime) {
            return None;
        }
        if let Some(class) = self.serving.filter(|class| standing.running == Some(*class)) {
            let spend = MILLI - rates.earn_per_mille[class.index()];
            return Some(
                self.credit[class.index()]
                    .max(0)
                    .unsigned_abs()
                    .div_ceil(spend.max(1)),
            );
        }
        let waits = |class: &Class| {
            standing.waiting.contains(*class)
                && standing.running.is_some_and(|running| *class > running)
                && rates.earn_per_mille[class.index()] > 0
        };
        Class::ALL
            .into_iter()
            .filter(waits)
            .map(|class| {
                let missing = rates
                    .quantum
                    .saturating_sub(self.credit[class.index()])
                    .max(0)
                    .unsigned_abs();
                missing.div_ceil(rates.earn_per_mille[class.index()])
            })
            .min()
    }
}

/// As a signed number, cut to half its range so that sums of two fit.
fn signed(value: u64) -> i64 {
    value.min(i64::MAX as u64 / 2) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: ClassSet = ClassSet::EMPTY;
    const BATCH: ClassSet = NONE.with(Class::Batch);

    fn rates() -> Rates {
        Rates::new(&Config::default())
    }

    fn high_runs(waiting: ClassSet) -> Standing {
        Standing {
            running: Some(Class::High),
            waiting,
        }
    }

    #[test]
    fn a_waiting_class_earns_its_turn() {
        let (rates, mut shares) = (rates(), Shares::NONE);
        let due_in = shares.turn_in_ns(&rates, &high_runs(BATCH)).expect("batch waits");
        // 10 per mille and 2 to spare make a quantum of 1 ms in 83 ms.
        assert_eq!(due_in, 83_333_334);
        shares.pass(due_in - 1, &rates, &high_runs(BATCH));
        assert_eq!(shares.turn(&rates, BATCH), None);
        shares.pass(1, &rates, &high_runs(BATCH));
        assert_eq!(shares.turn(&rates, BATCH), Some(Class::Batch));
        assert_eq!(shares.turn(&rates, NONE), None);
    }

    #[test]
    fn running_spends_it() {
        let (rates, mut shares) = (rates(), Shares::NONE);
        shares.pass(90_000_000, &rates, &high_runs(BATCH));
        shares.serving = Some(Class::Batch);
        let running = Standing {
            running: Some(Class::Batch),
            waiting: BATCH.with(Class::High),
        };
        // 90 ms at 12 per mille, spent at 988.
        assert_eq!(shares.turn_in_ns(&rates, &running), Some(1_093_118));
        shares.pass(1_000_000, &rates, &running);
        assert_eq!(shares.turn(&rates, BATCH), Some(Class::Batch), "some is left");
        shares.pass(100_000, &rates, &running);
        assert_eq!(shares.turn(&rates, BATCH), None);
    }

    #[test]
    fn realtime_stops_the_clock() {
        let (rates, mut shares) = (rates(), Shares::NONE);
        let waiting = BATCH.with(Class::Realtime);
        shares.pass(1_000_000_000, &rates, &high_runs(waiting));
        assert_eq!(shares.turn(&rates, BATCH), None);
        assert_eq!(shares.turn_in_ns(&rates, &high_runs(waiting)), None);
    }

    #[test]
    fn what_is_owed_has_a_limit_and_ends_with_the_wait() {
        let (rates, mut shares) = (rates(), Shares::NONE);
        shares.pass(u64::MAX, &rates, &high_runs(BATCH));
        let running = Standing {
            running: Some(Class::Batch),
            waiting: BATCH,
        };
        // One window's share, 10 ms, is gone after that time and what it earned meanwhile.
        shares.pass(10_200_000, &rates, &running);
        assert_eq!(shares.turn(&rates, BATCH), None);
        shares.pass(90_000_000, &rates, &high_runs(BATCH));
        shares.pass(1, &rates, &high_runs(NONE));
        assert_eq!(shares.turn(&rates, BATCH), None);
    }

    #[test]
    fn a_long_go_is_paid_back_and_work_nobody_waited_for_is_not() {
        // (served by its share, then due again within this many ms)
        for (serving, due_ms) in [(Some(Class::Batch), 709), (None, 84)] {
            let (rates, mut shares) = (rates(), Shares::NONE);
            shares.pass(90_000_000, &rates, &high_runs(BATCH));
            shares.serving = serving;
            let running = Standing {
                running: Some(Class::Batch),
                waiting: BATCH.with(Class::High),
            };
            shares.pass(500_000_000, &rates, &running);
            shares.serving = None;
            shares.pass((due_ms - 1) * 1_000_000, &rates, &high_runs(BATCH));
            assert_eq!(shares.turn(&rates, BATCH), None, "{serving:?}");
            shares.pass(1_000_000, &rates, &high_runs(BATCH));
            assert_eq!(shares.turn(&rates, BATCH), Some(Class::Batch), "{serving:?}");
        }
    }
}
