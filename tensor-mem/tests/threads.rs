//! Random loans, clones, views and drops on several threads at once: no tensor is overwritten by another, and at the end
//! every byte is back.
#![cfg(not(loom))]
#![expect(
    clippy::unwrap_used,
    reason = "a test's own helpers, where a panic is the message"
)]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use mlos_tensor_mem::{DType, Error, Pool, PoolConfig, Shape, Tensor};
use proptest::prelude::*;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// A tensor and what every row of it must hold.
struct Stamped {
    tensor: Tensor,
    stamp: u64,
}

impl Stamped {
    fn loan(pool: &Pool, words: usize, stamp: u64) -> Result<Self, Error> {
        let mut writer = pool
            .loan(DType::U64, Shape::new(&[words]).unwrap())?
            .writer::<u64>()?;
        while writer.push(stamp).is_ok() {}
        Ok(Self {
            tensor: writer.finish()?.freeze(),
            stamp,
        })
    }

    fn check(&self) {
        let words = self.tensor.as_slice::<u64>().unwrap();
        assert!(
            words.iter().all(|&word| word == self.stamp),
            "stamp {:x} was overwritten",
            self.stamp
        );
    }
}

/// Small and quick, and enough for choosing what to do: xorshift64*.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % sides
    }
}

struct Worker {
    pool: Pool,
    dice: Dice,
    held: Vec<Stamped>,
    peers: Vec<Sender<Stamped>>,
    inbox: Receiver<Stamped>,
    name: u64,
    refused: usize,
}

impl Worker {
    fn run(mut self, steps: u64) -> usize {
        for step in 0..steps {
            self.step(self.name << 32 | step);
        }
        self.held.iter().for_each(Stamped::check);
        drop(self.peers);
        self.inbox.into_iter().for_each(|stamped| stamped.check());
        self.refused
    }

    fn step(&mut self, stamp: u64) {
        match self.dice.roll(16) {
            0..5 => self.loan(stamp),
            5..8 => self.with_one(|held, at, _| held.swap_remove(at).check()),
            8..10 => self.with_one(|held, at, _| {
                let Stamped { tensor, stamp } = &held[at];
                let copy = Stamped {
                    tensor: tensor.clone(),
                    stamp: *stamp,
                };
                held.push(copy);
            }),
            10..12 => self.with_one(|held, at, dice| {
                let Stamped { tensor, stamp } = &held[at];
                let rows = tensor.shape().dims()[0];
                let start = dice.roll(rows + 1);
                let view = tensor.rows(start..start + dice.roll(rows - start + 1)).unwrap();
                let view = Stamped {
                    tensor: view,
                    stamp: *stamp,
                };
                held.push(view);
            }),
            12..15 => self.exchange(),
            _ => drop(self.pool.trim()),
        }
        if self.held.len() > 64 {
            self.held.clear();
        }
    }

    fn loan(&mut self, stamp: u64) {
        let bytes = match self.dice.roll(20) {
            0..12 => self.dice.roll(KIB),
            12..18 => self.dice.roll(64 * KIB),
            18 => self.dice.roll(MIB),
            _ => 4 * MIB + self.dice.roll(MIB),
        };
        match Stamped::loan(&self.pool, bytes / 8, stamp) {
            Ok(stamped) => self.held.push(stamped),
            Err(Error::Exhausted { .. }) => {
                self.refused += 1;
                self.held.clear();
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn exchange(&mut self) {
        while let Ok(stamped) = self.inbox.try_recv() {
            stamped.check();
            self.held.push(stamped);
        }
        let peer = self.dice.roll(self.peers.len());
        if let Some(stamped) = self.held.pop() {
            // A peer that has finished has closed its inbox; the tensor then comes back in the error and is dropped.
            drop(self.peers[peer].send(stamped));
        }
    }

    fn with_one(&mut self, act: impl FnOnce(&mut Vec<Stamped>, usize, &mut Dice)) {
        if !self.held.is_empty() {
            let at = self.dice.roll(self.held.len());
            act(&mut self.held, at, &mut self.dice);
        }
    }
}

fn churn(pool: &Pool, seed: u64, threads: u64, steps: u64) -> usize {
    let (senders, inboxes): (Vec<_>, Vec<_>) = (0..threads).map(|_| channel()).unzip();
    let workers = inboxes.into_iter().zip(1..).map(|(inbox, name)| Worker {
        pool: pool.clone(),
        dice: Dice((seed ^ name << 56) | 1),
        held: Vec::new(),
        peers: senders.clone(),
        inbox,
        name,
        refused: 0,
    });
    let workers: Vec<_> = workers.collect();
    drop(senders);
    thread::scope(|scope| {
        let handles: Vec<_> = workers
            .into_iter()
            .map(|worker| scope.spawn(move || worker.run(steps)))
            .collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).sum()
    })
}

/// Everything is back, and each free block can be lent once and only once.
fn assert_conserved(pool: &Pool, limit: usize) {
    let stats = pool.stats();
    assert_eq!(stats.in_use_bytes, 0);
    assert!(stats.classes.iter().all(|class| class.in_use == 0), "{stats:?}");
    assert!(
        stats.high_water <= limit && stats.committed_bytes <= limit,
        "{stats:?}"
    );
    let blocks: usize = stats
        .classes
        .iter()
        .map(|class| class.blocks * class.block_bytes)
        .sum();
    assert_eq!(blocks, stats.committed_bytes);
    for class in &stats.classes {
        let words = class.block_bytes / 8;
        let held: Vec<_> = (0..class.blocks)
            .map(|n| Stamped::loan(pool, words, n as u64).unwrap())
            .collect();
        held.iter().for_each(Stamped::check);
        let after = pool.stats();
        assert_eq!(
            after.committed_bytes, stats.committed_bytes,
            "a free block of {} was lost",
            class.block_bytes
        );
    }
    assert_eq!(pool.trim(), stats.committed_bytes);
    assert_eq!(pool.stats().committed_bytes, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_overwritten_or_lent_twice(seed: u64, threads in 1_u64..5, limit_mib in 6_usize..40) {
        let limit = limit_mib * MIB;
        let pool = Pool::new(PoolConfig { limit_bytes: limit, huge_pages: false, ..PoolConfig::default() }).unwrap();
        churn(&pool, seed, threads, 2_000);
        assert_conserved(&pool, limit);
    }
}

#[test]
fn a_tight_pool_refuses_and_recovers() {
    let seed = 0x5EED;
    println!("seed {seed:#x}");
    let limit = 6 * MIB;
    let pool = Pool::new(PoolConfig {
        limit_bytes: limit,
        huge_pages: false,
        ..PoolConfig::default()
    })
    .unwrap();
    let refused = churn(&pool, seed, 4, 10_000);
    assert!(refused > 0, "the limit was never felt");
    assert_conserved(&pool, limit);
}
