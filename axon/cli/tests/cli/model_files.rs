//! Small true files of models.

use crate::world::noise;

/// SafeTensors with one tensor of so many bytes.
pub fn safetensors(len: usize, seed: u64) -> Vec<u8> {
    let header = format!(r#"{{"w":{{"dtype":"U8","shape":[{len}],"data_offsets":[0,{len}]}}}}"#);
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(noise(len, seed));
    bytes
}

/// An input or output of a graph: name, element type of `TensorProto`, dimensions with 0 for any.
pub type Value = (&'static str, u8, &'static [u8]);

/// An ONNX graph of `Identity` nodes, with a weight in each of the named data files.
pub fn onnx(inputs: &[Value], outputs: &[Value], data_files: &[(&str, usize)]) -> Vec<u8> {
    let mut graph = Vec::new();
    let node = [text(1, inputs[0].0), text(2, outputs[0].0), text(4, "Identity")].concat();
    graph.extend(message(1, &node));
    graph.extend(text(2, "graph"));
    for (at, (location, len)) in data_files.iter().enumerate() {
        let pair = |key: &str, value: &str| message(13, &[text(1, key), text(2, value)].concat());
        let tensor = [
            varint(1, *len as u64),
            varint(2, 2),
            text(8, &format!("w{at}")),
            pair("location", location),
            pair("length", &len.to_string()),
            varint(14, 1),
        ];
        graph.extend(message(5, &tensor.concat()));
    }
    for (number, values) in [(11, inputs), (12, outputs)] {
        for value in values {
            graph.extend(message(number, &value_info(value)));
        }
    }
    let opset = message(8, &[text(1, ""), varint(2, 17)].concat());
    [varint(1, 8), text(2, "test"), message(7, &graph), opset].concat()
}

fn value_info((name, element, dims): &Value) -> Vec<u8> {
    let dim = |&dim: &u8| {
        message(
            1,
            &if dim == 0 {
                text(2, "any")
            } else {
                varint(1, dim.into())
            },
        )
    };
    let shape: Vec<u8> = dims.iter().flat_map(dim).collect();
    let tensor = [varint(1, (*element).into()), message(2, &shape)].concat();
    [text(1, name), message(2, &message(1, &tensor))].concat()
}

fn text(number: u8, text: &str) -> Vec<u8> {
    message(number, text.as_bytes())
}

fn message(number: u8, body: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2], leb128(body.len() as u64).as_slice(), body].concat()
}

fn varint(number: u8, value: u64) -> Vec<u8> {
    [vec![number << 3], leb128(value)].concat()
}

fn leb128(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 128 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
