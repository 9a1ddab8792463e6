//! The C compiler and the Rust mirror must agree on every size, offset and number of `smi.h`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use mlos_smi::{DType, Status, abi};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

/// Name of the C type behind a type of the mirror.
fn c_name(mirror: &str) -> String {
    let snake: String = mirror
        .chars()
        .enumerate()
        .flat_map(|(i, c)| {
            (c.is_uppercase() && i > 0)
                .then_some('_')
                .into_iter()
                .chain(c.to_lowercase())
        })
        .collect();
    match snake.as_str() {
        "entry" => "smi_plugin_entry_t".into(),
        other => format!("smi_{other}_t"),
    }
}

/// Compiles and runs a C program whose `main` has `body`, returns what it prints.
fn run_c(body: &str, standard: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let (source, program) = (dir.path().join("layout.c"), dir.path().join("layout"));
    let text = format!(
        "#include <smi.h>\n#include <stddef.h>\n#include <stdio.h>\nint main(void) {{\n{body}return 0;\n}}\n"
    );
    std::fs::write(&source, text).unwrap();
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let built = Command::new(compiler)
        .args([standard, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("include"))
        .args(["-o".as_ref(), program.as_os_str(), source.as_os_str()])
        .output()
        .expect("a C compiler is installed");
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    String::from_utf8(Command::new(program).output().unwrap().stdout).unwrap()
}

#[test]
fn the_c_compiler_sees_the_same_layout() {
    let (mut body, mut expect) = (String::new(), String::new());
    let print = |body: &mut String, what: &str| {
        writeln!(body, "printf(\"%s %lld\\n\", \"{what}\", (long long)({what}));").unwrap();
    };
    for (mirror, size, fields) in abi::LAYOUT {
        let name = c_name(mirror);
        print(&mut body, &format!("sizeof({name})"));
        writeln!(expect, "sizeof({name}) {size}").unwrap();
        for (field, offset) in *fields {
            print(&mut body, &format!("offsetof({name}, {field})"));
            writeln!(expect, "offsetof({name}, {field}) {offset}").unwrap();
        }
    }
    for (constant, value) in constants() {
        print(&mut body, &constant);
        writeln!(expect, "{constant} {value}").unwrap();
    }
    assert_eq!(run_c(&body, "-std=c11"), expect);
}

/// Every number of the header with its value in the mirror.
fn constants() -> Vec<(String, i64)> {
    let mut list: Vec<(String, i64)> = vec![
        ("SMI_ABI_MAJOR".into(), abi::ABI_MAJOR.into()),
        ("SMI_ABI_MINOR".into(), abi::ABI_MINOR.into()),
        ("SMI_STACK_BYTES".into(), abi::STACK_BYTES as i64),
        ("SMI_RANK_MAX".into(), abi::RANK_MAX as i64),
        ("SMI_TENSORS_MAX".into(), abi::TENSORS_MAX as i64),
        ("SMI_OK".into(), abi::OK.into()),
        ("SMI_ABSENT".into(), abi::ABSENT.into()),
        ("SMI_OWNER_HOST".into(), abi::OWNER_HOST.into()),
        ("SMI_OWNER_PLUGIN".into(), abi::OWNER_PLUGIN.into()),
        ("SMI_OWNER_SHARED".into(), abi::OWNER_SHARED.into()),
        ("SMI_SPEC_OPTIONAL".into(), abi::SPEC_OPTIONAL.into()),
        ("SMI_MODEL_REENTRANT".into(), abi::MODEL_REENTRANT.into()),
        (
            "SMI_MODEL_ROWS_INDEPENDENT".into(),
            abi::MODEL_ROWS_INDEPENDENT.into(),
        ),
        ("SMI_LOG_ERROR".into(), mlos_smi::Level::Error as i64),
        ("SMI_LOG_TRACE".into(), mlos_smi::Level::Trace as i64),
    ];
    let statuses = [
        ("INVALID_ARGUMENT", Status::InvalidArgument),
        ("NO_MEMORY", Status::NoMemory),
        ("NOT_FOUND", Status::NotFound),
        ("UNSUPPORTED", Status::Unsupported),
        ("RUNTIME", Status::Runtime),
        ("CANCELLED", Status::Cancelled),
        ("BAD_MODEL", Status::BadModel),
        ("ABI_MISMATCH", Status::AbiMismatch),
        ("BUSY", Status::Busy),
    ];
    list.extend(statuses.map(|(name, status)| (format!("SMI_{name}"), status.code().into())));
    list.extend(DType::ALL.map(|dtype| (format!("SMI_{dtype:?}").to_uppercase(), i64::from(dtype.code()))));
    list
}

#[test]
fn names_of_extensions_agree() {
    let body = "puts(SMI_EXT_SLICE_PROFILE);\nputs(SMI_EXT_MEMORY);\n";
    let names = [abi::EXT_SLICE_PROFILE, abi::EXT_MEMORY].map(|name| name.to_str().unwrap());
    assert_eq!(run_c(body, "-std=c11").lines().collect::<Vec<_>>(), names);
}

#[test]
fn the_header_is_also_c99() {
    assert_eq!(run_c("puts(\"ok\");\n", "-std=c99"), "ok\n");
}
