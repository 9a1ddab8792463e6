//! The cache of prepared models: used, verified, repaired, shared.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use mlos_zoo::{Size, Zoo};

use crate::host::{Load, YIELD_EVERYWHERE, load, run};

struct Case {
    dir: tempfile::TempDir,
    model: PathBuf,
}

impl Case {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let model = Zoo::ResNet50.write(dir.path(), Size::Tiny, 3).unwrap();
        Self { dir, model }
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    fn answer(&self) -> crate::host::Answer {
        let cache = self.cache();
        let options = Load {
            cache: Some(&cache),
            options: YIELD_EVERYWHERE,
            ..Load::default()
        };
        let model = load(&self.model, &options).unwrap();
        assert!(model.slice_profile()[0].checkpoints > 20);
        run(&model, &Zoo::ResNet50.inputs(Size::Tiny, 1, 3))
    }

    /// The one entry.
    fn entry(&self) -> PathBuf {
        let entries = list(&self.cache());
        assert_eq!(entries.len(), 1, "{entries:?}");
        entries[0].clone()
    }
}

fn list(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}

fn written(entry: &Path) -> SystemTime {
    std::fs::metadata(entry.join("model.onnx"))
        .unwrap()
        .modified()
        .unwrap()
}

#[test]
fn a_second_load_uses_the_first_ones_work() {
    let case = Case::new();
    let expect = case.answer();
    let first = written(&case.entry());
    assert!(case.answer() == expect);
    assert_eq!(written(&case.entry()), first);
}

#[test]
fn a_damaged_entry_is_made_again() {
    for (file, at) in [("model.onnx", 100), ("facts", 5), ("facts", 0)] {
        let case = Case::new();
        let expect = case.answer();
        let path = case.entry().join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        if at == 0 {
            bytes.clear();
        } else {
            bytes[at] ^= 0x40;
        }
        std::fs::write(&path, &bytes).unwrap();
        assert!(case.answer() == expect, "{file}");
        assert_ne!(std::fs::read(&path).unwrap(), bytes, "{file} was not made again");
    }
}

#[test]
fn another_model_or_other_options_have_an_entry_of_their_own() {
    let case = Case::new();
    case.answer();
    let cache = case.cache();
    load(
        &case.model,
        &Load {
            cache: Some(&cache),
            ..Load::default()
        },
    )
    .unwrap();
    assert_eq!(list(&cache).len(), 2);
    Zoo::ResNet50.write(case.dir.path(), Size::Tiny, 4).unwrap();
    case.answer();
    assert_eq!(list(&cache).len(), 3);
}

#[test]
fn loaders_at_once_end_with_one_whole_entry() {
    let case = Case::new();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let loaders: Vec<_> = (0..4).map(|_| scope.spawn(|| case.answer())).collect();
        loaders.into_iter().map(|loader| loader.join().unwrap()).collect()
    });
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
    case.entry();
}

#[test]
fn a_cache_that_cannot_be_written_costs_the_checkpoints_only() {
    let case = Case::new();
    // A file where the folder should be: refused for root, too.
    std::fs::write(case.cache(), "").unwrap();
    let cache = case.cache();
    let model = load(
        &case.model,
        &Load {
            cache: Some(&cache),
            ..Load::default()
        },
    )
    .unwrap();
    assert!(model.slice_profile().is_empty());
    let inputs = Zoo::ResNet50.inputs(Size::Tiny, 1, 3);
    assert!(run(&model, &inputs) == crate::models::reference(&case.model, &inputs));
}

#[test]
fn a_loaded_model_does_not_need_its_files() {
    let case = Case::new();
    let cache = case.cache();
    let model = load(
        &case.model,
        &Load {
            cache: Some(&cache),
            ..Load::default()
        },
    )
    .unwrap();
    let inputs = Zoo::ResNet50.inputs(Size::Tiny, 1, 3);
    let expect = run(&model, &inputs);
    std::fs::write(&case.model, "something else").unwrap();
    std::fs::remove_dir_all(&cache).unwrap();
    assert!(run(&model, &inputs) == expect);
}
