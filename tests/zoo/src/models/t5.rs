//! T5-small (Raffel and others, 2019): encoder and decoder as two models. Root-mean-square norms, no biases, and a
//! learned bias for each head and bucket of distance, which the first layer owns and all layers of the stack share.

use crate::graph::{Fill, Graph, Value, dims};
use crate::models::transformer::{BLOCKED, Heads, Scores, Stack, attend, causal_mask, padding_mask};
use crate::{DType, Size};

/// Buckets of distance, and the distance from which all are one bucket. Powers of two.
const BUCKETS: i64 = 32;
const DISTANCE_MAX: i64 = 128;

pub(crate) struct Config {
    pub vocabulary: usize,
    stack: Stack,
}

impl Config {
    pub(crate) fn new(size: Size) -> Self {
        let small = Stack {
            layers: 6,
            heads: Heads { count: 8, width: 64 },
            inner: 2048,
            ..Stack::BASE
        };
        let (vocabulary, stack) = match size {
            Size::Full => (32_128, small),
            Size::Tiny => (128, Stack::TINY),
        };
        Self {
            vocabulary,
            stack: Stack {
                epsilon: 1e-6,
                activation: Graph::relu,
                ..stack
            },
        }
    }

    pub(crate) fn hidden(&self) -> usize {
        self.stack.hidden()
    }
}

/// `input_ids`, `attention_mask` [batch, sequence] → `last_hidden_state`.
pub(crate) fn encoder_graph(size: Size, seed: u64) -> Graph {
    let Config { vocabulary, stack } = Config::new(size);
    let hidden = stack.hidden();
    let mut g = Graph::new("t5_encoder", seed);
    let [ids, mask] =
        ["input_ids", "attention_mask"].map(|name| g.input(name, DType::I64, &dims!["batch", "sequence"]));
    let (_, mut x) = g.embedding("shared", ids, [vocabulary, hidden], 1.0);
    let length = g.length(ids, 1);
    let positions = g.range(length);
    let bias = position_bias(&mut g, positions, stack.heads, Direction::Both);
    let padding = padding_mask(&mut g, mask, BLOCKED);
    let bias = g.add(bias, padding);
    for layer in 0..stack.layers {
        let name = format!("block.{layer}");
        x = attention(&mut g, &format!("{name}.self"), x, None, (&stack, bias));
        x = feed_forward(&mut g, &format!("{name}.ff"), x, &stack);
    }
    let x = g.rms_norm("final_norm", x, hidden, stack.epsilon);
    g.output(
        "last_hidden_state",
        x,
        DType::F32,
        &dims!["batch", "sequence", hidden],
    );
    g
}

/// `input_ids` [batch, sequence], `encoder_attention_mask` [batch, encoder_sequence], `encoder_hidden_states` →
/// `logits` [batch, sequence, vocabulary]. No key-value cache.
pub(crate) fn decoder_graph(size: Size, seed: u64) -> Graph {
    let Config { vocabulary, stack } = Config::new(size);
    let hidden = stack.hidden();
    let mut g = Graph::new("t5_decoder", seed);
    let ids = g.input("input_ids", DType::I64, &dims!["batch", "sequence"]);
    let mask = g.input(
        "encoder_attention_mask",
        DType::I64,
        &dims!["batch", "encoder_sequence"],
    );
    let memory = g.input(
        "encoder_hidden_states",
        DType::F32,
        &dims!["batch", "encoder_sequence", hidden],
    );
    let (table, mut x) = g.embedding("shared", ids, [vocabulary, hidden], 1.0);
    let length = g.length(ids, 1);
    let positions = g.range(length);
    let bias = position_bias(&mut g, positions, stack.heads, Direction::Back);
    let causal = causal_mask(&mut g, positions);
    let bias = g.add(bias, causal);
    let padding = padding_mask(&mut g, mask, BLOCKED);
    for layer in 0..stack.layers {
        let name = format!("block.{layer}");
        x = attention(&mut g, &format!("{name}.self"), x, None, (&stack, bias));
        x = attention(
            &mut g,
            &format!("{name}.cross"),
            x,
            Some(memory),
            (&stack, padding),
        );
        x = feed_forward(&mut g, &format!("{name}.ff"), x, &stack);
    }
    let x = g.rms_norm("final_norm", x, hidden, stack.epsilon);
    let scale = g.scalar((hidden as f32).sqrt().recip());
    let x = g.mul(x, scale);
    let projection = g.transpose(table, &[1, 0]);
    let logits = g.matmul(x, projection);
    g.output(
        "logits",
        logits,
        DType::F32,
        &dims!["batch", "sequence", vocabulary],
    );
    g
}

/// Pre-norm attention and its residual. Keys and values come from `memory`, or from the normalised input.
fn attention(
    g: &mut Graph,
    name: &str,
    x: Value,
    memory: Option<Value>,
    (stack, bias): (&Stack, Value),
) -> Value {
    let hidden = stack.hidden();
    let normal = g.rms_norm(&format!("{name}.norm"), x, hidden, stack.epsilon);
    let memory = memory.unwrap_or(normal);
    // T5 does not divide the scores by the root of the head's width: its queries are initialised that much smaller.
    let query_gain = 1.0 / stack.heads.width as f32;
    let q = g.linear_unbiased(&format!("{name}.q"), normal, hidden, hidden, query_gain);
    let k = g.linear_unbiased(&format!("{name}.k"), memory, hidden, hidden, 1.0);
    let v = g.linear_unbiased(&format!("{name}.v"), memory, hidden, hidden, 1.0);
    let context = attend(
        g,
        [q, k, v],
        stack.heads,
        Scores {
            divisor: None,
            bias: Some(bias),
        },
    );
    let attended = g.linear_unbiased(
        &format!("{name}.o"),
        context,
        hidden,
        hidden,
        stack.residual_gain(),
    );
    g.add(x, attended)
}

fn feed_forward(g: &mut Graph, name: &str, x: Value, stack: &Stack) -> Value {
    let hidden = stack.hidden();
    let normal = g.rms_norm(&format!("{name}.norm"), x, hidden, stack.epsilon);
    let inner = g.linear_unbiased(&format!("{name}.wi"), normal, hidden, stack.inner, 1.0);
    let inner = (stack.activation)(g, inner);
    let outer = g.linear_unbiased(
        &format!("{name}.wo"),
        inner,
        stack.inner,
        hidden,
        stack.residual_gain(),
    );
    g.add(x, outer)
}

/// Where a position may look.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Both,
    Back,
}

/// The bias of each head for each pair of positions, [1, heads, sequence, sequence].
fn position_bias(g: &mut Graph, positions: Value, heads: Heads, direction: Direction) -> Value {
    let buckets = distance_buckets(g, positions, direction);
    let fill = Fill::Uniform { bound: 0.5 };
    let table = g.weight(
        "relative_attention_bias.weight",
        &[BUCKETS as usize, heads.count],
        fill,
    );
    let bias = g.gather(table, buckets, 0);
    let bias = g.transpose(bias, &[2, 0, 1]);
    g.unsqueeze(bias, &[0])
}

/// The bucket of each (query, key): one for each of the small distances, then logarithmically wider ones.
fn distance_buckets(g: &mut Graph, positions: Value, direction: Direction) -> Value {
    let keys = g.unsqueeze(positions, &[0]);
    let queries = g.unsqueeze(positions, &[1]);
    let relative = g.sub(keys, queries);
    let zero = g.int(0);
    match direction {
        Direction::Both => {
            let half = BUCKETS / 2;
            let ahead = g.op("Greater", &[relative, zero], &[]);
            let (ahead, half_value) = (g.cast(ahead, DType::I64), g.int(half));
            let offset = g.mul(ahead, half_value);
            let distance = g.op("Abs", &[relative], &[]);
            let bucket = bucket_of(g, distance, half);
            g.add(offset, bucket)
        }
        Direction::Back => {
            let behind = g.op("Min", &[relative, zero], &[]);
            let distance = g.op("Neg", &[behind], &[]);
            bucket_of(g, distance, BUCKETS)
        }
    }
}

fn bucket_of(g: &mut Graph, distance: Value, buckets: i64) -> Value {
    let exact = buckets / 2;
    let exact_value = g.int(exact);
    let is_small = g.op("Less", &[distance, exact_value], &[]);
    let as_float = g.cast(distance, DType::F32);
    let (exact_float, one) = (g.scalar(exact as f32), g.scalar(1.0));
    // Not below 1, where the branch is not taken anyway: the logarithm of 0 would be cast to an integer.
    let ratio = g.div(as_float, exact_float);
    let ratio = g.op("Max", &[ratio, one], &[]);
    let log = g.op("Log", &[ratio], &[]);
    // Not `f32::ln`, whose last bit depends on the platform.
    let wide_span_ln = (DISTANCE_MAX / exact).ilog2() as f32 * std::f32::consts::LN_2;
    let steps = g.scalar((buckets - exact) as f32 / wide_span_ln);
    let wide = g.mul(log, steps);
    let wide = g.cast(wide, DType::I64);
    let wide = g.add(wide, exact_value);
    let last = g.int(buckets - 1);
    let wide = g.op("Min", &[wide, last], &[]);
    g.select(is_small, distance, wide)
}
