//! The small CNN of `models/digits`, here with random weights. `models/digits/train.py` trains the same layers.

use crate::DType;
use crate::graph::{Graph, dims};
use crate::onnx::AttributeProto as Attribute;
use crate::ops::Conv;

/// `image` `[N, 1, 8, 8]`, 0 to 16 → `logits` `[N, 10]`, `digit` `[N]`.
pub(crate) fn graph(seed: u64) -> Graph {
    let mut g = Graph::new("digits", seed);
    let image = g.input("image", DType::F32, &dims!["N", 1, 8, 8]);
    let scale = g.scalar(1.0 / 16.0);
    let mut x = g.mul(image, scale);
    for (index, (from, to)) in [(1, 16), (16, 32), (32, 64)].into_iter().enumerate() {
        x = g.conv(&format!("conv{}", index + 1), x, Conv::same(from, to, 3));
        x = g.relu(x);
        if index > 0 {
            x = g.max_pool(x, 2, 2, 0);
        }
    }
    let x = g.op("Flatten", &[x], &[Attribute::int("axis", 1)]);
    let x = g.gemm("fc1", x, 64 * 2 * 2, 64, 2.0);
    let x = g.relu(x);
    let logits = g.gemm("fc2", x, 64, 10, 1.0);
    let digit = g.op(
        "ArgMax",
        &[logits],
        &[Attribute::int("axis", 1), Attribute::int("keepdims", 0)],
    );
    g.output("logits", logits, DType::F32, &dims!["N", 10]);
    g.output("digit", digit, DType::I64, &dims!["N"]);
    g
}
