//! Where yields go: at the borders of nodes, in the order in which they ran, whenever a slice is full.
//!
//! A yield must run exactly at its border, wherever ONNX Runtime would sort it. So it passes on an input of the node
//! behind the border, which then has to wait for it, and it waits itself for the node before the border, through a second input
//! that it does not read. No other consumer of the passed tensor notices.

use std::collections::HashMap;

use mlos_smi::{Dim, TensorSpec};

use crate::graph::{Edit, Model, Node, NodeChange, plain_node};
use crate::limits::{
    ELASTIC_SHARE_PERCENT, ELASTIC_STRETCH_MAX, LONGEST_SHARE_PERCENT, OVERFILL_MAX, STRETCH_MAX,
};
use crate::rearrange_op::Order;
use crate::timing::Timed;
use crate::wire::WireError;
use crate::{join_op, yield_op};

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

/// Chooses the borders: the first behind `target_us`, or behind most of the longest node where that takes longer, since
/// whoever waits may have to wait for that one anyway, and every yield costs. Before a node that would stretch the
/// slice beyond [`OVERFILL_MAX`] targets, or beyond that most, it ends early. Before a join or a
/// rearrangement it ends without a yield, as these are checkpoints themselves. `order` is all nodes as they ran, `inputs`
/// the graph's.
pub(crate) fn cuts<'a>(
    model: &Model<'a>,
    order: &[Timed],
    inputs: &'a [TensorSpec],
    target_us: u64,
) -> Vec<Cut> {
    let tensors = tensors(model, order, inputs);
    let longest_us = order.iter().map(|timed| timed.time_us).max().unwrap_or(0);
    let (share_percent, stretch_max) = if inputs.iter().any(is_elastic) {
        (ELASTIC_SHARE_PERCENT, ELASTIC_STRETCH_MAX)
    } else {
        (LONGEST_SHARE_PERCENT, STRETCH_MAX)
    };
    let filled_us = (longest_us * share_percent / 100).min(target_us * stretch_max);
    let overfull_us = filled_us.max(target_us * OVERFILL_MAX);
    let target_us = target_us.max(filled_us);
    let mut cuts = Vec::new();
    let mut slice_us = 0;
    for pair in order.windows(2) {
        let (before, behind) = (&pair[0], &pair[1]);
        slice_us += before.time_us;
        if is_checkpoint(&model.nodes[behind.node]) {
            slice_us = 0;
            continue;
        }
        let is_crumb = slice_us * 4 < target_us;
        let full = slice_us >= target_us || (slice_us + behind.time_us > overfull_us && !is_crumb);
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

fn is_checkpoint(node: &Node<'_>) -> bool {
    let rearranges = || Order::ALL.iter().any(|order| order.operator() == node.op_type);
    node.domain == yield_op::DOMAIN && (node.op_type == join_op::NAME || rearranges())
}

/// Whether it can be longer or shorter beside having more or fewer rows.
fn is_elastic(input: &TensorSpec) -> bool {
    let mut row = input.dims.iter().skip(1);
    row.any(|dim| matches!(dim, Dim::Dynamic(_)))
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
        imports_own: !cuts.is_empty(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{graph, model, tensor, value_info};
    use crate::wire::{put_bytes, put_number};
    use mlos_smi::DType;

    /// `a = A(x)`, `b = B(x)`, `c = C(a, b)`, `y = D(c)`, and fields that nobody here knows.
    fn diamond() -> Vec<u8> {
        let mut body = Vec::new();
        let nodes = [
            ("A", &["x"][..], "a"),
            ("B", &["x", "w"], "b"),
            ("C", &["a", "b"], "c"),
            ("D", &["c"], "y"),
        ];
        for (op_type, inputs, output) in nodes {
            put_bytes(
                &mut body,
                graph::NODE,
                &plain_node(op_type, ("", op_type), inputs, output),
            );
        }
        put_bytes(&mut body, 999, b"from the future");
        let mut weight = Vec::new();
        put_bytes(&mut weight, tensor::NAME, b"w");
        put_bytes(&mut body, graph::INITIALIZER, &weight);
        let mut output = Vec::new();
        put_bytes(&mut output, value_info::NAME, b"y");
        put_bytes(&mut body, graph::OUTPUT, &output);
        let mut message = Vec::new();
        put_number(&mut message, 1, 9);
        put_bytes(&mut message, model::GRAPH, &body);
        put_number(&mut message, 998, 5);
        message
    }

    fn order(times_us: [u64; 4]) -> Vec<Timed> {
        let timed = |(node, time_us)| Timed {
            node,
            time_us,
            outputs: vec![Some(DType::F32)],
        };
        times_us.into_iter().enumerate().map(timed).collect()
    }

    /// Behind which nodes the slices end, and what the yields wait for.
    fn check(times_us: [u64; 4], target_us: u64, expect: &[(usize, usize, Option<&str>)]) {
        check_with(&[], times_us, target_us, expect);
    }

    fn check_with(dims: &[Dim], times_us: [u64; 4], target_us: u64, expect: &[(usize, usize, Option<&str>)]) {
        let message = diamond();
        let model = Model::read(&message).unwrap();
        let input = TensorSpec {
            name: "x".to_owned(),
            dtype: DType::F32,
            dims: dims.to_vec(),
            optional: false,
        };
        let inputs = [input];
        let found = cuts(&model, &order(times_us), &inputs, target_us);
        let found: Vec<_> = found
            .iter()
            .map(|cut| (cut.node, cut.input, cut.after.as_deref()))
            .collect();
        assert_eq!(found, expect, "{dims:?} {times_us:?} {target_us}");
    }

    #[test]
    fn yields_stand_where_a_slice_is_full_or_would_overflow() {
        // Everywhere: before B only the graph's input can be held up, and A is waited for.
        check([5, 5, 5, 5], 0, &[(1, 0, Some("a")), (2, 1, None), (3, 0, None)]);
        // Three of the short ones together are no longer than most of the long one.
        check([20, 20, 100, 5], 30, &[(2, 1, None), (3, 0, None)]);
        check([5, 5, 5, 5], 10, &[(2, 1, None)]);
        check([5, 5, 5, 5], 100, &[]);
        // Passing the target a little is better than another yield,
        check([50, 90, 5, 5], 100, &[(2, 1, None)]);
        // but not by as much again.
        check([50, 160, 5, 5], 100, &[(1, 0, Some("a")), (2, 1, None)]);
        // A crumb is not worth a yield of its own.
        check([5, 220, 5, 5], 100, &[(2, 1, None)]);
    }

    #[test]
    fn slices_of_models_that_take_shorter_inputs_are_longer() {
        let rows = Dim::Dynamic(Some("batch".to_owned()));
        let tokens = Dim::Dynamic(Some("tokens".to_owned()));
        let times_us = [60, 60, 110, 5];
        check_with(
            &[rows.clone(), Dim::Fixed(8)],
            times_us,
            30,
            &[(1, 0, Some("a")), (2, 1, None), (3, 0, None)],
        );
        check_with(&[rows, tokens], times_us, 30, &[(2, 1, None)]);
    }

    #[test]
    fn a_text_or_an_unknown_type_is_not_passed_on() {
        let message = diamond();
        let model = Model::read(&message).unwrap();
        for dtype in [Some(DType::String), None] {
            let mut order = order([5; 4]);
            order.iter_mut().for_each(|timed| timed.outputs = vec![dtype]);
            assert_eq!(cuts(&model, &order, &[], 0), []);
        }
    }

    #[test]
    fn a_rewritten_graph_has_the_yields_and_everything_else_verbatim() {
        let message = diamond();
        let model = Model::read(&message).unwrap();
        let same = with_yields(&model, &order([1; 4]), &[]).unwrap();
        let untouched = model.rewritten(&same).unwrap();
        let again = Model::read(&untouched).unwrap();
        assert_eq!(again.nodes.len(), 4);
        assert_eq!(again.rewritten(&same).unwrap(), untouched);
        let cut = Cut {
            node: 3,
            input: 0,
            operator: "YieldF32",
            after: Some("b".to_owned()),
        };
        let edit = with_yields(&model, &order([1; 4]), &[cut]).unwrap();
        let rewritten = model.rewritten(&edit).unwrap();
        let again = Model::read(&rewritten).unwrap();
        let seen: Vec<_> = again
            .nodes
            .iter()
            .map(|node| (node.op_type, node.inputs.clone(), node.outputs.clone()))
            .collect();
        assert_eq!(seen[3], ("YieldF32", vec!["c", "b"], vec!["mlos/yield/0"]));
        assert_eq!(seen[4], ("D", vec!["mlos/yield/0"], vec!["y"]));
        assert_eq!(again.nodes[3].domain, yield_op::DOMAIN);
        let holds = |text: &[u8]| rewritten.windows(text.len()).any(|window| window == text);
        assert!(
            holds(b"from the future") && again.initializers.contains_key("w") && again.outputs.contains("y")
        );
    }
}
