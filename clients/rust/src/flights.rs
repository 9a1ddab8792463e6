//! Requests in flight: whose memory the daemon has, and what it answered.

use std::task::Waker;

use mlos_shm::Response;

use crate::tensors::Tensors;

/// A place in the table and how often it was taken, so that an answer is never taken for another request's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id(pub u64);

impl Id {
    fn new(index: u32, generation: u32) -> Self {
        Self(u64::from(generation) << 32 | u64::from(index))
    }

    fn index(self) -> usize {
        self.0 as u32 as usize
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// All requests of a connection. Takes its memory once.
#[derive(Debug)]
pub(crate) struct Flights {
    flights: Vec<Flight>,
    free: Vec<u32>,
    /// Flights whose task waits for its waker.
    awaited: u32,
}

#[derive(Debug)]
struct Flight {
    generation: u32,
    state: State,
}

/// Tensors are `None` for an unbind, which has none.
#[derive(Debug)]
enum State {
    Free,
    Flying {
        tensors: Option<Box<Tensors>>,
        waker: Option<Waker>,
        /// Nobody will ask for the answer.
        is_abandoned: bool,
    },
    Landed {
        tensors: Option<Box<Tensors>>,
        response: Response,
    },
}

/// What an answer brings about.
#[derive(Debug)]
pub(crate) enum Landing {
    /// Nobody has asked for that.
    Unknown,
    /// Somebody may wait for it.
    Landed(Option<Waker>),
    /// Nobody wants it: the memory is free.
    Unwanted(Option<Box<Tensors>>),
}

impl Flights {
    pub(crate) fn new(slots: u32) -> Self {
        let flight = |_| Flight {
            generation: 0,
            state: State::Free,
        };
        Self {
            flights: (0..slots).map(flight).collect(),
            free: (0..slots).rev().collect(),
            awaited: 0,
        }
    }

    /// A place for a request, if there is one. It stays free until [`launch`](Self::launch).
    pub(crate) fn next(&self) -> Option<Id> {
        let index = *self.free.last()?;
        Some(Id::new(index, self.flights[index as usize].generation))
    }

    /// Takes the place that [`next`](Self::next) has named.
    pub(crate) fn launch(&mut self, id: Id, tensors: Option<Box<Tensors>>) {
        let index = self.free.pop();
        debug_assert_eq!(index.map(|index| index as usize), Some(id.index()));
        self.flights[id.index()].state = State::Flying {
            is_abandoned: tensors.is_none(),
            tensors,
            waker: None,
        };
    }

    /// Notes an answer.
    pub(crate) fn land(&mut self, response: Response) -> Landing {
        let id = Id(response.id);
        let Some(flight) = self.flights.get_mut(id.index()) else {
            return Landing::Unknown;
        };
        if flight.generation != id.generation() {
            return Landing::Unknown;
        }
        let State::Flying {
            tensors,
            waker,
            is_abandoned,
        } = &mut flight.state
        else {
            return Landing::Unknown;
        };
        let (tensors, waker) = (tensors.take(), waker.take());
        self.awaited -= u32::from(waker.is_some());
        if *is_abandoned {
            self.free(id);
            return Landing::Unwanted(tensors);
        }
        flight.state = State::Landed { tensors, response };
        Landing::Landed(waker)
    }

    pub(crate) fn has_landed(&self, id: Id) -> bool {
        matches!(self.flights[id.index()].state, State::Landed { .. })
    }

    /// Takes an answer and the memory back, once it is there.
    pub(crate) fn take(&mut self, id: Id) -> Option<(Box<Tensors>, Response)> {
        debug_assert_eq!(self.flights[id.index()].generation, id.generation());
        let State::Landed { tensors, response } = &mut self.flights[id.index()].state else {
            return None;
        };
        let (tensors, response) = (tensors.take(), *response);
        self.free(id);
        tensors.map(|tensors| (tensors, response))
    }

    /// Nobody will ask for the answer. The memory is kept until it comes, and returned if it has come already.
    pub(crate) fn abandon(&mut self, id: Id) -> Option<Box<Tensors>> {
        if let State::Flying {
            is_abandoned, waker, ..
        } = &mut self.flights[id.index()].state
        {
            *is_abandoned = true;
            self.awaited -= u32::from(waker.take().is_some());
            return None;
        }
        self.take(id).map(|(tensors, _)| tensors)
    }

    /// Wakes a task when the answer comes.
    pub(crate) fn watch(&mut self, id: Id, task: &Waker) {
        if let State::Flying { waker, .. } = &mut self.flights[id.index()].state {
            match waker {
                Some(waker) => waker.clone_from(task),
                None => {
                    *waker = Some(task.clone());
                    self.awaited += 1;
                }
            }
        }
    }

    /// Whether a task waits for any.
    pub(crate) fn are_awaited(&self) -> bool {
        self.awaited > 0
    }

    /// Whether there are some whose answer nobody will ask for.
    pub(crate) fn are_some_abandoned(&self) -> bool {
        let is_abandoned = |flight: &Flight| {
            matches!(
                flight.state,
                State::Flying {
                    is_abandoned: true,
                    ..
                }
            )
        };
        self.flights.iter().any(is_abandoned)
    }

    /// All wakers, for when no answer will come any more.
    pub(crate) fn wakers(&mut self) -> impl Iterator<Item = Waker> {
        self.awaited = 0;
        self.flights
            .iter_mut()
            .filter_map(|flight| match &mut flight.state {
                State::Flying { waker, .. } => waker.take(),
                _ => None,
            })
    }

    fn free(&mut self, id: Id) {
        let flight = &mut self.flights[id.index()];
        flight.generation = flight.generation.wrapping_add(1);
        flight.state = State::Free;
        self.free.push(id.index() as u32);
    }
}

#[cfg(test)]
mod tests {
    use mlos_shm::Status;

    use super::*;

    #[test]
    fn answers_that_nobody_asked_for_are_unknown() {
        let mut flights = Flights::new(2);
        let id = flights.next().unwrap();
        let answer = |id: u64| Response::new(id, Status::Ok);
        assert!(
            matches!(flights.land(answer(id.0)), Landing::Unknown),
            "not launched"
        );
        flights.launch(id, None);
        for wrong in [id.0 + 1, id.0 + (1 << 32), u64::MAX, 7] {
            assert!(
                matches!(flights.land(answer(wrong)), Landing::Unknown),
                "{wrong:x}"
            );
        }
        assert!(matches!(flights.land(answer(id.0)), Landing::Unwanted(None)));
        assert!(matches!(flights.land(answer(id.0)), Landing::Unknown), "twice");
    }

    #[test]
    fn places_run_out_and_come_back() {
        let mut flights = Flights::new(2);
        let ids = [(); 2].map(|()| {
            let id = flights.next().unwrap();
            flights.launch(id, None);
            id
        });
        assert_eq!(flights.next(), None);
        flights.land(Response::new(ids[0].0, Status::Ok));
        let again = flights.next().unwrap();
        assert_eq!(again.index(), ids[0].index());
        assert_ne!(again, ids[0]);
    }
}
