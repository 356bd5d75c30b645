//! Tables whose keys depend on their type: each has exactly the keys of its type. A key without effect is a mistake. In
//! a table of permissions it is a dangerous one.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::faults::Code;
use crate::report::Report;

/// The keys of one type, besides those that every type has.
pub(super) struct Shape {
    pub(super) kind: &'static str,
    /// Required keys, in sets of which one is enough.
    pub(super) needed: &'static [&'static [&'static str]],
    /// Optional keys.
    pub(super) optional: &'static [&'static str],
}

impl Shape {
    fn has(&self, key: &str) -> bool {
        self.keys().any(|own| own == key)
    }

    fn keys(&self) -> impl Iterator<Item = &'static str> {
        self.needed.iter().copied().flatten().chain(self.optional).copied()
    }

    /// Returns a description of the required keys.
    fn needs(&self) -> String {
        self.needed.iter().map(|set| list(set, " or ")).collect::<Vec<_>>().join(", ")
    }
}

/// Checks that a row, which is a `what`, has the keys of its type and no others.
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
        // An invalid key has its own error already.
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
