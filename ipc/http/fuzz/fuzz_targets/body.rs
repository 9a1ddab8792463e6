//! Any bytes as the body of an inference, for models with inputs of any type: an answer or an error, and no panic.
//!
//! The first three bytes choose what the body is, the type of the model's inputs, and what is done to them before. A
//! seeded run of the same is in the crate's tests.
#![no_main]

use std::cell::OnceCell;
use std::path::PathBuf;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mlos_api::{Class, Dim, LifecycleState, ModelDetail, ModelRef, Preprocessing, Signature, TensorSpec};
use mlos_http::{Media, read_request};
use mlos_tensor_mem::{DType, Pool, PoolConfig};

thread_local! {
    static POOL: OnceCell<Pool> = const { OnceCell::new() };
}

fn detail(dtype: DType, preprocessing: Preprocessing) -> ModelDetail {
    let input = |name: &str, dims| TensorSpec {
        name: name.to_owned(),
        dtype,
        dims,
    };
    ModelDetail {
        model: ModelRef {
            id: String::from("fuzz/body"),
            version: None,
        },
        state: LifecycleState::Ready,
        failure: None,
        active: true,
        format: String::new(),
        framework: String::new(),
        description: String::new(),
        plugin: String::new(),
        path: PathBuf::new(),
        signatures: vec![Signature {
            inputs: vec![
                input("input_ids", vec![Dim::Dynamic(None), Dim::Dynamic(None)]),
                input("attention_mask", vec![Dim::Dynamic(None), Dim::Fixed(2)]),
            ],
            ..Signature::default()
        }],
        preprocessing,
        class_default: Class::Normal,
        resident_bytes: 0,
        load_ms: 0,
        versions: Vec::new(),
    }
}

fuzz_target!(|data: (u8, u8, u8, &[u8])| {
    let (media, dtype, preprocessing, body) = data;
    let media = [Media::Json, Media::Image, Media::Raw][usize::from(media) % 3];
    let dtype = DType::ALL[usize::from(dtype) % DType::ALL.len()];
    let preprocessing =
        [Preprocessing::None, Preprocessing::Text, Preprocessing::Image][usize::from(preprocessing) % 3];
    let mut detail = detail(dtype, preprocessing);
    if media == Media::Raw {
        // Without a header that names it, there can be one only.
        detail.signatures[0].inputs.truncate(1);
    }
    POOL.with(|pool| {
        let pool = pool.get_or_init(|| Pool::new(PoolConfig::default()).expect("there is memory"));
        let _ = read_request(media, Bytes::copy_from_slice(body), &detail, pool);
    });
});
