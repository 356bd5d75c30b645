//! Rules for the gateway's own credentials: each has exactly the keys of its type, and one project; upstreams refer to
//! existing names. The module `callers` checks the permissions to use them.

use restore_model::ProjectId;
use serde_json::Value;

use super::shape::{self, Shape};
use super::{is_remote_cleartext, rows};
use crate::faults::Code;
use crate::report::Report;

const SHAPES: [Shape; 4] = [
    Shape {
        kind: "iam-password",
        needed: &[&["iam_endpoint"], &["user"], &["domain"], &["password"]],
        optional: &["project", "project_id", "ca_file"],
    },
    Shape {
        kind: "iam-agency",
        needed: &[
            &["iam_endpoint"],
            &["user"],
            &["domain"],
            &["password"],
            &["agency_name"],
            &["agency_domain"],
        ],
        optional: &["agency_member", "project", "project_id", "ca_file"],
    },
    Shape {
        kind: "iam-token",
        needed: &[&["iam_endpoint"], &["token"]],
        optional: &["project", "project_id", "ca_file"],
    },
    Shape {
        kind: "aksk",
        needed: &[&["access_key"], &["secret_key"], &["project_id"]],
        optional: &["security_token"],
    },
];

pub(super) fn check(tree: &Value, report: &mut Report<'_>) {
    let rows = rows(tree, "credentials");
    let names: Vec<Option<&str>> = rows.iter().map(|row| row["name"].as_str()).collect();
    for (index, credential) in rows.iter().enumerate() {
        let path = |key: &str| format!("credentials[{index}].{key}");
        let name = names[index];
        if name == Some("passthrough") || (name.is_some() && names[..index].contains(&name)) {
            let help = "give each credential its own name; `passthrough` is the caller's token".to_owned();
            report.error(&path("name"), Code::DuplicateName, "this name is taken", Some(help));
        }
        shape::check(credential, "credential", &SHAPES, &path, report);
        if credential["iam_endpoint"].as_str().is_some_and(is_remote_cleartext) {
            let help = "its secret would travel in clear: use https".to_owned();
            report.error(&path("iam_endpoint"), Code::Cleartext, "http without tls", Some(help));
        }
        match (credential["project_id"].as_str(), credential["project"].as_str()) {
            (Some(id), _) if id.parse::<ProjectId>().is_err() => {
                let help = "an id has 32 lower-case hexadecimal digits; `project` takes a name".to_owned();
                report.error(&path("project_id"), Code::BadValue, "this is no id of a project", Some(help));
            }
            (None, None) if credential["type"] != "aksk" => {
                let help = "tokens are for one project: write `project` or `project_id`".to_owned();
                report.error(&path("project"), Code::MissingKey, "it has no project", Some(help));
            }
            _ => {}
        }
    }
    for (index, upstream) in super::rows(tree, "upstreams").iter().enumerate() {
        let name = upstream["credential"].as_str();
        let found = rows.iter().find(|row| row["name"].as_str() == name);
        if name.is_some_and(|name| name != "passthrough") && found.is_none() && !names.contains(&None) {
            let path = format!("upstreams[{index}].credential");
            let message = "no credential has this name; what stands here is not shown";
            let help = "add `[[credentials]]` with this name, or write `passthrough`".to_owned();
            report.strike_at(&path);
            report.error(&path, Code::SecretInline, message, Some(help));
        } else {
            endpoint(upstream, found, &|key| format!("upstreams[{index}].{key}"), report);
        }
    }
}

/// Only IAM has a service catalog with endpoints. A certificate needs a key.
fn endpoint(
    upstream: &Value,
    credential: Option<&Value>,
    path: &dyn Fn(&str) -> String,
    report: &mut Report<'_>,
) {
    let absent = upstream["endpoint"].is_null() && !report.is_faulty(&path("endpoint"));
    let has_catalog = credential.is_some_and(|credential| credential["type"] != "aksk");
    if absent && !has_catalog {
        let help = "its address; only a credential of IAM finds one by itself, in the catalog of its token"
            .to_owned();
        report.error(&path("endpoint"), Code::MissingKey, "`endpoint` is missing", Some(help));
    }
    let (key, message) = if absent {
        (
            "evs_endpoint",
            "the catalog tells where block storage is, as it tells the `endpoint` that is left out",
        )
    } else {
        ("region", "the `endpoint` is written here, and no catalog is asked")
    };
    if has_catalog && !upstream[key].is_null() {
        let help = "leave out this one, or the `endpoint`".to_owned();
        let help = if absent { "leave it out, or write the `endpoint` too".to_owned() } else { help };
        report.error(&path(key), Code::Conflict, message, Some(help));
    }
    let written = ["client_certificate_file", "client_key"].map(|key| !upstream[key].is_null());
    if let Some(missing) = match written {
        [true, false] => Some("client_key"),
        [false, true] => Some("client_certificate_file"),
        _ => None,
    } {
        let help = "a certificate and its key are written together".to_owned();
        report.error(&path(missing), Code::MissingKey, format!("`{missing}` is missing"), Some(help));
    }
}
