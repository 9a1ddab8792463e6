//! Weights in a file beside the model.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::parsed::{Parsed, floats};
use mlos_zoo::onnx::TensorProto;
use mlos_zoo::{ExternalData, Size, Zoo, write_sparse};

const SEED: u64 = 11;

#[test]
fn the_data_is_the_same_inside_and_beside() {
    let dir = tempfile::tempdir().unwrap();
    for zoo in [Zoo::Digits, Zoo::BertBase] {
        let graph = zoo.graph(Size::Tiny, SEED);
        let inside = dir.path().join("inside.onnx");
        graph.save(&inside, ExternalData::Never).unwrap();
        for above in [0, 1000, u64::MAX] {
            let beside = dir.path().join("beside.onnx");
            graph.save(&beside, ExternalData::Above(above)).unwrap();
            let (inside, beside) = (Parsed::read(&inside), Parsed::read(&beside));
            for expected in &inside.graph().initializer {
                let actual = beside.weight(&expected.name);
                let is_external = actual.data_location == Some(1);
                assert_eq!(
                    is_external,
                    expected.raw_data.len() as u64 > above,
                    "{}",
                    expected.name
                );
                assert_eq!(
                    data_of(actual, dir.path()),
                    expected.raw_data,
                    "{} above {above}",
                    expected.name
                );
            }
        }
    }
}

fn data_of(tensor: &TensorProto, dir: &Path) -> Vec<u8> {
    if tensor.data_location != Some(1) {
        return tensor.raw_data.clone();
    }
    let number = |key: &str| field(tensor, key).parse::<u64>().unwrap();
    assert_eq!(number("offset") % 4096, 0, "{} is not on a page", tensor.name);
    let mut file = File::open(dir.join(field(tensor, "location"))).unwrap();
    file.seek(SeekFrom::Start(number("offset"))).unwrap();
    let mut data = vec![0; number("length") as usize];
    file.read_exact(&mut data).unwrap();
    data
}

fn field<'a>(tensor: &'a TensorProto, key: &str) -> &'a str {
    &tensor
        .external_data
        .iter()
        .find(|entry| entry.key == key)
        .unwrap()
        .value
}

#[test]
fn a_sparse_model_spans_more_than_a_32_bit_offset_and_takes_no_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = write_sparse(dir.path(), 5 << 30).unwrap();
    let model = Parsed::read(&path);
    assert!(fs::metadata(&path).unwrap().len() < 10_000);
    let data = fs::metadata(dir.path().join(field(model.weight("table"), "location"))).unwrap();
    assert!(data.len() > 5 << 30);
    assert!(
        data.blocks() * 512 < 1 << 20,
        "the hole takes {} bytes of disk",
        data.blocks() * 512
    );
    let bias_at: u64 = field(model.weight("bias"), "offset").parse().unwrap();
    assert!(bias_at > u64::from(u32::MAX));
    let bias = floats(&data_of(model.weight("bias"), dir.path()));
    assert!(bias.iter().any(|value| value.abs() > 0.5) && bias.iter().all(|value| value.abs() <= 1.0));
}
