//! Faults in configuration: what each says, and where in the file or the environment its cause stands.
//!
//! All faults of one reading are kept together with the text they point into. Secrets are struck out of that
//! text before it gets here, so nothing that is rendered from [`Faults`] can show one.

use std::ops::Range;

use serde::Serialize;

use super::report::Places;

/// How much a fault matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// The configuration can be used, and may not be what was meant.
    Warning,
}

/// What kind of fault it is: a stable word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The text is not TOML.
    Syntax,
    /// No such key, or no such variable.
    UnknownKey,
    /// A key without which nothing works is not there.
    MissingKey,
    /// A text where a number must be, and the like.
    WrongType,
    /// Out of bounds, not an address, an empty list.
    BadValue,
    /// A generation that is not built in.
    UnknownGeneration,
    /// A name that nothing has.
    DanglingReference,
    /// A name that two have.
    DuplicateName,
    /// A secret, or what may be one, in the file or the environment.
    SecretInline,
    /// A secret is not where a setting says.
    SecretMissing,
    /// A file that other users of the machine can write, or a ledger that they can read.
    FileExposed,
    /// A file with a secret that others can read.
    SecretExposed,
    /// A receiver of webhooks within this machine or its network, without saying that this is meant.
    PrivateReceiver,
    /// An address that other machines can reach, without saying that this is meant.
    RemoteListen,
    /// Two values that each are right and cannot be together.
    Conflict,
    /// A route that no restore can take.
    UnreachableRoute,
    /// An upstream that no route leads to.
    UnusedUpstream,
    /// A caller that no policy allows anything.
    UselessCaller,
    /// A compatibility endpoint all restores of which are refused.
    UselessEndpoint,
    /// Revocation lists of client certificates count beyond their date.
    RevocationExpired,
    /// A limit that a hostile caller needs is switched off.
    Unbounded,
    /// Tokens, or what becomes of restores, would travel without TLS.
    Cleartext,
    /// A file that cannot be used: the configuration itself, or one that a key names.
    Unusable,
}

impl Code {
    /// The word, as in `error[unknown-key]`.
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

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Whether the configuration can be used.
    pub severity: Severity,
    /// What kind of fault.
    pub code: Code,
    /// The key, such as `routes[1].upstream`. Empty for the file as a whole.
    pub path: String,
    /// Line in the file, from 1. Absent if the cause stands in the environment, or is that something is missing
    /// from an environment without a file.
    pub line: Option<usize>,
    /// Column in that line, in characters, from 1.
    pub column: Option<usize>,
    /// The variable, if the cause stands in the environment.
    pub variable: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Bytes of the file the fault is about.
    #[serde(skip)]
    pub(super) span: Option<Range<usize>>,
}

/// The faults of one reading, in the order of the file, and the text they point into.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} in the settings {name}", counted(.faults))]
pub struct Faults {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) faults: Vec<Fault>,
    pub(super) places: Places,
}

impl Faults {
    /// The one of configuration that cannot be read at all.
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

    /// One more: a table of which nothing can be made, at the key that the first word of `why` names, if it was written.
    pub fn refuse(&mut self, table: &str, why: &str) {
        let words = why.strip_prefix(table).and_then(|rest| rest.strip_prefix('.')).unwrap_or(why);
        let end = words.find([' ', ':']).unwrap_or(words.len());
        let key = format!("{table}.{}", &words[..end]);
        // A place that is told is not told twice.
        let (path, why) = match self.places.is_written(&key) {
            true => (key, words[end..].strip_prefix(": ").unwrap_or(why)),
            false => (table.to_owned(), why),
        };
        let fault =
            self.places.fault(&self.text, Severity::Error, path, Code::Unusable, why.to_owned(), None);
        self.faults.push(fault);
    }

    /// Makes an error of every warning.
    pub fn deny_warnings(&mut self) {
        self.faults.iter_mut().for_each(|fault| fault.severity = Severity::Error);
    }

    /// Each fault.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.faults.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.faults.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// Whether one of them keeps the configuration from being used.
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
