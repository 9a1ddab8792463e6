#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| axon_package::fuzzing::fuzz_detect(bytes));
