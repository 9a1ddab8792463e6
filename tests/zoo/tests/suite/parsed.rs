//! A model file, read back.

use std::collections::HashMap;
use std::path::Path;

use mlos_zoo::onnx::{GraphProto, ModelProto, TensorProto};
use prost::Message;

/// A model file, read back.
pub struct Parsed {
    pub proto: ModelProto,
    weights: HashMap<String, usize>,
}

impl Parsed {
    pub fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let proto = ModelProto::decode(bytes.as_slice()).unwrap();
        let initializers = &proto.graph.as_ref().unwrap().initializer;
        let weights = initializers
            .iter()
            .enumerate()
            .map(|(at, weight)| (weight.name.clone(), at))
            .collect();
        Self { proto, weights }
    }

    pub fn graph(&self) -> &GraphProto {
        self.proto.graph.as_ref().unwrap()
    }

    pub fn weight(&self, name: &str) -> &TensorProto {
        &self.graph().initializer[self.weights[name]]
    }
}

/// The f32 elements of some bytes.
pub fn floats(data: &[u8]) -> Vec<f32> {
    data.chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
        .collect()
}
