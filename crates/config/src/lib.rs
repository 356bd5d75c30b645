//! The configuration of the gateway: written in TOML and the environment, checked as a whole, resolved into types.
//!
//! Place in the architecture: beside the layers, which take plain values and never [`Config`]. Only the composition in
//! the root crate joins both. Nothing here opens a socket. Only [`read_environment`] reads the process, and only
//! `secrets` opens a file: one that a key refers to.
//!
//! The pipeline: text → document with locations (`toml`) → `reader` walks it along the list of keys, environment over
//! file over default → tree in which every key has a checked value → `rules` check it as a whole → [`Config`]. One
//! `report` collects all errors and warnings.
//!
//! # How to add a key
//!
//! 1. Add it to its table in `tables`: documentation with its unit, name, type, kind with bounds, default. This one
//!    entry generates the field of the resolved struct, the strict reader, the help for misspelled keys, the
//!    environment variable, `explain` and the JSON Schema.
//! 2. Write it, with its default, into `config/restore-gateway.toml`; a test reports it if it is missing there.
//! 3. Rewrite the schema: `UPDATE_SCHEMA=1 cargo test -p restore-config`.
//!
//! A value of a new form needs a `kinds::Kind` (the permitted values) and a type in `values` (the resolved value). A
//! check of two keys is a rule in `rules`.

mod at_start;
mod dangers;
mod days;
mod environment;
mod faults;
mod host;
mod keys;
mod kinds;
mod listing;
mod nearest;
mod reader;
mod renamed;
mod render;
mod report;
mod rules;
mod schema;
mod secrets;
mod tables;
mod values;

#[cfg(test)]
mod tests;

use toml::de::DeTable;

pub use restore_ledger::LedgerUrl;

pub use at_start::read_at_start;
pub use dangers::{Danger, dangers, mode};
pub use days::day;
pub use environment::{Environment, read_environment};
pub use faults::{Code, Fault, Faults, Severity};
pub use host::{Host, NOT_A_HOST};
pub use listing::listing;
pub use render::github;
pub use schema::{explain, nearest_key, schema};
pub use tables::{
    Caller, CircuitBreaker, CompatEndpoint, Config, Credential, IdMapping, Ledger, Limits, Listen, Match,
    Policy, Polling, Route, Submit, Telemetry, Tls, Upstream, Webhook,
};
pub use values::{
    AgencyMember, CallerKind, ClientAuth, CredentialKind, IdempotencyKey, Listener, LogFormat, Secret, Target,
};

use reader::Reader;
use report::{Origin, Report};
use values::Setting;

/// The commented file with every key at its default, and an example of each generation.
pub const DEFAULT_TOML: &str = include_str!("../../../config/restore-gateway.toml");

/// A configuration file: its text, and its name in errors.
#[derive(Clone, Debug)]
pub struct Source {
    /// Usually the path of the file.
    pub name: String,
    /// Its content.
    pub text: String,
    /// The permissions of the file, if it is one.
    pub mode: Option<u32>,
}

impl Source {
    /// Creates a source from a text and a name.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into(), mode: None }
    }
}

/// Loads the configuration: environment over file over default. `generations` are the names of the built-in ones.
///
/// # Errors
///
/// All errors and warnings together, if there is at least one error. Otherwise the warnings come with the
/// configuration.
pub fn load(
    source: &Source,
    environment: &Environment,
    generations: &[&str],
) -> Result<(Config, Faults), Faults> {
    let mut report = Report::new(source);
    let document = match DeTable::parse(&source.text) {
        Ok(document) => document,
        Err(error) => {
            let end = source.text.len();
            let span = error.span().unwrap_or(0..0);
            report.written("", Origin::File(span.start.min(end)..span.end.min(end)));
            secrets::in_broken(&source.text).into_iter().for_each(|span| report.strike(span));
            report.error("", Code::Syntax, error.message(), None);
            return Err(report.finish());
        }
    };
    let mut tree = Reader::new(environment, generations, &mut report).read(document.get_ref());
    rules::check(&mut tree, &environment.proxies(), &mut report);
    let of_file = source.mode.and_then(|mode| dangers::writable(&source.name, mode));
    for danger in dangers::dangers(&tree).into_iter().chain(of_file) {
        report.warning(&danger.key, danger.code, danger.why, Some(danger.help.to_owned()));
    }
    let faults = report.finish();
    let config = if faults.has_errors() { None } else { Some(Config::read(&tree)) };
    secrets::wipe(&mut tree);
    let Some(config) = config else { return Err(faults) };
    match config {
        Some(config) => Ok((config, faults)),
        None => unreachable!("a checked value has the type of its key: the tests read every key and bound"),
    }
}

impl Config {
    /// Returns the effective configuration, in the shape of the file. Secrets are shown as `<redacted>`.
    pub fn to_json(&self) -> serde_json::Value {
        self.show()
    }
}
