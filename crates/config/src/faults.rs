//! Errors and warnings about the configuration: their text, and their location in the file or the environment.
//!
//! All findings of one load are kept together with the text they point into. Secrets are removed from that text first,
//! so the output of [`Faults`] cannot show one.

use std::ops::Range;

use serde::Serialize;

use super::report::Places;

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is not usable.
    Error,
    /// The configuration is usable, but may not be intended.
    Warning,
}

/// The kind of finding, with a stable name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The text is not valid TOML.
    Syntax,
    /// No such key, or no such variable.
    UnknownKey,
    /// A required key is missing.
    MissingKey,
    /// The value has the wrong type, such as a text instead of a number.
    WrongType,
    /// The value is not valid: out of bounds, not an address, an empty list.
    BadValue,
    /// A generation that is not built in.
    UnknownGeneration,
    /// A reference to a name that does not exist.
    DanglingReference,
    /// Two tables have the same name.
    DuplicateName,
    /// The file or the environment contains a secret, or a possible one.
    SecretInline,
    /// A secret is not at its configured location.
    SecretMissing,
    /// Other users of the machine can write the file, or read the ledger.
    FileExposed,
    /// Other users can read a file with a secret.
    SecretExposed,
    /// A webhook receiver is on this machine or its network, without explicit permission.
    PrivateReceiver,
    /// Other machines can reach an address, without explicit permission.
    RemoteListen,
    /// Two values are valid alone, but not together.
    Conflict,
    /// No restore can take the route.
    UnreachableRoute,
    /// No route uses the upstream.
    UnusedUpstream,
    /// No policy allows the caller anything.
    UselessCaller,
    /// The compatibility endpoint rejects all restores.
    UselessEndpoint,
    /// Expired revocation lists of client certificates are still accepted.
    RevocationExpired,
    /// A limit that protects against a hostile caller is switched off.
    Unbounded,
    /// Tokens, or data about restores, would be sent without TLS.
    Cleartext,
    /// The configuration file, or a file that a key names, is not usable.
    Unusable,
}

impl Code {
    /// Returns the name, as in `error[unknown-key]`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::UnknownKey => "unknown-key",
            Self::MissingKey => "missing-key",
            Self::WrongType => "wrong-type",
            Self::BadValue => "bad-value",
            Self::UnknownGeneration => "unknown-generation",
            Self::DanglingReference => "dangling-reference",
            Self::DuplicateName => "duplicate-name",
            Self::SecretInline => "secret-inline",
            Self::SecretMissing => "secret-missing",
            Self::FileExposed => "file-exposed",
            Self::SecretExposed => "secret-exposed",
            Self::PrivateReceiver => "private-receiver",
            Self::RemoteListen => "remote-listen",
            Self::Conflict => "conflict",
            Self::UnreachableRoute => "unreachable-route",
            Self::UnusedUpstream => "unused-upstream",
            Self::UselessCaller => "useless-caller",
            Self::UselessEndpoint => "useless-endpoint",
            Self::RevocationExpired => "revocation-expired",
            Self::Unbounded => "unbounded",
            Self::Cleartext => "cleartext",
            Self::Unusable => "unusable",
        }
    }
}

/// A single finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Error or warning.
    pub severity: Severity,
    /// The kind of finding.
    pub code: Code,
    /// The key, such as `routes[1].upstream`. Empty for the file as a whole.
    pub path: String,
    /// Line in the file, from 1. Absent if the cause is in the environment, or if something is missing and there is no
    /// file.
    pub line: Option<usize>,
    /// Column in that line, in characters, from 1.
    pub column: Option<usize>,
    /// The variable, if the cause is in the environment.
    pub variable: Option<String>,
    /// Description of the problem.
    pub message: String,
    /// The recommended correction.
    pub help: Option<String>,
    /// Byte range in the file.
    #[serde(skip)]
    pub(super) span: Option<Range<usize>>,
}

/// The findings of one load, in the order of the file, and the text they point into.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} in the settings {name}", counted(.faults))]
pub struct Faults {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) faults: Vec<Fault>,
    pub(super) places: Places,
}

impl Faults {
    /// Creates the finding for a configuration that cannot be read at all.
    pub fn unreadable(name: String, why: String, help: String) -> Self {
        let fault = Fault {
            severity: Severity::Error,
            code: Code::Unusable,
            path: String::new(),
            line: None,
            column: None,
            variable: None,
            message: why,
            help: Some(help),
            span: None,
        };
        Self { name, text: String::new(), faults: vec![fault], places: Places::default() }
    }

    /// Adds an error for a table that cannot be used. It points at the key that the first word of `why` names, if the
    /// file contains it.
    pub fn refuse(&mut self, table: &str, why: &str) {
        let words = why.strip_prefix(table).and_then(|rest| rest.strip_prefix('.')).unwrap_or(why);
        let end = words.find([' ', ':']).unwrap_or(words.len());
        let key = format!("{table}.{}", &words[..end]);
        // The location is shown, so the text does not repeat it.
        let (path, why) = match self.places.is_written(&key) {
            true => (key, words[end..].strip_prefix(": ").unwrap_or(why)),
            false => (table.to_owned(), why),
        };
        let fault =
            self.places.fault(&self.text, Severity::Error, path, Code::Unusable, why.to_owned(), None);
        self.faults.push(fault);
    }

    /// Makes every warning an error.
    pub fn deny_warnings(&mut self) {
        self.faults.iter_mut().for_each(|fault| fault.severity = Severity::Error);
    }

    /// Iterates over the findings.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.faults.iter()
    }

    /// Returns the number of findings.
    pub fn len(&self) -> usize {
        self.faults.len()
    }

    /// Returns true if there are no findings.
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// Returns true if there is an error, so that the configuration is not usable.
    pub fn has_errors(&self) -> bool {
        self.iter().any(|fault| fault.severity == Severity::Error)
    }
}

impl<'a> IntoIterator for &'a Faults {
    type Item = &'a Fault;
    type IntoIter = std::slice::Iter<'a, Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// `2 errors and 1 warning`.
pub(super) fn counted(faults: &[Fault]) -> String {
    let count = |severity, word: &str| {
        let number = faults.iter().filter(|fault| fault.severity == severity).count();
        (number > 0).then(|| format!("{number} {word}{}", if number == 1 { "" } else { "s" }))
    };
    let parts: Vec<_> = [count(Severity::Error, "error"), count(Severity::Warning, "warning")]
        .into_iter()
        .flatten()
        .collect();
    if parts.is_empty() { "no faults".to_owned() } else { parts.join(" and ") }
}
