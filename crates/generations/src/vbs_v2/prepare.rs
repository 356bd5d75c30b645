//! Reads before the send: the status of the backup. It must be available. Only then a later `restoring` is caused by
//! this restore.

use restore_model::{Code, Problem, Retry};
use serde_json::json;

use super::wire::get_backup;
use crate::call::Answer;
use crate::errors::{Verdict, classify};
use crate::{Prepare, Prepared, Step, errors, lenient};

pub(super) fn prepare(ask: &Prepare<'_>, answers: &[Answer]) -> Step<Result<Prepared, Problem>> {
    if !ask.baseline {
        return Step::Done(Ok(Prepared::default()));
    }
    let Some(answer) = answers.first() else {
        return Step::Ask(get_backup(&ask.request.project_id, &ask.request.source.backup_id));
    };
    Step::Done(match answer {
        Ok(reply) if reply.status == 200 => {
            let body = reply.json().unwrap_or_default();
            match lenient::word(&body, &["backup", "status"]).as_deref() {
                Some("available") => {
                    Ok(Prepared { notes: json!({"baseline": "available"}), ..Prepared::default() })
                }
                Some(status) => Err(Problem::new(
                    Code::BackupNotReady,
                    format!("the backup's status is {status:?}; nothing was sent"),
                )),
                None => Err(unread("its answer has no status")),
            }
        }
        Ok(reply) if errors::not_there(reply) => {
            let detail = "the backup does not exist there; nothing was sent";
            Err(Problem::new(Code::BackupNotFound, detail).upstream(errors::read(reply)))
        }
        Ok(reply) => match classify(reply) {
            // The restore would be rejected, too.
            Verdict::Refused(problem)
                if matches!(
                    problem.code,
                    Code::UpstreamUnauthorized
                        | Code::BackupNotFound
                        | Code::GenerationRetired
                        | Code::UpstreamThrottled
                ) =>
            {
                Err(problem)
            }
            Verdict::Refused(_) => Ok(Prepared::default()),
            Verdict::Ambiguous(problem) => Err(unread(&problem.detail)),
        },
        Err(why) => Err(unread(&why.explain().0)),
    })
}

fn unread(why: &str) -> Problem {
    Problem::new(
        Code::UpstreamUnavailable,
        format!("the backup could not be read before the restore, so nothing was sent: {why}"),
    )
    .retry(Retry::Later)
}
