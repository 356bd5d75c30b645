//! Words: texts for readers use standard technical English, every member of a schema is described, and the README is short.
//!
//! The list of words is `words.txt`. It covers what callers, operators and new contributors read; comments in code are not in it.

use std::path::PathBuf;

use restore_tests::tools::{files, root};
use serde_json::Value;

/// Pages of facts about the clouds and of rows that tests cite. They quote, and are not held to the list.
const QUOTES: [&str; 4] = [
    "docs/reference/cloud-apis.md",
    "docs/reference/failure-cases.md",
    "docs/reference/status-mapping.md",
    "docs/reference/upstream-codes.md",
];

/// Files with these names or below these folders are read by people who do not know the code.
const PAGES: [&str; 12] = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "THREAT-MODEL.md",
    "ARCHITECTURE.md",
    "docs",
    "config",
    "deploy",
    "tests/README.md",
    "crates/gateway/openapi.json",
    "crates/gateway/src/console",
    "crates/model/schemas",
];

/// What is read, by its path from the root.
fn pages() -> Vec<(String, String)> {
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root()).expect("below the root").display().to_string();
        Some((name, std::fs::read_to_string(&path).ok()?))
    };
    let all = PAGES.iter().flat_map(|page| files(&root().join(page)));
    all.filter_map(read).filter(|(name, _)| !QUOTES.contains(&name.as_str())).collect()
}

/// Whether a line has a word, or several, as a whole.
fn has(line: &str, word: &str) -> bool {
    let line = line.to_lowercase();
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        !is_part(line[..at].chars().next_back()) && !is_part(line[at + word.len()..].chars().next())
    })
}

#[test]
fn texts_use_no_private_words() {
    let words: Vec<&str> =
        include_str!("words.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    let mut found = Vec::new();
    for (name, text) in pages() {
        for (number, line) in (1..).zip(text.lines()) {
            let used = words.iter().filter(|word| has(line, word));
            found.extend(used.map(|word| format!("{name}:{number}: {word}: {}", line.trim())));
        }
    }
    assert!(found.is_empty(), "{} places:\n{}", found.len(), found.join("\n"));
}

#[test]
fn readme_has_150_lines_at_most() {
    let lines = std::fs::read_to_string(root().join("README.md")).expect("the README").lines().count();
    assert!(lines <= 150, "{lines}");
}

/// The members of the objects of a schema that have no description, by their pointers.
fn undescribed(schema: &Value, at: &str, into: &mut Vec<String>) {
    match schema {
        Value::Object(members) => {
            for (name, member) in members {
                let here = format!("{at}/{name}");
                if name == "properties" {
                    for (property, schema) in member.as_object().into_iter().flatten() {
                        let bare =
                            schema.is_object() && schema["description"].is_null() && schema["$ref"].is_null();
                        if bare && schema["const"].is_null() {
                            into.push(format!("{here}/{property}"));
                        }
                    }
                }
                undescribed(member, &here, into);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                undescribed(item, &format!("{at}/{index}"), into);
            }
        }
        _ => {}
    }
}

#[test]
fn every_member_of_a_schema_is_described() {
    let mut found = Vec::new();
    let mut all = files(&root().join("crates/model/schemas"));
    all.push(root().join("config/restore-gateway.schema.json"));
    for path in all {
        let schema: Value =
            serde_json::from_str(&std::fs::read_to_string(&path).expect("a schema")).expect("JSON");
        undescribed(&schema, &path.file_name().unwrap_or_default().to_string_lossy(), &mut found);
    }
    assert!(found.is_empty(), "{} members:\n{}", found.len(), found.join("\n"));
}
