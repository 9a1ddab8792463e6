//! The trait carries hubs that this crate does not know: one that is written here, beside the ones that are there.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use axon_adapters::{
    About, Adapter, Adapters, Answer, Checksum, Error, Fetch, FormatChoice, HuggingFace, HuggingFaceOptions,
    Local, Progress, Reference, RemoteFile, Resolved, Silent, Source, describe,
};
use axon_package::{FileEntry, ModelId, Sha256, Stage, Staging, Store};

/// A hub whose one model is in memory, in as many files as it is told.
#[derive(Debug)]
struct Memory {
    files: Vec<Vec<u8>>,
}

impl Adapter for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn can_handle(&self, reference: &Reference) -> bool {
        reference.text() == "memory/model"
    }

    fn resolve<'a>(&'a self, reference: &'a Reference, _choice: FormatChoice) -> Answer<'a, Resolved> {
        Box::pin(async move {
            let remote = |(at, content): (usize, &Vec<u8>)| RemoteFile {
                path: format!("part-{at}.safetensors"),
                size: content.len() as u64,
                checksum: Checksum::Sha256(Sha256::of(content)),
                url: at.to_string(),
            };
            let files: Vec<RemoteFile> = self.files.iter().enumerate().map(remote).collect();
            Ok(Resolved {
                id: ModelId::parse(reference.text())?.with_version("1")?,
                source: Source::Directory(PathBuf::from("memory")),
                manifest: None,
                available: files.clone(),
                files,
                about: About {
                    license: "MIT".into(),
                    ..About::default()
                },
            })
        })
    }

    fn fetch<'a>(
        &'a self,
        file: &'a RemoteFile,
        staging: &'a Staging,
        progress: &'a dyn Progress,
    ) -> Answer<'a, FileEntry> {
        Box::pin(async move {
            let mut part = staging.file(&file.path, None, Some(file.size))?;
            part.append(&self.files[file.url.parse::<usize>().unwrap()])?;
            let entry = part.finish()?;
            progress.done(&file.path, file.size);
            Ok(entry)
        })
    }
}

/// Counts files.
#[derive(Default)]
struct Count(AtomicU64);

impl Progress for Count {
    fn at(&self, _path: &str, _have_bytes: u64, _total_bytes: u64) {}
    fn advance(&self, _path: &str, _bytes: u64) {}
    fn done(&self, _path: &str, _total_bytes: u64) {
        self.0.fetch_add(1, Relaxed);
    }
}

fn safetensors(byte: u8) -> Vec<u8> {
    let header = br#"{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#;
    [&(header.len() as u64).to_le_bytes(), header.as_slice(), &[byte]].concat()
}

fn all() -> Adapters {
    let hub = HuggingFace::new(&HuggingFaceOptions::default()).unwrap();
    Adapters::new()
        .with(Local)
        .with(Memory {
            files: (0..20).map(safetensors).collect(),
        })
        .with(hub)
}

#[test]
fn the_first_adapter_that_can_takes_it() {
    let check = |text: &str, name: &str| {
        let reference = Reference::parse(text).unwrap();
        assert_eq!(all().find(&reference).unwrap().name(), name, "{text}");
    };
    check("./src", "local");
    check("memory/model", "memory");
    check("memory/other", "huggingface");
    check("hf/org/name", "huggingface");
    let reference = Reference::parse("hf/org/name").unwrap();
    assert!(matches!(
        Adapters::new().with(Local).find(&reference),
        Err(Error::NoAdapter { .. })
    ));
}

#[tokio::test]
async fn a_hub_of_ones_own_installs_like_any_other() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path()).unwrap();
    let reference = Reference::parse("memory/model").unwrap();
    let adapter = all().find(&reference).unwrap();
    let resolved = adapter.resolve(&reference, FormatChoice::Auto).await.unwrap();
    let Stage::New(staging) = store.stage(&resolved.id).unwrap() else {
        panic!("the store is empty")
    };
    let count = Arc::new(Count::default());
    let (store_again, staging_again) = (store.clone(), staging.clone());
    let fetch = Fetch {
        adapter,
        store: store_again,
        staging: staging_again,
        parallel: 3,
        progress: count.clone(),
    };
    fetch.run(&resolved).await.unwrap();
    assert_eq!(count.0.load(Relaxed), 20);
    let locate = |entry: &FileEntry| Ok(store.blob_path(&entry.digest()?));
    let manifest = describe(&resolved, staging.files(), &locate).unwrap();
    assert_eq!(
        (
            manifest.metadata.license.as_str(),
            manifest.spec.format.kind.as_str()
        ),
        ("MIT", "safetensors")
    );
    let installed = staging.commit(&manifest).unwrap();
    assert!(installed.verify(&mut |_| {}).unwrap().is_intact());
}

#[tokio::test]
async fn hubs_are_searched() {
    let root = tempfile::tempdir().unwrap();
    for name in ["acme/bert-tiny", "acme/bert-large", "acme/vit"] {
        std::fs::create_dir_all(root.path().join(name)).unwrap();
    }
    let hub = mlos_hub::Hub::start(root.path()).unwrap();
    let options = HuggingFaceOptions {
        endpoint: hub.endpoint().into(),
        ..HuggingFaceOptions::default()
    };
    let adapter = HuggingFace::new(&options).unwrap();
    assert_eq!(
        adapter.search("bert", 5).await.unwrap(),
        ["hf/acme/bert-large", "hf/acme/bert-tiny"]
    );
    assert_eq!(adapter.search("bert", 1).await.unwrap().len(), 1);
    assert!(adapter.search("a b&limit=9", 5).await.unwrap().is_empty());
    assert!(Local.search("bert", 5).await.unwrap().is_empty());
    Silent.done("", 0);
}
