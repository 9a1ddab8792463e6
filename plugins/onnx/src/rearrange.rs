//! Pairs of `Reshape` and `Transpose`, made one operator of ours that is a checkpoint too.

use std::collections::{HashMap, HashSet};

use crate::graph::{Edit, Model, Node, NodeChange, plain_node, put_integers};
use crate::rearrange_op::{Order, PERMUTATION, SIZES, keeps_last_axis};
use crate::schema::tensor;
use crate::timing::Timed;
use crate::wire::{Fields, WireError};
use crate::yield_op;

use mlos_smi::DType;

/// Two nodes to be made one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    /// Names of what goes in and comes out.
    input: String,
    output: String,
    /// Name of what is between, which nobody else sees.
    between: String,
    order: Order,
    permutation: Vec<i64>,
    sizes: Vec<i64>,
}

/// The pairs whose tensors are floats that nobody sees in between, and whose last axis stays where it is.
pub(crate) fn pairs(model: &Model<'_>, order: &[Timed]) -> Result<Vec<Pair>, WireError> {
    if model.has_graphs_within()? {
        return Ok(Vec::new());
    }
    let makes_floats = |timed: &&Timed| timed.outputs[..] == [Some(DType::F32)];
    let floats: HashMap<&str, &Node<'_>> = order
        .iter()
        .filter(makes_floats)
        .map(|timed| &model.nodes[timed.node])
        .filter_map(|node| Some((*node.outputs.first()?, node)))
        .collect();
    let uses = model.uses();
    let mut taken: HashSet<&str> = HashSet::new();
    let mut pairs = Vec::new();
    for second in &model.nodes {
        let Some(between) = second.inputs.first().copied() else {
            continue;
        };
        let alone = uses.get(between) == Some(&1) && !model.outputs.contains(between);
        let Some(first) = floats.get(between).filter(|_| alone && !taken.contains(between)) else {
            continue;
        };
        if let Some(pair) = pair(model, first, second)? {
            // What a pair makes is not the middle of another.
            taken.insert(second.outputs[0]);
            pairs.push(pair);
        }
    }
    Ok(pairs)
}

fn pair(model: &Model<'_>, first: &Node<'_>, second: &Node<'_>) -> Result<Option<Pair>, WireError> {
    let plain = |node: &Node<'_>, operator| node.domain.is_empty() && node.op_type == operator;
    let (order, reshape, transpose) = if plain(first, "Reshape") && plain(second, "Transpose") {
        (Order::ReshapeFirst, first, second)
    } else if plain(first, "Transpose") && plain(second, "Reshape") {
        (Order::TransposeFirst, second, first)
    } else {
        return Ok(None);
    };
    let permutation = transpose.integers("perm")?;
    let Some(sizes) = sizes(model, reshape)? else {
        return Ok(None);
    };
    let fits = order == Order::TransposeFirst || sizes.len() == permutation.len();
    let ([input, ..], [between], [output]) = (&first.inputs[..], &first.outputs[..], &second.outputs[..])
    else {
        return Ok(None);
    };
    Ok((fits && keeps_last_axis(&permutation)).then(|| Pair {
        input: (*input).to_owned(),
        output: (*output).to_owned(),
        between: (*between).to_owned(),
        order,
        permutation,
        sizes,
    }))
}

/// The sizes that a `Reshape` is given, if they are constant and mean what they mostly mean.
fn sizes(model: &Model<'_>, reshape: &Node<'_>) -> Result<Option<Vec<i64>>, WireError> {
    let [_, sizes] = reshape.inputs[..] else {
        return Ok(None);
    };
    let Some(message) = model.initializers.get(sizes) else {
        return Ok(None);
    };
    if reshape.integer("allowzero")? != 0 {
        return Ok(None);
    }
    let (mut is_integer, mut values) = (false, Vec::new());
    for field in Fields::of(message) {
        let field = field?;
        match field.number {
            tensor::DATA_TYPE => is_integer = field.varint()? == tensor::TYPE_INT64,
            tensor::INT64_DATA => values.extend(field.varints()?.into_iter().map(|value| value as i64)),
            tensor::RAW_DATA => {
                let words = field.bytes()?.chunks_exact(size_of::<i64>());
                values.extend(words.filter_map(|word| word.try_into().ok().map(i64::from_le_bytes)));
            }
            // Elsewhere.
            tensor::EXTERNAL_DATA => return Ok(None),
            _ => {}
        }
    }
    let one_left = values.iter().filter(|size| **size == -1).count() <= 1;
    let good = is_integer && !values.is_empty() && one_left && values.iter().all(|size| *size >= -1);
    Ok(good.then_some(values))
}

/// The graph with these pairs made one each.
pub(crate) fn apply(model: &Model<'_>, pairs: &[Pair]) -> Result<Edit, WireError> {
    let by_output: HashMap<&str, &Pair> = pairs
        .iter()
        .flat_map(|pair| [(pair.output.as_str(), pair), (pair.between.as_str(), pair)])
        .collect();
    let mut edit = Edit {
        imports_own: !pairs.is_empty(),
        ..Edit::default()
    };
    for node in &model.nodes {
        let made = node.outputs.first().copied().unwrap_or_default();
        match by_output.get(made) {
            None => edit.nodes.push(node.rewritten(&NodeChange::default())?),
            Some(pair) if pair.between == made => {}
            Some(pair) => edit.nodes.push(pair.node()),
        }
    }
    Ok(edit)
}

impl Pair {
    fn node(&self) -> Vec<u8> {
        let operator = (yield_op::DOMAIN, self.order.operator());
        let name = format!("{}/mlos/rearranged", self.output);
        let mut node = plain_node(&name, operator, &[&self.input], &self.output);
        put_integers(&mut node, PERMUTATION, &self.permutation);
        put_integers(&mut node, SIZES, &self.sizes);
        node
    }
}
