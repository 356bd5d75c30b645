//! Tables whose keys depend on their `kind`: each has exactly what its kind needs. A key that does
//! nothing is a misunderstanding, and in a table about who may do what a dangerous one.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::faults::Code;
use crate::report::Report;

/// The keys of one kind, besides those that every kind has.
pub(super) struct Shape {
    pub(super) kind: &'static str,
    /// Those it needs, in sets of which one is enough.
    pub(super) needed: &'static [&'static [&'static str]],
    /// Those it may have.
    pub(super) optional: &'static [&'static str],
}

impl Shape {
    fn has(&self, key: &str) -> bool {
        self.keys().any(|own| own == key)
    }

    fn keys(&self) -> impl Iterator<Item = &'static str> {
        self.needed.iter().copied().flatten().chain(self.optional).copied()
    }

    /// What it needs, in words.
    fn needs(&self) -> String {
        self.needed.iter().map(|set| list(set, " or ")).collect::<Vec<_>>().join(", ")
    }
}

/// Checks that a row, which is a `what`, has the keys of its kind and none of another.
pub(super) fn check(
    row: &Value,
    what: &str,
    shapes: &[Shape],
    path: &dyn Fn(&str) -> String,
    report: &mut Report<'_>,
) {
    let Some(shape) = shapes.iter().find(|shape| row["type"] == shape.kind) else { return };
    let kind = shape.kind;
    for set in shape.needed {
        // A key that is there and wrong has its own fault already.
        let present = |key: &&str| !row[*key].is_null() || report.is_faulty(&path(key));
        if !set.iter().any(present) {
            let message = format!("{} is missing", list(set, " or "));
            let help = format!("a {what} of kind `{kind}` has {}", shape.needs());
            report.error(&path(set[0]), Code::MissingKey, message, Some(help));
        }
    }
    for key in shapes.iter().flat_map(Shape::keys).collect::<BTreeSet<_>>() {
        if !row[key].is_null() && !shape.has(key) {
            let of: Vec<_> = shapes.iter().filter(|other| other.has(key)).map(|other| other.kind).collect();
            let help = format!("it belongs to {}; this one has {}", list(&of, ", "), shape.needs());
            let message = format!("`{key}` means nothing to a {what} of kind `{kind}`");
            report.error(&path(key), Code::Conflict, message, Some(help));
        }
    }
}

fn list(words: &[&str], between: &str) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(between)
}
