//! The guaranteed shares: credit that a waiting class earns and its running spends.

use crate::config::Config;
use crate::job::{Class, ClassSet};

/// Credit is kept in thousandths of a nanosecond, so that no earning is rounded away.
const MILLI: u64 = 1_000;

/// What earning and spending depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    earn_per_mille: [u64; Class::COUNT],
    credit_max: [u64; Class::COUNT],
    quantum: u64,
}

impl Rates {
    pub fn new(config: &Config) -> Self {
        let quantum_ns = config.share_quantum_ns.max(1);
        // A class is served in goes of a quantum, so a window can begin just after one and end just before the next. Two
        // quanta on top make up for that: the share holds in *any* window, not on average.
        let spare = (2 * MILLI * quantum_ns)
            .div_ceil(config.window_ns.max(1))
            .min(MILLI);
        let mut rates = Self {
            earn_per_mille: [0; Class::COUNT],
            credit_max: [0; Class::COUNT],
            quantum: quantum_ns.saturating_mul(MILLI),
        };
        for class in Class::ALL {
            let share = u64::from(config.share_per_mille[class.index()]).min(MILLI);
            if share > 0 {
                rates.earn_per_mille[class.index()] = (share + spare).min(MILLI);
                // What a full window owes; more would let a class take a window's worth in one go after a long wait.
                rates.credit_max[class.index()] = share.saturating_mul(config.window_ns).max(rates.quantum);
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
    credit: [u64; Class::COUNT],
    /// The class that runs by its share until its credit is spent, and not only until something more urgent waits.
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
            let credit = &mut self.credit[index];
            if standing.running == Some(class) {
                // It earns while it runs, too.
                *credit = credit.saturating_sub(elapsed_ns.saturating_mul(MILLI - earn));
            } else if standing.waiting.contains(class) {
                *credit = credit
                    .saturating_add(elapsed_ns.saturating_mul(earn))
                    .min(rates.credit_max[index]);
            } else {
                // Nothing is owed to those who want nothing.
                *credit = 0;
            }
        }
        if self.serving.is_some_and(|class| self.credit[class.index()] == 0) {
            self.serving = None;
        }
    }

    /// The class that should run by its share: the one that does so already, else the most urgent that is owed a quantum.
    pub fn turn(&self, rates: &Rates, waiting: ClassSet) -> Option<Class> {
        if self.serving.is_some_and(|class| waiting.contains(class)) {
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
            return self.credit[class.index()].div_ceil(spend.max(1)).into();
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
                let missing = rates.quantum.saturating_sub(self.credit[class.index()]);
                missing.div_ceil(rates.earn_per_mille[class.index()])
            })
            .min()
    }
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
        assert_eq!(shares.serving, None);
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
}
