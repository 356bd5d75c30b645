//! Restores as a command prints them.

use std::process::ExitCode;

use restore_model::Status;
use serde_json::Value;

use super::confirm::span;
use super::{FAILED, OPEN, Output, REFUSED, print_line};

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

    pub(super) fn row(&mut self, restore: &Value) {
        if self.output == Output::Json {
            print_line(restore);
        } else {
            if self.rows == 0 {
                println!("{:<36}  {:<11}  {:<36}  {:<20}  CREATED", "ID", "STATUS", "TARGET", "UPSTREAM");
            }
            println!(
                "{:<36}  {:<11}  {:<36}  {:<20}  {}",
                text(restore, "/id"),
                text(restore, "/status"),
                target(restore),
                text(restore, "/upstream/name"),
                text(restore, "/created_at"),
            );
        }
        self.rows += 1;
    }
}

/// One restore.
pub(super) fn one(restore: &Value, output: Output) {
    if output == Output::Json {
        return print_line(restore);
    }
    let mut status = text(restore, "/status").to_owned();
    if let Some(percent) = restore["progress"].as_u64() {
        status = format!("{status}, {percent} %");
    }
    println!("restore   {}", text(restore, "/id"));
    println!("status    {status}");
    println!("target    {} {}", text(restore, "/target/type"), target(restore));
    println!("backup    {}", text(restore, "/source/backup_id"));
    println!(
        "upstream  {} ({}) {}",
        text(restore, "/upstream/name"),
        text(restore, "/upstream/generation"),
        text(restore, "/upstream/status")
    );
    let evidence = ["/evidence/kind", "/evidence/strength", "/evidence/observed_at"];
    if restore["evidence"].is_object() {
        println!("evidence  {}", evidence.map(|pointer| text(restore, pointer)).join(", "));
    }
    println!("created   {}", text(restore, "/created_at"));
    if let (Some(from), Some(to)) = (time(restore, "/created_at"), time(restore, "/finished_at")) {
        println!("took      {}", span(to.micros_since(from) / 1_000_000));
    }
    if restore["needs_operator"] == true {
        println!(
            "a person must look at the target: restore-gateway restore resolve {}",
            text(restore, "/id")
        );
    } else if restore["overdue"] == true {
        println!("it takes longer than its route allows, and is followed on");
    }
    if restore["error"].is_object() {
        println!("error     {}: {}", text(restore, "/error/code"), text(restore, "/error/detail"));
        println!("effect    {}", text(restore, "/error/effect"));
    }
}

fn time(restore: &Value, pointer: &str) -> Option<restore_model::Timestamp> {
    text(restore, pointer).parse().ok()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn target(restore: &Value) -> &str {
    let ids = ["/target/server_id", "/target/volume_id", "/target/resource_id"];
    ids.into_iter().map(|pointer| text(restore, pointer)).find(|id| !id.is_empty()).unwrap_or_default()
}

fn status(restore: &Value) -> Option<Status> {
    serde_json::from_value(restore["status"].clone()).ok()
}

/// Whether it has ended.
pub(super) fn is_final(restore: &Value) -> bool {
    status(restore).is_some_and(Status::is_final)
}

/// Whether somebody who waits would want to see the second after the first.
pub(super) fn differs(one: &Value, other: &Value) -> bool {
    ["status", "progress", "overdue", "needs_operator", "error"]
        .iter()
        .any(|member| one[member] != other[member])
}

/// The exit code that tells how a restore stands.
pub(super) fn code(restore: &Value) -> ExitCode {
    match status(restore) {
        Some(Status::Succeeded) => ExitCode::SUCCESS,
        Some(Status::Failed) => ExitCode::from(FAILED),
        Some(status) if status.is_final() => ExitCode::from(REFUSED),
        _ => ExitCode::from(OPEN),
    }
}
