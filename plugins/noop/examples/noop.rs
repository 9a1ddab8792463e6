//! The no-op plugin as a shared object, for a daemon: `mlosd --plugin target/debug/examples/libnoop.so`.

mlos_smi::export_plugin!(mlos_plugin_noop::NoopPlugin);
