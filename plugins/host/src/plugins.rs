use crate::error::Error;
use crate::library::Library;
use crate::limits::PLUGINS_PER_LIBRARY_MAX;
use crate::plugin::{Plugin, PluginInfo, Source};
use mlos_smi::abi;
use std::ffi::CString;
use std::path::Path;
use std::sync::Arc;

/// What plugins are told about their host.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            name: "mlos".into(),
            version: env!("CARGO_PKG_VERSION").into(),
        }
    }
}

/// The plugins of a process, filled at start and then shared.
pub struct Plugins {
    config: HostConfig,
    list: Vec<Arc<Plugin>>,
}

impl Plugins {
    /// None yet.
    pub fn new(config: HostConfig) -> Self {
        Self {
            config,
            list: Vec::new(),
        }
    }

    /// Adds the plugins of an entry that is linked into this program.
    ///
    /// # Errors
    /// The entry breaks the interface, a plugin does not initialise, or its id is taken. Then none is added.
    pub fn add_builtin(
        &mut self,
        entry: &'static abi::Entry,
        config_json: &str,
    ) -> Result<Vec<PluginInfo>, Error> {
        self.add(Library::built_in(entry)?, &Source::BuiltIn, config_json)
    }

    /// Opens a shared object and adds its plugins. **This executes its code**, with the rights of this process.
    ///
    /// # Errors
    /// As [`add_builtin`](Self::add_builtin), or the file is missing or not a plugin.
    pub fn add_library(&mut self, path: &Path, config_json: &str) -> Result<Vec<PluginInfo>, Error> {
        // Canonical, so that the linker does not search its own directories for a bare name.
        let path = path.canonicalize().map_err(|e| Error::Open {
            path: path.into(),
            reason: e.to_string(),
        })?;
        let source = Source::Library(path.clone());
        if let Some(present) = self.list.iter().find(|plugin| plugin.info().source == source) {
            return Err(Error::Duplicate {
                id: present.info().id.clone(),
            });
        }
        self.add(Library::open(&path)?, &source, config_json)
    }

    fn add(
        &mut self,
        library: Library,
        source: &Source,
        config_json: &str,
    ) -> Result<Vec<PluginInfo>, Error> {
        let config_json = CString::new(config_json).map_err(|_| Error::Nul {
            what: "configuration",
        })?;
        let library = Arc::new(library);
        // SAFETY: [between init and deinit].
        let count = unsafe { (library.functions().plugin_count)() };
        if count > PLUGINS_PER_LIBRARY_MAX {
            let what = format!("{count} plugins, at most {PLUGINS_PER_LIBRARY_MAX} are allowed");
            return Err(Error::BadPlugin {
                plugin: source.to_string(),
                what,
            });
        }
        let mut added: Vec<Arc<Plugin>> = Vec::new();
        for index in 0..count {
            let created = Plugin::create(&library, index, source, &self.config)?;
            let id = &created.info().id;
            if self
                .list
                .iter()
                .chain(&added)
                .any(|present| present.info().id == *id)
            {
                return Err(Error::Duplicate { id: id.clone() });
            }
            created.initialize(&config_json)?;
            added.push(Arc::new(created));
        }
        let infos = added.iter().map(|plugin| plugin.info().clone()).collect();
        self.list.append(&mut added);
        Ok(infos)
    }

    /// Who is there, in the order of addition.
    pub fn list(&self) -> Vec<PluginInfo> {
        self.list.iter().map(|plugin| plugin.info().clone()).collect()
    }

    /// The plugin that loads a format; of several the one added last, so that a library can replace a built-in.
    pub fn for_format(&self, format: &str) -> Option<Arc<Plugin>> {
        let loads = |plugin: &&Arc<Plugin>| plugin.info().formats.iter().any(|known| known == format);
        self.list.iter().rev().find(loads).cloned()
    }
}
