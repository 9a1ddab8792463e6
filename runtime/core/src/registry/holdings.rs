//! What the shards may hold of the registry, kept where a panic of its actor does not reach.
//!
//! An actor that panics is made anew, but the graphs that it loaded go on serving, and requests are inside them. So the
//! last published snapshot, the indices in use and what is being unloaded outlive the actor; the next one starts from
//! them.

use std::sync::{Arc, Weak};

use mlos_api::ModelRef;
use mlos_scheduler::ModelIndex;

use super::control::Gone;
use super::{Graph, Snapshot};
use crate::limits;

/// See the module.
#[derive(Debug)]
pub(crate) struct Holdings {
    /// What the shards have been shown last.
    pub published: Arc<Snapshot>,
    /// The last graph under each index. The index is free when that graph is gone: as long as a shard, a request or an
    /// entry holds it, it cannot be given to another, whoever forgot it.
    seats: Vec<Weak<Graph>>,
    retiring: Vec<Retiring>,
}

/// Graphs that wait for their last request, and who waits for them to be gone.
#[derive(Debug)]
pub(crate) struct Retiring {
    pub graphs: Vec<Arc<Graph>>,
    /// Named while it drains; none where another content has already taken its place.
    pub model: Option<ModelRef>,
    pub gone: Vec<Arc<Gone>>,
}

impl Default for Holdings {
    fn default() -> Self {
        Self {
            published: Arc::default(),
            seats: std::iter::repeat_with(Weak::new)
                .take(limits::GRAPHS_MAX)
                .collect(),
            retiring: Vec::new(),
        }
    }
}

impl Holdings {
    /// Indices that no graph has.
    pub fn free(&self) -> usize {
        self.seats.iter().filter(|seat| seat.strong_count() == 0).count()
    }

    /// Makes a graph under an index that no other has; none where there is none left.
    pub fn seat(&mut self, make: impl FnOnce(ModelIndex) -> Graph) -> Option<Arc<Graph>> {
        let at = self.seats.iter().position(|seat| seat.strong_count() == 0)?;
        let index = u32::try_from(at).expect("the bound of the table fits");
        let graph = Arc::new(make(ModelIndex(index)));
        self.seats[at] = Arc::downgrade(&graph);
        Some(graph)
    }

    pub fn retire(&mut self, retiring: Retiring) {
        retiring.graphs.iter().for_each(|graph| graph.retire());
        self.retiring.push(retiring);
    }

    /// Takes out what no request holds any more.
    pub fn take_idle(&mut self) -> Vec<Retiring> {
        self.retiring
            .extract_if(.., |retiring| retiring.graphs.iter().all(|graph| graph.is_idle()))
            .collect()
    }

    /// Lets one more caller wait for a version that drains already. False where none of that name does.
    pub fn join(&mut self, model: &ModelRef, gone: &Arc<Gone>) -> bool {
        let mut joined = false;
        for retiring in &mut self.retiring {
            if retiring.model.as_ref() == Some(model) {
                retiring.gone.push(gone.clone());
                joined = true;
            }
        }
        joined
    }

    /// Whether something of this version waits for its last request.
    pub fn is_draining(&self, model: &ModelRef) -> bool {
        self.retiring
            .iter()
            .any(|retiring| retiring.model.as_ref() == Some(model))
    }

    /// Graphs that live, but neither in this snapshot nor among what is being unloaded: a panic fell between the two.
    pub fn lost(&self, snapshot: &Snapshot) -> Vec<Arc<Graph>> {
        let known = snapshot
            .entries()
            .flat_map(|entry| &entry.graphs)
            .chain(self.retiring.iter().flat_map(|retiring| &retiring.graphs));
        let known: Vec<ModelIndex> = known.map(|graph| graph.index).collect();
        self.seats
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|graph| !known.contains(&graph.index))
            .collect()
    }
}
