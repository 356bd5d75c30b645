//! Rules for authentication and permissions: each caller has the keys of its type, policies refer to existing names,
//! and no remotely reachable listener works without authentication.

use std::net::SocketAddr;

use serde_json::Value;

use super::shape::{self, Shape};
use super::{instead, is_remote_cleartext, rows};
use crate::faults::Code;
use crate::report::Report;
use crate::values::Secret;

/// Minimum length of an API key: this many hexadecimal digits are 128 bits.
const LEAST_KEY: usize = 32;

const SHAPES: [Shape; 5] = [
    Shape { kind: "api-key", needed: &[&["key_hash", "key"]], optional: &["previous_key_hash"] },
    Shape {
        kind: "jwt",
        needed: &[&["issuer"], &["audience"], &["jwks_url", "jwks_file"]],
        optional: &["algorithms", "subjects", "ca_file"],
    },
    Shape { kind: "mtls", needed: &[&["subject_alt_names", "subjects"]], optional: &[] },
    Shape {
        kind: "iam-token",
        needed: &[&["iam_endpoint"], &["domains", "project_ids"]],
        optional: &["ca_file"],
    },
    Shape { kind: "aksk", needed: &[&["access_key"], &["secret_key"]], optional: &["project_ids"] },
];

pub(super) fn check(tree: &Value, report: &mut Report<'_>) {
    listeners(tree, report);
    tls(tree, report);
    let names: Vec<Option<&str>> = rows(tree, "callers").iter().map(|row| row["name"].as_str()).collect();
    for (index, caller) in rows(tree, "callers").iter().enumerate() {
        let path = |key: &str| format!("callers[{index}].{key}");
        if names[index].is_some() && names[..index].contains(&names[index]) {
            let help = "policies tell callers apart by name: give each its own".to_owned();
            report.error(&path("name"), Code::DuplicateName, "this name is taken", Some(help));
        }
        if Secret::text_of(&caller["key"]).is_some_and(|key| key.chars().count() < LEAST_KEY) {
            let message = format!("the key has fewer than {LEAST_KEY} characters");
            let help = "`restore-gateway generate api-key` makes one".to_owned();
            report.error(&path("key"), Code::BadValue, message, Some(help));
        }
        for key in ["key_hash", "previous_key_hash", "access_key", "key"] {
            // A secret is the same, whichever file it is in.
            let own = written(caller, key);
            let shared = |other: &Value| {
                let same = |theirs: &str| own.is_some() && written(other, theirs) == own;
                same(key) || (key.ends_with("hash") && (same("key_hash") || same("previous_key_hash")))
            };
            if rows(tree, "callers")[..index].iter().any(shared) {
                let help = "both callers would be indistinguishable: give each its own".to_owned();
                report.error(&path(key), Code::Conflict, "another caller has the same key", Some(help));
            }
        }
        shape::check(caller, "caller", &SHAPES, &path, report);
        for (key, what) in [
            ("jwks_url", "the keys could be exchanged on the way"),
            ("iam_endpoint", "tokens would travel in clear"),
        ] {
            if caller[key].as_str().is_some_and(is_remote_cleartext) {
                report.error(
                    &path(key),
                    Code::Cleartext,
                    "http without tls",
                    Some(format!("{what}: use https")),
                );
            }
        }
        let on_admin = caller["listeners"].as_array().is_some_and(|on| on.iter().any(|name| name == "admin"));
        if caller["type"] == "aksk" && on_admin {
            let message = "the admin listener takes no signed requests";
            let help = "give operators another kind of caller".to_owned();
            report.error(&path("listeners"), Code::Conflict, message, Some(help));
        }
        if caller["type"] == "mtls" && tree["tls"]["client_ca_file"].is_null() && !report.is_faulty("tls") {
            let help = "`tls.client_ca_file` names who signs client certificates".to_owned();
            let message = "no client certificate is ever asked for";
            report.error(&path("type"), Code::MissingKey, message, Some(help));
        }
    }
    policies(tree, &names, report);
}

/// Returns the text of a key, or of the secret it refers to.
fn written<'t>(row: &'t Value, key: &str) -> Option<&'t str> {
    Secret::text_of(&row[key]).or_else(|| row[key].as_str())
}

fn policies(tree: &Value, callers: &[Option<&str>], report: &mut Report<'_>) {
    let upstreams: Vec<Option<&str>> =
        rows(tree, "upstreams").iter().map(|row| row["name"].as_str()).collect();
    let mut known = Vec::new();
    for (index, policy) in rows(tree, "policies").iter().enumerate() {
        for (key, there, what) in [("callers", callers, "caller"), ("upstreams", &upstreams[..], "upstream")]
        {
            for name in policy[key].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if key == "callers" {
                    known.push(name);
                }
                // A name that could not be read may be this one.
                if there.contains(&Some(name)) || there.contains(&None) {
                    continue;
                }
                let all = there.iter().flatten().copied();
                let help = instead(name, all, &format!("{what}s"));
                let path = format!("policies[{index}].{key}");
                let message = format!("no {what} is named `{name}`");
                report.error(&path, Code::DanglingReference, message, Some(help));
            }
        }
    }
    for (index, name) in callers.iter().enumerate() {
        if name.is_some_and(|name| !known.contains(&name)) {
            let help = "add a `[[policies]]` entry that names it: what none allows is denied".to_owned();
            let message = "no policy names this caller, so it may do nothing";
            report.warning(&format!("callers[{index}]"), Code::UselessCaller, message, Some(help));
        }
    }
}

/// Returns true if a listener authenticates its callers.
pub(crate) fn knows_callers(tree: &Value, listener: &str) -> bool {
    let on = |caller: &Value| {
        caller["listeners"].as_array().is_some_and(|on| on.iter().any(|name| name == listener))
    };
    rows(tree, "callers").iter().any(on)
}

/// A listener that other machines can reach.
pub(crate) struct RemoteListener {
    /// Its name in `[[callers]]`.
    pub(crate) kind: &'static str,
    /// Its key.
    pub(crate) path: String,
    address: SocketAddr,
}

/// Returns all of them. A compatibility endpoint has the same callers as the API.
pub(crate) fn remote_listeners(tree: &Value) -> impl Iterator<Item = RemoteListener> {
    let endpoints = rows(tree, "compat_endpoints").iter().enumerate();
    let endpoints = endpoints
        .map(|(index, endpoint)| ("api", format!("compat_endpoints[{index}].listen"), &endpoint["listen"]));
    let own = ["api", "admin"].map(|key| (key, format!("listen.{key}"), &tree["listen"][key]));
    own.into_iter().chain(endpoints).filter_map(|(kind, path, written)| {
        let address: SocketAddr = written.as_str()?.parse().ok()?;
        (!address.ip().is_loopback()).then_some(RemoteListener { kind, path, address })
    })
}

fn listeners(tree: &Value, report: &mut Report<'_>) {
    let allowed = tree["listen"]["allow_unauthenticated_remote"].as_bool();
    let held = rows(tree, "upstreams")
        .iter()
        .any(|upstream| upstream["credential"].as_str().is_some_and(|name| name != "passthrough"));
    for RemoteListener { kind: key, path, address } in remote_listeners(tree) {
        let known = knows_callers(tree, key);
        // Without callers, the operator pages are limited to this machine.
        if !known && key == "admin" {
            continue;
        }
        if !known && allowed == Some(false) {
            report.error(
                &path,
                Code::RemoteListen,
                format!("other machines can reach {address}, and it has no callers"),
                Some(format!(
                    "listen on 127.0.0.1, or say with `[[callers]]` and `listeners = [\"{key}\"]` who may talk to it"
                )),
            );
        } else if !known && held {
            report.error(
                "listen.allow_unauthenticated_remote",
                Code::RemoteListen,
                "other machines could restore with the gateway's own credentials, because the listener authenticates nobody",
                Some("add `[[callers]]`, listen on loopback alone, or let callers bring their own tokens (`passthrough`)".to_owned()),
            );
        }
        let speaks_tls = tree["tls"]["certificate_file"].is_string()
            && tree["tls"]["listeners"].as_array().is_some_and(|on| on.iter().any(|name| name == key));
        if known && !speaks_tls {
            let help = "keys and tokens travel in clear to this address: add `[tls]`, or put what ends TLS before it";
            report.warning(&path, Code::Cleartext, "http without tls", Some(help.to_owned()));
        }
    }
}

fn tls(tree: &Value, report: &mut Report<'_>) {
    let tls = &tree["tls"];
    let there = |key: &str| !tls[key].is_null();
    let needs = [
        ("certificate_file", "key"),
        ("key", "certificate_file"),
        ("client_ca_file", "certificate_file"),
        ("client_crl_file", "client_ca_file"),
    ];
    for (has, needed) in needs {
        if there(has) && !there(needed) && !report.is_faulty(&format!("tls.{needed}")) {
            let message = format!("`tls.{has}` needs `tls.{needed}`");
            report.error(&format!("tls.{needed}"), Code::MissingKey, message, None);
        }
    }
    if tls["allow_expired_crl"] == true
        && !there("client_crl_file")
        && !report.is_faulty("tls.client_crl_file")
    {
        let message = "there are no revocation lists that could be past their date";
        let help = "leave it out, or name the lists with `tls.client_crl_file`";
        report.error("tls.allow_expired_crl", Code::Conflict, message, Some(help.to_owned()));
    }
    if tls["client_auth"] == "required" && !there("client_ca_file") && !report.is_faulty("tls.client_ca_file")
    {
        let message = "client certificates are required, but tls.client_ca_file is absent";
        report.error(
            "tls.client_auth",
            Code::Conflict,
            message,
            Some("`tls.client_ca_file` names who does".to_owned()),
        );
    }
}
