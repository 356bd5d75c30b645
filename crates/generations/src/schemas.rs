//! The JSON Schemas (2020-12) of what goes to the upstreams and what comes back: data for
//! documents and tests, self-contained, and not read at run time.
//!
//! Requests are strict: what is not documented is refused. Answers and errors are lenient: only
//! what nobody can work without is required, and an enumeration is a comment, because upstreams
//! add words. Each schema is named as its `$id` and its file; a generation's own stand in its
//! folder and are listed by [`crate::Generation::schemas`].

/// One schema: its name and its text.
pub type Schema = (&'static str, &'static str);

/// A list of schemas out of the folder `schemas/` beside the file that names them.
macro_rules! schemas {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("schemas/", $name, ".json")))),*]
    };
}
pub(crate) use schemas;

/// What all generations share: error bodies and IAM.
pub static SHARED: &[Schema] =
    schemas!["upstream-error", "iam-token-request", "iam-token-response", "iam-temporary-credential",];

/// Every schema, those of the generations first.
pub fn all() -> impl Iterator<Item = Schema> {
    crate::ALL.iter().flat_map(|generation| generation.schemas()).chain(SHARED).copied()
}

/// The text of a schema by its name.
#[must_use]
pub fn text(name: &str) -> Option<&'static str> {
    all().find(|(known, _)| *known == name).map(|(_, text)| text)
}
