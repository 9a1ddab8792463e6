//! Where yields go: at the borders of nodes, in the order in which they ran, whenever a slice is full.
//!
//! A yield must run exactly at its border, wherever ONNX Runtime would sort it. So it passes on an input of the node
//! behind the border, which then has to wait for it, and it waits itself for the node before the border, through a second input
//! that it does not read. No other consumer of the passed tensor notices.

use std::collections::{HashMap, HashSet};

use crate::graph::{Edit, Model, Node, NodeChange, yield_node};
use crate::timing::Timed;
use crate::wire::WireError;

/// A yield to be: the input of a node that it passes on, and what it waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Number in the graph of the node behind the border.
    pub node: usize,
    /// Position of the input that is passed on.
    pub input: usize,
    /// Tensor made before the border, if the input is not one of that node's.
    pub after: Option<String>,
}

/// Chooses the borders for a slice of `target_us`. `order` is all nodes as they ran.
pub(crate) fn cuts(model: &Model<'_>, order: &[Timed], target_us: u64) -> Vec<Cut> {
    let producers = producers(model);
    let mut cuts = Vec::new();
    let mut slice_us = 0;
    for pair in order.windows(2) {
        let (before, behind) = (pair[0], pair[1]);
        slice_us += before.time_us;
        // Also when the next node would overfill the slice, unless that would leave crumbs.
        let full =
            slice_us >= target_us || (slice_us + behind.time_us > target_us && slice_us * 4 >= target_us);
        if !full {
            continue;
        }
        if let Some(cut) = cut(model, &producers, before.node, behind.node) {
            cuts.push(cut);
            slice_us = 0;
        }
    }
    cuts
}

/// Which node makes a tensor.
fn producers<'a>(model: &Model<'a>) -> HashMap<&'a str, usize> {
    let nodes = model.nodes.iter().enumerate();
    nodes
        .flat_map(|(number, node)| node.outputs.iter().map(move |output| (*output, number)))
        .collect()
}

fn cut(model: &Model<'_>, producers: &HashMap<&str, usize>, before: usize, behind: usize) -> Option<Cut> {
    let earlier = &model.nodes[before];
    let later = &model.nodes[behind];
    let passable = |name: &str| {
        producers
            .get(name)
            .filter(|number| makes_tensors(&model.nodes[**number]))
    };
    let mut best = None;
    for (input, name) in later.inputs.iter().enumerate() {
        match passable(name) {
            Some(producer) if *producer == before => {
                return Some(Cut {
                    node: behind,
                    input,
                    after: None,
                });
            }
            Some(_) if best.is_none() => best = Some(input),
            _ => {}
        }
    }
    let after = earlier
        .outputs
        .iter()
        .find(|name| !name.is_empty() && makes_tensors(earlier))?;
    Some(Cut {
        node: behind,
        input: best?,
        after: Some((*after).to_owned()),
    })
}

/// Sequences and optionals cannot pass through a custom operator.
fn makes_tensors(node: &Node<'_>) -> bool {
    let other = ["Sequence", "Optional"];
    let control_flow = ["If", "Loop", "Scan"];
    !other.iter().any(|word| node.op_type.contains(word)) && !control_flow.contains(&node.op_type)
}

/// The graph with yields, its nodes in the order in which they ran.
pub(crate) fn with_yields(model: &Model<'_>, order: &[Timed], cuts: &[Cut]) -> Result<Edit, WireError> {
    let by_node: HashMap<usize, (usize, &Cut)> = cuts
        .iter()
        .enumerate()
        .map(|(number, cut)| (cut.node, (number, cut)))
        .collect();
    let mut edit = Edit {
        imports_yield: !cuts.is_empty(),
        ..Edit::default()
    };
    for timed in order {
        let node = &model.nodes[timed.node];
        let mut change = NodeChange::default();
        if let Some((number, cut)) = by_node.get(&timed.node) {
            let name = format!("mlos/yield/{number}");
            edit.nodes.push(yield_node(
                &name,
                node.inputs[cut.input],
                cut.after.as_deref(),
                &name,
            ));
            change.inputs.insert(cut.input, name);
        }
        edit.nodes.push(node.rewritten(&change)?);
    }
    Ok(edit)
}

/// The graph with its nodes renamed for the timed run.
pub(crate) fn with_timed_names(model: &Model<'_>) -> Result<Edit, WireError> {
    let mut edit = Edit {
        dropped: HashSet::new(),
        ..Edit::default()
    };
    for (number, node) in model.nodes.iter().enumerate() {
        let change = NodeChange {
            name: Some(crate::timing::timed_name(number)),
            ..NodeChange::default()
        };
        edit.nodes.push(node.rewritten(&change)?);
    }
    Ok(edit)
}
