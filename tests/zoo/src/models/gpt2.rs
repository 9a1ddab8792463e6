//! GPT-2 small (Radford and others, 2019): the whole prompt in one pass, no key-value cache.

use crate::graph::{Graph, Value, dims};
use crate::models::transformer::{
    BLOCKED, EMBEDDING_DEVIATION, Scores, Stack, TextConfig, attend, causal_mask, feed_forward,
    learned_positions, padding_mask, token_inputs,
};
use crate::onnx::AttributeProto as Attribute;
use crate::{DType, Size};

pub(crate) fn config(size: Size) -> TextConfig {
    let mut config = TextConfig::new(size, [50_257, 1024]);
    config.stack.activation = Graph::gelu_tanh;
    config
}

/// `input_ids`, `attention_mask` [batch, sequence] → `logits` [batch, sequence, vocabulary].
pub(crate) fn graph(size: Size, seed: u64) -> Graph {
    let config = config(size);
    let hidden = config.stack.hidden();
    let mut g = Graph::new("gpt2", seed);
    let [ids, mask] = token_inputs(&mut g, ["input_ids", "attention_mask"]);
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
    let layers = [&*format!("{name}.mlp.c_fc"), &*format!("{name}.mlp.c_proj")];
    let outer = feed_forward(g, layers, normal, stack);
    g.add(outer, x)
}
