//! Names the library as programs look for it: by the version of its interface.

fn main() {
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libmlos.so.0");
    println!("cargo::rerun-if-changed=build.rs");
}
