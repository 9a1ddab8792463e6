//! Which files of a model are fetched. A hub keeps many variants of one model side by side: all of them would be
//! ten times the download, and only one can run.

use std::{fmt, str::FromStr};

/// Which files to fetch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FormatChoice {
    /// The first of ONNX, GGUF, SafeTensors, PyTorch, TFLite that the model has.
    #[default]
    Auto,
    /// ONNX graphs with their external data.
    Onnx,
    /// One GGUF quantisation.
    Gguf,
    /// SafeTensors weights.
    Safetensors,
    /// PyTorch weights.
    Pytorch,
    /// TFLite models.
    Tflite,
    /// Every file.
    All,
}

impl FormatChoice {
    /// The word on the command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Onnx => "onnx",
            Self::Gguf => "gguf",
            Self::Safetensors => "safetensors",
            Self::Pytorch => "pytorch",
            Self::Tflite => "tflite",
            Self::All => "all",
        }
    }

    /// Every choice, in the order of preference after `auto`.
    pub const EVERY: [Self; 7] = [
        Self::Auto,
        Self::Onnx,
        Self::Gguf,
        Self::Safetensors,
        Self::Pytorch,
        Self::Tflite,
        Self::All,
    ];
}

impl fmt::Display for FormatChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for FormatChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::EVERY
            .into_iter()
            .find(|choice| choice.word() == text.to_lowercase());
        found.ok_or_else(|| "expected one of auto, onnx, gguf, safetensors, pytorch, tflite, all".into())
    }
}

/// Quantisations of GGUF, from what most people want downwards.
const GGUF_ORDER: [&str; 8] = [
    "q4_k_m", "q4_k_s", "q4_0", "q5_k_m", "q5_k_s", "q6_k", "q8_0", "f16",
];

/// Variants of an ONNX graph beside the plain one, from what loses least downwards.
const ONNX_VARIANTS: [&str; 8] = ["fp16", "o4", "quantized", "int8", "uint8", "q8", "q4f16", "q4"];

/// Beside the weights: what is needed to turn text or an image into tensors, and to know what the model is.
const COMPANIONS: [&str; 19] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "chat_template.jinja",
    "preprocessor_config.json",
    "processor_config.json",
    "labels.txt",
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
];

/// The files to fetch, in the listing's order; empty when the model has none of the format.
/// Weights are chosen by name, which is all that a listing has; what they are is looked at after they came.
#[must_use]
pub fn choose<'a>(paths: &[&'a str], choice: FormatChoice) -> Vec<&'a str> {
    let weights = match choice {
        FormatChoice::Auto => FormatChoice::EVERY[1..6]
            .iter()
            .map(|&format| weights(paths, format))
            .find(|chosen| !chosen.is_empty())
            .unwrap_or_default(),
        FormatChoice::All => paths
            .iter()
            .copied()
            .filter(|path| !is_of_the_repository(path))
            .collect(),
        format => weights(paths, format),
    };
    if weights.is_empty() {
        return weights;
    }
    let is_wanted = |path: &&str| weights.contains(path) || is_companion(path, &weights);
    paths.iter().copied().filter(is_wanted).collect()
}

fn weights<'a>(paths: &[&'a str], format: FormatChoice) -> Vec<&'a str> {
    match format {
        FormatChoice::Gguf => gguf(paths),
        FormatChoice::Onnx => onnx(paths),
        FormatChoice::Safetensors => sharded(paths, "model", ".safetensors"),
        FormatChoice::Pytorch => {
            let chosen = sharded(paths, "pytorch_model", ".bin");
            let ending = |ending: &str| with_ending(paths, ending);
            [chosen, ending(".pt"), ending(".pth")]
                .into_iter()
                .find(|c| !c.is_empty())
                .unwrap_or_default()
        }
        FormatChoice::Tflite => with_ending(paths, ".tflite").into_iter().take(1).collect(),
        FormatChoice::Auto | FormatChoice::All => Vec::new(),
    }
}

fn with_ending<'a>(paths: &[&'a str], ending: &str) -> Vec<&'a str> {
    paths
        .iter()
        .copied()
        .filter(|path| path.to_lowercase().ends_with(ending))
        .collect()
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn directory(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// Git's own files: they say nothing about the model.
fn is_of_the_repository(path: &str) -> bool {
    matches!(file_name(path), ".gitattributes" | ".gitignore")
}

fn is_companion(path: &str, weights: &[&str]) -> bool {
    let is_near =
        directory(path).is_empty() || weights.iter().any(|weight| directory(weight) == directory(path));
    is_near && COMPANIONS.contains(&file_name(path))
}

/// One quantisation, with all parts if it is split.
fn gguf<'a>(paths: &[&'a str]) -> Vec<&'a str> {
    // A projector is half of a multi-modal model and runs in none of the plugins alone.
    let models: Vec<&str> = with_ending(paths, ".gguf")
        .into_iter()
        .filter(|path| !file_name(path).starts_with("mmproj"))
        .collect();
    let preferred = GGUF_ORDER.iter().find_map(|quantisation| {
        models
            .iter()
            .find(|path| path.to_lowercase().contains(quantisation))
    });
    let Some(first) = preferred.or(models.first()) else {
        return Vec::new();
    };
    let stem = without_part(first);
    models
        .iter()
        .copied()
        .filter(|path| without_part(path) == stem)
        .collect()
}

/// `x-00001-of-00003.gguf` and `x-00002-of-00003.gguf` are parts of the same file.
fn without_part(path: &str) -> &str {
    let stem = path.len().saturating_sub(".gguf".len());
    let stem = path.get(..stem).unwrap_or(path);
    let is_part = |tail: &str| {
        let mut words = tail.rsplit('-');
        let (count, of, part) = (words.next(), words.next(), words.next());
        let is_number =
            |word: Option<&str>| word.is_some_and(|w| w.len() == 5 && w.bytes().all(|b| b.is_ascii_digit()));
        of == Some("of") && is_number(count) && is_number(part)
    };
    if is_part(stem) {
        &stem[..stem.len() - "-00001-of-00001".len()]
    } else {
        stem
    }
}

/// Graphs that belong together, in their plain variant, with their external data.
fn onnx<'a>(paths: &[&'a str]) -> Vec<&'a str> {
    let graphs = with_ending(paths, ".onnx");
    let chosen = onnx_graphs(&graphs);
    let is_data = |path: &str| chosen.iter().any(|graph| is_external_data(path, graph));
    paths
        .iter()
        .copied()
        .filter(|path| chosen.contains(path) || is_data(path))
        .collect()
}

fn is_external_data(path: &str, graph: &str) -> bool {
    let stem = graph.strip_suffix(".onnx").unwrap_or(graph);
    let after_graph = path
        .strip_prefix(graph)
        .is_some_and(|tail| tail.starts_with("_data") || tail.starts_with(".data"));
    after_graph
        || path
            .strip_prefix(stem)
            .is_some_and(|tail| tail == ".data" || tail == ".bin")
}

fn onnx_graphs<'a>(graphs: &[&'a str]) -> Vec<&'a str> {
    // The root, then `onnx/`, then wherever the listing has them first.
    let mut directories: Vec<&str> = graphs.iter().map(|graph| directory(graph)).collect();
    directories.sort_by_key(|directory| match *directory {
        "" => 0,
        "onnx" => 1,
        _ => 2,
    });
    let Some(&home) = directories.first() else {
        return Vec::new();
    };
    let here: Vec<&str> = graphs
        .iter()
        .copied()
        .filter(|graph| directory(graph) == home)
        .collect();
    let find = |name: &str| here.iter().copied().find(|graph| file_name(graph) == name);
    if let Some(model) = find("model.onnx") {
        return vec![model];
    }
    for set in [
        ["encoder_model.onnx", "decoder_model.onnx"],
        ["text_model.onnx", "vision_model.onnx"],
    ] {
        if let (Some(first), Some(second)) = (find(set[0]), find(set[1])) {
            return vec![first, second];
        }
    }
    let plain: Vec<&str> = here
        .iter()
        .copied()
        .filter(|graph| variant(graph).is_none())
        .collect();
    if !plain.is_empty() {
        return plain;
    }
    let best = ONNX_VARIANTS
        .iter()
        .find_map(|name| here.iter().find(|graph| variant(graph) == Some(name)));
    best.or(here.first())
        .map(|graph| vec![*graph])
        .unwrap_or_default()
}

/// `model_fp16.onnx` is the variant `fp16`.
fn variant(graph: &str) -> Option<&'static str> {
    let name = file_name(graph).to_lowercase();
    let stem = name.strip_suffix(".onnx").unwrap_or(&name);
    const OTHERS: [&str; 9] = [
        "bnb4", "o1", "o2", "o3", "qint8", "quint8", "q8f16", "fp32", "merged",
    ];
    let is_word = |word: &&&str| stem.split('_').skip(1).any(|part| part == **word);
    ONNX_VARIANTS
        .iter()
        .find(is_word)
        .or_else(|| OTHERS.iter().find(is_word))
        .copied()
}

/// The plain file, or all shards with their index.
fn sharded<'a>(paths: &[&'a str], stem: &str, ending: &str) -> Vec<&'a str> {
    let whole = format!("{stem}{ending}");
    if let Some(path) = paths.iter().find(|path| **path == whole) {
        return vec![path];
    }
    let index = format!("{whole}.index.json");
    let prefix = format!("{stem}-");
    let is_shard = |path: &str| path.starts_with(&prefix) && path.ends_with(ending);
    let shards: Vec<&str> = paths
        .iter()
        .copied()
        .filter(|path| is_shard(path) || *path == index)
        .collect();
    if shards.is_empty() && ending != ".bin" {
        with_ending(paths, ending)
    } else {
        shards
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(listing: &str, choice: FormatChoice, expect: &str) {
        let paths: Vec<&str> = listing.split_whitespace().collect();
        let expect: Vec<&str> = expect.split_whitespace().collect();
        assert_eq!(choose(&paths, choice), expect, "{listing} as {choice}");
    }

    #[test]
    fn auto_takes_what_runs() {
        check(
            "README.md config.json model.safetensors",
            FormatChoice::Auto,
            "config.json model.safetensors",
        );
        check(
            ".gitattributes config.json onnx/model.onnx onnx/model_fp16.onnx onnx/model_quantized.onnx tokenizer.json pytorch_model.bin",
            FormatChoice::Auto,
            "config.json onnx/model.onnx tokenizer.json",
        );
        check(
            "m.Q8_0.gguf m.Q4_K_M.gguf m.Q2_K.gguf config.json model.onnx",
            FormatChoice::Auto,
            "config.json model.onnx",
        );
        check("README.md", FormatChoice::Auto, "");
        check("", FormatChoice::Auto, "");
        check("a.tflite b.tflite", FormatChoice::Auto, "a.tflite");
    }

    #[test]
    fn onnx_comes_with_its_data_and_in_sets() {
        check(
            "model.onnx model.onnx_data model.onnx_data_1 model.onnx.data other.bin",
            FormatChoice::Onnx,
            "model.onnx model.onnx_data model.onnx_data_1 model.onnx.data",
        );
        check(
            "onnx/decoder_model.onnx onnx/decoder_model_merged.onnx onnx/decoder_with_past_model.onnx onnx/encoder_model.onnx onnx/encoder_model_int8.onnx",
            FormatChoice::Onnx,
            "onnx/decoder_model.onnx onnx/encoder_model.onnx",
        );
        check(
            "onnx/text_model.onnx onnx/vision_model.onnx onnx/vision_model_q4.onnx",
            FormatChoice::Onnx,
            "onnx/text_model.onnx onnx/vision_model.onnx",
        );
        check(
            "onnx/model_q4.onnx onnx/model_fp16.onnx",
            FormatChoice::Onnx,
            "onnx/model_fp16.onnx",
        );
        check("mobilenet.onnx", FormatChoice::Onnx, "mobilenet.onnx");
        check(
            "deep/er/a.onnx onnx/model.onnx",
            FormatChoice::Onnx,
            "onnx/model.onnx",
        );
        check("model.safetensors", FormatChoice::Onnx, "");
        check(
            "onnx/model.onnx onnx/tokenizer.json tokenizer.json other/tokenizer.json",
            FormatChoice::Onnx,
            "onnx/model.onnx onnx/tokenizer.json tokenizer.json",
        );
    }

    #[test]
    fn parts_stay_together() {
        check(
            "m-q4_0-00001-of-00002.gguf m-q4_0-00002-of-00002.gguf m-q8_0-00001-of-00002.gguf mmproj-f16.gguf",
            FormatChoice::Gguf,
            "m-q4_0-00001-of-00002.gguf m-q4_0-00002-of-00002.gguf",
        );
        check(
            "model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json",
            FormatChoice::Safetensors,
            "model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json",
        );
        check(
            "pytorch_model.bin training_args.bin",
            FormatChoice::Pytorch,
            "pytorch_model.bin",
        );
        check("weights.pt x.pth", FormatChoice::Pytorch, "weights.pt");
        check(
            ".gitattributes a b/c README.md",
            FormatChoice::All,
            "a b/c README.md",
        );
    }

    #[test]
    fn words_are_read() {
        for choice in FormatChoice::EVERY {
            assert_eq!(choice.word().parse(), Ok(choice));
        }
        assert!("tensorflow".parse::<FormatChoice>().is_err());
    }
}
