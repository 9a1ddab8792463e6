//! Every element type, in and out.

use half::{bf16, f16};
use mlos_zoo::{DType, Input, Probe};

use crate::host::{Load, load, run};

const SEED: u64 = 11;

fn check(probe: Probe, inputs: &[Input], expect: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let path = probe.write(dir.path()).unwrap();
    let model = load(&path, &Load::default()).unwrap();
    let answer = run(&model, inputs);
    assert_eq!(answer[0].1, expect, "{}", probe.name());
}

#[test]
fn every_type_passes_through_unchanged() {
    for dtype in DType::ALL {
        for rows in [1, 3, 0] {
            let inputs = Probe::Identity(dtype).inputs(rows, SEED);
            check(Probe::Identity(dtype), &inputs, &inputs[0].data);
        }
    }
}

#[test]
fn every_type_comes_out_of_a_cast() {
    for dtype in DType::ALL {
        let inputs = Probe::Cast(dtype).inputs(5, SEED);
        let numbers = inputs[0]
            .data
            .chunks_exact(4)
            .map(|word| f32::from_le_bytes(word.try_into().unwrap()));
        let expect: Vec<u8> = numbers.flat_map(|number| encoded(dtype, number)).collect();
        check(Probe::Cast(dtype), &inputs, &expect);
    }
}

fn encoded(dtype: DType, number: f32) -> Vec<u8> {
    match dtype {
        DType::F32 => number.to_le_bytes().to_vec(),
        DType::F64 => f64::from(number).to_le_bytes().to_vec(),
        DType::F16 => f16::from_f32(number).to_le_bytes().to_vec(),
        DType::BF16 => bf16::from_f32(number).to_le_bytes().to_vec(),
        DType::Bool => vec![u8::from(number != 0.0)],
        DType::U8 => vec![number as u8],
        DType::I8 => (number as i8).to_le_bytes().to_vec(),
        DType::U16 => (number as u16).to_le_bytes().to_vec(),
        DType::I16 => (number as i16).to_le_bytes().to_vec(),
        DType::U32 => (number as u32).to_le_bytes().to_vec(),
        DType::I32 => (number as i32).to_le_bytes().to_vec(),
        DType::U64 => (number as u64).to_le_bytes().to_vec(),
        DType::I64 => (number as i64).to_le_bytes().to_vec(),
        DType::String => {
            let text = number.to_string();
            [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
        }
    }
}
