//! Lines of plugins arrive in the host's log.

use crate::rust_plugins::Scripted;
use crate::support::affine_library;
use mlos_plugin_host::{HostConfig, Plugins};
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Keeps every event as "LEVEL target field=value ...".
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl Subscriber for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = format!("{} {}", event.metadata().level(), event.metadata().target());
        event.record(&mut Fields(&mut line));
        self.0.lock().unwrap().push(line);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn plugins_write_to_the_log_of_the_host() {
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.clone(), || {
        let mut plugins = Plugins::new(HostConfig::default());
        plugins.add_library(affine_library(), "{}").unwrap();
        plugins
            .add_builtin(mlos_smi::entry_of::<Scripted>(), "{}")
            .unwrap();
    });
    let expect = [
        r#"DEBUG plugin message=affine is ready plugin="example.affine""#,
        r#"INFO plugin message=scripted is ready plugin="test.scripted""#,
    ];
    assert_eq!(*lines.0.lock().unwrap(), expect);
}
