//! Models to register: a folder with files and a manifest.

use std::path::{Path, PathBuf};

use mlos_zoo::{Size, Zoo};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A package in the making.
#[derive(Debug, Clone)]
pub struct Package {
    /// `namespace/name`.
    pub id: String,
    /// Its version.
    pub version: String,
    /// The manifest's `spec`, but for the files.
    pub spec: Value,
    files: Vec<(String, Vec<u8>)>,
    roles: Vec<Value>,
}

impl Package {
    /// An empty one.
    #[must_use]
    pub fn new(id: &str, version: &str) -> Self {
        Self {
            id: id.to_owned(),
            version: version.to_owned(),
            spec: json!({ "framework": { "name": "onnx" }, "format": { "type": "onnx" } }),
            files: Vec::new(),
            roles: Vec::new(),
        }
    }

    /// A model of the C example plugin: lines of "key value".
    #[must_use]
    pub fn affine(id: &str, version: &str, lines: &str) -> Self {
        let text = format!("affine 1\n{lines}\n");
        Self::new(id, version).executable("model.affine", "affine", "single", text.into_bytes())
    }

    /// A model of the zoo.
    #[must_use]
    pub fn zoo(id: &str, version: &str, zoo: Zoo, size: Size) -> Self {
        Self::new(id, version).executable("model.onnx", "onnx", "single", zoo_file(zoo, size))
    }

    /// With one more file.
    #[must_use]
    pub fn file(mut self, name: &str, bytes: Vec<u8>) -> Self {
        self.files.push((name.to_owned(), bytes));
        self
    }

    /// With one more file, which a plugin runs.
    #[must_use]
    pub fn executable(mut self, name: &str, format: &str, role: &str, bytes: Vec<u8>) -> Self {
        self.roles
            .push(json!({ "path": name, "format": format, "type": role }));
        self.file(name, bytes)
    }

    /// With `spec.serving`.
    #[must_use]
    pub fn serving(mut self, serving: Value) -> Self {
        self.spec["serving"] = serving;
        self
    }

    /// With one more entry of `spec.io.inputs`.
    #[must_use]
    pub fn input(mut self, port: Value) -> Self {
        match self.spec["io"]["inputs"].as_array_mut() {
            Some(inputs) => inputs.push(port),
            None => self.spec["io"]["inputs"] = json!([port]),
        }
        self
    }

    /// Its manifest.
    #[must_use]
    pub fn manifest(&self) -> Value {
        let (namespace, name) = self.id.split_once('/').unwrap();
        let entry = |(path, bytes): &(String, Vec<u8>)| json!({ "path": path, "size": bytes.len(), "sha256": hex::encode(Sha256::digest(bytes)) });
        let mut spec = self.spec.clone();
        spec["format"]["files"] = self.files.iter().map(entry).collect();
        spec["format"]["execution_files"] = self.roles.iter().cloned().collect();
        json!({
            "apiVersion": "axon.mlos.io/v1",
            "kind": "Model",
            "metadata": { "namespace": namespace, "name": name, "version": self.version },
            "spec": spec,
        })
    }

    /// Writes `<folder>/<id>/<version>/`, and returns it.
    ///
    /// # Panics
    /// When the disk refuses.
    #[must_use]
    pub fn write(&self, folder: &Path) -> PathBuf {
        let root = folder.join(&self.id).join(&self.version);
        for (name, bytes) in &self.files {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        // JSON is YAML.
        std::fs::write(root.join("manifest.yaml"), self.manifest().to_string()).unwrap();
        root
    }
}

/// The seed of every model of the zoo here.
pub const SEED: u64 = 11;

/// The bytes of a model file of the zoo.
fn zoo_file(zoo: Zoo, size: Size) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = zoo.write(folder.path(), size, SEED).unwrap();
    std::fs::read(path).unwrap()
}
