//! The question before a restore: target, backup with its age, and the result of the dry-run check. Only `yes` continues.

use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

use http::Method;
use restore_model::{Clock, SystemClock, Timestamp};
use serde_json::Value;

use super::TIMEOUT;
use crate::call::{USAGE, unexpected_response};
use crate::client::Gateway;
use crate::output::{plain, print_text};

/// Asks for confirmation; an error is the exit code without it.
pub(super) async fn ask(gateway: &Gateway, request: &Value) -> Result<(), ExitCode> {
    if !std::io::stdin().is_terminal() {
        eprintln!("error: stdin is not a terminal; pass --yes to skip confirmation");
        return Err(ExitCode::from(USAGE));
    }
    let report = gateway.send(Method::POST, "/api/v1/restore-checks", &[], Some(request), TIMEOUT).await;
    eprintln!("This restore overwrites {}.", target(request));
    match report {
        Ok(response) if response.status.is_success() && response.body["checks"].is_array() => {
            eprintln!("{}", lines(&response.body).join("\n"));
        }
        Ok(response) => eprintln!(
            "The check of backup and target failed: {}",
            response.body["detail"].as_str().map_or_else(|| unexpected_response(gateway, &response), plain)
        ),
        Err(lost) => eprintln!("The check of backup and target failed: {}", plain(&lost.why)),
    }
    eprint!("A restore cannot be undone or stopped. Type yes to continue: ");
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    if read.is_ok() && line.trim() == "yes" {
        return Ok(());
    }
    eprintln!("nothing was sent");
    Err(ExitCode::from(USAGE))
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn target(request: &Value) -> String {
    let disks: Vec<&str> = request
        .pointer("/target/volumes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|map| text(map, "/volume_id"))
        .collect();
    match text(request, "/target/type") {
        "server" => format!(
            "server {} with {} disk(s): {}",
            text(request, "/target/server_id"),
            disks.len(),
            disks.join(", ")
        ),
        "volume" => format!("disk {}", text(request, "/target/volume_id")),
        kind => format!("{kind} {}", text(request, "/target/resource_id")),
    }
}

/// The report of a check as text, without terminal control characters.
fn lines(report: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let backup = &report["backup"];
    if backup.is_object() {
        let size =
            backup["size_gb"].as_u64().map_or("of unknown size".to_owned(), |gb| format!("of {gb} GB"));
        let made = backup["created_at"].as_str().and_then(|made| made.parse::<Timestamp>().ok());
        let age = made.map_or("made at an unknown time".to_owned(), |made| {
            let age = SystemClock.now().micros_since(made) / 1_000_000;
            format!("made {} ago, at {made}", span(age))
        });
        let of = [text(backup, "/resource_name"), text(backup, "/resource_id")];
        let of = of.iter().find(|of| !of.is_empty()).copied().unwrap_or("an unknown resource");
        lines.push(format!(
            "Backup: {} {} {size}, {age}, of {of}.",
            text(backup, "/id"),
            text(backup, "/name")
        ));
    } else {
        lines.push("Backup: its size and age are not available.".to_owned());
    }
    lines.push(format!("Upstream: {} ({}).", text(report, "/upstream"), text(report, "/generation")));
    for check in report["checks"].as_array().into_iter().flatten() {
        let (name, result) = (text(check, "/name"), text(check, "/result"));
        let why = [text(check, "/upstream_code"), text(check, "/detail")].join(" ");
        lines.push(format!("{result:<8} {name} {}", why.trim()).trim_end().to_owned());
    }
    lines.push(match report["restorable"].as_bool() {
        Some(true) => "The cloud would accept the restore.".to_owned(),
        Some(false) => "The cloud would reject the restore.".to_owned(),
        None => "It is not known whether the cloud would accept the restore.".to_owned(),
    });
    lines.iter().map(|line| plain(line)).collect()
}

/// Prints the report of a check to standard output.
pub(super) fn print_report(report: &Value) -> ExitCode {
    print_text(&lines(report).join("\n"))
}

/// A duration in a suitable unit.
pub(super) fn span(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
