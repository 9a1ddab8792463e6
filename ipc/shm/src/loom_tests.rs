//! Every interleaving of the parts that two processes share:
//! `RUSTFLAGS="--cfg loom" cargo test -p mlos-shm --lib`.
//!
//! A peer is a thread here, and a bell a lock with a condition, as the kernel has it inside. A lost wake-up is a thread
//! that waits for ever, which loom reports; a message read before it was written, or overwritten before it was read, is
//! a wrong number.

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use crate::asleep::{self, Sleep};
use crate::ring::{Consumer, Producer};
use crate::slot::{Message, WORDS, Words};
use crate::slots::Slots;
use crate::sync::{AtomicU32, Ordering};
use crate::{Fault, RingName};

/// A message whose halves agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number(u32);

impl Message for Number {
    const RING: RingName = RingName::Requests;

    fn encode(self) -> Words {
        Words {
            head: self.0,
            body: [u64::from(self.0); WORDS],
        }
    }

    fn decode(words: Words) -> Result<Self, Fault> {
        assert_eq!(words.body, [u64::from(words.head); WORDS], "a torn message");
        Ok(Self(words.head))
    }
}

fn ring(slots: u32) -> (Producer<Number>, Consumer<Number>) {
    let slots = Slots::new(slots);
    (Producer::new(slots.clone()), Consumer::new(slots))
}

/// Forced switches that are explored: more take minutes, and the tests without a bound are small.
fn bounded(preemptions: usize) -> loom::model::Builder {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model
}

fn push(producer: &mut Producer<Number>, number: u32) {
    while producer.push(Number(number)).is_err() {
        thread::yield_now();
    }
}

fn pop(consumer: &mut Consumer<Number>) -> u32 {
    loop {
        match consumer.pop().unwrap() {
            Some(Number(number)) => return number,
            None => thread::yield_now(),
        }
    }
}

fn passes_in_order(model: &loom::model::Builder, slots: u32, messages: u32) {
    model.check(move || {
        let (mut producer, mut consumer) = ring(slots);
        let peer = thread::spawn(move || {
            for number in 1..=messages {
                push(&mut producer, number);
            }
        });
        for number in 1..=messages {
            assert_eq!(pop(&mut consumer), number);
        }
        assert!(consumer.is_empty());
        peer.join().unwrap();
    });
}

#[test]
fn messages_pass_whole_and_in_order() {
    passes_in_order(&loom::model::Builder::new(), 2, 3);
}

/// With eight slots the producer looks at every second one only.
#[test]
fn free_slots_may_be_counted_by_the_farthest() {
    passes_in_order(&bounded(2), 8, 11);
}

/// What a kernel does for a sleeper.
trait Bell: Send + Sync + 'static {
    const SLEEP: Sleep;
    fn new() -> Self;
    fn ring(&self);
    fn wait(&self, word: &AtomicU32);
}

/// An `eventfd`: a ring stays until it was waited for.
struct Descriptor {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell for Descriptor {
    const SLEEP: Sleep = Sleep::OnDescriptor;

    fn new() -> Self {
        Self {
            rung: Mutex::new(false),
            changed: Condvar::new(),
        }
    }

    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_all();
    }

    fn wait(&self, _: &AtomicU32) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.changed.wait(rung).unwrap();
        }
        *rung = false;
    }
}

/// A `futex`: whoever comes when the word has changed does not sleep; a wake-up that meets nobody is gone.
struct Futex {
    bucket: Mutex<()>,
    woken: Condvar,
}

impl Bell for Futex {
    const SLEEP: Sleep = Sleep::OnWord;

    fn new() -> Self {
        Self {
            bucket: Mutex::new(()),
            woken: Condvar::new(),
        }
    }

    fn ring(&self) {
        let _bucket = self.bucket.lock().unwrap();
        self.woken.notify_all();
    }

    fn wait(&self, word: &AtomicU32) {
        let bucket = self.bucket.lock().unwrap();
        if word.load(Ordering::Relaxed) == Self::SLEEP as u32 {
            drop(self.woken.wait(bucket).unwrap());
        }
    }
}

/// A consumer's word and bell, which its producer has too.
struct Sleeper<B> {
    word: AtomicU32,
    bell: B,
}

impl<B: Bell> Sleeper<B> {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            word: AtomicU32::new(asleep::AWAKE),
            bell: B::new(),
        })
    }

    fn send(&self, producer: &mut Producer<Number>, number: u32) {
        producer
            .push(Number(number))
            .expect("the tests send no more than there are slots");
        if asleep::rouse(&self.word) == Some(B::SLEEP) {
            self.bell.ring();
        }
    }

    /// The next message. Sleeps at once when there is none.
    fn receive(&self, consumer: &mut Consumer<Number>) -> u32 {
        loop {
            if let Some(Number(number)) = consumer.pop().unwrap() {
                return number;
            }
            asleep::lie_down(&self.word, B::SLEEP);
            if consumer.is_empty() {
                self.bell.wait(&self.word);
            }
            asleep::get_up(&self.word);
        }
    }
}

fn no_wake_up_is_lost<B: Bell>() {
    loom::model(|| {
        let sleeper = Sleeper::<B>::new();
        let (mut producer, mut consumer) = ring(2);
        let peer = Arc::clone(&sleeper);
        let peer = thread::spawn(move || {
            for number in 1..=2 {
                peer.send(&mut producer, number);
            }
        });
        for number in 1..=2 {
            assert_eq!(sleeper.receive(&mut consumer), number);
        }
        peer.join().unwrap();
    });
}

#[test]
fn no_wake_up_is_lost_on_a_descriptor() {
    no_wake_up_is_lost::<Descriptor>();
}

#[test]
fn no_wake_up_is_lost_on_the_word() {
    no_wake_up_is_lost::<Futex>();
}

/// A question and its answer, with both sides asleep as often as they can be: the client on its word, the daemon on its
/// descriptor.
#[test]
fn both_sides_may_sleep() {
    bounded(3).check(|| {
        let (client, daemon) = (Sleeper::<Futex>::new(), Sleeper::<Descriptor>::new());
        let (mut requests, mut requested) = ring(2);
        let (mut responses, mut responded) = ring(2);
        let peer = {
            let (client, daemon) = (Arc::clone(&client), Arc::clone(&daemon));
            thread::spawn(move || {
                for _ in 0..2 {
                    let number = daemon.receive(&mut requested);
                    client.send(&mut responses, number + 10);
                }
            })
        };
        for number in 1..=2 {
            daemon.send(&mut requests, number);
            assert_eq!(client.receive(&mut responded), number + 10);
        }
        peer.join().unwrap();
    });
}
