//! ViT-base with patches of 16 pixels (Dosovitskiy and others, 2020), with its classifier.

use crate::graph::{Graph, dims};
use crate::models::transformer::{Stack, first_token, patch_conv, patch_tokens, pre_norm_block};
use crate::{DType, Size};

pub(crate) struct Config {
    pub image: usize,
    patch: usize,
    stack: Stack,
    classes: usize,
}

impl Config {
    pub(crate) fn new(size: Size) -> Self {
        let (image, patch, classes, stack) = match size {
            Size::Full => (224, 16, 1000, Stack::BASE),
            Size::Tiny => (32, 8, 10, Stack::TINY),
        };
        Self {
            image,
            patch,
            classes,
            stack: Stack {
                epsilon: 1e-12,
                ..stack
            },
        }
    }
}

/// `pixel_values` [N, 3, 224, 224] → `logits` [N, 1000].
pub(crate) fn graph(size: Size, seed: u64) -> Graph {
    let Config {
        image,
        patch,
        stack,
        classes,
    } = Config::new(size);
    let hidden = stack.hidden();
    let mut g = Graph::new("vit", seed);
    let pixels = g.input("pixel_values", DType::F32, &dims!["N", 3, image, image]);
    let grid = g.conv("embeddings.patch", pixels, patch_conv(patch, hidden));
    let mut x = patch_tokens(&mut g, grid, (image / patch).pow(2), hidden);
    for layer in 0..stack.layers {
        x = pre_norm_block(&mut g, &format!("layer.{layer}"), x, &stack, None);
    }
    let x = g.layer_norm("norm", x, hidden, stack.epsilon);
    let token = first_token(&mut g, x);
    let logits = g.gemm("classifier", token, hidden, classes, 1.0);
    g.output("logits", logits, DType::F32, &dims!["N", classes]);
    g
}
