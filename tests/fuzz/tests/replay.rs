//! Every input that is kept holds: the corpus that the fuzzer starts from, and every input that once broke a promise.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use restore_fuzz::TARGETS;

fn folder(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(kind)
}

fn inside(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_kept_input_holds() {
    for target in TARGETS {
        let corpus = inside(&folder("corpus").join(target.name));
        assert!(corpus.len() >= 3, "{} starts from too little", target.name);
        for path in corpus.into_iter().chain(inside(&folder("regressions").join(target.name))) {
            let data = std::fs::read(&path).expect("an input");
            assert!(data.len() <= target.max_len, "{} is longer than what is tried", path.display());
            let held = std::panic::catch_unwind(|| (target.run)(&data));
            assert!(held.is_ok(), "{} broke {}", path.display(), target.name);
        }
    }
}

#[test]
fn nothing_is_kept_for_a_target_that_does_not_exist() {
    let names: BTreeSet<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    for kind in ["corpus", "regressions"] {
        for path in inside(&folder(kind)) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            assert!(names.contains(&name), "{} is of no target", path.display());
        }
    }
}
