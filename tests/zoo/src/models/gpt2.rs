//! GPT-2 small (Radford and others, 2019): the whole prompt in one pass, no key-value cache.

use crate::graph::{Graph, Value, dims};
use crate::models::transformer::{
    BLOCKED, EMBEDDING_DEVIATION, Scores, Stack, attend, causal_mask, learned_positions, padding_mask,
};
use crate::onnx::AttributeProto as Attribute;
use crate::{DType, Size};

pub(crate) struct Config {
    pub vocabulary: usize,
    positions: usize,
    stack: Stack,
}

impl Config {
    pub(crate) fn new(size: Size) -> Self {
        let (vocabulary, positions, stack) = match size {
            Size::Full => (50_257, 1024, Stack::BASE),
            Size::Tiny => (128, 64, Stack::TINY),
        };
        Self {
            vocabulary,
            positions,
            stack: Stack {
                activation: Graph::gelu_tanh,
                ..stack
            },
        }
    }
}

/// `input_ids`, `attention_mask` [batch, sequence] → `logits` [batch, sequence, vocabulary].
pub(crate) fn graph(size: Size, seed: u64) -> Graph {
    let config = Config::new(size);
    let hidden = config.stack.hidden();
    let mut g = Graph::new("gpt2", seed);
    let [ids, mask] =
        ["input_ids", "attention_mask"].map(|name| g.input(name, DType::I64, &dims!["batch", "sequence"]));
    let (table, words) = g.embedding("wte", ids, [config.vocabulary, hidden], EMBEDDING_DEVIATION);
    let (positions, places) = learned_positions(&mut g, "wpe", ids, [config.positions, hidden]);
    let mut x = g.add(words, places);
    let padding = padding_mask(&mut g, mask, BLOCKED);
    let causal = causal_mask(&mut g, positions);
    let mask = g.add(causal, padding);
    for layer in 0..config.stack.layers {
        x = block(&mut g, &format!("h.{layer}"), x, &config.stack, mask);
    }
    let x = g.layer_norm("ln_f", x, hidden, config.stack.epsilon);
    // The output projection is the embedding table, transposed.
    let projection = g.transpose(table, &[1, 0]);
    let logits = g.matmul(x, projection);
    g.output(
        "logits",
        logits,
        DType::F32,
        &dims!["batch", "sequence", config.vocabulary],
    );
    g
}

fn block(g: &mut Graph, name: &str, x: Value, stack: &Stack, mask: Value) -> Value {
    let hidden = stack.hidden();
    let normal = g.layer_norm(&format!("{name}.ln_1"), x, hidden, stack.epsilon);
    let qkv = g.linear(&format!("{name}.attn.c_attn"), normal, hidden, 3 * hidden, 1.0);
    let lengths = g.ints(&[hidden as i64; 3]);
    let parts = g.op_many("Split", &[qkv, lengths], &[Attribute::int("axis", 2)], 3);
    let scores = Scores::scaled(stack.heads, Some(mask));
    let context = attend(g, [parts[0], parts[1], parts[2]], stack.heads, scores);
    let attended = g.linear(
        &format!("{name}.attn.c_proj"),
        context,
        hidden,
        hidden,
        stack.residual_gain(),
    );
    let x = g.add(attended, x);
    let normal = g.layer_norm(&format!("{name}.ln_2"), x, hidden, stack.epsilon);
    let inner = g.linear(&format!("{name}.mlp.c_fc"), normal, hidden, stack.inner, 1.0);
    let inner = (stack.activation)(g, inner);
    let outer = g.linear(
        &format!("{name}.mlp.c_proj"),
        inner,
        stack.inner,
        hidden,
        stack.residual_gain(),
    );
    g.add(outer, x)
}
