//! Polls after the send: they read the job (cloud APIs 2.2). Without a job ID only backup and disk are left:
//! `restoring` shows that the restore began, and a disk that is available again after that shows its end. There is no
//! list of jobs, so no poll here proves that a restore did not take place.

use restore_model::{Code, Effect, Id, Problem, Strength, Target, UpstreamError};
use serde_json::Value;

use super::wire::{get_backup, get_job};
use crate::call::{Answer, Reply};
use crate::{Found, Reading, Step, Watch, errors, lenient, moved_by_others, volumes};

const JOB: &str = "job";
const BACKUP: &str = "backup_not_ready";
/// Status of a disk while a backup is written onto it.
const RESTORED: [&str; 2] = ["restoring_backup", "restoring"];

pub(super) fn follow(watch: &Watch<'_>, answers: &[Answer]) -> Step<Reading> {
    let project = &watch.request.project_id;
    if let Some(job) = watch.task.and_then(|task| task.id.parse::<Id>().ok()) {
        let Some(answer) = answers.first() else { return Step::Ask(get_job(project, &job)) };
        return Step::Done(match answer {
            Ok(reply) => by_job(watch, reply),
            Err(unread) => Reading::unanswered(unread, JOB),
        });
    }

    let Some(backup) = answers.first() else {
        return Step::Ask(get_backup(project, &watch.request.source.backup_id));
    };
    let body = match backup {
        Ok(reply) if reply.status == 200 => reply.json().unwrap_or_default(),
        Ok(reply) if errors::not_there(reply) => {
            let reason = "the backup is gone, so its state tells nothing any more".to_owned();
            return Step::Done(Reading::new(Found::Lost(reason), BACKUP, Strength::Derived));
        }
        Ok(reply) => return Step::Done(Reading::refused(reply, BACKUP)),
        Err(unread) => return Step::Done(Reading::unanswered(unread, BACKUP)),
    };
    let seen = lenient::truth(watch.notes, &["seen_running"]).unwrap_or(false);
    // The backup was available just before the send. Only then a later change is caused by this restore.
    let ours = lenient::word(watch.notes, &["baseline"]).as_deref() == Some("available");
    let status = lenient::word(&body, &["backup", "status"]).unwrap_or_default();
    let found = match status.as_str() {
        // The acceptance is not proven: the disk shows if this restore writes onto it.
        "restoring" if !watch.accepted => match &watch.request.target {
            Target::Volume { volume_id } => {
                let Some(disk) = answers.get(1) else { return Step::Ask(volumes::get(project, volume_id)) };
                match volumes::read(disk) {
                    Some(disk) if RESTORED.contains(&disk.status.as_str()) => Found::Running,
                    Some(_) => Found::Nothing,
                    None if watch.is_moved_by_others() => moved_by_others(),
                    None => Found::Running,
                }
            }
            _ => Found::Nothing,
        },
        "restoring" => Found::Running,
        "error_restoring" | "available" if (seen || status == "error_restoring") && watch.ends_unseen() => {
            moved_by_others()
        }
        "error_restoring" if ours => Found::Failed(failed(&format!("the backup's status is {status}"), None)),
        "available" if seen && !ours => {
            let reason = "the backup was restored from, and nothing tells by whom".to_owned();
            Found::Lost(reason)
        }
        "available" if seen => {
            let Target::Volume { volume_id } = &watch.request.target else {
                return Step::Done(Reading::new(Found::Nothing, BACKUP, Strength::Derived));
            };
            let Some(disk) = answers.get(1) else { return Step::Ask(volumes::get(project, volume_id)) };
            return Step::Done(by_disk(disk));
        }
        _ => Found::Nothing,
    };
    let mut reading = Reading::new(found, BACKUP, Strength::Derived);
    if reading.found == Found::Running && !seen {
        reading.notes = Some(lenient::with(watch.notes, "seen_running", Value::Bool(true)));
    }
    reading.status = Some(status);
    Step::Done(reading)
}

fn by_job(watch: &Watch<'_>, reply: &Reply) -> Reading {
    let confirmed = lenient::truth(watch.notes, &["confirmed"]).unwrap_or(false);
    // A wrong path does not mean that the job is gone; a released client had just that bug.
    if errors::not_there(reply) {
        if !confirmed && watch.age_seconds() < watch.visibility_grace_seconds {
            return Reading::new(Found::Nothing, JOB, Strength::Weak);
        }
        let reason =
            if confirmed { "the job was there and is gone" } else { "the upstream does not know the job" };
        return Reading::new(Found::Lost(reason.to_owned()), JOB, Strength::Strong);
    }
    let body = reply.json().unwrap_or_default();
    let Some(status) = lenient::text(&body, &["status"]).filter(|_| reply.status == 200) else {
        // An error body, also under 200.
        return match reply.status {
            200 => Reading::unreadable(errors::classify(reply).into_problem().detail, false, JOB),
            _ => Reading::refused(reply, JOB),
        };
    };
    let mut anomaly = None;
    let found = match status.to_ascii_uppercase().as_str() {
        "INIT" | "RUNNING" | "PENDING_PAYMENT" => Found::Running,
        "SUCCESS" => Found::Succeeded,
        "FAIL" => Found::Failed(failed("the job says FAIL", Some(reason(&body)))),
        other => {
            anomaly = Some(format!("the upstream says {other:?}, a word this version does not know"));
            Found::Running
        }
    };
    let mut reading = Reading::new(found, JOB, Strength::Strong);
    reading.progress = finished_parts(&body);
    reading.status = Some(status);
    reading.anomaly = anomaly;
    if !confirmed {
        reading.notes = Some(lenient::with(watch.notes, "confirmed", Value::Bool(true)));
    }
    reading
}

/// Code and message of a failed job: its own, or those of the first subjob that has any.
fn reason(job: &Value) -> (Option<String>, Option<String>) {
    std::iter::once(job)
        .chain(lenient::items(job, &["sub_jobs"]))
        .map(|job| (lenient::text(job, &["error_code"]), lenient::text(job, &["fail_reason"])))
        .find(|(code, words)| code.is_some() || words.is_some())
        .unwrap_or_default()
}

/// A job has no percent. The fraction of its subjobs that have ended replaces it, if it has several.
fn finished_parts(job: &Value) -> Option<u8> {
    let parts = lenient::items(job, &["sub_jobs"]);
    if parts.len() < 2 {
        return None;
    }
    let ended = parts
        .iter()
        .filter(|part| matches!(lenient::word(part, &["status"]).as_deref(), Some("success" | "fail")))
        .count();
    u8::try_from(ended * 100 / parts.len()).ok()
}

fn by_disk(answer: &Answer) -> Reading {
    let Some(disk) = volumes::read(answer) else {
        return match answer {
            Ok(reply) => Reading::refused(reply, "volume_state"),
            // Without the state of the disk, an available backup alone is never a success.
            Err(unread) => Reading::new(Found::Lost(unread.explain().0), "volume_state", Strength::Derived),
        };
    };
    let found = match disk.status.as_str() {
        "available" | "in_use" => Found::Succeeded,
        "error_restoring" | "error" => {
            Found::Failed(failed(&format!("the disk's status is {}", disk.status), None))
        }
        _ => Found::Running,
    };
    let mut reading = Reading::new(found, "volume_state", Strength::Derived);
    reading.status = Some(disk.status);
    reading
}

fn failed(how: &str, said: Option<(Option<String>, Option<String>)>) -> Problem {
    let (code, message) = said.unwrap_or_default();
    let words: Vec<_> = [&code, &message].into_iter().flatten().cloned().collect();
    let words = if words.is_empty() { String::new() } else { format!(" ({})", words.join(": ")) };
    Problem::new(Code::RestoreFailed, format!("the restore failed: {how}{words}"))
        .effect(Effect::Possible)
        .upstream(UpstreamError { status: None, code, message, request_id: None })
}
