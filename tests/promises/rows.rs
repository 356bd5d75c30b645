//! The lists of what the project promises, F1 to F54 and S1 to S60, against the tests there are: a row is shown by
//! tests that carry its number in their name. And the threat model against both.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// The names of all functions that are tests, below a folder.
fn tests_below(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            tests_below(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = std::fs::read_to_string(path).expect("its text");
            for mark in ["#[test]", "#[tokio::test"] {
                for marked in text.split(mark).skip(1) {
                    let name = marked.split("fn ").nth(1).and_then(|rest| rest.split('(').next());
                    found.extend(name.map(str::to_owned));
                }
            }
        }
    }
}

fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in ["crates", "tests"] {
        tests_below(&top().join(folder), &mut found);
    }
    found
}

/// The rows of a list that a name begins with, such as 4 and 5 of `s4_s5_what_…`.
fn rows(list: char, name: &str) -> impl Iterator<Item = u32> {
    name.split('_').map_while(move |word| word.strip_prefix(list)?.parse().ok())
}

/// Rows of the list of attacks that no test shows yet. A row leaves this list with its first test, and the threat model
/// names it then.
const NOT_YET: [u32; 2] = [49, 51];

/// Those of the first so many rows of a list that are neither told nor excepted.
fn missing(list: char, last: u32, told: &BTreeSet<u32>) -> Vec<u32> {
    let excepted = |row: &u32| list == 's' && NOT_YET.contains(row);
    (1..=last).filter(|row| !told.contains(row) && !excepted(row)).collect()
}

#[test]
fn every_row_of_both_lists_is_shown() {
    let tests = tests();
    assert!(tests.len() > 400, "{}", tests.len());
    for (list, last) in [('f', 54), ('s', 60)] {
        let shown: BTreeSet<u32> = tests.iter().flat_map(|name| rows(list, name)).collect();
        let missing = missing(list, last, &shown);
        assert!(missing.is_empty(), "no test shows the rows {missing:?} of {list}");
        let shown_now: Vec<u32> =
            NOT_YET.into_iter().filter(|row| list == 's' && shown.contains(row)).collect();
        assert!(shown_now.is_empty(), "tests show {shown_now:?} now: take them off NOT_YET");
    }
}

#[test]
fn the_threat_model_names_tests_that_exist_and_every_row() {
    let text = std::fs::read_to_string(top().join("THREAT-MODEL.md")).expect("the threat model");
    let tests = tests();
    // A name of a test is the one thing written as code there that has this many words.
    let is_name = |word: &&str| {
        word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && word.matches('_').count() > 2
    };
    let named: Vec<&str> = text.split('`').skip(1).step_by(2).filter(is_name).collect();
    assert!(named.len() > 60, "{}", named.len());
    let unknown: Vec<&&str> = named.iter().filter(|name| !tests.contains(**name)).collect();
    assert!(unknown.is_empty(), "there are no tests {unknown:#?}");

    let told: BTreeSet<u32> = text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter_map(|word| word.strip_prefix('S')?.parse().ok())
        .collect();
    let missing = missing('s', 60, &told);
    assert!(missing.is_empty(), "the threat model says nothing of {missing:?}");
}
