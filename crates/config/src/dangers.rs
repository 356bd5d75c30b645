//! Valid configuration that removes a protection: a switch for that purpose, or a connection without TLS. There is one
//! list. `check-config` and the start report it as warnings, the log repeats it at every load, and `/readyz` shows it
//! while it applies.
//!
//! It reads a tree in the shape of the file, as the reader builds it and [`Config::to_json`] shows it.
//!
//! [`Config::to_json`]: super::Config::to_json

use std::path::Path;

use restore_ledger::LedgerUrl;
use serde::Serialize;
use serde_json::Value;

use super::faults::Code;
use super::rules::{is_remote_cleartext, knows_callers, remote_listeners, rows};

/// A single danger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Danger {
    /// The key, such as `listen.allow_unauthenticated_remote`.
    pub key: String,
    /// The protection that is missing.
    pub why: String,
    /// The recommended correction.
    #[serde(skip)]
    pub(super) help: &'static str,
    #[serde(skip)]
    pub(super) code: Code,
}

impl Danger {
    fn new(key: impl Into<String>, code: Code, why: impl Into<String>, help: &'static str) -> Self {
        Self { key: key.into(), why: why.into(), help, code }
    }
}

/// Returns the dangers of a tree. Invalid values are skipped: they are already reported.
pub fn dangers(tree: &Value) -> Vec<Danger> {
    let mut found = Vec::new();
    remote(tree, &mut found);
    files(tree, &mut found);
    if tree["tls"]["allow_expired_crl"] == true {
        found.push(Danger::new(
            "tls.allow_expired_crl",
            Code::RevocationExpired,
            "client certificates are accepted by revocation lists that may be past their date: who was withdrawn since gets in",
            "have the lists replaced before their date, and leave the switch out",
        ));
    }
    if tree["limits"]["max_memory_bytes"] == 0 {
        found.push(Danger::new(
            "limits.max_memory_bytes",
            Code::Unbounded,
            "memory has no ceiling: enough requests at once have the kernel end the process",
            "write fewer bytes than the process may hold",
        ));
    }
    for (index, webhook) in rows(tree, "webhooks").iter().enumerate() {
        if webhook["allow_private_addresses"] == true {
            found.push(Danger::new(
                format!("webhooks[{index}].allow_private_addresses"),
                Code::PrivateReceiver,
                "the webhook may reach this machine and its private networks, without TLS",
                "leave it out where the receiver is public",
            ));
        }
    }
    for (index, upstream) in rows(tree, "upstreams").iter().enumerate() {
        for key in ["endpoint", "evs_endpoint"] {
            if upstream[key].as_str().is_some_and(is_remote_cleartext) {
                let key = format!("upstreams[{index}].{key}");
                let why = "http without tls: tokens travel in clear to this address";
                found.push(Danger::new(key, Code::Cleartext, why, "use https"));
            }
        }
    }
    if tree["telemetry"]["otlp_endpoint"].as_str().is_some_and(is_remote_cleartext) {
        found.push(Danger::new(
            "telemetry.otlp_endpoint",
            Code::Cleartext,
            "http without tls: traces travel in clear, with the ids of projects, backups and disks",
            "use https, or a collector on this machine",
        ));
    }
    if let Some(Ok(LedgerUrl::Postgres(url))) = tree["ledger"]["url"].as_str().map(str::parse)
        && let Some(why) = url.weak_tls()
    {
        found.push(Danger::new(
            "ledger.url",
            Code::Cleartext,
            why,
            "write `sslmode=verify-full`, which is the default, and `sslrootcert` for an authority of your own",
        ));
    }
    found
}

/// Keys of files that the gateway trusts, by table: such a file decides whom the gateway accepts.
const FILES: [(&str, &[&str]); 5] = [
    ("tls", &["certificate_file", "client_ca_file", "client_crl_file"]),
    ("callers", &["jwks_file", "ca_file"]),
    ("credentials", &["ca_file"]),
    ("upstreams", &["ca_file", "client_certificate_file"]),
    ("id_mapping", &["file"]),
];

/// Finds files that other users of the machine can write, and a ledger that they can read. It skips missing files.
fn files(tree: &Value, found: &mut Vec<Danger>) {
    for (table, keys) in FILES {
        let rows = match &tree[table] {
            Value::Array(rows) => {
                rows.iter().enumerate().map(|(i, row)| (format!("{table}[{i}]"), row)).collect()
            }
            one => vec![(table.to_owned(), one)],
        };
        for (path, row) in rows {
            for key in keys {
                let Some(file) = row[*key].as_str() else { continue };
                if let Some(mode) = wider_than(Path::new(file), 0o775) {
                    found.push(exposed(format!("{path}.{key}"), file, mode, "can be written by everybody"));
                }
            }
        }
    }
    if let Some(Ok(LedgerUrl::Sqlite(path))) = tree["ledger"]["url"].as_str().map(str::parse) {
        for end in ["", ".lock", "-wal", "-shm"] {
            let mut name = path.as_os_str().to_owned();
            name.push(end);
            if let Some(mode) = wider_than(Path::new(&name), 0o660) {
                let file = Path::new(&name).display().to_string();
                found.push(exposed("ledger.url".to_owned(), &file, mode, "is open to other users"));
            }
        }
    }
}

/// Returns the danger of a configuration file that other users of the machine can write.
pub(super) fn writable(name: &str, mode: u32) -> Option<Danger> {
    (mode & 0o002 != 0).then(|| exposed(String::new(), name, mode, "can be written by everybody"))
}

fn exposed(key: String, file: &str, mode: u32, what: &str) -> Danger {
    let why = format!("the file {file} has the mode {mode:04o} and {what}");
    Danger::new(key, Code::FileExposed, why, "take the rights away with chmod o-rwx, or chmod o-w")
}

/// Returns the mode of a file with more permissions than these; `None` if it has no more, or does not exist.
fn wider_than(path: &Path, most: u32) -> Option<u32> {
    mode(path).filter(|mode| mode & !most != 0)
}

/// Returns the permissions of a file, as `chmod` writes them; `None` if there is no file.
#[cfg(unix)]
pub fn mode(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    let meta = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    Some(meta.permissions().mode() & 0o777)
}

#[cfg(not(unix))]
pub fn mode(_: &Path) -> Option<u32> {
    None
}

/// Finds listeners without authentication that other machines can reach.
fn remote(tree: &Value, found: &mut Vec<Danger>) {
    if tree["listen"]["allow_unauthenticated_remote"] != true {
        return;
    }
    let open: Vec<String> = remote_listeners(tree)
        .filter(|listener| listener.kind == "api" && !knows_callers(tree, listener.kind))
        .map(|listener| listener.path)
        .collect();
    if !open.is_empty() {
        found.push(Danger::new(
            "listen.allow_unauthenticated_remote",
            Code::RemoteListen,
            format!("other machines can reach {}, and nobody is asked who they are", open.join(" and ")),
            "add `[[callers]]`, or listen on loopback and leave the switch out",
        ));
    }
}
