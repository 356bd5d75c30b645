//! The loader of configuration. A text, and after a line of `---` the variables of a process, one `NAME=value` each.
//!
//! Three words stand for lines that hold a secret, wherever the input puts them; none of them may ever be shown.

use restore_config::{Environment, Fault, Faults, Config, Source, load};

use crate::script;

pub(crate) const MAX_LEN: usize = 8 * 1024;

const GENERATIONS: &[&str] = &["csbs-v1", "vbs-v2", "cbr-v3", "cinder-v3"];
/// The secret. No help or name of a key has any of it.
const CANARY: &str = "CANARY7f3a";
/// Each of these lines, and what it becomes.
const LINES: &[(&str, &str)] = &[
    ("@password", "password = \"CANARY7f3a\""),
    ("@token", "api-token = 'CANARY7f3a' # a note"),
    ("@url", "url = \"postgres://me:CANARY7f3a@db/restores\""),
];

pub(crate) fn run(data: &[u8]) {
    let parts = script::parts(data);
    let text = String::from_utf8_lossy(parts[0]).replace(CANARY, "");
    let text: String = text.split_inclusive('\n').map(planted).collect();
    let variables = String::from_utf8_lossy(parts.get(1).copied().unwrap_or_default()).replace(CANARY, "");
    let variables = variables.lines().filter_map(|line| line.split_once('='));
    let environment = Environment::new(variables);
    let source = Source::new("gateway.toml", text.as_str());
    match load(&source, &environment, GENERATIONS) {
        Ok((config, warnings)) => {
            assert!(!warnings.has_errors());
            faults(&warnings, &text);
            shown(&config);
        }
        Err(found) => {
            assert!(found.has_errors(), "refused without an error");
            faults(&found, &text);
        }
    }
}

fn planted(line: &str) -> &str {
    let end = line.trim_end_matches('\n');
    LINES.iter().find(|(word, _)| *word == end).map_or(line, |(_, secret)| secret)
}

/// Configuration that is in effect are shown to operators.
fn shown(config: &Config) {
    let shown = format!("{config:?}{}", config.to_json());
    assert!(!shown.contains(CANARY), "{shown}");
}

fn faults(faults: &Faults, text: &str) {
    let lines: Vec<_> = text.split('\n').collect();
    faults.iter().for_each(|fault| within(fault, &lines));
    let github = faults.render_github();
    assert_eq!(github.lines().count(), faults.len(), "one annotation per line: {github}");
    for shown in [faults.render_human(false), faults.render_human(true), github] {
        assert!(!shown.contains(CANARY), "{shown}");
    }
    let shown = format!("{faults:?} {faults} {}", faults.render_json());
    assert!(!shown.contains(CANARY), "{shown}");
}

/// A fault stands in the text, in a variable, or is of the whole.
fn within(fault: &Fault, lines: &[&str]) {
    assert_eq!(fault.line.is_some(), fault.column.is_some());
    assert!(fault.variable.is_none() || fault.line.is_none(), "in two places: {fault:?}");
    if let (Some(line), Some(column)) = (fault.line, fault.column) {
        assert!((1..=lines.len()).contains(&line), "line {line} of {}: {fault:?}", lines.len());
        let length = lines[line - 1].chars().count();
        assert!((1..=length + 1).contains(&column), "column {column} of {length}: {fault:?}");
    }
}
