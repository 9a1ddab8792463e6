//! What a pool takes, keeps, refuses and gives back.
#![cfg(not(loom))]
#![expect(
    clippy::unwrap_used,
    reason = "a test's own helpers, where a panic is the message"
)]

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;

use mlos_tensor_mem::limits::SLAB_BLOCK_BYTES_MAX;
use mlos_tensor_mem::{Binding, DType, Error, Pool, PoolConfig, Shape, Tensor};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

fn pool(limit_bytes: usize) -> Pool {
    Pool::new(PoolConfig {
        limit_bytes,
        huge_pages: false,
        ..PoolConfig::default()
    })
    .unwrap()
}

fn bytes(pool: &Pool, len: usize) -> Result<Tensor, Error> {
    Ok(pool
        .loan(DType::U8, Shape::new(&[len]).unwrap())?
        .zeroed()
        .freeze())
}

/// Bytes of the segment's file that have pages.
fn resident_bytes(tensor: &Tensor) -> u64 {
    File::from(tensor.location().fd().try_clone_to_owned().unwrap())
        .metadata()
        .unwrap()
        .blocks()
        * 512
}

/// Page faults of this thread so far that needed no disk.
fn minor_faults() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
    let after_name = stat.rsplit(") ").next().unwrap();
    after_name.split(' ').nth(7).unwrap().parse().unwrap()
}

#[test]
fn a_new_pool_has_taken_nothing() {
    let pool = pool(MIB);
    let stats = pool.stats();
    assert_eq!(
        (
            stats.reserved_bytes,
            stats.committed_bytes,
            stats.in_use_bytes,
            stats.loans
        ),
        (0, 0, 0, 0)
    );
    assert_eq!(
        (stats.limit, stats.node, stats.binding),
        (MIB, None, Binding::Default)
    );
    assert_eq!(pool.trim(), 0);
}

#[test]
fn the_first_loan_touches_only_its_own_pages() {
    let pool = pool(1 << 30);
    let tensor = bytes(&pool, 64).unwrap();
    assert!(pool.stats().reserved_bytes >= 64 * MIB);
    assert!(
        resident_bytes(&tensor) <= 64 << 10,
        "{} bytes resident",
        resident_bytes(&tensor)
    );
}

#[test]
fn the_limit_is_reached_exactly() {
    for (block, limit) in [
        (64, 64 * KIB),
        (4 * KIB, MIB),
        (640 * KIB, 5 * MIB),
        (4 * MIB, 16 * MIB),
        (6 * MIB, 24 * MIB),
    ] {
        let pool = pool(limit);
        let mut held = Vec::new();
        let error = loop {
            match bytes(&pool, block) {
                Ok(tensor) => held.push(tensor),
                Err(error) => break error,
            }
        };
        assert_eq!(held.len(), limit / block, "blocks of {block}");
        let in_use = held.len() * block;
        assert!(
            matches!(error, Error::Exhausted { asked, limit: l, in_use: u } if (asked, l, u) == (block, limit, in_use)),
            "{error}"
        );
        let stats = pool.stats();
        assert_eq!(
            (stats.in_use_bytes, stats.committed_bytes, stats.high_water),
            (in_use, in_use, in_use)
        );
        held.pop();
        held.push(bytes(&pool, block).unwrap());
        assert!(bytes(&pool, block).is_err());
        drop(held);
        assert_eq!(pool.stats().in_use_bytes, 0);
    }
}

#[test]
fn exhaustion_says_what_to_do() {
    let error = bytes(&pool(MIB), 2 * MIB).unwrap_err();
    assert_eq!(
        error.to_string(),
        "tensor memory exhausted: 2097152 bytes asked with 0 of 1048576 bytes in use; free tensors or raise the limit"
    );
}

#[test]
fn free_memory_of_one_size_serves_another() {
    // 8 MiB of small blocks, then an extent, then small ones again: each time the other size must give way.
    let pool = pool(8 * MIB);
    for round in 0..5 {
        let small: Vec<_> = (0..2048).map(|_| bytes(&pool, 4 * KIB).unwrap()).collect();
        assert!(
            matches!(bytes(&pool, 8 * MIB), Err(Error::Exhausted { .. })),
            "round {round}"
        );
        drop(small);
        let large = bytes(&pool, 8 * MIB).unwrap();
        assert!(matches!(bytes(&pool, 4 * KIB), Err(Error::Exhausted { .. })));
        drop(large);
        let medium: Vec<_> = (0..12).map(|_| bytes(&pool, 640 * KIB).unwrap()).collect();
        drop(medium);
    }
    let stats = pool.stats();
    assert!(stats.evictions >= 10, "{stats:?}");
    assert_eq!(stats.in_use_bytes, 0);
    assert!(stats.committed_bytes <= 8 * MIB);
    assert!(
        stats.reserved_bytes <= 128 * MIB,
        "address space is recycled: {stats:?}"
    );
}

#[test]
fn a_block_on_loan_survives_reclaim() {
    let pool = pool(8 * MIB);
    let mut small: Vec<_> = (0..2048).map(|_| bytes(&pool, 4 * KIB).unwrap()).collect();
    let kept = pool.loan(DType::U8, Shape::new(&[4]).unwrap());
    assert!(kept.is_err(), "full");
    small.truncate(1);
    let kept = small[0].as_ptr();
    assert!(
        bytes(&pool, 6 * MIB).is_err(),
        "its chunk cannot be reclaimed beside it"
    );
    let mut again: Vec<_> = (0..2047).map(|_| bytes(&pool, 4 * KIB).unwrap()).collect();
    assert!(
        again.iter().all(|tensor| tensor.as_ptr() != kept),
        "nothing lent twice"
    );
    again.append(&mut small);
    drop(again);
    assert_eq!(pool.trim(), 8 * MIB);
}

#[test]
fn trim_returns_pages_and_the_pool_goes_on() {
    let pool = pool(256 * MIB);
    let kept = bytes(&pool, 100).unwrap();
    let before = resident_bytes(&kept);
    let slab: Vec<_> = (0..16)
        .map(|_| bytes(&pool, SLAB_BLOCK_BYTES_MAX).unwrap())
        .collect();
    let extents: Vec<_> = (0..4).map(|_| bytes(&pool, 16 * MIB).unwrap()).collect();
    assert!(resident_bytes(&slab[0]) > 4 * MIB as u64);
    drop((slab, extents));
    let held = pool.stats();
    assert_eq!(held.committed_bytes, 128 * MIB + 128);
    assert_eq!(pool.trim(), 128 * MIB, "all but the chunk with a tensor in it");
    let stats = pool.stats();
    assert_eq!((stats.committed_bytes, stats.in_use_bytes), (128, 128));
    assert!(stats.reserved_bytes < held.reserved_bytes, "extents are unmapped");
    assert_eq!(resident_bytes(&kept), before);
    assert_eq!(kept.bytes().unwrap(), [0; 100]);
    assert_eq!(pool.trim(), 0);
    let mut fresh = pool
        .loan(DType::U8, Shape::new(&[SLAB_BLOCK_BYTES_MAX]).unwrap())
        .unwrap();
    fresh.uninit_bytes()[0].write(1);
    drop((fresh, kept));
    assert_eq!(pool.trim(), SLAB_BLOCK_BYTES_MAX + 128);
}

#[test]
fn reuse_does_not_fault() {
    for len in [16 * MIB, 600 * KIB] {
        let pool = pool(64 * MIB);
        let first = minor_faults();
        drop(bytes(&pool, len).unwrap());
        let fresh = minor_faults() - first;
        assert!(fresh >= (len / (64 * KIB)) as u64, "the counter counts: {fresh}");
        let before = minor_faults();
        for _ in 0..8 {
            drop(bytes(&pool, len).unwrap());
        }
        let again = minor_faults() - before;
        assert!(
            again <= 8,
            "{again} faults in eight reuses of {len} bytes, {fresh} in the first use"
        );
    }
}

#[test]
fn the_same_memory_is_lent_again() {
    let pool = pool(256 * MIB);
    for len in [1, 4 * KIB, 600 * KIB, 16 * MIB] {
        let first = bytes(&pool, len).unwrap().as_ptr();
        assert_eq!(bytes(&pool, len).unwrap().as_ptr(), first, "{len} bytes");
    }
}

#[test]
fn stats_tell_sizes_apart() {
    let pool = pool(64 * MIB);
    let held = [
        bytes(&pool, 100).unwrap(),
        bytes(&pool, 128).unwrap(),
        bytes(&pool, 20 * MIB).unwrap(),
    ];
    drop(bytes(&pool, 5000).unwrap());
    let stats = pool.stats();
    let classes: Vec<_> = stats
        .classes
        .iter()
        .map(|c| (c.block_bytes, c.blocks, c.in_use, c.loans))
        .collect();
    assert_eq!(classes, [(128, 2, 2, 2), (5120, 1, 0, 1), (20 * MIB, 1, 1, 1)]);
    assert_eq!(stats.in_use_bytes, 256 + 20 * MIB);
    assert_eq!(stats.high_water, 256 + 20 * MIB + 5120);
    assert_eq!(stats.loans, 4);
    assert_eq!(
        stats
            .classes
            .iter()
            .map(|c| c.block_bytes * c.in_use)
            .sum::<usize>(),
        stats.in_use_bytes
    );
    drop(held);
    assert_eq!(pool.stats().high_water, stats.high_water);
}

#[test]
fn a_node_and_huge_pages_are_wishes() {
    let config = PoolConfig {
        node: Some(0),
        huge_pages: true,
        limit_bytes: 64 * MIB,
        ..PoolConfig::default()
    };
    let pool = Pool::new(config).unwrap();
    let held = [
        bytes(&pool, 100).unwrap(),
        bytes(&pool, MIB).unwrap(),
        bytes(&pool, 10 * MIB).unwrap(),
    ];
    let stats = pool.stats();
    assert_eq!(stats.node, Some(0));
    assert!(
        matches!(
            stats.binding,
            Binding::Bound { node: 0 } | Binding::Refused { node: 0, .. }
        ),
        "{stats:?}"
    );
    assert!(
        held.iter()
            .all(|tensor| tensor.bytes().unwrap().iter().all(|&byte| byte == 0))
    );
    drop(held);
    drop(bytes(&pool, 64 * MIB).unwrap());
}

#[test]
fn a_limit_below_one_block_refuses_every_loan() {
    for limit in [0, 1, 63] {
        assert!(matches!(
            bytes(&pool(limit), 1),
            Err(Error::Exhausted { asked: 64, .. })
        ));
    }
}
