//! `restore triage`: restores that need an operator or are overdue, and the next command for each.

use std::process::ExitCode;

use http::Method;
use serde_json::Value;

use super::show::{target_with_type, text};
use crate::admin::{AdminConnection, TIMEOUT};
use crate::call::{Call, FAILED, Purpose};
use crate::output::{Format, plain, print_json, print_text, table};

#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 no restore needs an operator or is overdue, and no recovery mode; 1 at least one does; 2 the \
                  command line is wrong; 3 the gateway rejected the request; 4 unexpected response; 5 no connection to the \
                  gateway."
)]
pub(crate) struct Triage {
    #[command(flatten)]
    connection: AdminConnection,
    /// Output format; by default text on a terminal, otherwise JSON
    #[arg(long, value_enum)]
    output: Option<Format>,
}

/// Longest reason in the table; `restore status` shows all of it.
const MAX_WHY: usize = 60;

/// Fails if a restore needs an operator, so that a watchdog can call it.
pub(super) async fn run(options: Triage) -> Result<ExitCode, ExitCode> {
    let gateway = options.connection.gateway()?;
    let expected = |answer: Value| {
        let complete = answer["needs_operator"].is_array() && answer["overdue"].is_array();
        (complete && answer.get("recovery").is_some()).then_some(answer)
    };
    let call =
        Call { method: Method::GET, path: "/triage", body: None, purpose: Purpose::Query, timeout: TIMEOUT };
    let found = call.send(&gateway, expected).await?;
    match Format::or_by_terminal(options.output) {
        Format::Json => print_json(&found, true),
        Format::Text => print_text(&report(&found)),
    };
    let empty = |list: &str| found[list].as_array().is_some_and(Vec::is_empty);
    let nothing = empty("needs_operator") && empty("overdue") && found["recovery"].is_null();
    Ok(ExitCode::from(if nothing { 0 } else { FAILED }))
}

fn report(found: &Value) -> String {
    let list = |name: &str| found[name].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut rows = vec![["ID", "WHAT", "SINCE", "WHY", "NEXT COMMAND"].map(str::to_owned)];
    rows.extend(list("needs_operator").iter().map(row));
    // A restore may be in both lists.
    rows.extend(list("overdue").iter().filter(|restore| restore["needs_operator"] != true).map(row));
    let mut report = String::new();
    if let Some(reason) = found["recovery"].as_str() {
        report.push_str(&format!(
            "recovery mode, the gateway sends nothing: {}\nnext command: restore-gateway recovery status\n",
            plain(reason)
        ));
    }
    report.push_str(&match rows.len() {
        1 => "no restore needs an operator or is overdue\n".to_owned(),
        _ => table(&rows),
    });
    report
}

fn row(restore: &Value) -> [String; 5] {
    let id = text(restore, "/id");
    let detail = text(restore, "/error/detail");
    let (why, next) = if restore["awaiting_credential"] == true {
        (
            "awaiting_credential: the gateway has no token".to_owned(),
            format!("bring a token first: restore-gateway restore status {id} --token TOKEN"),
        )
    } else if restore["needs_operator"] == true {
        let why = if detail.is_empty() {
            format!("{}: polls cannot decide", text(restore, "/status"))
        } else {
            detail
        };
        let next = "--as applied|not-applied|failed --by NAME --reason WHY";
        (why, format!("restore-gateway restore resolve {id} {next}"))
    } else {
        ("overdue: the cloud still works on it".to_owned(), format!("restore-gateway restore status {id}"))
    };
    [id, target_with_type(restore), since(restore), shortened(&why), next]
}

/// Time of the last attempt, for a search in the cloud; time of the request if there was none.
fn since(restore: &Value) -> String {
    let sent = text(restore, "/submitted_at");
    let since = if sent.is_empty() { text(restore, "/created_at") } else { sent };
    // To the second.
    match since.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => since,
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= MAX_WHY {
        return text.to_owned();
    }
    let start: String = text.chars().take(MAX_WHY - 1).collect();
    format!("{}…", start.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ID: &str = "0199a7c4-8d5e-7c21-9f0e-5b1f3a2d4c6e";

    fn restore(members: &Value) -> Value {
        let mut restore = json!({
            "id": ID, "status": "unknown", "target": {"type": "volume", "volume_id": "v1"},
            "submitted_at": "2026-11-22T10:00:00.123Z", "needs_operator": true,
        });
        restore.as_object_mut().expect("an object").extend(members.as_object().expect("an object").clone());
        restore
    }

    #[test]
    fn report_has_a_next_command_per_restore() {
        let undecided = restore(&json!({"error": {"detail": "no\u{1b}[2J response"}}));
        let tokenless = restore(&json!({"awaiting_credential": true}));
        let overdue = restore(&json!({"needs_operator": false, "overdue": true, "status": "running"}));
        let found = json!({"needs_operator": [undecided, tokenless], "overdue": [tokenless, overdue], "recovery": null});
        let report = report(&found);
        let lines: Vec<_> = report.lines().collect();
        assert_eq!(lines.len(), 4, "{report}");
        for (line, parts) in [
            (lines[0], ["ID", "WHAT", "NEXT COMMAND"]),
            (lines[1], ["volume v1  2026-11-22T10:00:00Z", "no[2J response", "restore resolve"]),
            (lines[2], ["awaiting_credential", "bring a token first", "--token TOKEN"]),
            (lines[3], ["overdue", "restore-gateway restore status", ID]),
        ] {
            for part in parts {
                assert!(line.contains(part), "{part} in {line}");
            }
        }
    }

    #[test]
    fn report_of_nothing_says_so() {
        let found = json!({"needs_operator": [], "overdue": [], "recovery": null});
        assert_eq!(report(&found), "no restore needs an operator or is overdue\n");
        let found = json!({"needs_operator": [], "overdue": [], "recovery": "an older backup"});
        assert!(report(&found).starts_with("recovery mode, the gateway sends nothing: an older backup\n"));
    }
}
