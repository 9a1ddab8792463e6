//! The parser against `serde_json`, and against nonsense.

use crate::support::{model, pool, spec};
use bytes::Bytes;
use mlos_api::{Inputs, ModelDetail, Preprocessing};
use mlos_http::{Media, read_request};
use mlos_tensor_mem::{DType, Pool};
use proptest::prelude::*;
use serde_json::Value;

fn detail(dtype: DType) -> ModelDetail {
    model(
        "test/x",
        vec![spec("x", dtype, &[-1, -1], &[])],
        Preprocessing::None,
    )
}

fn floats(pool: &Pool, text: &str) -> Option<Vec<f32>> {
    let body = Bytes::copy_from_slice(format!("{{\"x\":{text}}}").as_bytes());
    let request = read_request(Media::Json, body, &detail(DType::F32), pool).ok()?;
    let Inputs::Tensors(tensors) = request.inputs else {
        return None;
    };
    Some(tensors[0].tensor.as_slice::<f32>().unwrap().to_vec())
}

/// A number as some JSON writer might print it.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<f32>()
            .prop_filter("finite", |value| value.is_finite())
            .prop_map(|value| format!("{value:?}")),
        any::<f64>()
            .prop_filter("fits", |value| value.abs() < 1e38)
            .prop_map(|value| serde_json::to_string(&value).unwrap()),
        (0.0..1.0_f64).prop_map(|value| value.to_string()),
        any::<i32>().prop_map(|value| value.to_string()),
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1})?",
    ]
}

fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![5 => Just(""), 3 => Just(" "), 1 => Just("\n\t  \r")]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arrays_agree_with_serde_json(
        rows in 1..5_usize,
        numbers in prop::collection::vec(number(), 1..200),
        space in space(),
        is_nested in any::<bool>(),
    ) {
        let columns = numbers.len() / rows;
        prop_assume!(columns > 0);
        let numbers = &numbers[..rows * columns];
        let lists: Vec<String> =
            numbers.chunks(columns).map(|row| format!("[{space}{}{space}]", row.join(&format!("{space},{space}")))).collect();
        let text = if is_nested {
            format!("[{space}{}{space}]", lists.join(&format!("{space},{space}")))
        } else {
            format!("[{}]", numbers.join(&format!(",{space}")))
        };
        let expected: Option<Vec<f32>> = numbers.iter().map(|text| text.parse().ok().filter(|value: &f32| value.is_finite())).collect();
        prop_assert!(serde_json::from_str::<Value>(&text).is_ok());
        prop_assert_eq!(floats(&pool(), &text), expected, "{}", text);
    }

    /// What `serde_json` refuses, this refuses, and the other way round: as far as lists of numbers go.
    #[test]
    fn refusals_agree_with_serde_json(text in "\\[[-+0-9.eE, \\[\\]]{0,12}\\]") {
        let is_json = serde_json::from_str::<Value>(&text).is_ok();
        // serde_json makes infinity of 1e39; here that is refused.
        let is_finite = |row: &Vec<f32>| row.iter().all(|value| value.is_finite());
        let is_list = serde_json::from_str::<Vec<f32>>(&text).is_ok_and(|row| is_finite(&row));
        let is_matrix = serde_json::from_str::<Vec<Vec<f32>>>(&text)
            .is_ok_and(|rows| rows.iter().all(is_finite) && rows.windows(2).all(|pair| pair[0].len() == pair[1].len()));
        let read = floats(&pool(), &text);
        prop_assert!(is_json || read.is_none(), "{} was read as {:?}", text, read);
        prop_assert_eq!(read.is_some(), is_list || is_matrix, "{}", text);
    }

    #[test]
    fn nonsense_is_refused_and_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for dtype in DType::ALL {
            let _ = read_request(Media::Json, Bytes::copy_from_slice(&bytes), &detail(dtype), &pool());
        }
    }
}

/// Bodies that are nearly right, changed in a few places: the seed of the fuzz target, run a little in every test.
#[test]
fn bodies_with_faults_never_panic() {
    const ROUNDS: usize = 20_000;
    const SEEDS: [&str; 6] = [
        r#"{"x":[[1,2.5e-3],[-3,"NaN"]],"priority":"high","deadline_ms":20}"#,
        r#"{"inputs":{"x":[[[1]],[[2]]]},"outputs":["y"],"component":"a"}"#,
        r#"{"x":["a\"b","\u00e9","",""]}"#,
        r#"{"input":"aGVsbG8=","batch_size":1}"#,
        r#"{"x":[0.12345678901234567,12345678901234567890,1e400,true,null]}"#,
        r#"{"x" : [ 1 , 2 , 3 , 4 , 5 , 6 , 7 , 8 , 9 , 10 , 11 , 12 , 13 , 14 , 15 , 16 , 17 , 18 , 19 ] }"#,
    ];
    const BYTES: &[u8] = b"{}[]\",:.-+eE0189 \\\n\x00\xFFnNtI";
    let details: Vec<ModelDetail> = DType::ALL
        .iter()
        .zip(
            [Preprocessing::None, Preprocessing::Text, Preprocessing::Image]
                .iter()
                .cycle(),
        )
        .map(|(dtype, preprocessing)| ModelDetail {
            preprocessing: *preprocessing,
            ..detail(*dtype)
        })
        .collect();
    let pool = pool();
    let mut state = 0x1234_5678_9ABC_DEF1_u64;
    println!("seed {state:#x}");
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for _ in 0..ROUNDS {
        let mut body = SEEDS[random(SEEDS.len())].as_bytes().to_vec();
        for _ in 0..=random(4) {
            if body.is_empty() {
                break;
            }
            let at = random(body.len());
            match random(4) {
                0 => body[at] = BYTES[random(BYTES.len())],
                1 => body.insert(at, BYTES[random(BYTES.len())]),
                2 => drop(body.remove(at)),
                _ => body.truncate(at.max(1)),
            }
        }
        let detail = &details[random(details.len())];
        let _ = read_request(Media::Json, body.into(), detail, &pool);
    }
}
