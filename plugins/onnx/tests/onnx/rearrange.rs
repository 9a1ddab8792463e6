//! Pairs of reshapes and transpositions become one operator, and nobody can tell from the results.

use mlos_plugin_host::Verdict;
use mlos_zoo::{DType, Dim, ExternalData, Graph, Input};

use crate::host::{Always, Load, YIELD_EVERYWHERE, load, run_with};
use crate::models::reference;

/// How rows are cut into heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// As attention does.
    Plainly,
    /// What is between the two steps is an output, too.
    Seen,
    /// The last axis moves.
    ColumnsMove,
}

/// `rows` `[N, tokens, 12]` are cut into heads `[N, 3, tokens, 4]`; others, `heads`, are joined.
fn graph(cut: Cut) -> Graph {
    let mut graph = Graph::new("heads", 3);
    let [n, tokens] = ["N", "tokens"].map(Dim::Named);
    let row_dims = [n, tokens, Dim::Fixed(12)];
    let rows = graph.input("rows", DType::F32, &row_dims);
    let heads = graph.input("heads", DType::F32, &[n, Dim::Fixed(3), tokens, Dim::Fixed(4)]);

    let x = graph.relu(rows);
    let x = graph.reshape(x, &[0, 0, 3, 4]);
    let between = [n, tokens, Dim::Fixed(3), Dim::Fixed(4)];
    if cut == Cut::Seen {
        graph.output("seen", x, DType::F32, &between);
    }
    let order = match cut {
        Cut::Plainly | Cut::Seen => [0, 2, 1, 3],
        Cut::ColumnsMove => [0, 2, 3, 1],
    };
    let x = graph.transpose(x, &order);
    graph.output("cut", x, DType::F32, &order.map(|axis| between[axis as usize]));

    let x = graph.relu(heads);
    let x = graph.transpose(x, &[0, 2, 1, 3]);
    let x = graph.reshape(x, &[0, 0, 12]);
    graph.output("joined", x, DType::F32, &row_dims);
    graph
}

#[test]
fn heads_are_cut_and_joined_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heads.onnx");
    let number = |index: usize| ((index * 37) % 101) as f32 / 50.0 - 1.0;
    for (cut, nodes) in [(Cut::Plainly, 4), (Cut::Seen, 5), (Cut::ColumnsMove, 5)] {
        graph(cut).save(&path, ExternalData::Never).unwrap();
        let load_options = Load {
            options: YIELD_EVERYWHERE,
            ..Load::default()
        };
        let model = load(&path, &load_options).unwrap();
        for (batch, tokens) in [(1, 1), (2, 7), (3, 64), (1, 0)] {
            let inputs = [
                Input::f32("rows", &[batch, tokens, 12], number),
                Input::f32("heads", &[batch, 3, tokens, 4], number),
            ];
            let gate = Always::new(Verdict::Suspend);
            let answer = run_with(&model, &inputs, gate.clone());
            assert!(answer == reference(&path, &inputs), "{cut:?}, {batch}x{tokens}");
            // One before every node but the first: a pair counts for one.
            assert_eq!(gate.1.get(), nodes - 1, "{cut:?}, {batch}x{tokens}");
        }
    }
}
