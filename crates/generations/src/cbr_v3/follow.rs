//! After the send: the operation log, by its id once that is known, by correlation until then
//! (cloud APIs 2.3, 2.3.1). The backup's own status is only ever a sign of movement: it goes
//! back to `available` after a failed restore too.

use std::ops::ControlFlow;

use restore_model::{Code, Effect, Id, Problem, Strength, TaskRef, Timestamp, UpstreamError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::wire::{Log, OPERATION_LOG, Page, get_backup, get_log, list_logs};
use crate::call::{Answer, Reply};
use crate::errors;
use crate::lenient::{self, same_id};
use crate::{Found, Reading, Step, Watch, moved_by_others};

/// The evidence of most readings here.
const LOG: &str = "operation_log";
/// By how much a log may seem to begin before the send: clocks differ.
const SKEW_SECONDS: i64 = 600;
/// By how much a log may begin before the send where the upstream has shown its time: `Date` has whole seconds, and clouds
/// have more than one clock.
const SHOWN_SECONDS: i64 = 5;
/// How much older than the send a list may seem to be and still be younger.
const STALE_SECONDS: i64 = 60;
/// How much more than that clocks may differ without a baseline: the time of a call.
const SKEW_MARGIN_SECONDS: u64 = 60;
/// How far an upstream's clock is believed to be off where the known logs cover a day: half of that.
const BELIEVED_SECONDS: u64 = 12 * 3_600;
/// A send of which no answer came is over within so many seconds. What begins later may be the
/// restore of somebody else, at the console say.
const SEND_SECONDS: i64 = 60;
/// How long a log may take to appear before the backup is asked instead.
const LOG_LAG_SECONDS: u64 = 300;
/// Pages of logs read at most in one round.
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
    // Where no answer before showed a time that is believed, the list shows it.
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
    // Nothing in the list that says it is ours. A restore that was accepted is given time to
    // appear; for one of which nothing is known, for one that is late, and for logs that do not
    // say what they restore, the backup itself is read.
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
        // Each of them may be of another restore that moves this backup.
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
    // What looks like this restore and began shortly before the send may be, if the clocks are further apart than shown.
    let may_be_earlier = earlier.iter().any(|log| looks_alike(watch, log));
    if (possible || may_be_earlier) && reading.found == Found::Absent {
        reading.found = Found::Nothing;
    }
    Step::Done(reading)
}

/// Whether the restores of a day before the send are known, each by its log.
fn is_baseline_whole(watch: &Watch<'_>) -> bool {
    watch.notes.get("known").is_some() && watch.notes.get("baseline").is_none()
}

/// How far the upstream's `Date` headers may be from our clock and still be believed. The known logs cover a day, so that a
/// search that is wider for a wrong header finds nothing old; without them it would.
fn believed_seconds(watch: &Watch<'_>) -> u64 {
    if is_baseline_whole(watch) {
        BELIEVED_SECONDS
    } else {
        SKEW_SECONDS.unsigned_abs() + SKEW_MARGIN_SECONDS
    }
}

/// The earliest moment by the upstream's clock at which a log of this restore may have begun. By whichever clock is the
/// earlier: what is asked for in vain proves that there is nothing.
fn begins(watch: &Watch<'_>) -> Timestamp {
    watch.sent_at.min(watch.sent_upstream(believed_seconds(watch))).plus_seconds(-SKEW_SECONDS)
}

/// Whether a log of this restore could be missing from the list although the upstream has it. The list begins at `from`, a
/// moment of our clock, so it proves an absence only if both clocks agree: `Date` must be there, must not be older than
/// the send, and must be believed. And no earlier answer may have shown that the upstream's clock stood before `from` at the
/// send.
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

/// What a log tells, and that it is this restore's from now on. How sure that is stays with it.
fn bound(watch: &Watch<'_>, log: &Log, strength: Strength) -> Reading {
    let mut reading = told(log, "operation_log_match", strength);
    reading.task = Some(TaskRef { kind: OPERATION_LOG.to_owned(), id: log.id.clone() });
    // It was seen: should it be gone at the next look, it has vanished.
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

/// How sure it is that the log which is known by its id is this restore's.
fn binding(watch: &Watch<'_>) -> Strength {
    let noted = watch.notes.get("binding").and_then(|noted| Strength::deserialize(noted).ok());
    noted.unwrap_or(Strength::Strong)
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

/// Whether nothing that a log says speaks against its being of this pair of backup and target.
fn looks_alike(watch: &Watch<'_>, log: &Log) -> bool {
    let same =
        |told: &Option<String>, own: &Id| told.as_deref().is_none_or(|told| same_id(told, own.as_str()));
    same(&log.backup_id, &watch.request.source.backup_id) && same(&log.target_id, watch.request.target.id())
}

/// The logs that could be of this restore at all: not there before, not another one's, and not begun before the send. And
/// those that began so shortly before it that only clocks which differ could make them this restore's.
fn fresh<'a>(watch: &Watch<'_>, logs: &'a [Log]) -> (Vec<&'a Log>, Vec<&'a Log>) {
    // What began before the known ones do is not among them, however wide the search was made.
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

/// The send by the upstream's clock, where an answer has shown that clock: what began before it is somebody else's.
fn not_before(watch: &Watch<'_>) -> Option<Timestamp> {
    let shown = watch.clock_offset_ms?;
    if is_baseline_whole(watch) {
        return watch
            .offset(believed_seconds(watch))
            .map(|offset| watch.sent_at.plus_micros(offset.min(0) * 1_000));
    }
    // Without a baseline nothing but its time tells an old log from a new one. A clock that is ahead only narrows the
    // search, so it counts however far ahead it is.
    let send = watch.sent_upstream(believed_seconds(watch));
    Some(if shown > 0 { watch.sent_at.plus_micros(shown.saturating_mul(1_000)) } else { send })
}

/// The log that says it is this restore's: exact by request id, else by backup and target. Of
/// several the one begun nearest to the send.
fn correlate<'a>(watch: &Watch<'_>, fresh: &[&'a Log]) -> Option<(&'a Log, Strength)> {
    let request = watch.request;
    let of_target = |log: &Log| log.target_id.as_deref().map(|id| same_id(id, request.target.id().as_str()));
    let of_backup =
        |log: &Log| log.backup_id.as_deref().is_some_and(|id| same_id(id, request.source.backup_id.as_str()));

    // An id that several logs share is somebody's idea of a constant and decides nothing.
    let exact = |log: &Log| watch.request_id.is_some() && log.request_id.as_deref() == watch.request_id;
    let exact = only(fresh, |log| exact(log) && of_target(log) != Some(false));
    if let [log] = exact.as_slice() {
        return Some((log, Strength::Strong));
    }
    // Without a complete baseline an older restore of the same pair may pass for this one.
    let single = if is_baseline_whole(watch) { Strength::Strong } else { Strength::Weak };
    nearest(watch, &only(fresh, |log| of_backup(log) && of_target(log) == Some(true)), single)
}

/// The logs that do not say what they restore and still fit: same run, and the resource is source
/// or target of this restore. Both are told by the backup. And whether one of them may be this restore's for want of
/// something that says otherwise.
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

/// The one log, as sure as `single` says, or of several the one begun nearest to the send.
fn nearest<'a>(watch: &Watch<'_>, logs: &[&'a Log], single: Strength) -> Option<(&'a Log, Strength)> {
    let sent = watch.sent_upstream(believed_seconds(watch));
    let distance = |log: &&&Log| log.begun.map_or(i64::MAX, |begun| begun.micros_since(sent).abs());
    let log = logs.iter().min_by_key(distance)?;
    let late = !watch.accepted && log.begun.is_some_and(|begun| begun > sent.plus_seconds(SEND_SECONDS));
    Some((log, if logs.len() == 1 && !late { single } else { Strength::Ambiguous }))
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
        // The list does not have it, and nothing moves.
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
