//! The list of architectures.

use std::io;
use std::path::{Path, PathBuf};

use crate::models::{bert, clip, digits, gpt2, mlp, mobilenet_v2, resnet50, t5, vit};
use crate::{ExternalData, Graph, Input, IoSpec, Prng};

/// How much of an architecture to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// As published.
    Full,
    /// The same topology with few channels and layers. An MLP and the digits CNN have one size only.
    Tiny,
}

/// An architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zoo {
    /// A multi-layer perceptron, `x` [N, dim] → `y` [N, dim].
    Mlp {
        /// Width of input and output.
        dim: usize,
        /// Width of the hidden layers.
        width: usize,
        /// Number of layers, at least one.
        depth: usize,
    },
    /// The CNN of `models/digits`, `image` `[N, 1, 8, 8]` → `logits` `[N, 10]`, `digit` int64 `[N]`.
    Digits,
    /// ResNet-50, `x` [N, 3, 224, 224] → `logits` [N, 1000].
    ResNet50,
    /// MobileNetV2, `x` [N, 3, 224, 224] → `logits` [N, 1000].
    MobileNetV2,
    /// BERT-base, `input_ids`, `attention_mask`, `token_type_ids` int64 [batch, sequence] → `last_hidden_state`.
    BertBase,
    /// GPT-2 small, `input_ids`, `attention_mask` → `logits` [batch, sequence, vocabulary].
    Gpt2,
    /// Encoder of T5-small, `input_ids`, `attention_mask` → `last_hidden_state`.
    T5Encoder,
    /// Decoder of T5-small, `input_ids`, `encoder_attention_mask`, `encoder_hidden_states` → `logits`.
    T5Decoder,
    /// ViT-base/16, `pixel_values` [N, 3, 224, 224] → `logits` [N, 1000].
    VitBase,
    /// Text encoder of CLIP ViT-B/32, `input_ids`, `attention_mask` → `text_embeds` [batch, 512].
    ClipText,
    /// Image encoder of CLIP ViT-B/32, `pixel_values` [N, 3, 224, 224] → `image_embeds` [N, 512].
    ClipVision,
}

impl Zoo {
    /// A small MLP: tens of microseconds.
    pub const MLP_SMALL: Zoo = Zoo::Mlp {
        dim: 128,
        width: 128,
        depth: 3,
    };

    /// A medium MLP: about 0.6 ms for a row on a core of 2024, 7.9 M parameters.
    pub const MLP_MEDIUM: Zoo = Zoo::Mlp {
        dim: 1024,
        width: 1536,
        depth: 4,
    };

    /// Every architecture once, the MLP as [`Zoo::MLP_SMALL`].
    pub const ALL: [Zoo; 11] = [
        Zoo::MLP_SMALL,
        Zoo::Digits,
        Zoo::ResNet50,
        Zoo::MobileNetV2,
        Zoo::BertBase,
        Zoo::Gpt2,
        Zoo::T5Encoder,
        Zoo::T5Decoder,
        Zoo::VitBase,
        Zoo::ClipText,
        Zoo::ClipVision,
    ];

    /// Name of the model, valid as a name in a manifest.
    pub fn name(&self) -> String {
        match self {
            Zoo::Mlp { dim, width, depth } => return format!("mlp-{dim}x{width}x{depth}"),
            Zoo::Digits => "digits",
            Zoo::ResNet50 => "resnet50",
            Zoo::MobileNetV2 => "mobilenet-v2",
            Zoo::BertBase => "bert-base",
            Zoo::Gpt2 => "gpt2",
            Zoo::T5Encoder => "t5-encoder",
            Zoo::T5Decoder => "t5-decoder",
            Zoo::VitBase => "vit-base",
            Zoo::ClipText => "clip-text",
            Zoo::ClipVision => "clip-vision",
        }
        .to_owned()
    }

    /// Name of the file that [`Zoo::write`] writes.
    pub fn file_name(&self, size: Size) -> String {
        match size {
            Size::Full => format!("{}.onnx", self.name()),
            Size::Tiny => format!("{}-tiny.onnx", self.name()),
        }
    }

    /// The graph; no weight exists before it is saved.
    pub fn graph(&self, size: Size, seed: u64) -> Graph {
        match *self {
            Zoo::Mlp { dim, width, depth } => mlp::graph(dim, width, depth, seed),
            Zoo::Digits => digits::graph(seed),
            Zoo::ResNet50 => resnet50::graph(size, seed),
            Zoo::MobileNetV2 => mobilenet_v2::graph(size, seed),
            Zoo::BertBase => bert::graph(size, seed),
            Zoo::Gpt2 => gpt2::graph(size, seed),
            Zoo::T5Encoder => t5::encoder_graph(size, seed),
            Zoo::T5Decoder => t5::decoder_graph(size, seed),
            Zoo::VitBase => vit::graph(size, seed),
            Zoo::ClipText => clip::text_graph(size, seed),
            Zoo::ClipVision => clip::vision_graph(size, seed),
        }
    }

    /// Writes `<dir>/<file_name>`, and the directory if it is missing. Returns the path.
    ///
    /// # Errors
    /// From the file system, and for an MLP of 2 GiB or more: save its [`Zoo::graph`] with external data.
    pub fn write(&self, dir: &Path, size: Size, seed: u64) -> io::Result<PathBuf> {
        std::fs::create_dir_all(dir)?;
        let path = dir.join(self.file_name(size));
        self.graph(size, seed).save(&path, ExternalData::Never)?;
        Ok(path)
    }

    /// Inputs as a manifest describes them.
    pub fn input_specs(&self, size: Size) -> Vec<IoSpec> {
        self.graph(size, 0).input_specs()
    }

    /// Outputs as a manifest describes them.
    pub fn output_specs(&self, size: Size) -> Vec<IoSpec> {
        self.graph(size, 0).output_specs()
    }

    /// Valid inputs with `rows` rows; text has 16 tokens a row.
    pub fn inputs(&self, size: Size, rows: usize, seed: u64) -> Vec<Input> {
        self.inputs_of(size, rows, 16, seed)
    }

    /// Valid inputs with `rows` rows and, for text, `sequence` tokens a row; the limit is 77 for CLIP's text encoder,
    /// 512 for BERT and 1024 for GPT-2, tiny 64, and 32 for CLIP. Every second row is padded at its end.
    pub fn inputs_of(&self, size: Size, rows: usize, sequence: usize, seed: u64) -> Vec<Input> {
        // The weights use the streams from 0 upwards.
        let random = &mut Prng::new(seed, u64::MAX);
        let text = |vocabulary| Text {
            vocabulary,
            shape: [rows, sequence],
        };
        let image = |side| [rows, 3, side, side];
        match *self {
            Zoo::Mlp { dim, .. } => vec![Input::noise("x", &[rows, dim], random)],
            Zoo::Digits => {
                vec![Input::f32("image", &[rows, 1, 8, 8], |_| random.below(17) as f32)]
            }
            Zoo::ResNet50 => vec![Input::noise(
                "x",
                &image(resnet50::Config::new(size).image),
                random,
            )],
            Zoo::MobileNetV2 => vec![Input::noise(
                "x",
                &image(mobilenet_v2::Config::new(size).image),
                random,
            )],
            Zoo::VitBase => vec![Input::noise(
                "pixel_values",
                &image(vit::Config::new(size).image),
                random,
            )],
            Zoo::ClipVision => vec![Input::noise(
                "pixel_values",
                &image(clip::Config::new(size).image),
                random,
            )],
            Zoo::BertBase => {
                let text = text(bert::config(size).vocabulary);
                let types = Input::i64("token_type_ids", &text.shape, |at| {
                    i64::from(at % sequence >= sequence / 2)
                });
                vec![text.ids(random), text.mask("attention_mask"), types]
            }
            Zoo::Gpt2 => text(gpt2::config(size).vocabulary).ids_and_mask(random),
            Zoo::T5Encoder => text(t5::Config::new(size).vocabulary).ids_and_mask(random),
            Zoo::ClipText => text(clip::Config::new(size).vocabulary).ids_and_mask(random),
            Zoo::T5Decoder => {
                let config = t5::Config::new(size);
                // Longer than the decoder's own, so that the two cannot be confused unnoticed.
                let encoded = Text {
                    vocabulary: config.vocabulary,
                    shape: [rows, sequence + 4],
                };
                let states = [rows, sequence + 4, config.hidden()];
                vec![
                    text(config.vocabulary).ids(random),
                    encoded.mask("encoder_attention_mask"),
                    Input::noise("encoder_hidden_states", &states, random),
                ]
            }
        }
    }
}

struct Text {
    vocabulary: usize,
    shape: [usize; 2],
}

impl Text {
    fn ids(&self, random: &mut Prng) -> Input {
        Input::i64("input_ids", &self.shape, |_| {
            random.below(self.vocabulary as u64) as i64
        })
    }

    /// Ones, but for the last quarter of every second row.
    fn mask(&self, name: &str) -> Input {
        let [_, sequence] = self.shape;
        let padded_from = sequence - sequence / 4;
        Input::i64(name, &self.shape, |at| {
            let is_padded = (at / sequence) % 2 == 1 && at % sequence >= padded_from;
            i64::from(!is_padded)
        })
    }

    fn ids_and_mask(&self, random: &mut Prng) -> Vec<Input> {
        vec![self.ids(random), self.mask("attention_mask")]
    }
}
