//! Polls after the send: they read the disk (cloud APIs 2.4). A failed restore leaves its backup `available`, so the
//! backup does not show the outcome. Two restores with the same values cannot be distinguished. So the evidence rests
//! on the gateway's own lock of the disk, and on the state before the send:
//!
//! - An accepted restore runs while the disk is `restoring-backup`. Cinder sets that state before it answers.
//! - It has succeeded when the disk has left that state, is usable, and has the mark of the backup that it did not have
//!   before. A restore in place leaves no mark. Then the disk must be usable, and no message may report that this
//!   request failed.
//! - It has failed when the disk is in error.
//! - A usable disk without the expected mark proves nothing: a person may have set its state by hand. If nothing was
//!   read before the send, the backup shows if it belongs to this disk.
//!
//! There is no list of restores. A disk at rest may be one whose restore has already ended. So no poll here proves that
//! a restore did not take place.

use restore_model::{Code, Effect, Id, Problem, Strength, Target, UpstreamError};

use super::wire::{Baseline, RESTORING, Volume, get_backup, get_messages, get_volume};
use crate::call::Answer;
use crate::{Found, Reading, Step, Watch, errors, lenient, moved_by_others};

const VOLUME: &str = "volume_state";
const BACKUP: &str = "backup_not_ready";
const MESSAGE: &str = "message";

pub(super) fn follow(watch: &Watch<'_>, answers: &[Answer]) -> Step<Reading> {
    let Target::Volume { volume_id } = &watch.request.target else {
        return Step::Done(Reading::new(Found::Nothing, VOLUME, Strength::Weak));
    };
    let mut answers = answers.iter();
    let Some(answer) = answers.next() else {
        return Step::Ask(get_volume(&watch.request.project_id, volume_id));
    };
    let volume = match answer {
        Ok(reply) if reply.status == 200 => Volume::read(reply),
        Ok(reply) if errors::not_there(reply) => {
            let reason = "the disk is gone, and nothing else tells how the restore ended".to_owned();
            return Step::Done(Reading::new(Found::Lost(reason), VOLUME, Strength::Derived));
        }
        Ok(reply) => return Step::Done(Reading::refused(reply, VOLUME)),
        Err(unread) => return Step::Done(Reading::unanswered(unread, VOLUME)),
    };
    let volume = volume.filter(|volume| lenient::same_id(&volume.id, volume_id.as_str()));
    let Some(volume) = volume else {
        let reason = "the upstream's answer has no such disk";
        return Step::Done(Reading::unreadable(reason, false, VOLUME));
    };
    let step = if watch.accepted {
        taken(watch, &volume, answers)
    } else {
        unproven(watch, &volume, answers.next())
    };
    match step {
        Step::Ask(call) => Step::Ask(call),
        Step::Done(mut reading) => {
            reading.status = reading.status.or(Some(volume.status));
            Step::Done(reading)
        }
    }
}

/// An accepted restore. Its disk was `restoring-backup` from then on.
fn taken<'a>(
    watch: &Watch<'_>,
    volume: &Volume,
    mut answers: impl Iterator<Item = &'a Answer>,
) -> Step<Reading> {
    let backup = &watch.request.source.backup_id;
    let before = Baseline::of(watch.notes);
    let is_new = before.as_ref().is_some_and(|before| before.is_outdone_by(volume, backup));
    let found = match volume.status.as_str() {
        RESTORING => Found::Running,
        "error_restoring" | "error" if is_new => {
            let reason =
                "a restore of this backup onto the disk succeeded, and one failed after it".to_owned();
            Found::Lost(reason)
        }
        "error_restoring" | "error" => {
            let why = match why(watch, answers.next()) {
                Step::Ask(call) => return Step::Ask(call),
                Step::Done(why) => why,
            };
            return Step::Done(match why {
                // The disk stays in error until a person repairs it, so the reason can be read again.
                Err(reading) => reading,
                Ok(said) => failed(&format!("the disk's status is {}", volume.status), said),
            });
        }
        // The state that was read is older than the send.
        "available" | "in_use" if before.as_ref().is_some_and(|before| before.is_still(volume)) => {
            Found::Nothing
        }
        "available" | "in_use" if is_new => Found::Succeeded,
        "available" | "in_use" => {
            if !volume.is_marked_by(backup) {
                let in_place = match before {
                    Some(before) => before.in_place,
                    None => match answers.next() {
                        None => return Step::Ask(get_backup(&watch.request.project_id, backup)),
                        Some(Err(unread)) => return Step::Done(Reading::unanswered(unread, BACKUP)),
                        Some(Ok(reply)) => crate::backup::one_of_disk(reply)
                            .is_some_and(|backup| lenient::same_id(&backup.resource_id, &volume.id)),
                    },
                };
                if !in_place {
                    let reason = "the disk is usable and lacks the mark that a restore which succeeds leaves";
                    let found = Found::Lost(reason.to_owned());
                    return Step::Done(Reading::new(found, VOLUME, Strength::Derived));
                }
            }
            let why = match why(watch, answers.next()) {
                Step::Ask(call) => return Step::Ask(call),
                Step::Done(why) => why,
            };
            return Step::Done(match why {
                Err(reading) => reading,
                Ok(Some(said)) => failed("a message of its request says so", Some(said)),
                Ok(None) => Reading::new(Found::Succeeded, VOLUME, Strength::Derived),
            });
        }
        // Another operation uses the disk now and will end.
        _ => Found::Nothing,
    };
    Step::Done(Reading::new(found, VOLUME, Strength::Derived))
}

/// A send without an answer. Backup and disk must have been available before it; otherwise no change is ours.
fn unproven(watch: &Watch<'_>, volume: &Volume, answer: Option<&Answer>) -> Step<Reading> {
    let request = watch.request;
    let backup = &request.source.backup_id;
    let Some(before) = Baseline::of(watch.notes) else {
        return Step::Done(Reading::new(Found::Nothing, VOLUME, Strength::Weak));
    };
    let found = match volume.status.as_str() {
        // The disk does not report which backup is written onto it. The backup reports that it is being restored.
        RESTORING => match answer {
            None => return Step::Ask(get_backup(&request.project_id, backup)),
            Some(Err(unread)) => return Step::Done(Reading::unanswered(unread, BACKUP)),
            Some(Ok(_)) if watch.is_moved_by_others() => moved_by_others(),
            Some(Ok(reply)) => match crate::backup::one_of_disk(reply) {
                Some(backup) if backup.status == "restoring" => Found::Running,
                _ => Found::Nothing,
            },
        },
        "available" | "in_use" if before.is_outdone_by(volume, backup) => Found::Succeeded,
        "error_restoring" => {
            let reason =
                "a restore onto the disk has failed since the send, and nothing tells of which backup";
            Found::Lost(reason.to_owned())
        }
        _ => Found::Nothing,
    };
    Step::Done(Reading::new(found, VOLUME, Strength::Derived))
}

/// The reason of a failure, by the request ID of the answer to the send; `None` if no message exists. A service that
/// crashed during a restore leaves no message. A temporarily unreadable list is an error. A permanently unreadable one
/// counts as no message.
fn why(watch: &Watch<'_>, answer: Option<&Answer>) -> Step<Result<Option<UpstreamError>, Reading>> {
    let Some(request) = watch.request_id.and_then(|id| id.parse::<Id>().ok()) else {
        return Step::Done(Ok(None));
    };
    let reply = match answer {
        None => return Step::Ask(get_messages(&watch.request.project_id, &request)),
        Some(Err(unread)) => return Step::Done(Err(Reading::unanswered(unread, MESSAGE))),
        Some(Ok(reply)) if reply.status >= 500 || matches!(reply.status, 401 | 429) => {
            return Step::Done(Err(Reading::refused(reply, MESSAGE)));
        }
        Some(Ok(reply)) => reply,
    };
    let body = reply.json().filter(|_| reply.status == 200).unwrap_or_default();
    let of_it = |message: &&serde_json::Value| {
        lenient::text(message, &["request_id"]).is_some_and(|id| lenient::same_id(&id, request.as_str()))
    };
    let said = lenient::items(&body, &["messages"]).iter().find(of_it).map(|message| UpstreamError {
        status: None,
        code: lenient::text(message, &["event_id"]),
        message: lenient::text(message, &["user_message"]),
        request_id: Some(request.as_str().to_owned()),
    });
    Step::Done(Ok(said))
}

/// A failure. A message of this restore's own request proves whose failure it is.
fn failed(how: &str, said: Option<UpstreamError>) -> Reading {
    let (evidence, strength) =
        if said.is_some() { (MESSAGE, Strength::Strong) } else { (VOLUME, Strength::Derived) };
    let said = said.unwrap_or_default();
    let words: Vec<_> = [&said.code, &said.message].into_iter().flatten().cloned().collect();
    let words = if words.is_empty() { String::new() } else { format!(" ({})", words.join(": ")) };
    let problem = Problem::new(Code::RestoreFailed, format!("the restore failed: {how}{words}"))
        .effect(Effect::Possible)
        .upstream(said);
    Reading::new(Found::Failed(problem), evidence, strength)
}
