//! Which processors there are, and which NUMA node each belongs to.

use std::collections::BTreeMap;

use hwloc2::{ObjectType, Topology};

use crate::Error;

/// A logical processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu {
    /// The operating system's number.
    pub index: usize,
    /// Its NUMA node.
    pub node: usize,
}

/// The processors this process may run on, with their nodes.
///
/// # Errors
/// [`Error::Topology`] where the operating system names none.
pub fn usable() -> Result<Vec<Cpu>, Error> {
    let nodes = nodes_by_cpu();
    let allowed = core_affinity::get_core_ids().unwrap_or_default();
    let cpus: Vec<Cpu> = allowed
        .into_iter()
        .map(|core| Cpu {
            index: core.id,
            node: nodes.get(&core.id).copied().unwrap_or(0),
        })
        .collect();
    if cpus.is_empty() {
        return Err(Error::Topology(
            "the operating system names no processor this process may use".to_owned(),
        ));
    }
    Ok(cpus)
}

/// The processors with these numbers, or all usable ones.
///
/// # Errors
/// [`Error::Topology`] naming the processors there are when one is asked for that is not.
pub fn choose(asked: Option<&[usize]>) -> Result<Vec<Cpu>, Error> {
    let usable = usable()?;
    let Some(asked) = asked else { return Ok(usable) };
    let known: Vec<usize> = usable.iter().map(|cpu| cpu.index).collect();
    asked
        .iter()
        .map(|index| {
            usable
                .iter()
                .find(|cpu| cpu.index == *index)
                .copied()
                .ok_or_else(|| {
                    Error::Topology(format!(
                        "processor {index} is not usable here; usable are {known:?}"
                    ))
                })
        })
        .collect()
}

/// Without hwloc's view (a container that hides `/sys`), everything is node 0.
fn nodes_by_cpu() -> BTreeMap<usize, usize> {
    let mut nodes = BTreeMap::new();
    let Some(topology) = Topology::new() else {
        return nodes;
    };
    let Ok(units) = topology.objects_with_type(&ObjectType::PU) else {
        return nodes;
    };
    for unit in units {
        let node = unit.nodeset().and_then(|set| set.into_iter().next()).unwrap_or(0);
        nodes.insert(unit.os_index() as usize, usize::try_from(node).unwrap_or(0));
    }
    nodes
}
