//! The answer to the restore call: 202 with the pair of backup and disk, and no task ID (cloud APIs 1.9). The disk
//! identifies the restore afterwards. The request ID of this answer leads to the reason of a failure.

use restore_model::{Code, Effect, Problem, RestoreRequest};

use crate::call::Reply;
use crate::{Outcome, errors, lenient};

pub(super) fn decode(request: &RestoreRequest, reply: &Reply) -> Outcome {
    if !matches!(reply.status, 200..=299) {
        return errors::of_restore(reply).into();
    }
    let body = reply.json().unwrap_or_default();
    let names = |member: &str, id: &str| {
        lenient::text(&body, &["restore", member]).is_some_and(|named| lenient::same_id(&named, id))
    };
    // A different pair would be a restore onto another disk.
    if reply.status == 202
        && names("backup_id", request.source.backup_id.as_str())
        && names("volume_id", request.target.id().as_str())
    {
        return Outcome::Started { task: None, status: Some("restoring-backup".to_owned()), anomaly: None };
    }
    let detail =
        "the upstream answered with a success status that does not name the restore that was asked for";
    let problem = Problem::new(Code::UpstreamInvalidResponse, detail)
        .effect(Effect::Possible)
        .upstream(errors::read(reply));
    Outcome::Unsure { reason: problem.detail.clone(), problem }
}
