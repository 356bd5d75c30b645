//! Polls after the send: they read the backup item, and the restore itself if the upstream has it (cloud APIs 2.1,
//! decision procedure). The item returns to `available` after success and after failure. So `available` counts only
//! after a change of the item was seen, and only without a new failure marker.

use restore_model::{Code, Effect, Id, Problem, Strength, UpstreamError};
use serde_json::{Value, json};

use super::decode::{Word, failed, word};
use super::wire::{Marker, RESTORE, get_item, get_restore};
use crate::call::{Answer, Reply};
use crate::{Found, Reading, Step, Watch, errors, lenient, moved_by_others};

const ITEM: &str = "item_state";
const PROBE: &str = "restore";

pub(super) fn follow(watch: &Watch<'_>, answers: &[Answer]) -> Step<Reading> {
    let project = &watch.request.project_id;
    let Some(item) = answers.first() else {
        return Step::Ask(get_item(project, &watch.request.source.backup_id));
    };
    let mut reading = by_item(watch, item);

    // The status of the restore decides if the upstream provides it. It is read only if the item alone would decide or
    // cannot decide, not at every poll.
    let undecided = matches!(reading.found, Found::Succeeded | Found::Nothing | Found::Lost(_));
    let restore = watch.task.filter(|task| task.kind == RESTORE).and_then(|h| h.id.parse::<Id>().ok());
    if let (true, false, Some(id)) = (undecided, watch.no_restore_read, restore) {
        let Some(answer) = answers.get(1) else { return Step::Ask(get_restore(project, &id)) };
        match answer {
            Ok(reply) if reply.status == 200 => {
                if let Some(told) = by_restore(reply) {
                    return Step::Done(told);
                }
            }
            Ok(reply) if is_absent_api(reply) => reading.no_restore_read = true,
            _ => {}
        }
    }
    Step::Done(reading)
}

fn by_item(watch: &Watch<'_>, answer: &Answer) -> Reading {
    let reply = match answer {
        Ok(reply) => reply,
        Err(unread) => return Reading::unanswered(unread, ITEM),
    };
    if errors::not_there(reply) {
        return Reading::new(Found::Lost("the backup item is gone".to_owned()), ITEM, Strength::Derived);
    }
    if reply.status != 200 {
        return Reading::refused(reply, ITEM);
    }
    let body = reply.json().unwrap_or_default();
    let Some(item) = lenient::at(&body, &["checkpoint_item"]) else {
        return Reading::unreadable("the answer has no checkpoint_item", false, ITEM);
    };
    let status = lenient::word(item, &["status"]).unwrap_or_default();
    let marker = Marker::read(item);
    let baseline: Option<Marker> =
        watch.notes.get("baseline").and_then(|before| serde_json::from_value(before.clone()).ok());
    let seen = lenient::truth(watch.notes, &["seen_running"]).unwrap_or(false);

    let failed_anew =
        marker.tells_failure() && baseline.as_ref().is_some_and(|before| !marker.repeats(before));

    let mut notes = None;
    let mut progress = None;
    let mut anomaly = None;
    let moved = failed_anew || matches!(status.as_str(), "waiting_restore" | "restoring" | "error");
    let found = match status.as_str() {
        _ if moved && watch.is_moved_by_others() => moved_by_others(),
        "available" | "error" if (moved || seen) && watch.ends_unseen() => moved_by_others(),
        "waiting_restore" | "restoring" => {
            if !seen {
                // The marker of a running restore belongs to an earlier restore: a more recent baseline.
                let seen = lenient::with(watch.notes, "seen_running", Value::Bool(true));
                notes = Some(lenient::with(&seen, "baseline", json!(marker)));
            }
            // Documented for backups only. A 100 belongs to the backup and means nothing here.
            progress = lenient::percent(item, &["extend_info", "progress"]).filter(|percent| *percent < 100);
            Found::Running
        }
        "available" if failed_anew => Found::Failed(marked(&marker)),
        "available" if seen && !marker.tells_failure() => Found::Succeeded,
        "available" if seen => {
            let reason = "the backup item names a failed restore, in words it already had before this one";
            Found::Lost(reason.to_owned())
        }
        "available" if watch.age_seconds() < watch.visibility_grace_seconds => Found::Nothing,
        "available" => {
            let moved = baseline.is_some_and(|before| before.updated_at != marker.updated_at);
            let what = if moved { "changed without a failure marker" } else { "did not change at all" };
            Found::Lost(format!("the backup item was never seen restoring and {what}"))
        }
        "error" => Found::Failed(marked(&marker)),
        "deleting" | "deleted" | "waiting_delete" => {
            Found::Lost(format!("the backup item is {status}, so its state tells nothing any more"))
        }
        "waiting_protect" | "protecting" => Found::Nothing,
        "" => return Reading::unreadable("the backup item has no status", false, ITEM),
        other => {
            anomaly = Some(format!("the backup item is {other:?}, a word this version does not know"));
            Found::Nothing
        }
    };
    let mut reading = Reading::new(found, ITEM, Strength::Derived);
    reading.anomaly = anomaly;
    reading.status = Some(status);
    reading.progress = progress;
    reading.notes = notes;
    reading
}

fn by_restore(reply: &Reply) -> Option<Reading> {
    let body = reply.json()?;
    let restore = lenient::at(&body, &["restore"])?;
    let status = lenient::text(restore, &["status"])?;
    let mut anomaly = None;
    let found = match word(&status) {
        Word::Running => Found::Running,
        Word::Done => Found::Succeeded,
        Word::Failed => Found::Failed(failed(restore, reply)),
        Word::Other => {
            anomaly = Some(format!("the upstream says {status:?}, a word this version does not know"));
            Found::Running
        }
    };
    let mut reading = Reading::new(found, PROBE, Strength::Strong);
    reading.status = Some(status);
    reading.anomaly = anomaly;
    Some(reading)
}

/// True if the upstream does not have this call, as opposed to not knowing this restore.
fn is_absent_api(reply: &Reply) -> bool {
    let code = errors::read(reply).code.unwrap_or_default();
    reply.status == 405 || (reply.status == 404 && code.ends_with(".0101") && code.starts_with("APIG"))
}

fn marked(marker: &Marker) -> Problem {
    let words: Vec<_> = [&marker.fail_code, &marker.fail_reason].into_iter().flatten().cloned().collect();
    let said = if words.is_empty() { "no reason given".to_owned() } else { words.join(": ") };
    Problem::new(Code::RestoreFailed, format!("the backup item says that a restore failed ({said})"))
        .effect(Effect::Possible)
        .upstream(UpstreamError {
            status: None,
            code: marker.fail_code.clone(),
            message: marker.fail_reason.clone(),
            request_id: None,
        })
}
