//! Rules for credentials of the gateway's own: each has one project, upstreams name what is there, and
//! nobody from outside may use them unasked.

use restore_model::ProjectId;
use serde_json::Value;

use super::{is_remote_cleartext, rows};
use crate::settings::faults::Code;
use crate::settings::report::Report;

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
        if credential["iam"].as_str().is_some_and(is_remote_cleartext) {
            let help = "the password would travel in clear: use https".to_owned();
            report.error(&path("iam"), Code::Cleartext, "http without tls", Some(help));
        }
        match (credential["project_id"].as_str(), credential["project"].as_str()) {
            (Some(id), _) if id.parse::<ProjectId>().is_err() => {
                let help = "an id has 32 lower-case hexadecimal digits; `project` takes a name".to_owned();
                report.error(&path("project_id"), Code::BadValue, "this is no id of a project", Some(help));
            }
            (None, None) => {
                let help = "tokens are for one project: write `project` or `project_id`".to_owned();
                report.error(&path("project"), Code::MissingKey, "it has no project", Some(help));
            }
            _ => {}
        }
    }
    let mut held = false;
    for (index, upstream) in super::rows(tree, "upstreams").iter().enumerate() {
        let Some(name) = upstream["credential"].as_str().filter(|name| *name != "passthrough") else {
            continue;
        };
        held = true;
        if !names.contains(&Some(name)) && !names.contains(&None) {
            let path = format!("upstreams[{index}].credential");
            let message = "no credential has this name; what stands here is not shown";
            let help = "add `[[credentials]]` with this name, or write `passthrough`".to_owned();
            report.strike_at(&path);
            report.error(&path, Code::SecretInline, message, Some(help));
        }
    }
    if held && tree["listen"]["dangerous_allow_remote"].as_bool() == Some(true) {
        report.error(
            "listen.dangerous_allow_remote",
            Code::RemoteListen,
            "other machines could restore with the gateway's own credentials, for callers are not authenticated",
            Some("listen on loopback alone, or let callers bring their own tokens (`passthrough`)".to_owned()),
        );
    }
}
