//! Where yields go: at the borders of nodes, in the order in which they ran, whenever a slice is full.
//!
//! A yield must run exactly at its border, wherever ONNX Runtime would sort it. So it passes on an input of the node
//! behind the border, which then has to wait for it, and it waits itself for the node before the border, through a second input
//! that it does not read. No other consumer of the passed tensor notices.

use std::collections::HashMap;

use mlos_smi::TensorSpec;

use crate::graph::{Edit, Model, NodeChange, plain_node};
use crate::timing::Timed;
use crate::wire::WireError;
use crate::yield_op;

/// A yield to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Number in the graph of the node behind the border.
    pub node: usize,
    /// Position of the input that is passed on.
    pub input: usize,
    /// The operator for that input's type.
    pub operator: &'static str,
    /// Tensor made before the border, if the input is not one of that node's.
    pub after: Option<String>,
}

/// Chooses the borders for a slice of `target_us`. `order` is all nodes as they ran, `inputs` the
/// graph's.
pub(crate) fn cuts<'a>(
    model: &Model<'a>,
    order: &[Timed],
    inputs: &'a [TensorSpec],
    target_us: u64,
) -> Vec<Cut> {
    let tensors = tensors(model, order, inputs);
    let mut cuts = Vec::new();
    let mut slice_us = 0;
    for pair in order.windows(2) {
        let (before, behind) = (&pair[0], &pair[1]);
        slice_us += before.time_us;
        // Also when the next node would overfill the slice, unless that would leave crumbs.
        let full =
            slice_us >= target_us || (slice_us + behind.time_us > target_us && slice_us * 4 >= target_us);
        if !full {
            continue;
        }
        if let Some(cut) = cut(model, &tensors, before.node, behind.node) {
            cuts.push(cut);
            slice_us = 0;
        }
    }
    cuts
}

/// A tensor that a yield can pass on.
struct Tensor {
    /// Number of the node that makes it; none for an input of the graph.
    producer: Option<usize>,
    /// The yield for its type.
    operator: &'static str,
}

/// All tensors whose type is known. Sequences and the like are not in the reports and so not here.
fn tensors<'a>(model: &Model<'a>, order: &[Timed], inputs: &'a [TensorSpec]) -> HashMap<&'a str, Tensor> {
    let mut tensors = HashMap::new();
    for spec in inputs.iter().filter(|spec| !spec.optional) {
        if let Some(operator) = yield_op::name_for(spec.dtype) {
            tensors.insert(
                spec.name.as_str(),
                Tensor {
                    producer: None,
                    operator,
                },
            );
        }
    }
    for timed in order {
        let outputs = model.nodes[timed.node]
            .outputs
            .iter()
            .copied()
            .filter(|name| !name.is_empty());
        // Reports leave out what was not made; only if nothing was is it certain which is which.
        if outputs.clone().count() != timed.outputs.len() {
            continue;
        }
        for (name, dtype) in outputs.zip(&timed.outputs) {
            if let Some(operator) = dtype.and_then(yield_op::name_for) {
                tensors.insert(
                    name,
                    Tensor {
                        producer: Some(timed.node),
                        operator,
                    },
                );
            }
        }
    }
    tensors
}

fn cut(model: &Model<'_>, tensors: &HashMap<&str, Tensor>, before: usize, behind: usize) -> Option<Cut> {
    let inputs = model.nodes[behind].inputs.iter().enumerate();
    let mut passable = inputs.filter_map(|(input, name)| tensors.get(name).map(|tensor| (input, tensor)));
    let cut = |(input, tensor): (usize, &Tensor), after| Cut {
        node: behind,
        input,
        operator: tensor.operator,
        after,
    };
    if let Some(direct) = passable
        .clone()
        .find(|(_, tensor)| tensor.producer == Some(before))
    {
        return Some(cut(direct, None));
    }
    let after = model.nodes[before]
        .outputs
        .iter()
        .find(|name| tensors.contains_key(**name))?;
    Some(cut(passable.next()?, Some((*after).to_owned())))
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
            let inputs: Vec<&str> = std::iter::once(node.inputs[cut.input])
                .chain(cut.after.as_deref())
                .collect();
            edit.nodes.push(plain_node(
                &name,
                (yield_op::DOMAIN, cut.operator),
                &inputs,
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
    let mut edit = Edit::default();
    for (number, node) in model.nodes.iter().enumerate() {
        let change = NodeChange {
            name: Some(crate::timing::timed_name(number)),
            ..NodeChange::default()
        };
        edit.nodes.push(node.rewritten(&change)?);
    }
    Ok(edit)
}
