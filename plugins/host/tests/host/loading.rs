//! Opening plugins and loading models.

use crate::rust_plugins::Scripted;
use crate::support::*;
use mlos_plugin_host::{Dim, Error, ErrorKind, HostConfig, LoadRequest, Plugins, Source};
use std::path::Path;

#[test]
fn a_library_says_who_it_is() {
    let mut plugins = Plugins::new(HostConfig::default());
    let added = plugins.add_library(affine_library(), "{}").unwrap();
    assert_eq!(added, plugins.list());
    let [info] = &added[..] else { panic!("{added:?}") };
    assert_eq!(
        (info.id.as_str(), info.version.as_str()),
        ("example.affine", "1.0.0")
    );
    assert_eq!(info.formats, ["affine"]);
    assert_eq!(
        info.source,
        Source::Library(affine_library().canonicalize().unwrap())
    );
    assert!(plugins.for_format("onnx").is_none());
}

#[test]
fn a_model_says_what_it_is() {
    let model = affine(r#"{"columns": 3, "busy_us": 20}"#);
    let info = model.info();
    let names =
        |specs: &[mlos_plugin_host::TensorSpec]| specs.iter().map(|s| s.name.clone()).collect::<Vec<_>>();
    assert_eq!(
        (names(&info.inputs), names(&info.outputs)),
        (vec!["x".into()], vec!["y".into(), "sums".into()])
    );
    assert_eq!(
        info.inputs[0].dims,
        [Dim::Dynamic(Some("batch".into())), Dim::Fixed(3)]
    );
    assert_eq!(info.outputs[1].dims, [Dim::Dynamic(Some("batch".into()))]);
    assert!(info.reentrant && info.rows_independent);
    assert_eq!(info.resources.threads, 1);
    assert_eq!(model.resident_bytes(), info.resources.memory_bytes);
    let profile = model.slice_profile();
    assert_eq!(
        profile
            .iter()
            .map(|row| (row.rows, row.checkpoints))
            .collect::<Vec<_>>(),
        [(1, 1), (8, 8)]
    );
    for row in profile {
        assert!(
            row.longest_slice_ns >= 20_000 && row.longest_slice_ns <= row.total_ns,
            "{row:?}"
        );
    }
}

#[test]
fn declarations_are_taken_over() {
    let model = affine(r#"{"reentrant": 0, "rows_independent": 0}"#);
    assert!(!model.info().reentrant && !model.info().rows_independent);
    assert_eq!(work(&model, &pool(), 2, 0.0).rows(), None);
}

#[test]
fn models_that_do_not_load_say_why() {
    let plugin = affine_plugin();
    let check = |text: &str, options: &str, component: &str, kind: ErrorKind, says: &str| {
        let (_dir, path) = model_file(text);
        let error = plugin
            .load(&LoadRequest {
                component,
                ..request(&path, options)
            })
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    };
    check(
        "",
        "{}",
        "",
        ErrorKind::BadModel,
        "does not start with `affine 1`",
    );
    check(
        "onnx",
        "{}",
        "",
        ErrorKind::BadModel,
        "does not start with `affine 1`",
    );
    check(
        "affine 1\na two\n",
        "{}",
        "",
        ErrorKind::BadModel,
        ":2: cannot use `a two`",
    );
    check(
        "affine 1\na nan\n",
        "{}",
        "",
        ErrorKind::BadModel,
        ":2: cannot use `a nan`",
    );
    check(
        "affine 1\n",
        "[]",
        "",
        ErrorKind::InvalidRequest,
        "not a JSON object",
    );
    check(
        "affine 1\n",
        r#"{"a" 1}"#,
        "",
        ErrorKind::InvalidRequest,
        "not a flat object",
    );
    check(
        "affine 1\n",
        r#"{"a": 1"#,
        "",
        ErrorKind::InvalidRequest,
        "cut off",
    );
    check(
        "affine 1\n",
        r#"{"speed": 1}"#,
        "",
        ErrorKind::InvalidRequest,
        "no option `speed` takes `1`",
    );
    check(
        "affine 1\n",
        "{}",
        "encoder",
        ErrorKind::NotFound,
        "no component `encoder`",
    );
    check(
        "affine 1\n",
        "{\0}",
        "",
        ErrorKind::InvalidRequest,
        "the options text holds a NUL byte",
    );
    check(
        "affine 1\n",
        r#"{"behave": "bad_rank"}"#,
        "",
        ErrorKind::Plugin,
        "`y` has 1000 dimensions",
    );
    check(
        "affine 1\n",
        r#"{"behave": "bad_dtype"}"#,
        "",
        ErrorKind::Plugin,
        "`x`: unknown element type 99",
    );
    let gone = plugin
        .load(&request(Path::new("/nonexistent"), "{}"))
        .unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    assert!(gone.to_string().contains("No such file"), "{gone}");
}

#[test]
fn libraries_that_are_no_plugins_say_why() {
    let (_dir, text_file) = model_file("affine 1\n");
    let no_symbol = compile_text("int nothing_here;\n", "no_symbol.so");
    let version_2 = compile_text("const unsigned smi_entry[2] = {2, 0};\n", "version_2.so");
    let no_functions = compile_text(
        "#include <smi.h>\nconst smi_plugin_entry_t smi_entry = {.abi_major = SMI_ABI_MAJOR};\n",
        "no_functions.so",
    );
    let no_infer = compile_text(&affine_but(".infer = infer", ".infer = 0"), "no_infer.so");
    let no_id = compile_text(
        &affine_but(r#".id = "example.affine""#, r#".id = """#),
        "no_id.so",
    );
    let init_fails = compile_text(
        &affine_but(
            "(void)path;\n    return SMI_OK",
            "(void)path;\n    return SMI_NO_MEMORY",
        ),
        "init_fails.so",
    );
    let check = |path: &Path, kind: ErrorKind, says: &str| {
        let mut plugins = Plugins::new(HostConfig::default());
        let error = plugins.add_library(path, "{}").unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert!(plugins.list().is_empty());
    };
    check(
        Path::new("/nonexistent.so"),
        ErrorKind::NotFound,
        "cannot open plugin /nonexistent.so",
    );
    check(&text_file, ErrorKind::NotFound, "cannot open plugin");
    check(&no_symbol, ErrorKind::NotFound, "does not export `smi_entry`");
    check(
        &version_2,
        ErrorKind::Unsupported,
        "speaks version 2 of smi.h, this host version 1",
    );
    check(&no_functions, ErrorKind::Plugin, "smi_entry.init is NULL");
    check(&no_infer, ErrorKind::Plugin, "smi_plugin.infer is NULL");
    check(&no_id, ErrorKind::Plugin, "the plugin's id is empty");
    check(&init_fails, ErrorKind::NoMemory, "out of memory");
}

/// The example with one thing changed. Unused functions are then allowed.
fn affine_but(what: &str, instead: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../example-c/affine.c");
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(text.matches(what).count(), 1, "{what}");
    format!(
        "#pragma GCC diagnostic ignored \"-Wunused-function\"\n{}",
        text.replace(what, instead)
    )
}

#[test]
fn a_plugin_that_refuses_is_not_added() {
    let mut plugins = Plugins::new(HostConfig::default());
    let error = plugins
        .add_library(affine_library(), r#"{"refuse": 1}"#)
        .unwrap_err();
    assert!(
        error.to_string().contains("initialize: asked to refuse"),
        "{error}"
    );
    assert!(plugins.list().is_empty() && plugins.for_format("affine").is_none());
    plugins.add_library(affine_library(), "{}").unwrap();
    let again = plugins.add_library(affine_library(), "{}").unwrap_err();
    assert!(matches!(again, Error::Duplicate { .. }), "{again}");
    assert_eq!(plugins.list().len(), 1);
}

#[test]
fn of_two_plugins_for_a_format_the_later_one_counts() {
    let mut plugins = Plugins::new(HostConfig::default());
    plugins
        .add_builtin(mlos_smi::entry_of::<Scripted>(), "{}")
        .unwrap();
    assert_eq!(
        plugins.for_format("affine").unwrap().info().source,
        Source::BuiltIn
    );
    plugins.add_library(affine_library(), "{}").unwrap();
    assert_eq!(plugins.for_format("affine").unwrap().info().id, "example.affine");
    assert_eq!(plugins.for_format("script").unwrap().info().id, "test.scripted");
    let again = plugins
        .add_builtin(mlos_smi::entry_of::<Scripted>(), "{}")
        .unwrap_err();
    assert_eq!(again.to_string(), "plugin `test.scripted` is already loaded");
}

#[test]
fn a_model_outlives_the_registry() {
    let pool = pool();
    let model = affine("{}"); // the Plugins and the Arc<Plugin> are gone by now
    assert_right(run(work(&model, &pool, 2, 0.0), &pool).work, 2, 0.0);
}
