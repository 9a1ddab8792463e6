//! A graph under construction: values, nodes, and weights that are not produced before they are written.

use crate::onnx::{
    AttributeProto, DimensionProto, NodeProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use crate::{DType, IoSpec};

/// A value in a [`Graph`]: an input, a weight, or what a node produces. Belongs to the graph that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value(usize);

/// One dimension of an input or output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dim {
    /// A fixed length.
    Fixed(usize),
    /// A length that only the run knows, by name.
    Named(&'static str),
}

impl From<usize> for Dim {
    fn from(length: usize) -> Self {
        Dim::Fixed(length)
    }
}

impl From<&'static str> for Dim {
    fn from(name: &'static str) -> Self {
        Dim::Named(name)
    }
}

/// `dims!["N", 3, 224]`: dimensions, fixed and named.
macro_rules! dims {
    ($($dim:expr),* $(,)?) => { [$($crate::Dim::from($dim)),*] };
}
pub(crate) use dims;

/// What a weight consists of.
#[derive(Clone, Debug, PartialEq)]
pub enum Fill {
    /// f32, uniform in [-bound, bound).
    Uniform {
        /// Largest magnitude.
        bound: f32,
    },
    /// f32, one value everywhere. Zeros become a hole in an external data file.
    Constant(f32),
    /// The little-endian bytes as they are.
    Bytes(Vec<u8>),
}

impl Fill {
    /// Uniform with variance `gain / fan_in`: `gain` 2 keeps activations level through ReLU (He), 1 through linear
    /// layers (Xavier).
    pub fn scaled(gain: f32, fan_in: usize) -> Fill {
        Fill::Uniform {
            bound: (3.0 * gain / fan_in as f32).sqrt(),
        }
    }
}

/// A constant tensor; its data is made from the graph's seed while it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    value: Value,
    pub(crate) name: String,
    pub(crate) dtype: DType,
    pub(crate) dims: Vec<usize>,
    pub(crate) fill: Fill,
    /// Stream of the random numbers: the position of the weight among the weights.
    pub(crate) stream: u64,
}

impl Weight {
    /// Name, as nodes use it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Shape.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.dims.iter().product()
    }

    /// Bytes of the data.
    pub fn bytes(&self) -> usize {
        self.elements() * self.dtype.size().unwrap_or(0)
    }
}

/// A graph under construction.
#[derive(Clone, Debug)]
pub struct Graph {
    pub(crate) name: String,
    pub(crate) seed: u64,
    pub(crate) names: Vec<String>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) weights: Vec<Weight>,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    op: &'static str,
    inputs: Vec<Value>,
    outputs: Vec<Value>,
    attributes: Vec<AttributeProto>,
}

#[derive(Clone, Debug)]
pub(crate) struct Port {
    value: Value,
    dtype: DType,
    dims: Vec<Dim>,
}

impl Graph {
    /// An empty graph. `seed` decides the weights.
    pub fn new(name: &str, seed: u64) -> Self {
        Self {
            name: name.to_owned(),
            seed,
            names: Vec::new(),
            nodes: Vec::new(),
            weights: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        }
    }

    fn value(&mut self, name: String) -> Value {
        self.names.push(name);
        Value(self.names.len() - 1)
    }

    /// Declares an input.
    pub fn input(&mut self, name: &str, dtype: DType, dims: &[Dim]) -> Value {
        let value = self.value(name.to_owned());
        self.inputs.push(Port {
            value,
            dtype,
            dims: dims.to_vec(),
        });
        value
    }

    /// Declares `value`, which a node produces, as an output, under this name.
    pub fn output(&mut self, name: &str, value: Value, dtype: DType, dims: &[Dim]) {
        name.clone_into(&mut self.names[value.0]);
        self.outputs.push(Port {
            value,
            dtype,
            dims: dims.to_vec(),
        });
    }

    /// Adds an f32 weight.
    pub fn weight(&mut self, name: &str, dims: &[usize], fill: Fill) -> Value {
        self.constant(name.to_owned(), DType::F32, dims, fill)
    }

    /// Adds an int64 constant vector; an equal one is shared.
    pub fn ints(&mut self, values: &[i64]) -> Value {
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.shared(DType::I64, &[values.len()], data)
    }

    /// Adds an int64 scalar; an equal one is shared.
    pub fn int(&mut self, value: i64) -> Value {
        self.shared(DType::I64, &[], value.to_le_bytes().to_vec())
    }

    /// Adds an f32 scalar; an equal one is shared.
    pub fn scalar(&mut self, value: f32) -> Value {
        self.shared(DType::F32, &[], value.to_le_bytes().to_vec())
    }

    fn shared(&mut self, dtype: DType, dims: &[usize], data: Vec<u8>) -> Value {
        let fill = Fill::Bytes(data);
        let known = self
            .weights
            .iter()
            .find(|weight| weight.dtype == dtype && weight.dims == dims && weight.fill == fill);
        if let Some(weight) = known {
            return weight.value;
        }
        let name = format!("const_{}", self.weights.len());
        self.constant(name, dtype, dims, fill)
    }

    fn constant(&mut self, name: String, dtype: DType, dims: &[usize], fill: Fill) -> Value {
        let stream = self.weights.len() as u64;
        let value = self.value(name.clone());
        self.weights.push(Weight {
            value,
            name,
            dtype,
            dims: dims.to_vec(),
            fill,
            stream,
        });
        value
    }

    /// Adds a node with one output.
    pub fn op(&mut self, op: &'static str, inputs: &[Value], attributes: &[AttributeProto]) -> Value {
        self.op_many(op, inputs, attributes, 1)[0]
    }

    /// Adds a node with several outputs.
    pub fn op_many(
        &mut self,
        op: &'static str,
        inputs: &[Value],
        attributes: &[AttributeProto],
        outputs: usize,
    ) -> Vec<Value> {
        let node = self.nodes.len();
        let outputs: Vec<Value> = (0..outputs)
            .map(|index| self.value(format!("{op}_{node}_out{index}")))
            .collect();
        self.nodes.push(Node {
            op,
            inputs: inputs.to_vec(),
            outputs: outputs.clone(),
            attributes: attributes.to_vec(),
        });
        outputs
    }

    /// Replaces the random weights by learned ones: the little-endian bytes of each, by its name.
    ///
    /// # Panics
    /// When they are not as many as the weight takes.
    pub fn learn(&mut self, mut learned: impl FnMut(&Weight) -> Vec<u8>) {
        for weight in &mut self.weights {
            if !matches!(weight.fill, Fill::Bytes(_)) {
                let bytes = learned(weight);
                assert_eq!(bytes.len(), weight.bytes(), "{}", weight.name);
                weight.fill = Fill::Bytes(bytes);
            }
        }
    }

    /// The weights.
    pub fn weights(&self) -> &[Weight] {
        &self.weights
    }

    /// Number of learned parameters: every f32 weight that is not a scalar constant of the graph.
    pub fn parameters(&self) -> usize {
        let learned = self
            .weights
            .iter()
            .filter(|weight| !matches!(weight.fill, Fill::Bytes(_)));
        learned.map(Weight::elements).sum()
    }

    /// Names, types and shapes of the inputs.
    pub fn input_specs(&self) -> Vec<IoSpec> {
        self.inputs.iter().map(|port| self.spec(port)).collect()
    }

    /// Names, types and shapes of the outputs.
    pub fn output_specs(&self) -> Vec<IoSpec> {
        self.outputs.iter().map(|port| self.spec(port)).collect()
    }

    fn spec(&self, port: &Port) -> IoSpec {
        let length = |dim: &Dim| match dim {
            Dim::Fixed(length) => *length as i64,
            Dim::Named(_) => -1,
        };
        IoSpec {
            name: self.names[port.value.0].clone(),
            dtype: port.dtype.name(),
            shape: port.dims.iter().map(length).collect(),
        }
    }

    pub(crate) fn node_protos(&self) -> Vec<NodeProto> {
        let names = |values: &[Value]| values.iter().map(|value| self.names[value.0].clone()).collect();
        let proto = |(index, node): (usize, &Node)| NodeProto {
            input: names(&node.inputs),
            output: names(&node.outputs),
            name: format!("{}_{index}", node.op),
            op_type: node.op.to_owned(),
            attribute: node.attributes.clone(),
        };
        self.nodes.iter().enumerate().map(proto).collect()
    }

    pub(crate) fn port_protos(&self, ports: &[Port]) -> Vec<ValueInfoProto> {
        let proto = |port: &Port| {
            let dim = port.dims.iter().map(dim_proto).collect();
            let tensor = TensorTypeProto {
                elem_type: port.dtype.code(),
                shape: Some(TensorShapeProto { dim }),
            };
            ValueInfoProto {
                name: self.names[port.value.0].clone(),
                r#type: Some(TypeProto {
                    tensor_type: Some(tensor),
                }),
            }
        };
        ports.iter().map(proto).collect()
    }
}

fn dim_proto(dim: &Dim) -> DimensionProto {
    match dim {
        Dim::Fixed(length) => DimensionProto {
            dim_value: Some(*length as i64),
            dim_param: None,
        },
        Dim::Named(name) => DimensionProto {
            dim_value: None,
            dim_param: Some((*name).to_owned()),
        },
    }
}
