//! What a person is asked before a restore: what is overwritten, by what, how old that is, and what the clouds would
//! say. Only the word `yes` goes on.

use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

use http::Method;
use restore_model::{Clock, SystemClock, Timestamp};
use serde_json::Value;

use super::PATIENCE;
use crate::answers::{USAGE, no_gateway};
use crate::client::Gateway;
use crate::out::{plain, print_text};

/// Asks; an error is the exit code of who was not told to go on.
pub(super) async fn ask(gateway: &Gateway, request: &Value) -> Result<(), ExitCode> {
    if !std::io::stdin().is_terminal() {
        eprintln!("error: there is nobody to ask: add --yes to restore without asking");
        return Err(ExitCode::from(USAGE));
    }
    let report = gateway.ask(Method::POST, "/api/v1/restore-checks", &[], Some(request), PATIENCE).await;
    eprintln!("This overwrites {}.", target(request));
    match report {
        Ok(said) if said.status.is_success() && said.body["checks"].is_array() => {
            eprintln!("{}", lines(&said.body).join("\n"));
        }
        Ok(said) => eprintln!(
            "Backup and target could not be looked at: {}",
            said.body["detail"].as_str().map_or_else(|| no_gateway(gateway, &said), plain)
        ),
        Err(silence) => eprintln!("Backup and target could not be looked at: {}", plain(&silence.why)),
    }
    eprint!("It cannot be undone or stopped. Type yes to go on: ");
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

/// What of a report a person reads, without what a terminal obeys.
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
        let of = of.iter().find(|of| !of.is_empty()).copied().unwrap_or("something unknown");
        lines.push(format!(
            "by backup {} {} {size}, {age}, of {of}.",
            text(backup, "/id"),
            text(backup, "/name")
        ));
    } else {
        lines.push("by a backup whose size and age cannot be read.".to_owned());
    }
    lines.push(format!("Way: {} ({}).", text(report, "/upstream"), text(report, "/generation")));
    for check in report["checks"].as_array().into_iter().flatten() {
        let (name, result) = (text(check, "/name"), text(check, "/result"));
        let why = [text(check, "/upstream_code"), text(check, "/detail")].join(" ");
        lines.push(format!("{result:<8} {name} {}", why.trim()).trim_end().to_owned());
    }
    lines.push(match report["restorable"].as_bool() {
        Some(true) => "Nothing stands against it.".to_owned(),
        Some(false) => "The cloud would refuse it.".to_owned(),
        None => "Whether the cloud would take it is not known.".to_owned(),
    });
    lines.iter().map(|line| plain(line)).collect()
}

/// The report of a check on standard output.
pub(super) fn print_report(report: &Value) -> ExitCode {
    print_text(&lines(report).join("\n"))
}

/// A time that has passed, in the largest unit that says enough.
pub(super) fn span(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
