//! BERT-base (Devlin and others, 2018), the encoder without a head.

use crate::graph::{Graph, Value, dims};
use crate::models::transformer::{
    BLOCKED, EMBEDDING_DEVIATION, Stack, TextConfig, feed_forward, padding_mask, self_attention, token_inputs,
};
use crate::{DType, Size};

pub(crate) fn config(size: Size) -> TextConfig {
    let mut config = TextConfig::new(size, [30_522, 512]);
    config.stack.epsilon = 1e-12;
    config
}

/// The encoder of MiniLM-L6 (Wang and others, 2020), a BERT with six narrow layers: for learned weights, see
/// [`Graph::learn`]. Inputs and output as [`crate::Zoo::BertBase`].
pub fn minilm_l6() -> Graph {
    let mut config = config(Size::Full);
    config.stack.layers = 6;
    config.stack.heads.width = 32;
    config.stack.inner = 1536;
    encoder(&config, 0)
}

/// `input_ids`, `attention_mask`, `token_type_ids` [batch, sequence] → `last_hidden_state`.
pub(crate) fn graph(size: Size, seed: u64) -> Graph {
    encoder(&config(size), seed)
}

fn encoder(config: &TextConfig, seed: u64) -> Graph {
    let hidden = config.stack.hidden();
    let mut g = Graph::new("bert", seed);
    let [ids, mask, types] = token_inputs(&mut g, ["input_ids", "attention_mask", "token_type_ids"]);
    let (_, words) = g.embedding(
        "embeddings.word",
        ids,
        [config.vocabulary, hidden],
        EMBEDDING_DEVIATION,
    );
    let (_, kinds) = g.embedding("embeddings.token_type", types, [2, hidden], EMBEDDING_DEVIATION);
    let positions = token_positions(&mut g, mask);
    let table = [config.positions, hidden];
    let (_, places) = g.embedding("embeddings.position", positions, table, EMBEDDING_DEVIATION);
    let x = g.add(words, kinds);
    let x = g.add(x, places);
    let mut x = g.layer_norm("embeddings.norm", x, hidden, config.stack.epsilon);
    let mask = padding_mask(&mut g, mask, BLOCKED);
    for layer in 0..config.stack.layers {
        x = block(&mut g, &format!("layer.{layer}"), x, &config.stack, mask);
    }
    g.output(
        "last_hidden_state",
        x,
        DType::F32,
        &dims!["batch", "sequence", hidden],
    );
    g
}

/// Positions that count the tokens which are not padding, [batch, sequence]. Like a range for text that is padded at its end,
/// but the result keeps the shape of the input by name, and a runtime fuses `Add` and `LayerNormalization` only where it can
/// tell that the two addends have one shape.
fn token_positions(g: &mut Graph, attention_mask: Value) -> Value {
    let (axis, one) = (g.int(1), g.int(1));
    let counted = g.op("CumSum", &[attention_mask, axis], &[]);
    g.sub(counted, one)
}

/// A block that normalises after each branch.
fn block(g: &mut Graph, name: &str, x: Value, stack: &Stack, mask: Value) -> Value {
    let hidden = stack.hidden();
    let attended = self_attention(g, &format!("{name}.attention"), x, stack, Some(mask));
    let sum = g.add(attended, x);
    let x = g.layer_norm(&format!("{name}.norm1"), sum, hidden, stack.epsilon);
    let layers = [&*format!("{name}.intermediate"), &*format!("{name}.output")];
    let outer = feed_forward(g, layers, x, stack);
    let sum = g.add(outer, x);
    g.layer_norm(&format!("{name}.norm2"), sum, hidden, stack.epsilon)
}
