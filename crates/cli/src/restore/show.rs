//! Text output of restores.

use std::process::ExitCode;

use serde_json::Value;

use super::confirm::span;
use crate::call::Restore;
use crate::output::{Format, plain, print_json, print_text, table};

/// Filter of a list.
#[derive(clap::Args)]
pub(crate) struct Filter {
    /// ID of the cloud project
    #[arg(long)]
    project: Option<String>,
    /// Status of the restore; repeatable
    #[arg(long)]
    status: Vec<String>,
    /// ID of the server or disk
    #[arg(long)]
    target: Option<String>,
    /// Maximum number of restores
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// All restores, without a maximum
    #[arg(long)]
    all: bool,
}

/// Restores per page.
const PAGE: usize = 100;

impl Filter {
    /// The path of a page with at most `left` restores.
    pub(super) fn path(&self, cursor: Option<&str>, left: Option<usize>) -> String {
        let base = "/api/v1/restores?".to_owned();
        let begin = base.len();
        let mut query = form_urlencoded::Serializer::for_suffix(base, begin);
        let status = self.status.join(",");
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let limit = left.unwrap_or(PAGE).min(PAGE).to_string();
        for (name, value) in [
            ("project_id", self.project.clone()),
            ("status", some(&status)),
            ("target", self.target.clone()),
            ("cursor", cursor.map(str::to_owned)),
            ("limit", Some(limit)),
        ] {
            if let Some(value) = value {
                query.append_pair(name, &value);
            }
        }
        query.finish()
    }
}

/// Table of restores.
pub(super) struct Table {
    output: Format,
    rows: usize,
}

impl Table {
    pub(super) const fn new(output: Format) -> Self {
        Self { output, rows: 0 }
    }

    /// Rows up to the maximum; none without one.
    pub(super) fn left(&self, filter: &Filter) -> Option<usize> {
        (!filter.all).then(|| filter.limit.saturating_sub(self.rows))
    }

    /// Prints one row, and before the first one the heading.
    pub(super) fn row(&mut self, restore: &Restore) -> ExitCode {
        self.rows += 1;
        let restore = &restore.body;
        if self.output == Format::Json {
            return print_json(restore, false);
        }
        let line = |[id, status, note, target, upstream, created]: [&str; 6]| {
            format!("{id:<36}  {status:<11}  {note:<14}  {target:<36}  {upstream:<20}  {created}\n")
        };
        let heading = ["ID", "STATUS", "NOTE", "TARGET", "UPSTREAM", "CREATED"];
        let heading = if self.rows == 1 { line(heading) } else { String::new() };
        let row = line([
            &text(restore, "/id"),
            &text(restore, "/status"),
            note(restore),
            &target(restore),
            &text(restore, "/upstream/name"),
            &text(restore, "/created_at"),
        ]);
        print_text(&(heading + &row))
    }
}

/// Prints one restore; returns the exit code of its status.
pub(super) fn one(restore: &Restore, output: Format) -> ExitCode {
    print(restore, output);
    restore.code()
}

/// Prints one restore. A failed print is only reported: the exit code is about the restore.
pub(super) fn print(restore: &Restore, output: Format) {
    match output {
        Format::Json => print_json(&restore.body, false),
        Format::Text => print_text(&lines(restore).join("\n")),
    };
}

/// Mark of a restore in a list.
fn note(restore: &Value) -> &'static str {
    match (restore["needs_operator"] == true, restore["overdue"] == true) {
        (true, _) => "needs operator",
        (false, true) => "overdue",
        (false, false) => "",
    }
}

/// A restore as text, one fact per line.
pub(super) fn lines(restore: &Restore) -> Vec<String> {
    let id = restore.id;
    let restore = &restore.body;
    let mut status = text(restore, "/status");
    if let Some(percent) = restore["progress"].as_u64() {
        status = format!("{status}, {percent} %");
    }
    let mut lines = vec![
        format!("restore   {id}"),
        format!("status    {status}"),
        format!("target    {}", target_with_type(restore)),
        format!("backup    {}", text(restore, "/source/backup_id")),
        format!(
            "upstream  {} ({}) {}",
            text(restore, "/upstream/name"),
            text(restore, "/upstream/generation"),
            text(restore, "/upstream/status")
        ),
    ];
    if restore["rerouted"].is_object() {
        let [from, generation, why] = ["/rerouted/from", "/rerouted/generation", "/rerouted/error/detail"]
            .map(|pointer| text(restore, pointer));
        lines.push(format!("rerouted  from {from} ({generation}): {why}"));
    }
    for step in restore["steps"].as_array().into_iter().flatten() {
        let [disk, status, why] =
            ["/volume_id", "/status", "/error/detail"].map(|pointer| text(step, pointer));
        let why = if why.is_empty() { why } else { format!(": {why}") };
        lines.push(format!("disk      {disk} {status}{why}"));
    }
    let evidence = ["/evidence/kind", "/evidence/strength", "/evidence/observed_at"];
    if restore["evidence"].is_object() {
        lines.push(format!("evidence  {}", evidence.map(|pointer| text(restore, pointer)).join(", ")));
    }
    lines.push(format!("created   {}", text(restore, "/created_at")));
    if let (Some(from), Some(to)) = (time(restore, "/created_at"), time(restore, "/finished_at")) {
        lines.push(format!("took      {}", span(to.micros_since(from) / 1_000_000)));
    }
    if !text(restore, "/last_poll_failed_since").is_empty() {
        lines.push(format!("polls     fail since {}", text(restore, "/last_poll_failed_since")));
    }
    // Before the decision: a poll may make it unnecessary.
    if restore["awaiting_credential"] == true {
        lines.push(format!(
            "the gateway has no token; bring one first: restore-gateway restore status {id} --token TOKEN"
        ));
    }
    if restore["needs_operator"] == true {
        let flags = "--as applied|not-applied|failed --by NAME --reason WHY";
        lines.push(format!(
            "an operator must check the target, then run: restore-gateway restore resolve {id} {flags}"
        ));
    } else if restore["overdue"] == true {
        lines.push(
            "overdue: it takes longer than its route expects; the gateway continues to poll".to_owned(),
        );
    }
    if restore["error"].is_object() {
        lines.push(format!("error     {}: {}", text(restore, "/error/code"), text(restore, "/error/detail")));
        lines.push(format!("effect    {}", text(restore, "/error/effect")));
    }
    for line in &mut lines {
        line.truncate(line.trim_end().len());
    }
    lines
}

/// A restore with its history: one line per event.
pub(super) fn history(restore: &Restore, events: &Value) -> String {
    let mut rows = vec![["TIME", "EVENT", "CAUSE", "EVIDENCE", "DETAIL"].map(str::to_owned)];
    for event in events.as_array().into_iter().flatten() {
        let evidence = [text(event, "/evidence/kind"), text(event, "/evidence/strength")].join(", ");
        rows.push([
            text(event, "/at"),
            text(event, "/event"),
            text(event, "/cause"),
            evidence,
            detail(event),
        ]);
    }
    format!("{}\n\n{}", lines(restore).join("\n"), table(&rows))
}

/// The members of an event besides those with a column, as text.
fn detail(event: &Value) -> String {
    const COLUMNS: [&str; 7] = ["seq", "at", "event", "cause", "evidence", "trace_id", "notes"];
    let mut parts = Vec::new();
    for (name, value) in event.as_object().into_iter().flatten() {
        match value {
            _ if COLUMNS.contains(&name.as_str()) => {}
            Value::String(sentence) if matches!(name.as_str(), "reason" | "what") => {
                parts.push(plain(sentence));
            }
            Value::String(word) => parts.push(format!("{name} {}", plain(word))),
            Value::Number(_) | Value::Bool(_) => parts.push(format!("{name} {value}")),
            Value::Object(_) if name == "problem" => {
                parts.push(format!("{}: {}", text(value, "/code"), text(value, "/detail")));
            }
            Value::Object(_) if name == "to" => parts.push(format!("to {}", text(value, "/upstream"))),
            Value::Object(_) if name == "task" => parts.push(format!("task {}", text(value, "/id"))),
            _ => {}
        }
    }
    let evidence = text(event, "/evidence/detail");
    let known = evidence.is_empty() || parts.iter().any(|part| part.contains(&evidence));
    parts.extend((!known).then_some(evidence));
    parts.join("; ")
}

fn time(restore: &Value, pointer: &str) -> Option<restore_model::Timestamp> {
    text(restore, pointer).parse().ok()
}

/// A member without terminal control characters; empty if it is absent.
pub(super) fn text(value: &Value, pointer: &str) -> String {
    plain(value.pointer(pointer).and_then(Value::as_str).unwrap_or_default())
}

fn target(restore: &Value) -> String {
    let ids = ["/target/server_id", "/target/volume_id", "/target/resource_id"];
    ids.into_iter().map(|pointer| text(restore, pointer)).find(|id| !id.is_empty()).unwrap_or_default()
}

/// Type and ID of the target.
pub(super) fn target_with_type(restore: &Value) -> String {
    format!("{} {}", text(restore, "/target/type"), target(restore))
}

/// True if the second state is news after the first.
pub(super) fn differs(one: &Restore, other: &Restore) -> bool {
    ["status", "progress", "overdue", "needs_operator", "awaiting_credential", "error"]
        .iter()
        .any(|member| one.body[member] != other.body[member])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "0190a1b2-c3d4-7e5f-8607-18293a4b5c6d";

    fn shown(members: &Value) -> Vec<String> {
        let mut body = json!({"id": ID, "status": "unknown", "needs_operator": true});
        let members = members.as_object().expect("members").clone();
        body.as_object_mut().expect("an object").extend(members);
        lines(&Restore::with_id(ID.parse().expect("an id"))(body).expect("a restore"))
    }

    #[test]
    fn status_shows_each_disk_and_the_first_upstream() {
        let lines = shown(&json!({
            "rerouted": {"from": "csbs", "generation": "csbs-v1", "error": {"detail": "closed"}},
            "steps": [
                {"volume_id": "v1", "status": "succeeded"},
                {"volume_id": "v2", "status": "unknown", "error": {"detail": "no\u{1b}[31m answer"}},
                {"volume_id": "v3", "status": "not_sent", "error": {"detail": " "}},
            ],
        }));
        for line in ["rerouted  from csbs (csbs-v1): closed", "disk      v1 succeeded"] {
            assert!(lines.iter().any(|shown| shown == line), "{line}: {lines:?}");
        }
        let second =
            lines.iter().find(|line| line.starts_with("disk      v2 unknown: no")).expect("the second disk");
        assert!(!second.contains('\u{1b}'), "{second:?}");
        assert!(lines.iter().all(|line| line.trim_end() == line), "trailing blanks: {lines:?}");
    }

    #[test]
    fn f47_token_is_requested_before_a_decision() {
        let lines =
            shown(&json!({"awaiting_credential": true, "last_poll_failed_since": "2026-11-22T10:00:00Z"}));
        let at = |begin: &str| lines.iter().position(|line| line.starts_with(begin)).expect(begin);
        assert!(
            at("polls     fail since 2026-11-22T10:00:00Z") < at("the gateway has no token"),
            "{lines:?}"
        );
        assert!(at("the gateway has no token") < at("an operator must check"), "{lines:?}");
        let lines = shown(&json!({}));
        assert!(!lines.iter().any(|line| line.contains("token") || line.starts_with("polls ")), "{lines:?}");
    }
}
