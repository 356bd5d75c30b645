//! After the send: the operation log, by its id once that is known, by correlation until then
//! (wire reference 2.3, 2.3.1). The backup's own status is only ever a sign of movement: it goes
//! back to `available` after a failed restore too.

use std::ops::ControlFlow;

use restore_model::{Code, Effect, Handle, Id, Problem, Strength, Timestamp, UpstreamError};
use serde_json::Value;

use super::wire::{Log, OPERATION_LOG, PAGE, get_backup, get_log, list_logs};
use crate::call::{Answer, Reply};
use crate::errors;
use crate::lenient::{self, same_id};
use crate::{Found, Reading, Step, Watch};

/// The evidence of most readings here.
const LOG: &str = "operation_log";
/// By how much a log may seem to begin before the send: clocks differ.
const SKEW_SECONDS: i64 = 600;
/// How long a log may take to appear before the backup is asked instead.
const LOG_LAG_SECONDS: u64 = 300;
/// Pages of logs read at most in one round.
const MAX_PAGES: usize = 5;

pub(super) fn follow(watch: &Watch<'_>, answers: &[Answer]) -> Step<Reading> {
    let project = &watch.request.project_id;
    let mut answers = answers.iter();

    // The log by its id.
    if let Some(id) = watch.handle.and_then(|handle| handle.id.parse::<Id>().ok()) {
        let Some(answer) = answers.next() else { return Step::Ask(get_log(project, &id)) };
        match by_id(watch, answer) {
            ControlFlow::Break(reading) => return Step::Done(reading),
            ControlFlow::Continue(()) => {} // a 202's job_id that never was a log: correlate
        }
    }

    // Every page of the list.
    let from = watch.sent_upstream().plus_seconds(-SKEW_SECONDS);
    let mut logs = Vec::new();
    for page in 0..=MAX_PAGES {
        if page == MAX_PAGES {
            let reason = format!("more than {} restores in the window", MAX_PAGES * PAGE);
            return Step::Done(Reading::unreadable(reason, false, LOG));
        }
        let Some(answer) = answers.next() else { return Step::Ask(list_logs(project, from, page)) };
        match list_page(answer) {
            ControlFlow::Break(reading) => return Step::Done(reading),
            ControlFlow::Continue(more) => {
                let full = more.len() >= PAGE;
                logs.extend(more);
                if !full {
                    break;
                }
            }
        }
    }
    if let Some((log, evidence, strength)) = correlate(watch, &logs) {
        let mut reading = told(log, evidence, strength);
        reading.handle = Some(Handle { kind: OPERATION_LOG.to_owned(), id: log.id.clone() });
        return Step::Done(reading);
    }

    // Nothing in the list. A restore that was accepted is given time to appear; one of which
    // nothing is known, or one that is late, is looked for in the backup's own status.
    if watch.accepted && watch.age_seconds() < LOG_LAG_SECONDS {
        return Step::Done(Reading::new(Found::Nothing, "operation_log_list", Strength::Weak));
    }
    let Some(answer) = answers.next() else {
        return Step::Ask(get_backup(project, &watch.request.source.backup_id));
    };
    Step::Done(by_backup(watch, answer))
}

/// The log under the id that is known. Continues when the id was only a guess that proved wrong.
fn by_id(watch: &Watch<'_>, answer: &Answer) -> ControlFlow<Reading> {
    let reply = match answer {
        Ok(reply) => reply,
        Err(unread) => return ControlFlow::Break(Reading::unanswered(unread, LOG)),
    };
    let confirmed = lenient::truth(watch.notes, &["confirmed"]).unwrap_or(false);
    match reply.status {
        200 => {
            let body = reply.json().unwrap_or_default();
            let Some(log) = lenient::at(&body, &["operation_log"]).and_then(Log::read) else {
                return ControlFlow::Break(Reading::unreadable(
                    "the operation log is unreadable",
                    false,
                    LOG,
                ));
            };
            let mut reading = told(&log, "operation_log", Strength::Strong);
            if !confirmed {
                reading.notes = Some(lenient::with(watch.notes, "confirmed", Value::Bool(true)));
            }
            ControlFlow::Break(reading)
        }
        404 if is_unknown_task(reply) && confirmed => {
            let reason = "the operation log was there and is gone".to_owned();
            ControlFlow::Break(Reading::new(Found::Lost(reason), "operation_log", Strength::Strong))
        }
        404 if is_unknown_task(reply) => ControlFlow::Continue(()),
        _ => ControlFlow::Break(Reading::refused(reply, LOG)),
    }
}

fn is_unknown_task(reply: &Reply) -> bool {
    errors::read(reply).code.is_none_or(|code| code.starts_with("BackupService.650"))
}

fn list_page(answer: &Answer) -> ControlFlow<Reading, Vec<Log>> {
    match answer {
        Ok(reply) if reply.status == 200 => {
            let Some(body) =
                reply.json().filter(|body| body.get("operation_logs").is_some_and(Value::is_array))
            else {
                return ControlFlow::Break(Reading::unreadable("the list of logs is unreadable", false, LOG));
            };
            let logs = lenient::items(&body, &["operation_logs"]).iter().filter_map(Log::read).collect();
            ControlFlow::Continue(logs)
        }
        Ok(reply) => ControlFlow::Break(Reading::refused(reply, LOG)),
        Err(unread) => ControlFlow::Break(Reading::unanswered(unread, LOG)),
    }
}

/// The log that is this restore's: exact by request id, else by backup and target, else weakly by
/// checkpoint and resource. Of several the one begun soonest after the send.
fn correlate<'a>(watch: &Watch<'_>, logs: &'a [Log]) -> Option<(&'a Log, &'static str, Strength)> {
    let request = watch.request;
    let sent = watch.sent_upstream();
    let known = lenient::items(watch.notes, &["known"]);
    let fresh: Vec<&Log> = logs
        .iter()
        .filter(|log| !known.iter().any(|id| id.as_str() == Some(log.id.as_str())))
        .filter(|log| !watch.taken.contains(&log.id))
        .filter(|log| log.id.parse::<Id>().is_ok())
        .filter(|log| log.begun.is_none_or(|begun| begun >= sent.plus_seconds(-SKEW_SECONDS)))
        .collect();

    let matching = |log: &&&Log| {
        let backup =
            log.backup_id.as_deref().is_some_and(|id| same_id(id, request.source.backup_id.as_str()));
        let target = log.target_id.as_deref().is_some_and(|id| same_id(id, request.target.id().as_str()));
        backup && target
    };
    let exact = |log: &&&Log| watch.request_id.is_some() && log.request_id.as_deref() == watch.request_id;
    if let Some(log) = fresh.iter().filter(exact).find(|log| log.backup_id.is_none() || matching(log)) {
        return Some((log, "operation_log_match", Strength::Strong));
    }
    // Without a complete baseline an older restore of the same pair may pass for this one.
    let whole = watch.notes.get("known").is_some() && watch.notes.get("baseline").is_none();
    let single = if whole { Strength::Strong } else { Strength::Weak };
    let candidates: Vec<&Log> = fresh.iter().filter(matching).copied().collect();
    match candidates.as_slice() {
        [] => {}
        [one] => return Some((one, "operation_log_match", single)),
        several => return Some((nearest(several, sent)?, "operation_log_match", Strength::Ambiguous)),
    }

    // The `restore` block is optional; without it only the run and the resource are left.
    let weak: Vec<&Log> = fresh
        .iter()
        .filter(|log| log.backup_id.is_none() && log.target_id.is_none())
        .filter(|log| {
            let run = match (&log.checkpoint_id, &request.source.checkpoint_id) {
                (Some(log), Some(asked)) => same_id(log, asked.as_str()),
                _ => true,
            };
            run && log.resource_id.as_deref().is_some_and(|id| same_id(id, request.target.id().as_str()))
        })
        .copied()
        .collect();
    match weak.as_slice() {
        [] => None,
        [one] => Some((one, "operation_log_match", Strength::Weak)),
        several => Some((nearest(several, sent)?, "operation_log_match", Strength::Ambiguous)),
    }
}

fn nearest<'a>(logs: &[&'a Log], sent: Timestamp) -> Option<&'a Log> {
    logs.iter().copied().min_by_key(|log| {
        log.begun.map_or(i64::MAX, |begun| begun.micros_since(sent.plus_seconds(-SKEW_SECONDS)).abs())
    })
}

/// What a log says of the restore.
fn told(log: &Log, evidence: &'static str, strength: Strength) -> Reading {
    let status = log.status.clone().unwrap_or_default();
    let mut anomaly = None;
    let found = match status.to_ascii_lowercase().as_str() {
        "running" | "waiting" => Found::Running,
        "success" => Found::Succeeded,
        "failed" => Found::Failed(failed(log, "failed", Effect::Possible)),
        "timeout" => Found::Failed(failed(log, "timed out", Effect::Possible)),
        // Not known to the reference poller, which would wait for ever; terminal all the same (T31).
        "skipped" => Found::Failed(failed(log, "was skipped: it was not executed", Effect::None)),
        other => {
            anomaly = Some(format!("the upstream says {other:?}, a word this version does not know"));
            Found::Running
        }
    };
    let mut reading = Reading::new(found, evidence, strength);
    reading.status = log.status.clone();
    reading.progress = log.progress;
    reading.anomaly = anomaly;
    reading
}

fn failed(log: &Log, how: &str, effect: Effect) -> Problem {
    let words: Vec<_> = [&log.error_code, &log.error_message].into_iter().flatten().cloned().collect();
    let said = if words.is_empty() { String::new() } else { format!(" ({})", words.join(": ")) };
    Problem::new(Code::RestoreFailed, format!("the restore {how}{said}")).effect(effect).upstream(
        UpstreamError {
            status: None,
            code: log.error_code.clone(),
            message: log.error_message.clone(),
            request_id: log.request_id.clone(),
        },
    )
}

/// The second signal: the backup's own status.
fn by_backup(watch: &Watch<'_>, answer: &Answer) -> Reading {
    let reply = match answer {
        Ok(reply) if reply.status == 200 => reply,
        Ok(reply) => return Reading::refused(reply, LOG),
        Err(unread) => return Reading::unanswered(unread, LOG),
    };
    let body = reply.json().unwrap_or_default();
    let status = lenient::word(&body, &["backup", "status"]);
    let found = match status.as_deref() {
        Some("restoring" | "waiting_restore") => Found::Running,
        // The list does not have it, and nothing moves.
        Some(_) if !watch.accepted => Found::Absent,
        Some("available") => {
            Found::Lost("accepted, yet no operation log appeared and the backup is available".to_owned())
        }
        Some(_) => Found::Nothing,
        None => return Reading::unreadable("the backup's status is unreadable", false, LOG),
    };
    let mut reading = Reading::new(found, "backup_state", Strength::Derived);
    reading.status = lenient::text(&body, &["backup", "status"]);
    reading
}
