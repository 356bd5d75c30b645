//! Finds what looks like a secret, so that it is struck out before a line of the file is shown to anybody.

use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

/// Parts of names whose values are secrets.
const SECRET: &[&str] =
    &["password", "passwd", "secret", "token", "api_key", "apikey", "private_key", "access_key"];

/// Whether values of this name are secrets.
fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase().replace('-', "_");
    SECRET.iter().any(|word| name.contains(word))
}

/// The places of all secrets in the value of a name. A reference to a secret (`{ env = "…" }`, `{ file = "…" }`)
/// is none.
pub(super) fn within(name: &str, value: &Spanned<DeValue<'_>>) -> Vec<Range<usize>> {
    match value.get_ref() {
        DeValue::Table(table) => {
            table.iter().flat_map(|(name, value)| within(name.get_ref().as_ref(), value)).collect()
        }
        DeValue::Array(items) => items.iter().flat_map(|item| within(name, item)).collect(),
        DeValue::String(text) if super::kinds::has_user(text) && text.contains("://") => vec![value.span()],
        DeValue::String(_) | DeValue::Integer(_) if is_secret(name) => vec![value.span()],
        _ => Vec::new(),
    }
}

/// The places of what may be secrets in a text that is not TOML: the rest of a line after a secret's name, or
/// after the user of a URL begins.
pub(super) fn in_broken(text: &str) -> Vec<Range<usize>> {
    let mut start = 0;
    let mut places = Vec::new();
    for line in text.split_inclusive('\n') {
        let name = line.find('=').filter(|equals| is_secret(&line[..*equals]));
        let user = line.find("://").filter(|at| line[*at..].contains('@'));
        if let Some(at) = name.into_iter().chain(user).min() {
            places.push(start + at + 1..start + line.len());
        }
        start += line.len();
    }
    places
}
