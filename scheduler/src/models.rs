//! The models of a shard: what is known of them, and their queued jobs.

use alloc::vec;
use alloc::vec::Vec;

use crate::config::Model;
use crate::cost::Cost;
use crate::job::{Class, ModelIndex, Thread};
use crate::limits::{PREFETCH_LEAD_MAX_NS, PREFETCH_LEAD_MIN_NS};
use crate::slots::NONE;
use crate::stats::PrefetchStats;

/// Queues of a shard: four classes on the front, and one on each lane.
pub(crate) const QUEUES: usize = 2 * Class::COUNT - 1;

/// The queue of a class on a thread.
pub(crate) fn queue_of(thread: Thread, class: Class) -> usize {
    if thread == Thread::FRONT {
        class.index()
    } else {
        Class::COUNT - 1 + class.index()
    }
}

/// The queued jobs of one model in one queue, in order of arrival.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    pub oldest: u32,
    pub youngest: u32,
    pub len: u32,
    /// Sum of their rows.
    pub rows: u64,
}

impl Group {
    const EMPTY: Self = Self {
        oldest: NONE,
        youngest: NONE,
        len: 0,
        rows: 0,
    };
}

/// The last prefetch of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fetch {
    None,
    Asked { at_ns: u64 },
    Here { at_ns: u64 },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ModelState {
    pub model: Model,
    pub live: bool,
    /// Tells runs of an earlier model under the same index apart.
    pub generation: u32,
    pub cost: Cost,
    pub lead_ns: u64,
    fetch: Fetch,
}

impl ModelState {
    /// Whether a prefetch now would be of use, and repeat no other. One as old as `stale_ns` counts no more: its data are
    /// likely gone.
    pub fn wants_fetch(&self, now_ns: u64, stale_ns: u64) -> bool {
        match self.fetch {
            Fetch::None => self.lead_ns > 0,
            Fetch::Asked { at_ns } | Fetch::Here { at_ns } => now_ns.saturating_sub(at_ns) >= stale_ns,
        }
    }

    pub fn fetch_asked(&mut self, now_ns: u64) {
        self.fetch = Fetch::Asked { at_ns: now_ns };
    }

    pub fn fetch_arrived(&mut self, now_ns: u64) {
        if matches!(self.fetch, Fetch::Asked { .. }) {
            self.fetch = Fetch::Here { at_ns: now_ns };
        }
    }

    /// The model runs now: was its data in time? Late ones lengthen the lead by half, early ones shorten it by an eighth,
    /// since being late costs a stall and being early only some cache.
    pub fn fetch_used(&mut self, now_ns: u64, stats: &mut PrefetchStats) {
        match self.fetch {
            Fetch::None => return,
            Fetch::Asked { .. } => {
                stats.late += 1;
                self.lead_ns += self.lead_ns / 2;
            }
            Fetch::Here { at_ns } if now_ns.saturating_sub(at_ns) > self.lead_ns / 2 => {
                stats.early += 1;
                self.lead_ns -= self.lead_ns / 8;
            }
            Fetch::Here { .. } => stats.on_time += 1,
        }
        self.lead_ns = self.lead_ns.clamp(PREFETCH_LEAD_MIN_NS, PREFETCH_LEAD_MAX_NS);
        self.fetch = Fetch::None;
    }
}

#[derive(Debug)]
pub(crate) struct Models {
    states: Vec<ModelState>,
    groups: Vec<Group>,
    /// Live models whose default class is this one.
    by_default: [u32; Class::COUNT],
}

impl Models {
    pub fn new(models_max: usize) -> Self {
        let state = ModelState {
            model: Model::default(),
            live: false,
            generation: 0,
            cost: Cost::default(),
            lead_ns: 0,
            fetch: Fetch::None,
        };
        Self {
            states: vec![state; models_max],
            groups: vec![Group::EMPTY; QUEUES * models_max],
            by_default: [0; Class::COUNT],
        }
    }

    /// False if there is no room for this index. Replacing a live model keeps what its cost model has learnt.
    pub fn add(&mut self, index: ModelIndex, model: Model) -> bool {
        let Some(state) = self.states.get_mut(index.0 as usize) else {
            return false;
        };
        if state.live {
            self.by_default[state.model.class_default.index()] -= 1;
        } else {
            state.generation = state.generation.wrapping_add(1);
            state.cost = Cost::default();
            state.fetch = Fetch::None;
            state.live = true;
        }
        state.lead_ns = match model.prefetch_lead_ns {
            0 => 0,
            lead_ns => lead_ns.clamp(PREFETCH_LEAD_MIN_NS, PREFETCH_LEAD_MAX_NS),
        };
        state.model = model;
        self.by_default[model.class_default.index()] += 1;
        true
    }

    pub fn retire(&mut self, index: ModelIndex) {
        if let Some(state) = self.states.get_mut(index.0 as usize).filter(|state| state.live) {
            state.live = false;
            self.by_default[state.model.class_default.index()] -= 1;
        }
    }

    /// Whether some live model is by default of this class.
    pub fn serves(&self, class: Class) -> bool {
        self.by_default[class.index()] > 0
    }

    pub fn live(&self, index: ModelIndex) -> Option<&ModelState> {
        self.states.get(index.0 as usize).filter(|state| state.live)
    }

    /// The state of a model that has a job here, removed or not.
    pub fn get(&self, index: ModelIndex) -> &ModelState {
        &self.states[index.0 as usize]
    }

    pub fn get_mut(&mut self, index: ModelIndex) -> Option<&mut ModelState> {
        self.states.get_mut(index.0 as usize)
    }

    pub fn group(&self, queue: usize, index: ModelIndex) -> &Group {
        &self.groups[queue * self.states.len() + index.0 as usize]
    }

    pub fn group_mut(&mut self, queue: usize, index: ModelIndex) -> &mut Group {
        &mut self.groups[queue * self.states.len() + index.0 as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_queue_has_its_own_number() {
        let mut seen = [false; QUEUES];
        for class in Class::ALL {
            seen[queue_of(Thread::FRONT, class)] = true;
            if class != Class::Realtime {
                seen[queue_of(Thread::lane_of(class), class)] = true;
            }
        }
        assert_eq!(seen, [true; QUEUES]);
    }

    #[test]
    fn the_lead_learns_from_late_and_early_data() {
        let mut models = Models::new(1);
        models.add(
            ModelIndex(0),
            Model {
                prefetch_lead_ns: 1_000_000,
                ..Model::default()
            },
        );
        let state = models.get_mut(ModelIndex(0)).expect("added");
        let mut stats = PrefetchStats::default();
        // (data there after, used after, lead before, lead after)
        for (here_ns, used_ns, before_ns, after_ns) in [
            (None, 1_000_000, 1_000_000, 1_500_000),
            (Some(100), 1_500_000, 1_500_000, 1_312_500),
            (Some(1_000_000), 1_312_500, 1_312_500, 1_312_500),
        ] {
            assert_eq!(state.lead_ns, before_ns);
            state.fetch_asked(0);
            if let Some(at_ns) = here_ns {
                state.fetch_arrived(at_ns);
            }
            state.fetch_used(used_ns, &mut stats);
            assert_eq!(state.lead_ns, after_ns);
        }
        assert_eq!((stats.late, stats.early, stats.on_time), (1, 1, 1));
        state.fetch_used(9, &mut stats);
        assert_eq!(
            (stats.late, stats.early, stats.on_time),
            (1, 1, 1),
            "no prefetch, no score"
        );
    }

    #[test]
    fn indices_beyond_the_bound_are_refused() {
        let mut models = Models::new(2);
        assert!(models.add(ModelIndex(1), Model::default()));
        assert!(!models.add(ModelIndex(2), Model::default()));
        models.retire(ModelIndex(7));
    }

    #[test]
    fn urgent_models_are_counted() {
        let mut models = Models::new(1);
        let high = Model {
            class_default: Class::High,
            ..Model::default()
        };
        models.add(ModelIndex(0), high);
        models.add(ModelIndex(0), high);
        assert!(models.serves(Class::High));
        models.retire(ModelIndex(0));
        models.retire(ModelIndex(0));
        assert!(!models.serves(Class::High));
    }
}
