//! Restores as a command prints them.

use std::process::ExitCode;

use serde_json::Value;

use super::Output;
use super::confirm::span;
use crate::answers::Restore;
use crate::out::{plain, print_json, print_text};

/// Which restores are listed.
#[derive(clap::Args)]
pub(crate) struct Filter {
    /// Of this cloud project
    #[arg(long)]
    project: Option<String>,
    /// In this state; may be given several times
    #[arg(long)]
    status: Vec<String>,
    /// Of this server or disk
    #[arg(long)]
    target: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// All of them
    #[arg(long)]
    all: bool,
}

/// Most restores on a page that is asked for.
const PAGE: usize = 100;

impl Filter {
    /// The path of a page, of what is left to be shown.
    pub(super) fn path(&self, before: Option<&str>, left: Option<usize>) -> String {
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
            ("cursor", before.map(str::to_owned)),
            ("limit", Some(limit)),
        ] {
            if let Some(value) = value {
                query.append_pair(name, &value);
            }
        }
        query.finish()
    }
}

/// Rows of a list.
pub(super) struct Table {
    output: Output,
    rows: usize,
}

impl Table {
    pub(super) const fn new(output: Output) -> Self {
        Self { output, rows: 0 }
    }

    /// How many more are wanted; none is all there are.
    pub(super) fn left(&self, filter: &Filter) -> Option<usize> {
        (!filter.all).then(|| filter.limit.saturating_sub(self.rows))
    }

    /// Prints one, below the heading where it is the first.
    pub(super) fn row(&mut self, restore: &Restore) -> ExitCode {
        self.rows += 1;
        let restore = &restore.body;
        if self.output == Output::Json {
            return print_json(restore, false);
        }
        let line = |[id, status, target, upstream, created]: [&str; 5]| {
            format!("{id:<36}  {status:<11}  {target:<36}  {upstream:<20}  {created}\n")
        };
        let heading = ["ID", "STATUS", "TARGET", "UPSTREAM", "CREATED"];
        let heading = if self.rows == 1 { line(heading) } else { String::new() };
        let row = line([
            &text(restore, "/id"),
            &text(restore, "/status"),
            &target(restore),
            &text(restore, "/upstream/name"),
            &text(restore, "/created_at"),
        ]);
        print_text(&(heading + &row))
    }
}

/// Prints one restore, and ends as it stands.
pub(super) fn one(restore: &Restore, output: Output) -> ExitCode {
    print(restore, output);
    restore.code()
}

/// Prints one restore. That it could not be printed is said and no more: the exit code is about the restore.
pub(super) fn print(restore: &Restore, output: Output) {
    match output {
        Output::Json => print_json(&restore.body, false),
        Output::Text => print_text(&lines(restore).join("\n")),
    };
}

fn lines(restore: &Restore) -> Vec<String> {
    let id = restore.id;
    let restore = &restore.body;
    let mut status = text(restore, "/status");
    if let Some(percent) = restore["progress"].as_u64() {
        status = format!("{status}, {percent} %");
    }
    let mut lines = vec![
        format!("restore   {id}"),
        format!("status    {status}"),
        format!("target    {} {}", text(restore, "/target/type"), target(restore)),
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
        lines.push(format!("stale     since {}", text(restore, "/last_poll_failed_since")));
    }
    // Before anybody is asked to decide: a read may settle it.
    if restore["awaiting_credential"] == true {
        lines.push(format!(
            "the gateway has no token to read it with: restore-gateway restore status {id}, with a token of the project"
        ));
    }
    if restore["needs_operator"] == true {
        lines.push(format!("a person must look at the target: restore-gateway restore resolve {id}"));
    } else if restore["overdue"] == true {
        lines.push("it takes longer than its route allows, and is followed on".to_owned());
    }
    if restore["error"].is_object() {
        lines.push(format!("error     {}: {}", text(restore, "/error/code"), text(restore, "/error/detail")));
        lines.push(format!("effect    {}", text(restore, "/error/effect")));
    }
    lines
}

fn time(restore: &Value, pointer: &str) -> Option<restore_model::Timestamp> {
    text(restore, pointer).parse().ok()
}

/// What is there, without what a terminal obeys.
fn text(value: &Value, pointer: &str) -> String {
    plain(value.pointer(pointer).and_then(Value::as_str).unwrap_or_default())
}

fn target(restore: &Value) -> String {
    let ids = ["/target/server_id", "/target/volume_id", "/target/resource_id"];
    ids.into_iter().map(|pointer| text(restore, pointer)).find(|id| !id.is_empty()).unwrap_or_default()
}

/// Whether somebody who waits would want to see the second after the first.
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
        lines(&Restore::about(ID.parse().expect("an id"))(body).expect("a restore"))
    }

    #[test]
    fn each_disk_and_the_refusal_of_the_first_upstream_are_shown() {
        let lines = shown(&json!({
            "rerouted": {"from": "csbs", "generation": "csbs-v1", "error": {"detail": "closed"}},
            "steps": [
                {"volume_id": "v1", "status": "succeeded"},
                {"volume_id": "v2", "status": "unknown", "error": {"detail": "no\u{1b}[31m answer"}},
            ],
        }));
        for line in ["rerouted  from csbs (csbs-v1): closed", "disk      v1 succeeded"] {
            assert!(lines.iter().any(|shown| shown == line), "{line}: {lines:?}");
        }
        let second =
            lines.iter().find(|line| line.starts_with("disk      v2 unknown: no")).expect("the second disk");
        assert!(!second.contains('\u{1b}'), "{second:?}");
    }

    #[test]
    fn f47_a_token_is_asked_for_before_a_decision() {
        let lines =
            shown(&json!({"awaiting_credential": true, "last_poll_failed_since": "2026-11-22T10:00:00Z"}));
        let at = |begin: &str| lines.iter().position(|line| line.starts_with(begin)).expect(begin);
        assert!(at("stale     since 2026-11-22T10:00:00Z") < at("the gateway has no token"), "{lines:?}");
        assert!(at("the gateway has no token") < at("a person must look"), "{lines:?}");
        let lines = shown(&json!({}));
        assert!(!lines.iter().any(|line| line.contains("token") || line.starts_with("stale")), "{lines:?}");
    }
}
