//! Long matrix products are split, and nobody can tell from the results.

use mlos_plugin_host::Verdict;
use mlos_zoo::{DType, Dim, ExternalData, Fill, Graph, Input};

use crate::host::{Always, Load, YIELD_EVERYWHERE, load, run_with};
use crate::models::reference;

/// `y = relu(x W)`: one border between nodes.
fn product(rows: usize, columns: usize) -> Graph {
    let mut graph = Graph::new("product", 5);
    let x = graph.input("x", DType::F32, &[Dim::Named("N"), Dim::Fixed(rows)]);
    let weights = graph.weight("w", &[rows, columns], Fill::Uniform { bound: 1.0 });
    let y = graph.matmul(x, weights);
    let y = graph.relu(y);
    graph.output("y", y, DType::F32, &[Dim::Named("N"), Dim::Fixed(columns)]);
    graph
}

#[test]
fn parts_of_a_product_are_bit_identical_and_have_yields_between_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("product.onnx");
    // Parts of equal width, a narrow last part, and weights inside and outside of the graph.
    for (rows, columns) in [(256, 4096), (300, 5000), (64, 8191)] {
        for external in [ExternalData::Never, ExternalData::Above(64)] {
            product(rows, columns).save(&path, external).unwrap();
            let model = load(
                &path,
                &Load {
                    options: YIELD_EVERYWHERE,
                    ..Load::default()
                },
            )
            .unwrap();
            for batch in [1, 3, 17] {
                let inputs = [Input::f32("x", &[batch, rows], |index| {
                    ((index * 37) % 101) as f32 / 50.0 - 1.0
                })];
                let gate = Always::new(Verdict::Suspend);
                let answer = run_with(&model, &inputs, gate.clone());
                assert!(gate.1.get() > 2, "{} yields", gate.1.get());
                assert!(
                    answer == reference(&path, &inputs),
                    "{rows}x{columns}, {external:?}, {batch} rows"
                );
            }
        }
    }
}

/// `ids -> y = relu(table[ids]) tableT / 2`, as models with tied embeddings end.
fn tied(rows: usize, columns: usize) -> Graph {
    let mut graph = Graph::new("tied", 5);
    let ids = graph.input("ids", DType::I64, &[Dim::Named("N"), Dim::Named("sequence")]);
    let table = graph.weight("table", &[columns, rows], Fill::Uniform { bound: 1.0 });
    let x = graph.gather(table, ids, 0);
    let x = graph.relu(x);
    let half = graph.scalar(0.5);
    let x = graph.mul(x, half);
    let weights = graph.transpose(table, &[1, 0]);
    let y = graph.matmul(x, weights);
    graph.output(
        "y",
        y,
        DType::F32,
        &[Dim::Named("N"), Dim::Named("sequence"), Dim::Fixed(columns)],
    );
    graph
}

#[test]
fn a_product_with_a_shared_transposed_table_is_split_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tied.onnx");
    for external in [ExternalData::Never, ExternalData::Above(64)] {
        tied(256, 5000).save(&path, external).unwrap();
        let model = load(
            &path,
            &Load {
                options: YIELD_EVERYWHERE,
                ..Load::default()
            },
        )
        .unwrap();
        for (batch, sequence) in [(1, 1), (2, 7), (1, 64)] {
            let inputs = [Input::i64("ids", &[batch, sequence], |index| {
                (index as i64 * 37) % 5000
            })];
            let gate = Always::new(Verdict::Suspend);
            let answer = run_with(&model, &inputs, gate.clone());
            assert!(gate.1.get() > 4, "{} yields", gate.1.get());
            assert!(
                answer == reference(&path, &inputs),
                "{external:?}, {batch}x{sequence}"
            );
        }
    }
}
