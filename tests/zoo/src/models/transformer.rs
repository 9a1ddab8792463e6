//! What the transformers share: attention in its decomposed form, masks, and the block of pre-norm models.
//!
//! The spelling follows what exporters write (`MatMul`, `Add`, `Reshape`, `Transpose`, …), because that is what the
//! fusions of a runtime look for.

use crate::graph::{Fill, Graph, Value, dims};
use crate::ops::Conv;
use crate::{DType, Size};

/// Sizes of an attention layer.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    pub count: usize,
    pub width: usize,
}

impl Heads {
    pub(super) fn hidden(self) -> usize {
        self.count * self.width
    }
}

/// What the blocks of a stack have in common.
#[derive(Clone, Copy)]
pub(super) struct Stack {
    pub layers: usize,
    pub heads: Heads,
    /// Width between the two layers of the feed-forward part.
    pub inner: usize,
    /// Of the normalisations.
    pub epsilon: f32,
    pub activation: fn(&mut Graph, Value) -> Value,
}

impl Stack {
    /// The sizes that BERT-base, GPT-2 small and ViT-base share.
    pub(super) const BASE: Stack = Stack {
        layers: 12,
        heads: Heads { count: 12, width: 64 },
        inner: 3072,
        epsilon: 1e-5,
        activation: Graph::gelu_erf,
    };
    pub(super) const TINY: Stack = Stack {
        layers: 2,
        heads: Heads { count: 2, width: 16 },
        inner: 64,
        ..Stack::BASE
    };

    pub(super) fn hidden(&self) -> usize {
        self.heads.hidden()
    }

    /// Gain of a projection that is added to the residual stream: the sum of all of them has about the variance of one.
    pub(super) fn residual_gain(&self) -> f32 {
        1.0 / (2 * self.layers) as f32
    }
}

/// The sizes of a model that reads token ids.
pub(crate) struct TextConfig {
    pub vocabulary: usize,
    pub(super) positions: usize,
    pub(super) stack: Stack,
}

impl TextConfig {
    /// With these rows in the tables of words and of positions when it is `Full`, and few when it is not.
    pub(super) fn new(size: Size, full: [usize; 2]) -> Self {
        let ([vocabulary, positions], stack) = match size {
            Size::Full => (full, Stack::BASE),
            Size::Tiny => ([128, 64], Stack::TINY),
        };
        Self {
            vocabulary,
            positions,
            stack,
        }
    }
}

/// The inputs of a text model, each an integer per token, [batch, sequence].
pub(super) fn token_inputs<const N: usize>(g: &mut Graph, names: [&str; N]) -> [Value; N] {
    names.map(|name| g.input(name, DType::I64, &dims!["batch", "sequence"]))
}

/// What `attend` multiplies and adds to the scores.
#[derive(Clone, Copy)]
pub(super) struct Scores {
    /// The scores are divided by this; T5 has no division.
    pub divisor: Option<f32>,
    /// Added to the scores: a mask, a position bias, or both.
    pub bias: Option<Value>,
}

impl Scores {
    pub(super) fn scaled(heads: Heads, bias: Option<Value>) -> Self {
        Self {
            divisor: Some((heads.width as f32).sqrt()),
            bias,
        }
    }
}

/// Attention of projected queries, keys and values, each [batch, sequence, hidden]. Returns the merged context.
pub(super) fn attend(g: &mut Graph, [q, k, v]: [Value; 3], heads: Heads, scores: Scores) -> Value {
    let split = [0, 0, heads.count as i64, heads.width as i64];
    let q = g.reshape(q, &split);
    let q = g.transpose(q, &[0, 2, 1, 3]);
    let k = g.reshape(k, &split);
    let k = g.transpose(k, &[0, 2, 3, 1]);
    let v = g.reshape(v, &split);
    let v = g.transpose(v, &[0, 2, 1, 3]);
    let mut logits = g.matmul(q, k);
    if let Some(divisor) = scores.divisor {
        let divisor = g.scalar(divisor);
        logits = g.div(logits, divisor);
    }
    if let Some(bias) = scores.bias {
        logits = g.add(logits, bias);
    }
    let weights = g.softmax(logits);
    let context = g.matmul(weights, v);
    let context = g.transpose(context, &[0, 2, 1, 3]);
    g.reshape(context, &[0, 0, heads.hidden() as i64])
}

/// Self-attention with separate, biased projections `<name>.q`, `.k`, `.v`, `.out`.
pub(super) fn self_attention(
    g: &mut Graph,
    name: &str,
    x: Value,
    stack: &Stack,
    mask: Option<Value>,
) -> Value {
    let hidden = stack.hidden();
    let qkv = ["q", "k", "v"].map(|part| g.linear(&format!("{name}.{part}"), x, hidden, hidden, 1.0));
    let context = attend(g, qkv, stack.heads, Scores::scaled(stack.heads, mask));
    g.linear(
        &format!("{name}.out"),
        context,
        hidden,
        hidden,
        stack.residual_gain(),
    )
}

/// A block that normalises before each branch (ViT, CLIP).
pub(super) fn pre_norm_block(
    g: &mut Graph,
    name: &str,
    x: Value,
    stack: &Stack,
    mask: Option<Value>,
) -> Value {
    let hidden = stack.hidden();
    let normal = g.layer_norm(&format!("{name}.norm1"), x, hidden, stack.epsilon);
    let attended = self_attention(g, &format!("{name}.attention"), normal, stack, mask);
    let x = g.add(attended, x);
    let normal = g.layer_norm(&format!("{name}.norm2"), x, hidden, stack.epsilon);
    let outer = feed_forward(g, [&format!("{name}.fc1"), &format!("{name}.fc2")], normal, stack);
    g.add(outer, x)
}

/// The feed-forward part of a block: two layers of these names, with the activation between them.
pub(super) fn feed_forward(g: &mut Graph, [first, second]: [&str; 2], x: Value, stack: &Stack) -> Value {
    let hidden = stack.hidden();
    let inner = g.linear(first, x, hidden, stack.inner, 1.0);
    let inner = (stack.activation)(g, inner);
    g.linear(second, inner, stack.inner, hidden, stack.residual_gain())
}

/// `attention_mask` [batch, keys], 1 or 0 → what is added to the scores, [batch, 1, 1, keys], 0 or `blocked`.
pub(super) fn padding_mask(g: &mut Graph, attention_mask: Value, blocked: f32) -> Value {
    let mask = g.unsqueeze(attention_mask, &[1]);
    let mask = g.unsqueeze(mask, &[2]);
    let mask = g.cast(mask, DType::F32);
    let one = g.scalar(1.0);
    let inverse = g.sub(one, mask);
    let blocked = g.scalar(blocked);
    g.mul(inverse, blocked)
}

/// What is added to the scores so that no position sees a later one, [sequence, sequence].
pub(super) fn causal_mask(g: &mut Graph, positions: Value) -> Value {
    let keys = g.unsqueeze(positions, &[0]);
    let queries = g.unsqueeze(positions, &[1]);
    let visible = g.op("LessOrEqual", &[keys, queries], &[]);
    let (zero, blocked) = (g.scalar(0.0), g.scalar(BLOCKED));
    g.select(visible, zero, blocked)
}

/// Large enough to vanish in a softmax, small enough that two of them still add up in f32 and f16 has a place for one.
pub(super) const BLOCKED: f32 = -10_000.0;

/// Learned positions 0.. of a sequence whose length is that of axis 1 of `like`. Returns (positions, vectors).
pub(super) fn learned_positions(g: &mut Graph, name: &str, like: Value, table: [usize; 2]) -> (Value, Value) {
    let length = g.length(like, 1);
    let positions = g.range(length);
    let (_, vectors) = g.embedding(name, positions, table, EMBEDDING_DEVIATION);
    (positions, vectors)
}

/// The usual standard deviation of embeddings at initialisation.
pub(super) const EMBEDDING_DEVIATION: f32 = 0.02;

/// The convolution that makes one vector of each square of `patch` pixels.
pub(super) fn patch_conv(patch: usize, hidden: usize) -> Conv {
    Conv {
        stride: patch,
        pad: 0,
        gain: 1.0,
        ..Conv::same(3, hidden, patch)
    }
}

/// A grid of embedded patches, [N, hidden, rows, columns] → [N, count + 1, hidden]: a class token, then the patches, with
/// learned positions.
pub(super) fn patch_tokens(g: &mut Graph, grid: Value, count: usize, hidden: usize) -> Value {
    let x = g.reshape(grid, &[0, hidden as i64, -1]);
    let x = g.transpose(x, &[0, 2, 1]);
    let fill = Fill::Uniform {
        bound: EMBEDDING_DEVIATION,
    };
    let token = g.weight("embeddings.class_token", &[1, 1, hidden], fill.clone());
    let batch = g.length(grid, 0);
    let batch = g.unsqueeze(batch, &[0]);
    let ones = g.ints(&[1, 1]);
    let shape = g.concat(&[batch, ones], 0);
    let token = g.op("Expand", &[token, shape], &[]);
    let x = g.concat(&[token, x], 1);
    let positions = g.weight("embeddings.position", &[1, count + 1, hidden], fill);
    g.add(x, positions)
}

/// The first vector of each sequence, [batch, hidden].
pub(super) fn first_token(g: &mut Graph, x: Value) -> Value {
    let zero = g.int(0);
    g.gather(x, zero, 1)
}
