//! Polls after the send. They read the operation log: by its ID once that is known, by correlation until then (cloud
//! APIs 2.3, 2.3.1). The status of the backup shows only that something changes: it returns to `available` after a
//! failed restore, too.

use std::ops::ControlFlow;

use restore_model::{Code, Effect, Id, Problem, Strength, TaskRef, Timestamp, UpstreamError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::wire::{Log, OPERATION_LOG, Page, get_backup, get_log, list_logs};
use crate::call::{Answer, Reply};
use crate::errors;
use crate::lenient::{self, same_id};
use crate::{Found, Reading, Step, Watch, moved_by_others};

/// Evidence kind of most readings in this file.
const LOG: &str = "operation_log";
/// A log may seem to begin this long before the send, because clocks differ.
const SKEW_SECONDS: i64 = 600;
/// A log may begin this long before the send if the upstream has shown its time. `Date` has whole seconds, and clouds
/// have more than one clock.
const SHOWN_SECONDS: i64 = 5;
/// A list may seem this much older than the send and still be newer.
const STALE_SECONDS: i64 = 60;
/// Additional tolerance for clock skew without a baseline: the duration of a call.
const SKEW_MARGIN_SECONDS: u64 = 60;
/// Maximum plausible offset of an upstream's clock if the known logs cover a day: half a day.
const BELIEVED_SECONDS: u64 = 12 * 3_600;
/// An unanswered send is complete after this time. A log that begins later may belong to a restore of another client,
/// such as the console.
const SEND_SECONDS: i64 = 60;
/// Time for a log to appear. After that, the backup is read instead.
const LOG_LAG_SECONDS: u64 = 300;
/// Maximum number of log pages in one poll.
const MAX_PAGES: usize = 5;

pub(super) fn follow(watch: &Watch<'_>, answers: &[Answer]) -> Step<Reading> {
    let project = &watch.request.project_id;
    let mut answers = answers.iter();

    // The log by its id.
    if let Some(id) = watch.task.and_then(|task| task.id.parse::<Id>().ok()) {
        let Some(answer) = answers.next() else { return Step::Ask(get_log(project, &id)) };
        match by_id(watch, answer) {
            ControlFlow::Break(reading) => return Step::Done(reading),
            ControlFlow::Continue(()) => {} // a 202's job_id that never was a log: correlate
        }
    }

    // Every page of the list.
    let from = begins(watch);
    let mut logs = Vec::new();
    let mut read = 0;
    let mut behind = false;
    // If no earlier answer showed a plausible time, the list shows it.
    let mut shown = watch.offset(believed_seconds(watch));
    for page in 0..=MAX_PAGES {
        if page == MAX_PAGES {
            return Step::Done(Reading::unreadable("more restores in the window than are read", false, LOG));
        }
        let Some(answer) = answers.next() else { return Step::Ask(list_logs(project, from, read)) };
        let page = match list_page(answer) {
            ControlFlow::Break(reading) => return Step::Done(reading),
            ControlFlow::Continue(page) => page,
        };
        behind |= answer.as_ref().is_ok_and(|reply| is_behind(watch, reply, from));
        let date = answer.as_ref().ok().and_then(|reply| reply.date);
        shown = shown.or_else(|| date.map(|date| date.micros_since(watch.now) / 1_000));
        read += page.length;
        let more = page.more(read);
        logs.extend(page.logs);
        if !more {
            break;
        }
    }
    let watch = &Watch { clock_offset_ms: shown.or(watch.clock_offset_ms), ..watch.clone() };
    let (fresh, earlier) = fresh(watch, &logs);
    if let Some((log, strength)) = correlate(watch, &fresh) {
        if watch.target_shared && strength != Strength::Strong {
            return Step::Done(Reading::new(Found::Nothing, "operation_log_list", Strength::Weak));
        }
        return Step::Done(bound(watch, log, strength));
    }
    // No log in the list is certainly ours. An accepted restore gets time to appear. The backup itself is read for a
    // restore of unknown outcome, for a late one, and for logs that do not name their resource.
    let of_backup = |id: &str| same_id(id, watch.request.source.backup_id.as_str());
    let bare: Vec<&Log> = fresh
        .into_iter()
        .filter(|log| log.target_id.is_none() && log.backup_id.as_deref().is_none_or(of_backup))
        .collect();
    let early = watch.accepted && watch.age_seconds() < LOG_LAG_SECONDS;
    let not_yet = || Step::Done(Reading::new(Found::Nothing, "operation_log_list", Strength::Weak));
    if early && bare.is_empty() {
        return not_yet();
    }
    let Some(answer) = answers.next() else {
        return Step::Ask(get_backup(project, &watch.request.source.backup_id));
    };
    let (alike, possible) = resemble(watch, &bare, answer);
    if !alike.is_empty() && watch.backup_shared {
        // Each log may belong to another restore of the same backup.
        return Step::Done(Reading::new(moved_by_others(), "operation_log_list", Strength::Weak));
    }
    if let Some((log, strength)) = nearest(watch, &alike, Strength::Weak) {
        return Step::Done(bound(watch, log, strength));
    }
    if early {
        return not_yet();
    }
    let mut reading = by_backup(watch, answer);
    if behind && matches!(reading.found, Found::Absent | Found::Lost(_)) {
        let reason = "a list of an unknown or an earlier time does not show whether a log is missing";
        return Step::Done(Reading::unreadable(reason, false, LOG));
    }
    // A log that looks like this restore and began shortly before the send may be ours if the clocks differ more than
    // the upstream has shown.
    let may_be_earlier = earlier.iter().any(|log| looks_alike(watch, log));
    if (possible || may_be_earlier) && reading.found == Found::Absent {
        reading.found = Found::Nothing;
    }
    Step::Done(reading)
}

/// True if the baseline has every restore of the day before the send, each by its log.
fn is_baseline_whole(watch: &Watch<'_>) -> bool {
    watch.notes.get("known").is_some() && watch.notes.get("baseline").is_none()
}

/// Maximum offset between the upstream's `Date` headers and our clock that is plausible. If the known logs cover a day,
/// a wrong header that widens the search finds nothing old. Without them it could.
fn believed_seconds(watch: &Watch<'_>) -> u64 {
    if is_baseline_whole(watch) {
        BELIEVED_SECONDS
    } else {
        SKEW_SECONDS.unsigned_abs() + SKEW_MARGIN_SECONDS
    }
}

/// Earliest time, by the upstream's clock, at which a log of this restore may have begun. The earlier of both clocks
/// decides: an empty list must prove absence.
fn begins(watch: &Watch<'_>) -> Timestamp {
    watch.sent_at.min(watch.sent_upstream(believed_seconds(watch))).plus_seconds(-SKEW_SECONDS)
}

/// True if the list may lack a log of this restore although the upstream has it. The list begins at `from`, a time of
/// our clock. So it proves an absence only if both clocks agree: `Date` must be present, must not be older than the
/// send, and must be plausible. Also, no earlier answer may have shown that the upstream's clock was before `from` at
/// the send.
fn is_behind(watch: &Watch<'_>, reply: &Reply, from: Timestamp) -> bool {
    let believed = believed_seconds(watch);
    let sent = watch.sent_upstream(believed);
    let supposed = sent.plus_micros(watch.now.micros_since(watch.sent_at));
    let latest = supposed.plus_seconds(i64::try_from(believed).unwrap_or(i64::MAX));
    let began_before = watch
        .clock_offset_ms
        .is_some_and(|offset| watch.sent_at.plus_micros(offset.saturating_mul(1_000)) < from);
    began_before
        || reply.date.is_none_or(|date| {
            date < supposed.plus_seconds(-SKEW_SECONDS)
                || date < sent.plus_seconds(-STALE_SECONDS)
                || date > latest
        })
}

/// Reading of a log that belongs to this restore from now on. The notes keep how certain that is.
fn bound(watch: &Watch<'_>, log: &Log, strength: Strength) -> Reading {
    let mut reading = told(log, "operation_log_match", strength);
    reading.task = Some(TaskRef { kind: OPERATION_LOG.to_owned(), id: log.id.clone() });
    // The log was seen once. If a later poll does not find it, it has vanished.
    let mut notes = lenient::with(watch.notes, "confirmed", Value::Bool(true));
    if strength != binding(watch) {
        notes = lenient::with(&notes, "binding", json!(strength));
    }
    reading.notes = Some(notes);
    if strength == Strength::Ambiguous {
        let what = "somebody else may have restored this backup onto this target; its log is taken for ours";
        reading.anomaly.get_or_insert_with(|| what.to_owned());
    }
    reading
}

/// Strength of the evidence that the log with the known ID belongs to this restore.
fn binding(watch: &Watch<'_>) -> Strength {
    let noted = watch.notes.get("binding").and_then(|noted| Strength::deserialize(noted).ok());
    noted.unwrap_or(Strength::Strong)
}

/// The log with the known ID. Continues if the ID was only a guess that proved wrong.
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
            if !confirmed && !log.is_restore() {
                return ControlFlow::Continue(());
            }
            let mut reading = told(&log, "operation_log", binding(watch));
            if !confirmed {
                reading.notes = Some(lenient::with(watch.notes, "confirmed", Value::Bool(true)));
            }
            ControlFlow::Break(reading)
        }
        404 if errors::not_there(reply) && confirmed => {
            let reason = "the operation log was there and is gone".to_owned();
            ControlFlow::Break(Reading::new(Found::Lost(reason), "operation_log", Strength::Strong))
        }
        404 if errors::not_there(reply) => ControlFlow::Continue(()),
        _ => ControlFlow::Break(Reading::refused(reply, LOG)),
    }
}

fn list_page(answer: &Answer) -> ControlFlow<Reading, Page> {
    ControlFlow::Break(match answer {
        Ok(reply) if reply.status == 200 => match Page::read(reply) {
            Some(page) => return ControlFlow::Continue(page),
            None => Reading::unreadable("the list of logs is unreadable", false, LOG),
        },
        Ok(reply) => Reading::refused(reply, LOG),
        Err(unread) => Reading::unanswered(unread, LOG),
    })
}

/// True if nothing in the log contradicts this pair of backup and target.
fn looks_alike(watch: &Watch<'_>, log: &Log) -> bool {
    let same =
        |told: &Option<String>, own: &Id| told.as_deref().is_none_or(|told| same_id(told, own.as_str()));
    same(&log.backup_id, &watch.request.source.backup_id) && same(&log.target_id, watch.request.target.id())
}

/// The logs that can belong to this restore: not in the baseline, not of another restore, and not begun before the
/// send. The second list has the logs that began so shortly before the send that only clock skew could make them ours.
fn fresh<'a>(watch: &Watch<'_>, logs: &'a [Log]) -> (Vec<&'a Log>, Vec<&'a Log>) {
    // A log that began before the known ones is not in the baseline, however wide the search was.
    let covered = lenient::time(watch.notes, &["known_from"]);
    let earliest = covered.map_or_else(|| begins(watch), |covered| covered.max(begins(watch)));
    let since = not_before(watch).map_or(earliest, |send| earliest.max(send.plus_seconds(-SHOWN_SECONDS)));
    let known = lenient::items(watch.notes, &["known"]);
    logs.iter()
        .filter(|log| log.is_restore() && log.id.parse::<Id>().is_ok())
        .filter(|log| !known.iter().any(|id| id.as_str() == Some(log.id.as_str())))
        .filter(|log| !watch.taken.contains(&log.id))
        .filter(|log| log.begun.is_none_or(|begun| begun >= earliest))
        .partition(|log| log.begun.is_none_or(|begun| begun >= since))
}

/// The time of the send by the upstream's clock, if an answer has shown that clock. A log that began before it belongs
/// to another restore.
fn not_before(watch: &Watch<'_>) -> Option<Timestamp> {
    let shown = watch.clock_offset_ms?;
    if is_baseline_whole(watch) {
        return watch
            .offset(believed_seconds(watch))
            .map(|offset| watch.sent_at.plus_micros(offset.min(0) * 1_000));
    }
    // Without a baseline, only the time distinguishes an old log from a new one. A clock that is ahead only narrows the
    // search, so it counts however far ahead it is.
    let send = watch.sent_upstream(believed_seconds(watch));
    Some(if shown > 0 { watch.sent_at.plus_micros(shown.saturating_mul(1_000)) } else { send })
}

/// The log that identifies itself as this restore's: exactly by request ID, otherwise by backup and target. Of several,
/// the one that began nearest to the send.
fn correlate<'a>(watch: &Watch<'_>, fresh: &[&'a Log]) -> Option<(&'a Log, Strength)> {
    let request = watch.request;
    let of_target = |log: &Log| log.target_id.as_deref().map(|id| same_id(id, request.target.id().as_str()));
    let of_backup =
        |log: &Log| log.backup_id.as_deref().is_some_and(|id| same_id(id, request.source.backup_id.as_str()));

    // If several logs share a request ID, it is a constant of some client and decides nothing.
    let exact = |log: &Log| watch.request_id.is_some() && log.request_id.as_deref() == watch.request_id;
    let exact = only(fresh, |log| exact(log) && of_target(log) != Some(false));
    if let [log] = exact.as_slice() {
        return Some((log, Strength::Strong));
    }
    // Without a complete baseline, an older restore of the same pair can look like this one.
    let single = if is_baseline_whole(watch) { Strength::Strong } else { Strength::Weak };
    nearest(watch, &only(fresh, |log| of_backup(log) && of_target(log) == Some(true)), single)
}

/// The logs that do not name what they restore and still fit: the checkpoint is the same, and the resource is source or
/// target of this restore. The backup reports both. The flag is true if one of them may be this restore's because
/// nothing contradicts it.
fn resemble<'a>(watch: &Watch<'_>, bare: &[&'a Log], backup: &Answer) -> (Vec<&'a Log>, bool) {
    let body = backup.as_ref().ok().and_then(Reply::json).unwrap_or_default();
    let source = lenient::text(&body, &["backup", "resource_id"]);
    let run = lenient::text(&body, &["backup", "checkpoint_id"]);
    let target = watch.request.target.id().as_str();
    let fits = |log: &Log| {
        let is = |id: Option<&str>| {
            id.zip(log.resource_id.as_deref()).is_some_and(|(one, other)| same_id(one, other))
        };
        match (&log.checkpoint_id, &run) {
            (Some(of_log), Some(run)) => same_id(of_log, run) && (is(Some(target)) || is(source.as_deref())),
            _ => is(Some(target)),
        }
    };
    let may_be = |log: &Log| {
        let run = log.checkpoint_id.as_deref().zip(run.as_deref());
        let resources = [Some(target), source.as_deref()];
        run.is_none_or(|(of_log, run)| same_id(of_log, run))
            && log
                .resource_id
                .as_deref()
                .is_none_or(|id| resources.iter().flatten().any(|own| same_id(own, id)))
    };
    (only(bare, fits), bare.iter().any(|log| may_be(log)))
}

fn only<'a>(logs: &[&'a Log], fits: impl Fn(&Log) -> bool) -> Vec<&'a Log> {
    logs.iter().copied().filter(|log| fits(log)).collect()
}

/// The only log, with the strength `single`, or of several the one that began nearest to the send.
fn nearest<'a>(watch: &Watch<'_>, logs: &[&'a Log], single: Strength) -> Option<(&'a Log, Strength)> {
    let sent = watch.sent_upstream(believed_seconds(watch));
    let distance = |log: &&&Log| log.begun.map_or(i64::MAX, |begun| begun.micros_since(sent).abs());
    let log = logs.iter().min_by_key(distance)?;
    let late = !watch.accepted && log.begun.is_some_and(|begun| begun > sent.plus_seconds(SEND_SECONDS));
    Some((log, if logs.len() == 1 && !late { single } else { Strength::Ambiguous }))
}

/// The state of the restore according to a log.
fn told(log: &Log, evidence: &'static str, strength: Strength) -> Reading {
    let status = log.status.clone().unwrap_or_default();
    let mut anomaly = None;
    let found = match status.to_ascii_lowercase().as_str() {
        "running" | "waiting" => Found::Running,
        "success" => Found::Succeeded,
        "failed" => Found::Failed(failed(log, "failed", Effect::Possible)),
        "timeout" => Found::Failed(failed(log, "timed out", Effect::Possible)),
        // The reference poller does not know this status and would wait without end. It is final all the same (T31).
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

/// The second signal: the status of the backup.
fn by_backup(watch: &Watch<'_>, answer: &Answer) -> Reading {
    let reply = match answer {
        Ok(reply) if reply.status == 200 => reply,
        Ok(reply) if errors::not_there(reply) => {
            let reason = "no operation log appeared and the backup is gone".to_owned();
            return Reading::new(Found::Lost(reason), "backup_not_ready", Strength::Derived);
        }
        Ok(reply) => return Reading::refused(reply, LOG),
        Err(unread) => return Reading::unanswered(unread, LOG),
    };
    let body = reply.json().unwrap_or_default();
    let status = lenient::word(&body, &["backup", "status"]);
    let found = match status.as_deref() {
        Some("restoring" | "waiting_restore") if watch.is_moved_by_others() => Found::Nothing,
        Some("restoring" | "waiting_restore") => Found::Running,
        // The list does not have the restore, and nothing changes.
        Some("available") if !watch.accepted => Found::Absent,
        Some("available") => {
            Found::Lost("accepted, yet no operation log appeared and the backup is available".to_owned())
        }
        Some(_) => Found::Nothing,
        None => return Reading::unreadable("the backup's status is unreadable", false, LOG),
    };
    let mut reading = Reading::new(found, "backup_not_ready", Strength::Derived);
    reading.status = lenient::text(&body, &["backup", "status"]);
    reading
}
