//! Reads a document, the environment and the list of keys together: environment over file over default. It knows every
//! key, checks every value and reports every error. The result is a tree in which each key has its value.
//!
//! An invalid value stays in the tree as written, so that one error does not cause others (a route may name an upstream
//! whose name is not well formed). The tree is resolved only if there is no error.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Config;
use super::environment::{Environment, PREFIX, path_of, paths, twin};
use super::faults::Code;
use super::keys::{Key, Preset};
use super::kinds::{Kind, SECRET_HELP, Wrong, found};
use super::nearest::nearest;
use super::renamed::{RENAMED, new_path};
use super::report::{Origin, Report};
use super::secrets::{self, Reference};

/// The inputs, and the report of errors.
pub(super) struct Reader<'a, 'r> {
    pub(super) environment: &'a Environment,
    pub(super) generations: &'a [&'a str],
    pub(super) report: &'r mut Report<'a>,
    used: BTreeSet<String>,
}

impl<'a, 'r> Reader<'a, 'r> {
    pub(super) fn new(
        environment: &'a Environment,
        generations: &'a [&'a str],
        report: &'r mut Report<'a>,
    ) -> Self {
        Self { environment, generations, report, used: BTreeSet::new() }
    }

    /// Returns the whole tree.
    pub(super) fn read(mut self, document: &DeTable<'_>) -> Value {
        let tree = self.table(Config::KEYS, Some(document), "");
        self.unknown_variables();
        tree
    }

    fn table(&mut self, keys: &'static [Key], written: Option<&DeTable<'_>>, path: &str) -> Value {
        if let Some(written) = written {
            self.unknown_keys(keys, written, path);
        }
        let mut tree = Map::new();
        for key in keys {
            let path = join(path, key.name);
            let value = written.and_then(|table| table.get(key.name));
            if let Some(value) = value {
                self.report.written(&path, Origin::File(value.span()));
            }
            let value = match key.kind {
                Kind::Table(keys) => self.row(keys, value, &path),
                Kind::Tables(keys) => self.rows(keys, value, &path),
                _ => self.value(key, value, &path),
            };
            tree.insert(key.name.to_owned(), value);
        }
        Value::Object(tree)
    }

    /// Reads a table; reports an error for any other value.
    fn row(&mut self, keys: &'static [Key], value: Option<&Spanned<DeValue<'_>>>, path: &str) -> Value {
        match value.map(Spanned::get_ref) {
            None => self.table(keys, None, path),
            Some(DeValue::Table(table)) => self.table(keys, Some(table), path),
            Some(other) => self.mistyped(path, other, "a table", format!("write `[{path}]` above its keys")),
        }
    }

    /// Reads the tables of an array: those of the file, and those that the environment adds.
    fn rows(&mut self, keys: &'static [Key], value: Option<&Spanned<DeValue<'_>>>, path: &str) -> Value {
        let written: &[_] = match value.map(Spanned::get_ref) {
            None => &[],
            Some(DeValue::Array(array)) => array,
            Some(other) => {
                return self.mistyped(
                    path,
                    other,
                    "an array of tables",
                    format!("write `[[{path}]]` above its keys"),
                );
            }
        };
        let mut rows = Vec::new();
        loop {
            let path = format!("{path}[{}]", rows.len());
            let value = written.get(rows.len());
            match value {
                Some(value) => self.report.written(&path, Origin::File(value.span())),
                None if self.environment.reaches(&path) => {
                    self.report.written(&path, Origin::Variable(format!("{}__*", twin(&path))));
                }
                None => return Value::Array(rows),
            }
            rows.push(self.row(keys, value, &path));
        }
    }

    fn mistyped(&mut self, path: &str, value: &DeValue<'_>, expected: &str, help: String) -> Value {
        let message = format!("expected {expected}, found {}", found(&plain(value)));
        self.report.error(path, Code::WrongType, message, Some(help));
        Value::Null
    }

    /// Returns the value of a key: environment over file over default.
    fn value(&mut self, key: &Key, written: Option<&Spanned<DeValue<'_>>>, path: &str) -> Value {
        let value = if let Some((variable, text)) = self.environment.get(path) {
            self.used.insert(variable.clone());
            self.report.written(path, Origin::Variable(variable));
            key.kind.lex(text)
        } else if let Some(written) = written {
            plain(written.get_ref())
        } else {
            match key.preset {
                Preset::Value(text) => key.kind.lex(text),
                Preset::Absent => return Value::Null,
                Preset::Required => {
                    let message = format!("`{}` is missing", key.name);
                    self.report.error(path, Code::MissingKey, message, Some(key.hint()));
                    return Value::Null;
                }
            }
        };
        match key.kind.check(&value, self.generations).and_then(|checked| self.resolved(checked)) {
            Ok(checked) => checked,
            Err(wrong) => {
                if let (Code::SecretInline, Some(written)) = (wrong.code, written) {
                    self.report.strike(written.span());
                }
                self.report.error(path, wrong.code, wrong.message, wrong.help);
                value
            }
        }
    }

    /// Resolves a reference; every other value stays unchanged.
    fn resolved(&mut self, value: Value) -> Result<Value, Wrong> {
        let Some(reference) = Reference::read(&value) else { return Ok(value) };
        if let Reference::Variable(name) = reference {
            // A referenced variable may have the gateway's own prefix.
            self.used.insert(name.to_owned());
        }
        reference.resolve(self.environment)
    }

    fn unknown_keys(&mut self, keys: &[Key], written: &DeTable<'_>, path: &str) {
        for (name, value) in written {
            let word = name.get_ref().as_ref();
            if keys.iter().any(|key| key.name == word) {
                continue;
            }
            let unknown = join(path, word);
            self.report.written(&unknown, Origin::File(name.span()));
            let secrets = secrets::within(word, value);
            if secrets.is_empty() {
                let help = unknown_help(keys, word, &unknown);
                self.report.error(&unknown, Code::UnknownKey, format!("unknown key `{word}`"), Some(help));
            } else {
                for span in secrets {
                    self.report.strike(span);
                }
                let message = "the configuration contains a secret; it is not shown";
                self.report.error(&unknown, Code::SecretInline, message, Some(SECRET_HELP.to_owned()));
            }
        }
    }

    fn unknown_variables(&mut self) {
        let unused: Vec<&str> = self.environment.names().filter(|name| !self.used.contains(*name)).collect();
        for name in unused {
            let (message, help) = match path_of(name, Config::KEYS) {
                Some(path) => (
                    format!("the variable is for `{path}`, which has no table"),
                    Some("tables of an array are counted from 0, without a gap".to_owned()),
                ),
                None => ("no key has this variable".to_owned(), nearest_variable(name)),
            };
            self.report.written(name, Origin::Variable(name.to_owned()));
            self.report.error(name, Code::UnknownKey, message, help);
        }
    }
}

/// Suggests the intended variable for an unknown one, with its index: the renamed one, or the most similar.
fn nearest_variable(name: &str) -> Option<String> {
    let index = name.split('_').find_map(|part| part.parse().ok()).unwrap_or(0);
    let paths = paths(Config::KEYS, index);
    // Earlier versions used a single underscore between levels.
    let was = |path: &str| twin(path).replace("__", "_");
    let indexed = |path: &str| path.replace("[]", &format!("[{index}]"));
    let renamed = RENAMED
        .iter()
        .map(|(old, new)| (indexed(old), indexed(new)))
        .chain(paths.iter().map(|path| (path.clone(), path.clone())))
        .find(|(old, _)| was(old) == name);
    if let Some((_, new)) = renamed {
        return Some(format!("it was renamed to `{}`", twin(&new)));
    }
    let twins: Vec<_> = paths.iter().map(|path| twin(path)).collect();
    // The common prefix would make all names look similar.
    let own = |name| str::strip_prefix(name, PREFIX).unwrap_or_default();
    let near = nearest(own(name), twins.iter().map(|twin| own(twin)))?;
    Some(format!("did you mean `{PREFIX}{near}`?"))
}

/// Returns the help for an unknown key: its new name if it was renamed, otherwise the most similar name and the
/// permitted ones.
fn unknown_help(keys: &[Key], word: &str, path: &str) -> String {
    if let Some(new) = new_path(&without_indexes(path)) {
        return format!("it was renamed to `{new}`");
    }
    let allowed: Vec<_> = keys.iter().map(|key| key.name).collect();
    let elsewhere = || {
        let all = paths(Config::KEYS, 0);
        let home = all.iter().find(|path| path.rsplit('.').next() == Some(word))?;
        Some(home.replace("[0]", "[]"))
    };
    let meant = nearest(word, allowed.iter().copied()).map(str::to_owned).or_else(elsewhere);
    let meant = meant.map_or_else(String::new, |meant| format!("did you mean `{meant}`? "));
    format!("{meant}allowed here: {}", allowed.join(", "))
}

/// Returns a path with `[]` in place of each index.
fn without_indexes(path: &str) -> String {
    let mut parts = path.split('[');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |path, part| path + "[" + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Returns a value of the file without its locations. Dates, and numbers that are not finite, become null: no key uses
/// one.
fn plain(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Boolean(flag) => (*flag).into(),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => number.into(),
            Err(_) => number.as_str().parse::<f64>().map_or(Value::Null, Value::from),
        },
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or(Value::Null, Value::from),
        DeValue::Datetime(_) => Value::Null,
        DeValue::Array(items) => items.iter().map(|item| plain(item.get_ref())).collect(),
        DeValue::Table(table) => {
            table.iter().map(|(name, value)| (name.get_ref().to_string(), plain(value.get_ref()))).collect()
        }
    }
}
