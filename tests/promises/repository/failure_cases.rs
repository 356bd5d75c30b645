//! The list of what the project promises (docs/reference/failure-cases.md) against the tests there are: a row is shown
//! by tests that begin with its number. The threat model against the list, and the sections that comments cite of the
//! facts about the clouds (docs/reference/cloud-apis.md) against that page.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use restore_tests::tools::sources;

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

/// The numbers of the rows of a list, as the page has them: from 1 on, without a gap.
fn listed(list: char) -> BTreeSet<u32> {
    let page = std::fs::read_to_string(top().join("docs/reference/failure-cases.md")).expect("the page");
    let numbers: Vec<u32> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_prefix(list)?.split(' ').next()?.parse().ok())
        .collect();
    let last = u32::try_from(numbers.len()).expect("few rows");
    assert!(last > 50 && numbers == (1..=last).collect::<Vec<_>>(), "{list}: {numbers:?}");
    numbers.into_iter().collect()
}

#[test]
fn every_section_that_is_cited_exists() {
    let page = std::fs::read_to_string(top().join("docs/reference/cloud-apis.md")).expect("the page");
    let sections: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix('#')?.trim_start_matches('#').split_whitespace().next())
        .map(|number| number.trim_end_matches('.'))
        .collect();
    let mut cited = 0;
    for path in ["crates", "tests"].iter().flat_map(|folder| sources(&top().join(folder))) {
        let text = std::fs::read_to_string(&path).expect("its text");
        for after in text.split("cloud APIs ").skip(1) {
            let list = after.split([')', ':']).next().unwrap_or_default();
            for word in list.split(|c: char| !c.is_ascii_alphanumeric() && c != '.') {
                let word = word.trim_end_matches('.');
                let trap = word.strip_prefix('T').is_some_and(|number| number.parse::<u8>().is_ok());
                let section = word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.');
                let there =
                    (!trap || page.contains(&format!("| {word} |"))) && (!section || sections.contains(word));
                assert!(there, "{}: {word} is not in the page", path.display());
                cited += usize::from(trap || section);
            }
        }
    }
    assert!(cited > 40, "{cited}");
}

#[test]
fn every_row_of_both_lists_is_shown() {
    let tests = tests();
    assert!(tests.len() > 400, "{}", tests.len());
    for list in ['f', 's'] {
        let promised = listed(list.to_ascii_uppercase());
        let shown: BTreeSet<u32> = tests.iter().flat_map(|name| rows(list, name)).collect();
        let missing: Vec<&u32> = promised.difference(&shown).collect();
        assert!(missing.is_empty(), "no test shows the rows {missing:?} of {list}");
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
    let promised = listed('S');
    let missing: Vec<&u32> = promised.difference(&told).collect();
    assert!(missing.is_empty(), "the threat model says nothing of {missing:?}");
}
