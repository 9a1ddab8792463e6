//! What several tests need: packages, archives built byte by byte, and seeded random bytes.
#![expect(dead_code, reason = "each test uses a part")]

use axon_package::{FileEntry, Manifest, ModelId, Sha256};
use std::{collections::BTreeMap, fs, io::Write, path::Path};

/// Files of a package by path.
pub type Files = BTreeMap<String, Vec<u8>>;

pub fn files<const N: usize>(files: [(&str, &[u8]); N]) -> Files {
    files
        .into_iter()
        .map(|(path, content)| (path.into(), content.into()))
        .collect()
}

pub fn id(text: &str) -> ModelId {
    ModelId::parse(text).unwrap()
}

/// A valid manifest that lists `files`.
pub fn manifest(id: &str, files: &Files) -> Manifest {
    let mut manifest = Manifest::new(&self::id(id), "onnx", "onnx");
    let entry = |(path, content): (&String, &Vec<u8>)| {
        FileEntry::new(path, content.len() as u64, Sha256::of(content))
    };
    manifest.spec.format.files = files.iter().map(entry).collect();
    manifest
}

pub fn write_files(dir: &Path, files: &Files) {
    for (path, content) in files {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// xorshift64*: enough for tests, and the seed is all there is to print.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len.div_ceil(8))
            .flat_map(|_| self.next().to_le_bytes())
            .take(len)
            .collect()
    }
}

/// A tar written by hand, so that it can be as wrong as it likes.
#[derive(Default)]
pub struct Tar(pub Vec<u8>);

impl Tar {
    pub fn file(self, name: &str, content: &[u8]) -> Self {
        self.entry(name.as_bytes(), b'0', "", content.len() as u64, content)
    }

    pub fn kind(self, name: &str, kind: u8, link: &str) -> Self {
        self.entry(name.as_bytes(), kind, link, 0, b"")
    }

    pub fn entry(mut self, name: &[u8], kind: u8, link: &str, stated_size: u64, content: &[u8]) -> Self {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name);
        header[100..108].copy_from_slice(b"0000644\0");
        header[108..116].copy_from_slice(b"0000000\0");
        header[116..124].copy_from_slice(b"0000000\0");
        header[124..136].copy_from_slice(format!("{stated_size:011o}\0").as_bytes());
        header[136..148].copy_from_slice(b"00000000000\0");
        header[148..156].fill(b' ');
        header[156] = kind;
        header[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header[257..265].copy_from_slice(b"ustar  \0");
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend(header);
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Protobuf, written by hand for the same reason.
pub mod proto {
    pub fn varint(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    pub fn number(field: u64, value: u64) -> Vec<u8> {
        [varint(field << 3), varint(value)].concat()
    }

    pub fn message(field: u64, content: &[u8]) -> Vec<u8> {
        [
            varint(field << 3 | 2),
            varint(content.len() as u64),
            content.to_vec(),
        ]
        .concat()
    }

    pub fn external_tensor(name: &str, dims: &[u64], entries: &[(&str, &str)]) -> Vec<u8> {
        let mut tensor: Vec<u8> = dims.iter().flat_map(|&dim| number(1, dim)).collect();
        tensor.extend(number(2, 1));
        tensor.extend(message(8, name.as_bytes()));
        for (key, value) in entries {
            tensor.extend(message(
                13,
                &[message(1, key.as_bytes()), message(2, value.as_bytes())].concat(),
            ));
        }
        tensor.extend(number(14, 1));
        tensor
    }

    pub fn port(name: &str, dtype: u64, dims: &[Option<u64>]) -> Vec<u8> {
        let dim = |dim: &Option<u64>| match dim {
            Some(value) => message(1, &number(1, *value)),
            None => message(1, &message(2, b"batch")),
        };
        let shape: Vec<u8> = dims.iter().flat_map(dim).collect();
        let tensor = [number(1, dtype), message(2, &shape)].concat();
        [message(1, name.as_bytes()), message(2, &message(1, &tensor))].concat()
    }

    /// A `ModelProto` around the fields of a graph.
    pub fn model(graph: &[u8]) -> Vec<u8> {
        let opset = message(8, &number(2, 17));
        [number(1, 8), message(2, b"test"), message(7, graph), opset].concat()
    }

    /// The smallest graph: a name, an input, an output, a node.
    pub fn graph() -> Vec<u8> {
        [
            message(
                1,
                &[message(1, b"x"), message(2, b"y"), message(4, b"Relu")].concat(),
            ),
            message(2, b"g"),
            message(11, &port("x", 1, &[None, Some(4)])),
            message(12, &port("y", 1, &[None, Some(4)])),
        ]
        .concat()
    }
}
