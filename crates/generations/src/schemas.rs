//! The JSON Schemas (2020-12) of the upstreams' requests and answers. They are data for documents and tests,
//! self-contained, and not read at run time.
//!
//! Requests are strict: undocumented members are errors. Answers and errors are lenient: they require only the
//! indispensable members, and an enumeration is a comment, because upstreams add values. Each schema has the name of
//! its `$id` and its file. The schemas of a generation are in its folder, and [`crate::Generation::schemas`] lists
//! them.

/// One schema: its name and its text.
pub type Schema = (&'static str, &'static str);

/// A list of schemas from the folder `schemas/` beside the calling file.
macro_rules! schemas {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("schemas/", $name, ".json")))),*]
    };
}
pub(crate) use schemas;

/// Schemas that all generations share: error bodies and IAM.
pub static SHARED: &[Schema] =
    schemas!["upstream-error", "iam-token-request", "iam-token-response", "iam-temporary-credential",];

/// Every schema, those of the generations first.
pub fn all() -> impl Iterator<Item = Schema> {
    crate::ALL.iter().flat_map(|generation| generation.schemas()).chain(SHARED).copied()
}

/// The text of the schema with this name.
#[must_use]
pub fn text(name: &str) -> Option<&'static str> {
    all().find(|(known, _)| *known == name).map(|(_, text)| text)
}
