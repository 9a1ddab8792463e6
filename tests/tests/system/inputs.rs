//! Texts and images in place of tensors.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mlos_tests::{Client, Daemon, Options, Package, Reference, repository, served};
use mlos_zoo::{Input, Size, Zoo};
use serde_json::{Value, json};

const DIGITS: &str = "/models/mlos/digits/inference";

struct Sample {
    png: Vec<u8>,
    pixels: Value,
    says: i64,
}

/// The samples that the repository carries, with what the model says of each.
fn samples() -> Vec<Sample> {
    let folder = repository("models/digits/samples");
    let list = std::fs::read(folder.join("samples.json")).unwrap();
    let list: Vec<Value> = serde_json::from_slice(&list).unwrap();
    let sample = |entry: &Value| Sample {
        png: std::fs::read(folder.join(entry["file"].as_str().unwrap())).unwrap(),
        pixels: entry["image"].clone(),
        says: entry["predicted"].as_i64().unwrap(),
    };
    list.iter().map(sample).collect()
}

fn digits() -> (Daemon, Client) {
    let daemon = Daemon::start(&Options::default());
    daemon.serve_path(&repository("models/digits"));
    let client = daemon.client();
    (daemon, client)
}

fn digits_said(answer: &Value) -> Vec<i64> {
    let output = answer["outputs"]
        .as_array()
        .unwrap()
        .iter()
        .find(|output| output["name"] == "digit");
    let data = output.unwrap()["data"].as_array().unwrap();
    data.iter().map(|digit| digit.as_i64().unwrap()).collect()
}

#[test]
fn a_png_is_read_in_every_way_it_can_be_sent() {
    let (_daemon, mut client) = digits();
    for Sample { png, pixels, says } in samples() {
        let base64 = STANDARD.encode(&png);
        let by_pixels = client.post(DIGITS, &json!({ "image": pixels })).expect(200);
        assert_eq!(digits_said(&by_pixels), [says]);
        let image = [("content-type", "image/png")];
        let by_body = client.ask("POST", DIGITS, &image, &png).expect(200);
        assert_eq!(digits_said(&by_body), [says]);
        let answers = [
            client.ask(
                "POST",
                DIGITS,
                &[("content-type", "image/png"), ("x-mlos-priority", "realtime")],
                &png,
            ),
            client.post(DIGITS, &json!({ "input": base64 })),
            client.post(
                DIGITS,
                &json!({ "input": format!("data:image/png;base64,{base64}") }),
            ),
            client.post(DIGITS, &json!({ "input": [base64] })),
        ];
        for answer in answers {
            let answer = answer.expect(200);
            assert_eq!(digits_said(&answer), [says]);
            // Not those of the pixels: a grey value of 0 to 255 is a rounded brightness.
            assert_eq!(
                answer["outputs"], by_body["outputs"],
                "the same image, the same logits"
            );
        }
    }
}

#[test]
fn many_images_in_one_request_are_rows() {
    let (_daemon, mut client) = digits();
    let samples = samples();
    let images: Vec<String> = samples
        .iter()
        .map(|sample| STANDARD.encode(&sample.png))
        .collect();
    let answer = client.post(DIGITS, &json!({ "input": images })).expect(200);
    let expected: Vec<i64> = samples.iter().map(|sample| sample.says).collect();
    assert_eq!(digits_said(&answer), expected);
}

#[test]
fn what_is_no_image_is_refused() {
    let (daemon, mut client) = digits();
    let png = samples().remove(0).png;
    let image: &[(&str, &str)] = &[("content-type", "image/png")];
    for (body, expect) in [
        (&b""[..], "is empty"),
        (b"not an image", "could not be decoded"),
        (&png[..png.len() / 2], "could not be decoded"),
        (&png[..8], "could not be decoded"),
    ] {
        let answer = client.ask("POST", DIGITS, image, body);
        assert_eq!((answer.status, answer.kind().as_str()), (400, "invalid_argument"));
        assert!(answer.message().contains(expect), "{}", answer.text());
    }
    // Eight bytes that say a picture of 65,535 times 65,535 follows.
    let answer = client.ask("POST", DIGITS, image, &bomb(&png));
    assert_eq!(answer.status, 400, "{}", answer.text());
    for (input, expect) in [("!!!", "base64"), ("", "empty"), ("data:image/png,x", "base64")] {
        let answer = client.post(DIGITS, &json!({ "input": input }));
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.message().contains(expect), "{}", answer.text());
    }
    let plain = daemon.serve(&Package::affine("test/plain", "1", "a 2"));
    let answer = client.ask("POST", &format!("/models/{plain}/inference"), image, &png);
    assert_eq!(answer.status, 400);
    assert!(answer.message().contains("takes no image"), "{}", answer.text());
    assert_eq!(
        digits_said(&client.ask("POST", DIGITS, image, &png).expect(200)),
        [0]
    );
}

/// A PNG whose header claims 65,535 x 65,535 pixels. The checksum of the header is not even wrong enough to matter.
fn bomb(png: &[u8]) -> Vec<u8> {
    let mut bytes = png.to_vec();
    bytes[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
    bytes
}

/// Words of a vocabulary, one id each, with what every BERT has around a text.
const WORDS: [&str; 8] = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "urgent", "work", "goes", "first",
];

fn tokenizer() -> Value {
    let vocabulary: serde_json::Map<String, Value> = WORDS
        .iter()
        .enumerate()
        .map(|(id, word)| ((*word).to_owned(), json!(id)))
        .collect();
    let special = |id: usize| {
        json!({ "id": id, "content": WORDS[id], "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true })
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(0), special(1), special(2), special(3)],
        "normalizer": { "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": { "type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2] },
        "decoder": null,
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary },
    })
}

fn text_package() -> Package {
    Package::zoo("test/text", "1", Zoo::BertBase, Size::Tiny)
        .file("tokenizer.json", tokenizer().to_string().into_bytes())
        .input(json!({
            "name": "input_ids", "dtype": "int64", "shape": [-1, -1],
            "preprocessing": { "type": "tokenizer", "tokenizer": "tokenizer.json", "config": { "max_length": 6 } },
        }))
}

/// What the tokenizer gives for texts of so many known words, by hand: the texts, padded to the longest.
fn tokens(rows: &[&[i64]]) -> Vec<Input> {
    let columns = rows.iter().map(|row| row.len()).max().unwrap();
    let shape = [rows.len(), columns];
    let at = |index: usize| rows[index / columns].get(index % columns);
    vec![
        Input::i64("input_ids", &shape, |index| at(index).copied().unwrap_or(0)),
        Input::i64("attention_mask", &shape, |index| i64::from(at(index).is_some())),
        Input::i64("token_type_ids", &shape, |_| 0),
    ]
}

#[test]
fn a_text_is_tokenised_padded_and_cut() {
    let daemon = Daemon::start(&Options::default());
    let root = text_package().write(&daemon.home().models());
    let id = daemon.serve_path(&root);
    let mut reference = Reference::load(&root.join("model.onnx"));
    let mut client = daemon.client();
    let cases: [(Value, &[&[i64]]); 6] = [
        (json!("urgent work"), &[&[2, 4, 5, 3]]),
        (json!("Urgent, WORK"), &[&[2, 4, 1, 5, 3]]),
        (json!(""), &[&[2, 3]]),
        (json!("nonsense"), &[&[2, 1, 3]]),
        (
            json!(["urgent work goes first", "urgent"]),
            &[&[2, 4, 5, 6, 7, 3], &[2, 4, 3]],
        ),
        (
            json!("urgent work goes first work goes first"),
            &[&[2, 4, 5, 6, 7, 3]],
        ),
    ];
    for (text, rows) in cases {
        let answer = client.infer(&id, &json!({ "input": text }));
        assert_eq!(served(&answer), reference.run(&tokens(rows)), "{text}");
    }
    // The same by the ids alone: masks follow from them.
    let answer = client.infer(&id, &json!({ "input_ids": [[2, 4, 5, 3]] }));
    assert_eq!(served(&answer), reference.run(&tokens(&[&[2, 4, 5, 3]])));
    // A long text goes by another thread.
    let long = "urgent work ".repeat(2_000);
    let answer = client.infer(&id, &json!({ "input": long }));
    assert_eq!(served(&answer), reference.run(&tokens(&[&[2, 4, 5, 4, 5, 3]])));
}

#[test]
fn a_tokenizer_that_cannot_be_read_is_the_reason_why_a_model_fails() {
    let daemon = Daemon::start(&Options::default());
    let mut package = text_package();
    package.id = String::from("test/broken");
    let package = package.file("other.json", b"{}".to_vec());
    let mut manifest = package.manifest();
    manifest["spec"]["io"]["inputs"][0]["preprocessing"]["tokenizer"] = json!("other.json");
    let root = package.write(&daemon.home().models());
    std::fs::write(root.join("manifest.yaml"), manifest.to_string()).unwrap();
    let registered = daemon
        .client()
        .post("/models/register", &json!({ "path": root }))
        .expect(201);
    let model = daemon.wait_loaded(registered["model_id"].as_str().unwrap());
    assert_eq!(model["state"], "failed");
    assert!(
        model["failure"].as_str().unwrap().contains("other.json"),
        "{model}"
    );
}
