//! Reads before the send: backup and disk, which must both be available. The state of the disk then shows afterwards
//! what a restore has changed (cloud APIs 2.4). A disk that cannot be read is not restored: nothing else would show the
//! outcome.

use restore_model::{Code, Problem, Retry, Target};

use super::wire::{Baseline, Volume, get_backup, get_volume};
use crate::call::{Answer, Reply};
use crate::errors::{Verdict, classify};
use crate::{Prepare, Prepared, Step, errors, lenient};

pub(super) fn prepare(ask: &Prepare<'_>, answers: &[Answer]) -> Step<Result<Prepared, Problem>> {
    let request = ask.request;
    let (true, Target::Volume { volume_id }) = (ask.baseline, &request.target) else {
        return Step::Done(Ok(Prepared::default()));
    };
    let backup_id = &request.source.backup_id;
    let mut answers = answers.iter();

    let Some(answer) = answers.next() else { return Step::Ask(get_backup(&request.project_id, backup_id)) };
    let backup = match found(answer, "backup", Code::BackupNotFound) {
        Ok(reply) => {
            crate::backup::one_of_disk(reply).ok_or_else(|| unread("backup", "its answer has no backup"))
        }
        Err(problem) => Err(problem),
    };
    let backup = match backup {
        Ok(backup) if backup.status == "available" => backup,
        Ok(backup) => return refuse(Code::BackupNotReady, "backup", &backup.status),
        Err(problem) => return Step::Done(Err(problem)),
    };

    let Some(answer) = answers.next() else { return Step::Ask(get_volume(&request.project_id, volume_id)) };
    let volume = match found(answer, "disk", Code::TargetNotFound) {
        Ok(reply) => Volume::read(reply).ok_or_else(|| unread("disk", "its answer has no disk")),
        Err(problem) => Err(problem),
    };
    let volume = match volume {
        Ok(volume) if volume.status == "available" => volume,
        Ok(volume) => return refuse(Code::TargetNotReady, "disk", &volume.status),
        Err(problem) => return Step::Done(Err(problem)),
    };
    let needed = backup.size_gb.map(|size| size as f64);
    if needed.zip(volume.size).is_some_and(|(needed, size)| size < needed) {
        let detail = "the disk is smaller than the backup; nothing was sent";
        return Step::Done(Err(Problem::new(Code::TargetTooSmall, detail)));
    }
    let in_place = lenient::same_id(&backup.resource_id, volume_id.as_str());
    let notes = Baseline::notes(&volume, backup_id, in_place);
    Step::Done(Ok(Prepared { notes, ..Prepared::default() }))
}

fn found<'a>(answer: &'a Answer, what: &str, missing: Code) -> Result<&'a Reply, Problem> {
    match answer {
        Ok(reply) if reply.status == 200 => Ok(reply),
        Ok(reply) if errors::not_there(reply) => {
            let detail = format!("the {what} does not exist there; nothing was sent");
            Err(Problem::new(missing, detail).upstream(errors::read(reply)))
        }
        Ok(reply) => Err(match classify(reply) {
            Verdict::Refused(problem) => problem,
            Verdict::Ambiguous(problem) => unread(what, &problem.detail),
        }),
        Err(why) => Err(unread(what, &why.explain().0)),
    }
}

fn refuse(code: Code, what: &str, status: &str) -> Step<Result<Prepared, Problem>> {
    let detail = format!("the {what}'s status is {status:?}; nothing was sent");
    Step::Done(Err(Problem::new(code, detail)))
}

fn unread(what: &str, why: &str) -> Problem {
    let detail = format!("the {what} could not be read before the restore, so nothing was sent: {why}");
    Problem::new(Code::UpstreamUnavailable, detail).retry(Retry::Later)
}
