//! BERT-base (Devlin and others, 2018), the encoder without a head.

use crate::graph::{Graph, Value, dims};
use crate::models::transformer::{BLOCKED, EMBEDDING_DEVIATION, Stack, padding_mask, self_attention};
use crate::{DType, Size};

pub(crate) struct Config {
    pub vocabulary: usize,
    positions: usize,
    stack: Stack,
}

impl Config {
    pub(crate) fn new(size: Size) -> Self {
        let (vocabulary, positions, stack) = match size {
            Size::Full => (30_522, 512, Stack::BASE),
            Size::Tiny => (128, 64, Stack::TINY),
        };
        Self {
            vocabulary,
            positions,
            stack: Stack {
                epsilon: 1e-12,
                ..stack
            },
        }
    }
}

/// `input_ids`, `attention_mask`, `token_type_ids` [batch, sequence] → `last_hidden_state`.
pub(crate) fn graph(size: Size, seed: u64) -> Graph {
    let config = Config::new(size);
    let hidden = config.stack.hidden();
    let mut g = Graph::new("bert", seed);
    let [ids, mask, types] = ["input_ids", "attention_mask", "token_type_ids"]
        .map(|name| g.input(name, DType::I64, &dims!["batch", "sequence"]));
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
    let inner = g.linear(&format!("{name}.intermediate"), x, hidden, stack.inner, 1.0);
    let inner = (stack.activation)(g, inner);
    let outer = g.linear(
        &format!("{name}.output"),
        inner,
        stack.inner,
        hidden,
        stack.residual_gain(),
    );
    let sum = g.add(outer, x);
    g.layer_norm(&format!("{name}.norm2"), sum, hidden, stack.epsilon)
}
