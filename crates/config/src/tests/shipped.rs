//! The files of `config/` agree with the list of keys.

use std::path::PathBuf;

use serde_json::Value;

use super::clean;
use crate::keys::{Key, Preset};
use crate::kinds::Kind;
use crate::{Config, DEFAULT_TOML, explain, nearest_key, schema};

fn shipped(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../config", name].iter().collect()
}

#[test]
fn the_default_file_loads_without_fault() {
    let config = clean(DEFAULT_TOML, &[]);
    let generations: Vec<_> = config.upstreams.iter().map(|upstream| upstream.generation.as_str()).collect();
    assert_eq!(generations, ["cbr-v3", "csbs-v1", "vbs-v2"]);
    assert_eq!(config.routes.len(), 3);
}

#[test]
fn each_example_loads_without_fault() {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(shipped("examples")).unwrap() {
        let path = entry.unwrap().path();
        // The folder also contains route tests, which run with the end-to-end tests.
        if path.extension().is_none_or(|end| end != "toml") {
            continue;
        }
        clean(&std::fs::read_to_string(&path).unwrap(), &[]);
        names.push(path.file_name().unwrap().to_string_lossy().into_owned());
    }
    names.sort();
    assert_eq!(names, ["held.toml", "migration.toml", "replicas.toml", "service.toml", "sidecar.toml"]);
}

/// Returns the default file with the tables that it shows in comments: a line that begins with `#` without a space.
fn uncommented() -> String {
    let shown = |line: &'static str| match line.strip_prefix('#') {
        Some(code) if !code.is_empty() && !code.starts_with([' ', ':']) => code,
        _ => line,
    };
    DEFAULT_TOML.lines().map(|line| shown(line).to_owned() + "\n").collect()
}

/// Checks that a table of the default file, or one of the tables of an array, contains every key with its default.
fn compare(keys: &[Key], written: &[&Value], path: &str) {
    for key in keys {
        let path = format!("{path}{}", key.name);
        let values: Vec<_> = written.iter().filter_map(|table| table.get(key.name)).collect();
        match (key.kind, key.preset) {
            (Kind::Table(keys), _) => compare(keys, &values, &format!("{path}.")),
            (Kind::Tables(keys), _) => {
                let rows: Vec<_> = values.iter().filter_map(|rows| rows.as_array()).flatten().collect();
                compare(keys, &rows, &format!("{path}[]."));
            }
            (kind, Preset::Value(text)) => {
                let default = kind.lex(text);
                assert!(values.contains(&&default), "{path}: {values:?} in the file, {default} in the list");
            }
            (_, Preset::Required) => assert!(!values.is_empty(), "{path} is not in the default file"),
            (_, Preset::Absent) => {
                let words: Vec<_> = DEFAULT_TOML.split_whitespace().collect();
                let named = words
                    .windows(2)
                    .any(|pair| [pair[0].trim_start_matches('#'), pair[1]] == [key.name, "="]);
                assert!(named, "{path} is not in the default file, not even in a comment");
            }
        }
    }
}

#[test]
fn the_default_file_has_every_key_at_its_default() {
    let written: Value = toml::from_str(&uncommented()).unwrap();
    compare(Config::KEYS, &[&written], "");
    assert_eq!(clean(&uncommented(), &[]).webhooks.len(), 1);
}

#[test]
fn the_default_file_adds_nothing_to_the_defaults() {
    let bare = DEFAULT_TOML.find("[[upstreams]]").unwrap();
    assert_eq!(clean(DEFAULT_TOML, &[]), clean(&DEFAULT_TOML[bare..], &[]));
}

#[test]
fn the_schema_is_current() {
    let path = shipped("restore-gateway.schema.json");
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, format!("{:#}\n", schema())).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let found: Option<Value> = serde_json::from_str(&found).ok();
    assert!(found == Some(schema()), "the schema is out of date: run this test with UPDATE_SCHEMA=1");
}

#[test]
fn explain_tells_what_the_list_knows() {
    let page = "\
submit.max_attempts

Maximum of attempts per restore. A second attempt needs proof that the first was not applied.

value:    a whole number from 1 to 3
default:  3
variable: RESTORE_GATEWAY_SUBMIT__MAX_ATTEMPTS
change:   taken while the gateway runs
";
    assert_eq!(explain("submit.max_attempts").as_deref(), Some(page));
    assert_eq!(explain("RESTORE_GATEWAY_SUBMIT__MAX_ATTEMPTS").as_deref(), Some(page));
    assert!(explain("ledger.url").unwrap().ends_with("change:   needs a restart\n"));
    let indexed = explain("upstreams[2].endpoint");
    assert!(indexed.as_ref().unwrap().contains("RESTORE_GATEWAY_UPSTREAMS__0__ENDPOINT"));
    assert_eq!(explain("upstreams.endpoint"), indexed);
    assert!(explain("routes").unwrap().contains("\n  upstream: Name of the upstream.\n"));
    assert_eq!(explain("submit.max_attemptss"), None);
    assert_eq!(nearest_key("submit.max_attemptss").as_deref(), Some("submit.max_attempts"));
}
