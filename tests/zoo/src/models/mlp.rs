//! A multi-layer perceptron: the model whose time and size can be chosen freely.

use crate::DType;
use crate::graph::{Graph, dims};

/// `x` [N, dim] → `y` [N, dim].
pub(crate) fn graph(dim: usize, width: usize, depth: usize, seed: u64) -> Graph {
    assert!(depth > 0, "an MLP has at least one layer");
    let mut g = Graph::new("mlp", seed);
    let mut x = g.input("x", DType::F32, &dims!["N", dim]);
    let mut from = dim;
    for layer in 1..depth {
        let name = format!("layers.{layer}");
        x = g.gemm(&name, x, from, width, 2.0);
        x = g.relu(x);
        from = width;
    }
    let y = g.gemm(&format!("layers.{depth}"), x, from, dim, 1.0);
    g.output("y", y, DType::F32, &dims!["N", dim]);
    g
}
