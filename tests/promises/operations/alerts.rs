//! Dashboard and alerts: every query asks for what a gateway shows, every alert fires when it should and tells what to
//! do, and what it tells exists.

use std::collections::{BTreeMap, BTreeSet};

use restore_tests::tools::{root, run, tool, yaml};
use restore_tests::{Receiver, binary};
use serde_json::Value;
use tokio::process::Command;

use crate::operations::metrics::{Family, everything};

const RULES: &str = "deploy/prometheus/rules.yml";
const TESTS: &str = "deploy/prometheus/rules.test.yml";

/// What Prometheus itself adds to every series.
const ADDED: [&str; 3] = ["job", "instance", "le"];

async fn rules() -> Vec<Value> {
    let documents = yaml(&[RULES]).await;
    let groups = documents[0]["groups"].as_array().expect("groups");
    groups.iter().flat_map(|group| group["rules"].as_array().expect("rules")).cloned().collect()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

/// Every query of the dashboard: of its panels, and of its variables.
fn queries() -> Vec<String> {
    let written =
        std::fs::read_to_string(root().join("deploy/grafana/dashboard.json")).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&written).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let mut queries: Vec<String> = targets.map(|target| text(target, "expr").to_owned()).collect();
    for variable in dashboard["templating"]["list"].as_array().expect("variables") {
        if let Some(query) = variable["query"]["query"].as_str() {
            let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
            let (series, label) = inner.and_then(|inner| inner.rsplit_once(", ")).expect("label_values");
            queries.push(format!("count by ({label}) ({series})"));
        }
    }
    queries
}

/// The series that a query names, each with the labels that it selects by; and the labels that it groups by.
fn asked(query: &str) -> (Vec<(String, BTreeSet<String>)>, BTreeSet<String>) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let names = |list: &str| -> BTreeSet<String> {
        list.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
    };
    let (mut series, mut groups) = (Vec::new(), BTreeSet::new());
    let mut rest = query;
    while let Some(start) = rest.find(|c: char| is_word(c) || c == '[') {
        rest = &rest[start..];
        if rest.starts_with('[') {
            rest = rest.split_once(']').expect("a range ends").1;
            continue;
        }
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        if matches!(word, "by" | "without" | "on" | "ignoring") {
            let (list, more) =
                after.trim_start().strip_prefix('(').expect("a list").split_once(')').expect("its end");
            groups.extend(names(list));
            rest = more;
        } else if after.starts_with('(') || word.starts_with(|c: char| c.is_ascii_digit()) {
            // A function, or a number.
        } else if matches!(word, "or" | "and" | "unless" | "sum" | "max" | "min" | "count" | "avg") {
            // An operator, or an aggregation with its groups before its series.
        } else {
            let mut labels = BTreeSet::new();
            if let Some(selector) = after.strip_prefix('{') {
                let (selector, more) = selector.split_once('}').expect("a selector ends");
                let given =
                    selector.split("\",").map(|part| part.split(['=', '!']).next().unwrap_or_default());
                labels.extend(given.map(|label| label.trim().to_owned()));
                rest = more;
            }
            series.push((word.to_owned(), labels));
        }
    }
    (series, groups)
}

/// The metric that a series belongs to.
fn family<'a>(shown: &'a BTreeMap<String, Family>, series: &str) -> Option<&'a Family> {
    let parts = ["_bucket", "_sum", "_count"].iter().find_map(|part| series.strip_suffix(part));
    let of_histogram = parts.and_then(|base| shown.get(base)).filter(|family| family.kind == "histogram");
    of_histogram.or_else(|| shown.get(series).filter(|family| family.kind != "histogram"))
}

#[tokio::test]
async fn every_query_asks_for_what_a_gateway_shows() {
    let collector = Receiver::start().await;
    let shown = everything(&collector).await;
    let alerts = rules().await.iter().map(|rule| text(rule, "expr").to_owned()).collect::<Vec<_>>();
    let queries = queries();
    assert!(queries.len() > 30 && alerts.len() > 10, "{} and {}", queries.len(), alerts.len());
    let mut used = BTreeSet::new();
    for query in queries.iter().chain(&alerts) {
        let (series, groups) = asked(query);
        assert!(!series.is_empty(), "{query} asks for nothing");
        let mut known: BTreeSet<&str> = ADDED.into();
        for (name, labels) in &series {
            used.insert(name.clone());
            if name == "up" {
                continue;
            }
            let family = family(&shown, name).unwrap_or_else(|| panic!("no gateway shows {name}: {query}"));
            let of_family: BTreeSet<&str> = family.labels.iter().map(String::as_str).chain(ADDED).collect();
            for label in labels {
                assert!(of_family.contains(label.as_str()), "{name} has no label {label}: {query}");
            }
            if name.ends_with("_total") || name.ends_with("_bucket") || name.ends_with("_count") {
                let taken =
                    ["rate(", "increase("].iter().any(|call| query.contains(&format!("{call}{name}")));
                assert!(taken, "{name} only counts up: {query}");
            }
            known.extend(of_family);
        }
        for label in &groups {
            assert!(known.contains(label.as_str()), "grouped by {label}, which nothing has: {query}");
        }
    }
    // And nothing that is shown has been forgotten.
    for name in shown.keys() {
        let here = used.iter().any(|series| {
            series
                .strip_prefix(name.as_str())
                .is_some_and(|rest| matches!(rest, "" | "_bucket" | "_count" | "_sum"))
        });
        // Alerts look at that one; those of the process are the same for every program.
        let elsewhere = name == "restore_gateway_webhook_disabled" || name.starts_with("process_");
        assert!(here || elsewhere || name == "restore_gateway_build_info", "nobody looks at {name}");
    }
}

#[test]
fn a_query_is_taken_apart() {
    let query = "histogram_quantile(0.95, sum by (le, upstream) (rate(x_bucket{job=~\"$job\",a!=\"\"}[5m]))) > 6 * 3600 or max(y)";
    let (series, groups) = asked(query);
    let labels: BTreeSet<String> = ["a".to_owned(), "job".to_owned()].into();
    assert_eq!(series, [("x_bucket".to_owned(), labels), ("y".to_owned(), BTreeSet::new())]);
    assert_eq!(groups, ["le".to_owned(), "upstream".to_owned()].into());
}

#[tokio::test]
async fn the_rules_are_sound_and_each_fires_on_series_made_for_it() {
    for arguments in [["check", "rules", RULES], ["test", "rules", TESTS]] {
        let (content, said) = run(tool("promtool").args(arguments)).await;
        assert!(content, "{said}");
    }
    let tested = &yaml(&[TESTS]).await[0];
    let tests = tested["tests"].as_array().expect("tests");
    for rule in rules().await {
        let alert = text(&rule, "alert");
        let of_it = tests.iter().flat_map(|test| test["alert_rule_test"].as_array().into_iter().flatten());
        let of_it: Vec<&Value> = of_it.filter(|test| test["alertname"] == alert).collect();
        let fires = of_it.iter().any(|test| test["exp_alerts"].as_array().is_some_and(|all| !all.is_empty()));
        assert!(fires && of_it.len() >= 3, "{alert} is not tested");
        assert!(rule["for"].is_string() && rule["labels"]["severity"].is_string(), "{rule}");
    }
}

#[tokio::test]
async fn every_alert_has_a_runbook_with_existing_commands() {
    let mut told = 0;
    for rule in rules().await {
        let (alert, annotations) = (text(&rule, "alert"), &rule["annotations"]);
        let runbook = text(annotations, "runbook");
        assert!(text(annotations, "summary").len() > 10 && runbook.len() > 80, "{alert}");
        for code in runbook.split('`').skip(1).step_by(2) {
            let Some(line) = code.strip_prefix("restore-gateway ") else { continue };
            told += 1;
            let is_command = |word: &&str| {
                word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-')
            };
            let words: Vec<&str> = line.split(' ').take_while(is_command).collect();
            let options = line.split(' ').filter(|word| word.starts_with("--"));
            let (there, help) = run(Command::new(binary()).args(&words).arg("--help")).await;
            assert!(there, "{alert}: restore-gateway {line}: {help}");
            for option in options {
                assert!(help.contains(option), "{alert}: {line} has no {option}: {help}");
            }
        }
    }
    assert!(told >= 10, "only {told} commands");
}
