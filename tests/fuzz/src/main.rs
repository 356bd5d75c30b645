//! The fuzzer: libFuzzer around the one target that the variable `FUZZ_TARGET` names. One program for all of them,
//! for what takes its time is to link it.

// libFuzzer brings `main`.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use restore_fuzz::{TARGETS, Target};

#[expect(clippy::disallowed_methods, reason = "libFuzzer owns the command line, so there is no other way in")]
static CHOSEN: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        panic!("FUZZ_TARGET is one of {}", names.join(", "))
    })
});

fuzz_target!(|data: &[u8]| (CHOSEN.run)(data));
