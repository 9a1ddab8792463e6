//! Which shard serves a request. Pure: it sees a snapshot of the shards' predictions and a random number.

use crate::limits::ROUTE_ALL_MAX;

/// What a shard says of itself when a job is about to be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardLoad {
    /// When the job would be done there, absolute.
    pub completion_ns: u64,
    /// Its memory node.
    pub node: u32,
    /// It has an instance of the model and takes jobs.
    pub serves: bool,
}

/// The shard that a job accepted by shard `own` goes to; `None` if no shard serves the model.
///
/// It stays if it meets its deadline there (or has none). Else it goes to the earliest predicted completion on its own node: of all
/// shards up to [`ROUTE_ALL_MAX`], beyond of two picked by `random`, because snapshots are stale and everybody running to
/// the one best shard would make it the worst. Another node is asked only if its own cannot do it, and taken only if it can.
pub fn route(loads: &[ShardLoad], own: usize, deadline_ns: Option<u64>, random: u64) -> Option<usize> {
    let meets = |shard: usize| deadline_ns.is_none_or(|deadline| loads[shard].completion_ns <= deadline);
    let home = loads.get(own)?;
    if home.serves && meets(own) {
        return Some(own);
    }
    let near = best_of(loads, |load| load.node == home.node, random);
    // At equal completion the job stays: a hop buys nothing.
    let near = near.map(|best| {
        if home.serves && home.completion_ns <= loads[best].completion_ns {
            own
        } else {
            best
        }
    });
    if near.is_some_and(meets) {
        return near;
    }
    let far = best_of(loads, |load| load.node != home.node, random.rotate_left(32));
    match near {
        Some(_) => far.filter(|&shard| meets(shard)).or(near),
        None => far,
    }
}

/// The earliest completion among the serving shards that `wanted` picks, the first of equals.
fn best_of(loads: &[ShardLoad], wanted: impl Fn(&ShardLoad) -> bool, random: u64) -> Option<usize> {
    let eligible = |&shard: &usize| loads[shard].serves && wanted(&loads[shard]);
    let count = (0..loads.len()).filter(eligible).count();
    if count <= ROUTE_ALL_MAX {
        return (0..loads.len())
            .filter(eligible)
            .min_by_key(|&shard| loads[shard].completion_ns);
    }
    let first = (random % count as u64) as usize;
    // Among the others, so that the two differ.
    let step = 1 + ((random >> 16) % (count as u64 - 1)) as usize;
    let second = (first + step) % count;
    let nth = |n: usize| (0..loads.len()).filter(eligible).nth(n);
    nth(first)
        .into_iter()
        .chain(nth(second))
        .min_by_key(|&shard| loads[shard].completion_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// Loads, own shard, deadline, and where the job goes.
    type Row<'a> = (&'a [ShardLoad], usize, Option<u64>, Option<usize>);

    fn shard(completion_ns: u64, node: u32) -> ShardLoad {
        ShardLoad {
            completion_ns,
            node,
            serves: true,
        }
    }

    fn idle() -> ShardLoad {
        ShardLoad {
            serves: false,
            ..shard(0, 0)
        }
    }

    #[test]
    fn stays_if_it_can_else_the_earliest_of_its_node() {
        let table: [Row; 11] = [
            (&[shard(90, 0), shard(10, 0)], 0, Some(100), Some(0)),
            (&[shard(90, 0), shard(10, 0)], 0, None, Some(0)),
            (&[shard(110, 0), shard(10, 0)], 0, Some(100), Some(1)),
            // Late everywhere: the earliest, and at equal completion no hop.
            (&[shard(150, 0), shard(140, 0)], 0, Some(100), Some(1)),
            (&[shard(140, 0), shard(140, 0)], 1, Some(100), Some(1)),
            // Another node only if its own cannot and that one can.
            (
                &[shard(110, 0), shard(90, 0), shard(10, 1)],
                0,
                Some(100),
                Some(1),
            ),
            (
                &[shard(110, 0), shard(120, 0), shard(10, 1)],
                0,
                Some(100),
                Some(2),
            ),
            (
                &[shard(110, 0), shard(120, 0), shard(105, 1)],
                0,
                Some(100),
                Some(0),
            ),
            // Where no instance is, the job does not stay.
            (&[idle(), shard(500, 0), shard(10, 1)], 0, None, Some(1)),
            (&[idle(), shard(500, 1)], 0, Some(100), Some(1)),
            (&[idle(), idle()], 0, None, None),
        ];
        for (index, (loads, own, deadline_ns, expected)) in table.into_iter().enumerate() {
            assert_eq!(route(loads, own, deadline_ns, 0), expected, "row {index}");
        }
        assert_eq!(route(&[], 0, None, 0), None);
    }

    #[test]
    fn beyond_eight_the_better_of_two_is_taken() {
        let mut loads: Vec<ShardLoad> = (0..20).map(|index| shard(1_000 + index, 0)).collect();
        loads[0].completion_ns = 5_000;
        let mut seen = [0u32; 20];
        for round in 0..10_000u64 {
            let random = round.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
            seen[route(&loads, 0, Some(100), random).expect("all serve")] += 1;
        }
        // Never the worst of all, sometimes any other but the second worst, and better ones more often.
        assert_eq!(seen[0], 0);
        assert!(seen[1..19].iter().all(|count| *count > 0), "{seen:?}");
        assert!(seen[1] > 2 * seen[15], "{seen:?}");
    }
}
