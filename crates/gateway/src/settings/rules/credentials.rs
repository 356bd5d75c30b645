//! Rules for credentials of the gateway's own: each has what its kind needs and nothing else, and one project;
//! upstreams name what is there. Who may use them is for `callers`.

use restore_model::ProjectId;
use serde_json::Value;

use super::{is_remote_cleartext, rows};
use crate::settings::faults::Code;
use crate::settings::report::Report;

/// What a kind must have, and what it may have, besides name, kind and project.
struct Needs {
    kind: &'static str,
    must: &'static [&'static str],
    may: &'static [&'static str],
}

const NEEDS: [Needs; 4] = [
    Needs {
        kind: "iam-password",
        must: &["iam", "user", "domain", "password"],
        may: &["project", "project_id"],
    },
    Needs {
        kind: "iam-agency",
        must: &["iam", "user", "domain", "password", "agency_name", "agency_domain"],
        may: &["agency_member", "project", "project_id"],
    },
    Needs { kind: "iam-token", must: &["iam", "token"], may: &["project", "project_id"] },
    Needs { kind: "aksk", must: &["access_key", "secret_key", "project_id"], may: &["security_token"] },
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
        needs(credential, &path, report);
        if credential["iam"].as_str().is_some_and(is_remote_cleartext) {
            let help = "its secret would travel in clear: use https".to_owned();
            report.error(&path("iam"), Code::Cleartext, "http without tls", Some(help));
        }
        match (credential["project_id"].as_str(), credential["project"].as_str()) {
            (Some(id), _) if id.parse::<ProjectId>().is_err() => {
                let help = "an id has 32 lower-case hexadecimal digits; `project` takes a name".to_owned();
                report.error(&path("project_id"), Code::BadValue, "this is no id of a project", Some(help));
            }
            (None, None) if credential["kind"] != "aksk" => {
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

/// Each kind has exactly what it needs: a key that does nothing is a misunderstanding.
fn needs(credential: &Value, path: &dyn Fn(&str) -> String, report: &mut Report<'_>) {
    let Some(needs) = NEEDS.iter().find(|needs| credential["kind"] == needs.kind) else { return };
    let kind = needs.kind;
    for key in needs.must {
        let path = path(key);
        if credential[key].is_null() && !report.is_faulty(&path) {
            let help = format!("a credential of kind `{kind}` has {}", list(needs.must));
            report.error(&path, Code::MissingKey, format!("`{key}` is missing"), Some(help));
        }
    }
    for key in NEEDS
        .iter()
        .flat_map(|needs| needs.must.iter().chain(needs.may))
        .collect::<std::collections::BTreeSet<_>>()
    {
        if !credential[key].is_null() && !needs.must.contains(key) && !needs.may.contains(key) {
            let of: Vec<_> = NEEDS
                .iter()
                .filter(|other| other.must.contains(key) || other.may.contains(key))
                .map(|other| other.kind)
                .collect();
            let help = format!(
                "it belongs to {}; a credential of kind `{kind}` has {}",
                list(&of),
                list(needs.must)
            );
            let message = format!("`{key}` means nothing to a credential of kind `{kind}`");
            report.error(&path(key), Code::Conflict, message, Some(help));
        }
    }
}

fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// Only IAM has a catalog to find an endpoint in; and a certificate has a key.
fn endpoint(
    upstream: &Value,
    credential: Option<&Value>,
    path: &dyn Fn(&str) -> String,
    report: &mut Report<'_>,
) {
    let absent = upstream["endpoint"].is_null() && !report.is_faulty(&path("endpoint"));
    let has_catalog = credential.is_some_and(|credential| credential["kind"] != "aksk");
    if absent && !has_catalog {
        let help = "its address; only a credential of IAM finds one by itself, in the catalog of its token"
            .to_owned();
        report.error(&path("endpoint"), Code::MissingKey, "`endpoint` is missing", Some(help));
    }
    let (key, message) = if absent {
        (
            "volumes_endpoint",
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
    let written = ["client_certificate", "client_key"].map(|key| !upstream[key].is_null());
    if let Some(missing) = match written {
        [true, false] => Some("client_key"),
        [false, true] => Some("client_certificate"),
        _ => None,
    } {
        let help = "a certificate and its key are written together".to_owned();
        report.error(&path(missing), Code::MissingKey, format!("`{missing}` is missing"), Some(help));
    }
}
