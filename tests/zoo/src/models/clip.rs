//! The two encoders of CLIP ViT-B/32 (Radford and others, 2021), each with its projection to the shared space.

use crate::graph::{Graph, Value, dims};
use crate::models::transformer::{
    BLOCKED, EMBEDDING_DEVIATION, Heads, Stack, causal_mask, first_token, learned_positions, padding_mask,
    patch_conv, patch_tokens, pre_norm_block, token_inputs,
};
use crate::onnx::AttributeProto as Attribute;
use crate::{DType, Size};

pub(crate) struct Config {
    pub vocabulary: usize,
    pub context: usize,
    pub image: usize,
    patch: usize,
    text: Stack,
    vision: Stack,
    shared: usize,
}

impl Config {
    pub(crate) fn new(size: Size) -> Self {
        let [base, tiny] = [Stack::BASE, Stack::TINY].map(|stack| Stack {
            activation: Graph::quick_gelu,
            ..stack
        });
        match size {
            Size::Full => Self {
                vocabulary: 49_408,
                context: 77,
                image: 224,
                patch: 32,
                text: Stack {
                    heads: Heads { count: 8, width: 64 },
                    inner: 2048,
                    ..base
                },
                vision: base,
                shared: 512,
            },
            Size::Tiny => Self {
                vocabulary: 128,
                context: 32,
                image: 32,
                patch: 8,
                text: tiny,
                vision: tiny,
                shared: 16,
            },
        }
    }
}

/// `input_ids`, `attention_mask` [batch, sequence] → `text_embeds` [batch, 512].
pub(crate) fn text_graph(size: Size, seed: u64) -> Graph {
    let config = Config::new(size);
    let stack = config.text;
    let hidden = stack.hidden();
    let mut g = Graph::new("clip_text", seed);
    let [ids, mask] = token_inputs(&mut g, ["input_ids", "attention_mask"]);
    let table = [config.vocabulary, hidden];
    let (_, words) = g.embedding("embeddings.token", ids, table, EMBEDDING_DEVIATION);
    let (positions, places) = learned_positions(&mut g, "embeddings.position", ids, [config.context, hidden]);
    let mut x = g.add(words, places);
    let padding = padding_mask(&mut g, mask, BLOCKED);
    let causal = causal_mask(&mut g, positions);
    let mask = g.add(causal, padding);
    for layer in 0..stack.layers {
        x = pre_norm_block(&mut g, &format!("layers.{layer}"), x, &stack, Some(mask));
    }
    let x = g.layer_norm("final_norm", x, hidden, stack.epsilon);
    let pooled = end_of_text(&mut g, ids, x);
    let embeds = g.linear_unbiased("projection", pooled, hidden, config.shared, 1.0);
    g.output("text_embeds", embeds, DType::F32, &dims!["batch", config.shared]);
    g
}

/// The vector at the end-of-text token of each row, which has the highest id of the vocabulary.
fn end_of_text(g: &mut Graph, ids: Value, x: Value) -> Value {
    let end = g.op(
        "ArgMax",
        &[ids],
        &[Attribute::int("axis", 1), Attribute::int("keepdims", 1)],
    );
    let batch = g.length(ids, 0);
    let rows = g.range(batch);
    let rows = g.unsqueeze(rows, &[1]);
    let indices = g.concat(&[rows, end], 1);
    g.op("GatherND", &[x, indices], &[])
}

/// `pixel_values` [N, 3, 224, 224] → `image_embeds` [N, 512].
pub(crate) fn vision_graph(size: Size, seed: u64) -> Graph {
    let config = Config::new(size);
    let stack = config.vision;
    let hidden = stack.hidden();
    let mut g = Graph::new("clip_vision", seed);
    let image = config.image;
    let pixels = g.input("pixel_values", DType::F32, &dims!["N", 3, image, image]);
    // CLIP's patch embedding has no bias, ViT's has one.
    let grid = g.conv_unbiased("embeddings.patch", pixels, patch_conv(config.patch, hidden));
    let x = patch_tokens(&mut g, grid, (image / config.patch).pow(2), hidden);
    let mut x = g.layer_norm("pre_norm", x, hidden, stack.epsilon);
    for layer in 0..stack.layers {
        x = pre_norm_block(&mut g, &format!("layers.{layer}"), x, &stack, None);
    }
    let token = first_token(&mut g, x);
    let token = g.layer_norm("post_norm", token, hidden, stack.epsilon);
    let embeds = g.linear_unbiased("projection", token, hidden, config.shared, 1.0);
    g.output("image_embeds", embeds, DType::F32, &dims!["N", config.shared]);
    g
}
