//! Secrets: reads them from their configured location. It also finds those in the configuration file itself, so that
//! they are removed before a line of the file is shown.

use std::io::Read;
use std::ops::Range;
use std::path::Path;

use secrecy::zeroize::Zeroize;
use serde_json::Value;
use toml::Spanned;
use toml::de::DeValue;

use super::environment::Environment;
use super::faults::Code;
use super::kinds::Wrong;
use super::values::Secret;

/// Maximum size of a secret file, in bytes.
const LARGEST: u64 = 64 * 1024;

/// Location of a secret.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reference<'a> {
    /// A variable of the process.
    Variable(&'a str),
    /// A file.
    File(&'a str),
}

impl<'a> Reference<'a> {
    /// Parses `{ env = "NAME" }` or `{ file = "PATH" }`.
    pub(super) fn read(value: &'a Value) -> Option<Self> {
        let table = value.as_object().filter(|table| table.len() == 1)?;
        let (place, name) = table.iter().next()?;
        let name = name.as_str().filter(|name| !name.is_empty())?;
        match place.as_str() {
            "env" => Some(Self::Variable(name)),
            "file" => Some(Self::File(name)),
            _ => None,
        }
    }

    /// Reads the secret, in the form of a tree of checked values.
    pub(super) fn resolve(self, environment: &Environment) -> Result<Value, Wrong> {
        match self {
            Self::Variable(name) => match environment.variable(name) {
                Some("") => Err(missing("the secret is empty".to_owned())),
                Some(text) => Ok(Secret::in_tree(text.to_owned(), None)),
                None => Err(missing(format!("the variable {name} is not set"))),
            },
            Self::File(path) => Ok(Secret::in_tree(read_file(Path::new(path))?, Some(path))),
        }
    }
}

/// Reads the secret in a file. It removes a line feed at the end, which an editor may have added.
pub(super) fn read_file(path: &Path) -> Result<String, Wrong> {
    let mut text = of_file(path)?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() { Err(missing("the secret is empty".to_owned())) } else { Ok(text) }
}

/// Erases every text of a tree that contained secrets.
pub(super) fn wipe(tree: &mut Value) {
    match tree {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        _ => {}
    }
}

fn missing(message: String) -> Wrong {
    Wrong { code: Code::SecretMissing, message, help: None }
}

fn of_file(path: &Path) -> Result<String, Wrong> {
    // A relative path depends on the working directory, which the reader of the error may not know.
    let shown = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let shown = shown.display();
    let unreadable = |error: std::io::Error| missing(format!("the file {shown} cannot be read: {error}"));
    // This check comes before the file is opened: opening a pipe would wait for its other end.
    let meta = std::fs::metadata(path).map_err(unreadable)?;
    if !meta.is_file() {
        return Err(missing(format!("{shown} is not a file")));
    }
    let file = std::fs::File::open(path).map_err(unreadable)?;
    guarded(&file.metadata().map_err(unreadable)?, path)?;
    // Allocated with its full size: a text that grows leaves copies in memory.
    let mut text = String::with_capacity(usize::try_from(meta.len().min(LARGEST)).unwrap_or(0) + 1);
    file.take(LARGEST + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > LARGEST {
        return Err(missing(format!("the file {shown} has more than {LARGEST} bytes")));
    }
    Ok(text)
}

/// Rejects a file that users other than its owner and group can read.
#[cfg(unix)]
fn guarded(meta: &std::fs::Metadata, path: &Path) -> Result<(), Wrong> {
    use std::os::unix::fs::PermissionsExt;
    let mode = meta.permissions().mode() & 0o777;
    if mode & !0o640 == 0 {
        return Ok(());
    }
    Err(Wrong {
        code: Code::SecretExposed,
        message: format!(
            "the file {} has the mode {mode:04o}, and 0640 is the widest for a secret",
            path.display()
        ),
        help: Some("chmod 0600, or 0640 for a group".to_owned()),
    })
}

#[cfg(not(unix))]
fn guarded(_: &std::fs::Metadata, _: &Path) -> Result<(), Wrong> {
    Ok(())
}

/// Parts of names whose values are secrets.
const SECRET: &[&str] =
    &["password", "passwd", "secret", "token", "api_key", "apikey", "private_key", "access_key"];

/// Returns true if values with this name are secrets.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase().replace('-', "_");
    SECRET.iter().any(|word| name.contains(word))
}

/// Returns the locations of all secrets in the value of a name. A reference to a secret (`{ env = "…" }`,
/// `{ file = "…" }`) is not a secret.
pub(super) fn within(name: &str, value: &Spanned<DeValue<'_>>) -> Vec<Range<usize>> {
    match value.get_ref() {
        DeValue::Table(table) => {
            table.iter().flat_map(|(name, value)| within(name.get_ref().as_ref(), value)).collect()
        }
        DeValue::Array(items) => items.iter().flat_map(|item| within(name, item)).collect(),
        DeValue::String(text) if may_hold_secret(text) => vec![value.span()],
        DeValue::String(_) | DeValue::Integer(_) if is_secret(name) => vec![value.span()],
        _ => Vec::new(),
    }
}

/// Returns true for an address with a user or a query: either may contain a key.
fn may_hold_secret(text: &str) -> bool {
    let queried = text.starts_with("http") && text.contains('?');
    text.contains("://") && (queried || super::kinds::has_user(text))
}

/// Returns the locations of possible secrets in a text that is not valid TOML: the rest of a line after a secret's
/// name, or from the user of a URL.
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
