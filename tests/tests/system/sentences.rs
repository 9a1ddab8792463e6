//! A model that has learned what sentences mean, from a folder to an answer.

use mlos_tests::{Answer, Daemon, Data, Options, Output, Reference, minilm, served, tokens};
use serde_json::json;

use crate::command_line::Axon;

/// Each means about what the one after or before it does.
const SENTENCES: [&str; 6] = [
    "A man is eating a piece of bread.",
    "Somebody has his meal.",
    "How do I reset my password?",
    "I forgot my login and cannot sign in.",
    "The stock market fell sharply today.",
    "Shares lost a lot of their value this afternoon.",
];

/// The greatest difference of results that were computed in parts, in parts of the greatest element.
const PARTS_MAX: f32 = 1e-5;

/// The mean over a sentence's tokens of what the model says of each, with length 1.
fn embedding(output: &Output, mask: &[i64], row: usize) -> Vec<f64> {
    let [_, tokens, width] = output.shape[..] else {
        panic!("{:?}", output.shape)
    };
    let Data::F32(data) = &output.data else {
        panic!("not float32")
    };
    let mut sum = vec![0.0; width];
    for token in (0..tokens).filter(|token| mask[row * tokens + token] == 1) {
        let at = (row * tokens + token) * width;
        for (sum, x) in sum.iter_mut().zip(&data[at..at + width]) {
            *sum += f64::from(*x);
        }
    }
    let length = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
    sum.iter().map(|x| x / length).collect()
}

#[track_caller]
fn output(answer: &Answer) -> Output {
    let mut outputs = served(answer);
    assert_eq!(outputs.len(), 1);
    outputs.remove(0)
}

#[test]
fn sentences_that_mean_the_same_are_near_each_other() {
    let model = minilm();
    let daemon = Daemon::start(&Options::default());
    let axon = Axon::new(&daemon);
    // No manifest: it is described from its files.
    let folder = model.display().to_string();
    axon.json(&["install", &folder, "--as", "test/minilm@1.0.0"]);
    assert_eq!(axon.json(&["register", "test/minilm"])["state"], "ready");

    let mut reference = Reference::load(&model.join("model.onnx"));
    let mut client = daemon.client();
    for text in SENTENCES {
        let answer = client.infer("test/minilm", &json!({ "input": text }));
        assert_eq!(served(&answer), reference.run(&tokens(model, &[text])), "{text}");
    }

    let all = tokens(model, &SENTENCES);
    let answer = output(&client.infer("test/minilm", &json!({ "input": SENTENCES })));
    let expect = reference.run(&all).remove(0);
    assert_eq!(answer.shape, expect.shape);
    let distance = expect.data.distance(&answer.data);
    assert!(distance <= PARTS_MAX, "{distance}");

    let Data::I64(mask) = Data::of(&all[1]) else {
        panic!("not int64")
    };
    let embeddings: Vec<Vec<f64>> = (0..SENTENCES.len())
        .map(|row| embedding(&answer, &mask, row))
        .collect();
    let likeness = |a: usize, b: usize| -> f64 {
        let products = embeddings[a].iter().zip(&embeddings[b]).map(|(x, y)| x * y);
        products.sum()
    };
    for (row, sentence) in SENTENCES.iter().enumerate() {
        let others = (0..SENTENCES.len()).filter(|other| *other != row);
        let nearest = others
            .max_by(|a, b| likeness(row, *a).total_cmp(&likeness(row, *b)))
            .unwrap();
        println!("{sentence} {} {:.2}", SENTENCES[nearest], likeness(row, nearest));
        assert_eq!(nearest, row ^ 1, "{sentence}");
    }
}

/// The ids that everybody gets for this text.
#[test]
fn a_text_becomes_the_published_ids() {
    let model = minilm();
    let inputs = tokens(model, &["This is an example sentence"]);
    let Data::I64(ids) = Data::of(&inputs[0]) else {
        panic!("not int64")
    };
    assert_eq!(ids[..8], [101, 2023, 2003, 2019, 2742, 6251, 102, 0]);
}
