//! Reads before the send: the backup item. It provides the checkpoint if the caller left it out, the states that forbid
//! a restore, and the failure marker that later reads are compared with (cloud APIs 2.1, step 1).

use restore_model::{Code, Id, Problem, Retry};
use serde_json::json;

use super::wire::{CHECKPOINT, Marker, get_item};
use crate::call::Answer;
use crate::errors::{Verdict, classify};
use crate::{Known, Prepare, Prepared, Step, lenient};

pub(super) fn prepare(ask: &Prepare<'_>, answers: &[Answer]) -> Step<Result<Prepared, Problem>> {
    let checkpoint_known = ask.request.source.checkpoint_id.is_some() || ask.known.get(CHECKPOINT).is_some();
    if checkpoint_known && !ask.baseline {
        return Step::Done(Ok(Prepared::default()));
    }
    let Some(answer) = answers.first() else {
        return Step::Ask(get_item(&ask.request.project_id, &ask.request.source.backup_id));
    };
    Step::Done(match answer {
        Ok(reply) if reply.status == 200 => {
            let body = reply.json().unwrap_or_default();
            match lenient::at(&body, &["checkpoint_item"]) {
                Some(item) => item_allows(ask, item),
                None => Err(unread("its answer has no checkpoint_item")),
            }
        }
        Ok(reply) => Err(match classify(reply) {
            Verdict::Refused(problem) => problem,
            Verdict::Ambiguous(problem) => unread(&problem.detail),
        }),
        Err(why) => Err(unread(&why.explain().0)),
    })
}

fn item_allows(ask: &Prepare<'_>, item: &serde_json::Value) -> Result<Prepared, Problem> {
    let checkpoint_id: Option<Id> =
        lenient::text(item, &["checkpoint_id"]).and_then(|checkpoint| checkpoint.parse().ok());
    if let (Some(given), Some(read)) = (&ask.request.source.checkpoint_id, &checkpoint_id)
        && !lenient::same_id(given.as_str(), read.as_str())
    {
        return Err(Problem::new(
            Code::BackupNotFound,
            "source.checkpoint_id is not the checkpoint of that backup; nothing was sent",
        ));
    }
    let facts = checkpoint_id.map(|run| Known::of(CHECKPOINT, run)).unwrap_or_default();
    if !ask.baseline {
        return Ok(Prepared { notes: serde_json::Value::Null, facts });
    }
    let status = lenient::word(item, &["status"]).unwrap_or_default();
    if status != "available" {
        let detail = format!("the backup's status is {status:?}; nothing was sent");
        let code = if status == "restoring" || status == "waiting_restore" {
            Code::UpstreamBusy
        } else {
            Code::BackupNotReady
        };
        return Err(Problem::new(code, detail));
    }
    if lenient::word(item, &["extend_info", "supported_restore_mode"]).as_deref() == Some("na") {
        return Err(Problem::new(Code::UpstreamUnsupported, "the backup's supported_restore_mode is \"na\""));
    }
    Ok(Prepared { notes: json!({"baseline": Marker::read(item)}), facts })
}

fn unread(why: &str) -> Problem {
    Problem::new(
        Code::UpstreamUnavailable,
        format!("the backup item could not be read before the restore, so nothing was sent: {why}"),
    )
    .retry(Retry::Later)
}
