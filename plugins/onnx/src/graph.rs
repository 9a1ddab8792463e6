//! The parts of an ONNX model that the preparation reads and rewrites; everything else is copied as it is.

use std::collections::{HashMap, HashSet};

use crate::schema::{attribute, graph, model, node, opset, tensor, value_info};
use crate::wire::{Field, Fields, WireError, put_bytes, put_number};
use crate::yield_op;

/// A node of the main graph.
#[derive(Debug, Clone)]
pub(crate) struct Node<'a> {
    message: &'a [u8],
    pub op_type: &'a str,
    pub domain: &'a str,
    pub inputs: Vec<&'a str>,
    pub outputs: Vec<&'a str>,
}

impl<'a> Node<'a> {
    fn read(message: &'a [u8]) -> Result<Self, WireError> {
        let mut read = Self {
            message,
            op_type: "",
            domain: "",
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        for field in Fields::of(message) {
            let field = field?;
            match field.number {
                node::INPUT => read.inputs.push(field.text()?),
                node::OUTPUT => read.outputs.push(field.text()?),
                node::OP_TYPE => read.op_type = field.text()?,
                node::DOMAIN => read.domain = field.text()?,
                _ => {}
            }
        }
        Ok(read)
    }

    /// An integer attribute; 0 if it is not there.
    pub fn integer(&self, name: &str) -> Result<u64, WireError> {
        Ok(self.numbers(name, attribute::I)?.first().copied().unwrap_or(0))
    }

    /// An attribute of integers; none if it is not there.
    pub fn integers(&self, name: &str) -> Result<Vec<i64>, WireError> {
        let values = self.numbers(name, attribute::INTS)?;
        Ok(values.into_iter().map(|value| value as i64).collect())
    }

    /// The values in field `number` of an attribute.
    fn numbers(&self, name: &str, number: u32) -> Result<Vec<u64>, WireError> {
        let mut values = Vec::new();
        for field in Fields::of(self.message) {
            let field = field?;
            if field.number != node::ATTRIBUTE || text_of(field.bytes()?, attribute::NAME)? != name {
                continue;
            }
            for part in Fields::of(field.bytes()?) {
                let part = part?;
                if part.number == number {
                    values.extend(part.varints()?);
                }
            }
        }
        Ok(values)
    }

    /// Whether graphs are among its attributes: branches and loop bodies.
    pub fn has_graphs(&self) -> Result<bool, WireError> {
        for field in Fields::of(self.message) {
            let field = field?;
            if field.number != node::ATTRIBUTE {
                continue;
            }
            for part in Fields::of(field.bytes()?) {
                if matches!(part?.number, attribute::G | attribute::GRAPHS) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The node's message with inputs, outputs and name replaced; what is not given stays.
    pub fn rewritten(&self, change: &NodeChange) -> Result<Vec<u8>, WireError> {
        let mut message = Vec::with_capacity(self.message.len() + 64);
        let (mut inputs, mut outputs) = (0, 0);
        for field in Fields::of(self.message) {
            let field = field?;
            match field.number {
                node::NAME if change.name.is_some() => {}
                node::INPUT => {
                    put_replaced(&mut message, &field, change.inputs.get(&inputs));
                    inputs += 1;
                }
                node::OUTPUT => {
                    put_replaced(&mut message, &field, change.outputs.get(&outputs));
                    outputs += 1;
                }
                _ => message.extend_from_slice(field.raw),
            }
        }
        if let Some(name) = &change.name {
            put_bytes(&mut message, node::NAME, name.as_bytes());
        }
        Ok(message)
    }
}

fn put_replaced(message: &mut Vec<u8>, field: &Field<'_>, replacement: Option<&String>) {
    match replacement {
        Some(text) => put_bytes(message, field.number, text.as_bytes()),
        None => message.extend_from_slice(field.raw),
    }
}

/// What is different in a rewritten node.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeChange {
    /// By position.
    pub inputs: HashMap<usize, String>,
    /// By position.
    pub outputs: HashMap<usize, String>,
    pub name: Option<String>,
}

/// A model in memory, its main graph taken apart.
#[derive(Debug)]
pub(crate) struct Model<'a> {
    message: &'a [u8],
    pub nodes: Vec<Node<'a>>,
    /// Names of the graph's outputs.
    pub outputs: HashSet<&'a str>,
    /// `TensorProto` messages by name.
    pub initializers: HashMap<&'a str, &'a [u8]>,
    /// Whether operators of ours are declared already.
    imports_own: bool,
}

impl<'a> Model<'a> {
    pub fn read(message: &'a [u8]) -> Result<Self, WireError> {
        let mut read = Self {
            message,
            nodes: Vec::new(),
            outputs: HashSet::new(),
            initializers: HashMap::new(),
            imports_own: false,
        };
        for field in Fields::of(message) {
            let field = field?;
            match field.number {
                model::GRAPH => read.read_graph(field.bytes()?)?,
                model::OPSET_IMPORT => {
                    read.imports_own |= text_of(field.bytes()?, opset::DOMAIN)? == yield_op::DOMAIN;
                }
                _ => {}
            }
        }
        Ok(read)
    }

    fn read_graph(&mut self, message: &'a [u8]) -> Result<(), WireError> {
        for field in Fields::of(message) {
            let field = field?;
            match field.number {
                graph::NODE => self.nodes.push(Node::read(field.bytes()?)?),
                graph::OUTPUT => {
                    self.outputs.insert(text_of(field.bytes()?, value_info::NAME)?);
                }
                graph::INITIALIZER => {
                    let tensor = field.bytes()?;
                    self.initializers.insert(text_of(tensor, tensor::NAME)?, tensor);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether nodes hold graphs. These see tensors by name, without naming them as inputs.
    pub fn has_graphs_within(&self) -> Result<bool, WireError> {
        for node in &self.nodes {
            if node.has_graphs()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How often each tensor is an input of a node.
    pub fn uses(&self) -> HashMap<&'a str, usize> {
        let mut uses = HashMap::new();
        for name in self.nodes.iter().flat_map(|node| &node.inputs) {
            *uses.entry(*name).or_default() += 1;
        }
        uses
    }

    /// The model with its nodes replaced and initializers added or taken away, everything else verbatim.
    pub fn rewritten(&self, edit: &Edit) -> Result<Vec<u8>, WireError> {
        let mut out = Vec::with_capacity(self.message.len() + 4096);
        for field in Fields::of(self.message) {
            let field = field?;
            if field.number == model::GRAPH {
                put_bytes(&mut out, model::GRAPH, &rewritten_graph(field.bytes()?, edit)?);
            } else {
                out.extend_from_slice(field.raw);
            }
        }
        if edit.imports_own && !self.imports_own {
            let mut import = Vec::new();
            put_bytes(&mut import, opset::DOMAIN, yield_op::DOMAIN.as_bytes());
            put_number(&mut import, opset::VERSION, yield_op::OPSET);
            put_bytes(&mut out, model::OPSET_IMPORT, &import);
        }
        Ok(out)
    }
}

/// A new set of nodes for a graph.
#[derive(Debug, Default)]
pub(crate) struct Edit {
    /// All nodes, `NodeProto` messages in topological order.
    pub nodes: Vec<Vec<u8>>,
    /// Additional initializers, `TensorProto` messages.
    pub initializers: Vec<Vec<u8>>,
    /// Initializers that nothing uses any more.
    pub dropped: HashSet<String>,
    /// Whether an operator of ours is among the nodes.
    pub imports_own: bool,
}

fn rewritten_graph(message: &[u8], edit: &Edit) -> Result<Vec<u8>, WireError> {
    let mut out = Vec::with_capacity(message.len() + 4096);
    for node in &edit.nodes {
        put_bytes(&mut out, graph::NODE, node);
    }
    for field in Fields::of(message) {
        let field = field?;
        let keep = match field.number {
            graph::NODE => false,
            graph::INITIALIZER => !edit.dropped.contains(text_of(field.bytes()?, tensor::NAME)?),
            _ => true,
        };
        if keep {
            out.extend_from_slice(field.raw);
        }
    }
    for tensor in &edit.initializers {
        put_bytes(&mut out, graph::INITIALIZER, tensor);
    }
    Ok(out)
}

/// The text in field `number` of a message; empty if it is not there.
pub(crate) fn text_of(message: &[u8], number: u32) -> Result<&str, WireError> {
    for field in Fields::of(message) {
        let field = field?;
        if field.number == number {
            return field.text();
        }
    }
    Ok("")
}

/// A node without attributes.
pub(crate) fn plain_node(
    name: &str,
    (domain, op_type): (&str, &str),
    inputs: &[&str],
    output: &str,
) -> Vec<u8> {
    let mut message = Vec::new();
    for input in inputs {
        put_bytes(&mut message, node::INPUT, input.as_bytes());
    }
    put_bytes(&mut message, node::OUTPUT, output.as_bytes());
    put_bytes(&mut message, node::NAME, name.as_bytes());
    put_bytes(&mut message, node::OP_TYPE, op_type.as_bytes());
    put_bytes(&mut message, node::DOMAIN, domain.as_bytes());
    message
}

/// Appends an attribute of integers to a node.
pub(crate) fn put_integers(message: &mut Vec<u8>, name: &str, values: &[i64]) {
    let mut part = Vec::new();
    put_bytes(&mut part, attribute::NAME, name.as_bytes());
    for value in values {
        put_number(&mut part, attribute::INTS, *value as u64);
    }
    put_number(&mut part, attribute::TYPE, attribute::TYPE_INTS);
    put_bytes(message, node::ATTRIBUTE, &part);
}
