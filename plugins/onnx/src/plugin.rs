//! The plugin: finds the runtime, loads models.

use std::path::Path;

use mlos_smi::{Description, Descriptor, Dim, Failure, Host, Level, LoadRequest, SliceProfile, Status};
use ort::session::Session;

use crate::cache::{Entry, Facts, GRAPH_FILE};
use crate::describe::{describe, looks_like_rows};
use crate::error::{Error, ErrorKind, Result};
use crate::key::key;
use crate::library::{self, Runtime};
use crate::model::{OnnxModel, Parts};
use crate::options::{Configuration, LoadOptions};
use crate::prepare::Job;
use crate::session::{Purpose, open};
use crate::source::Source;
use crate::threads::Lease;

/// Runs ONNX models with ONNX Runtime on the CPU.
pub struct OnnxPlugin {
    host: Host,
    runtime: Runtime,
    configuration: Configuration,
}

impl mlos_smi::Plugin for OnnxPlugin {
    type Model = OnnxModel;

    const DESCRIPTOR: Descriptor = Descriptor {
        id: c"mlos.onnx",
        name: c"ONNX Runtime",
        vendor: c"MLOS",
        version: VERSION,
        description: c"runs ONNX models on the CPU, with checkpoints between their layers",
        formats: &[c"onnx"],
    };

    fn initialize(host: Host, config_json: &str) -> Result<Self, Failure> {
        let configuration = Configuration::parse(config_json)?;
        let runtime = library::open(configuration.library.as_deref())?;
        host.log(
            Level::Info,
            &format!(
                "onnx runtime from {} ({})",
                runtime.library.display(),
                runtime.build
            ),
        );
        Ok(Self {
            host,
            runtime,
            configuration,
        })
    }

    fn load(&self, request: &LoadRequest<'_>) -> Result<OnnxModel, Failure> {
        Ok(self.load_model(request)?)
    }
}

/// The crate's version, ending as C has it.
const VERSION: &std::ffi::CStr =
    match std::ffi::CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => c"unknown",
    };

/// A session with all that is known about it.
struct Loaded {
    session: Session,
    facts: Facts,
}

impl OnnxPlugin {
    fn load_model(&self, request: &LoadRequest<'_>) -> Result<OnnxModel> {
        let options = LoadOptions::parse(request.options_json)?;
        let source = Source::inspect(request.path)?;
        let threads = request.threads.max(1);
        let lease = Lease::take(threads, self.configuration.threads_max)?;
        let job = Job {
            runtime: &self.runtime,
            source: &source,
            options: &options,
            threads,
        };
        let loaded = self
            .prepared(&job, request.cache_dir)
            .or_else(|error| self.plain(&job, &error))?;
        if let Some(note) = &loaded.facts.note {
            self.host
                .log(Level::Warn, &format!("{}: {note}", request.path.display()));
        }
        let mut description = describe(&loaded.session, &source)?;
        complete(&mut description, &loaded.facts, &options);
        description.resources.memory_bytes = source.bytes;
        description.resources.threads = threads;
        OnnxModel::new(Parts {
            session: loaded.session,
            description,
            profile: profile(&loaded.facts),
            surprising_outputs: loaded.facts.surprising_outputs,
            lease,
        })
    }

    /// The prepared model, from the cache or made now.
    fn prepared(&self, job: &Job<'_>, cache: Option<&Path>) -> Result<Loaded> {
        let temporary;
        let cache = match cache {
            Some(cache) => cache,
            None => {
                temporary = Temporary::new()?;
                &temporary.0
            }
        };
        let key = key(&self.runtime, job.source, job.options, job.threads)?;
        let entry = match Entry::find(cache, &key) {
            Some(entry) => entry,
            None => job.prepare(cache, &key)?,
        };
        // Weights beside the graph are mapped now; they stay readable when the folder goes.
        let session = open(
            &self.runtime,
            &entry.dir.join(GRAPH_FILE),
            job.threads,
            Purpose::Prepared,
        )?;
        Ok(Loaded {
            session,
            facts: entry.facts,
        })
    }

    /// The model as it came, without checkpoints. If that fails too, the model is to blame.
    fn plain(&self, job: &Job<'_>, reason: &Error) -> Result<Loaded> {
        let path = &job.source.path;
        let session =
            open(&self.runtime, path, job.threads, Purpose::Plain).map_err(|error| match error {
                Error::Runtime(text) => Error::bad_model(path, text),
                other => other,
            })?;
        let note = format!("runs without checkpoints, the preparation failed: {reason}");
        Ok(Loaded {
            session,
            facts: Facts {
                note: Some(note),
                ..Facts::default()
            },
        })
    }
}

/// Adds to the declarations what the timed runs showed.
fn complete(description: &mut Description, facts: &Facts, options: &LoadOptions) {
    for (spec, rank) in description.outputs.iter_mut().zip(&facts.output_ranks) {
        // No dimensions declared, but some seen: the rank is not declared, it is not a scalar.
        if spec.dims.is_empty() {
            spec.dims = vec![Dim::Dynamic(None); *rank];
        }
    }
    let found = looks_like_rows(description) && facts.rows_follow == Some(true);
    description.resources.rows_independent = options.rows_independent.unwrap_or(found);
}

/// The measured profile; without one, a single row that says "no checkpoints, times unknown".
fn profile(facts: &Facts) -> Vec<SliceProfile> {
    let rows = facts.profile.iter().map(|row| SliceProfile {
        rows: row.rows,
        total_ns: row.total_ns,
        longest_slice_ns: row.longest_slice_ns,
        checkpoints: row.checkpoints,
    });
    rows.collect()
}

/// A cache for one load.
struct Temporary(std::path::PathBuf);

impl Temporary {
    fn new() -> Result<Self> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "mlos-onnx-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let dir = std::env::temp_dir().join(name);
        // Not `create_dir_all`: a folder that is there already is somebody else's.
        std::fs::create_dir(&dir).map_err(|source| Error::io(&dir, source))?;
        Ok(Self(dir))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // What stays behind in the system's folder for temporary files is the system's to clean.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match (error.kind(), &error) {
            (_, Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Status::NotFound
            }
            (ErrorKind::Options | ErrorKind::Input, _) => Status::InvalidArgument,
            (ErrorKind::Model, _) => Status::BadModel,
            (ErrorKind::Cancelled, _) => Status::Cancelled,
            (ErrorKind::Environment | ErrorKind::Internal, _) => Status::Runtime,
        };
        Self::new(status, error.to_string())
    }
}
