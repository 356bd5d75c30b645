//! The answer to the restore call. Documented as 202 without a body; Huawei Cloud sends
//! `{"job_id"}`, whose value is an operation log's id (wire reference 1.4, T7). Whatever is in the
//! body, a 202 with nothing readable is still an acceptance when it is empty; when it is not JSON,
//! somebody else than CBR may have answered, and nobody can say.

use restore_model::{Effect, Handle, Id, Problem};

use super::wire::OPERATION_LOG;
use crate::call::Reply;
use crate::errors::{self, Verdict};
use crate::{Outcome, lenient};

pub(super) fn decode(reply: &Reply) -> Outcome {
    if !matches!(reply.status, 200..=299) {
        return match errors::classify(reply) {
            Verdict::Refused(problem) => Outcome::Refused(problem),
            Verdict::Ambiguous(problem) => Outcome::Unsure { reason: problem.detail.clone(), problem },
        };
    }
    if reply.body.iter().all(u8::is_ascii_whitespace) {
        return started(None, None);
    }
    let Some(body) = reply.json().filter(serde_json::Value::is_object) else {
        let error = errors::read(reply);
        let said = error.message.clone().unwrap_or_default();
        let problem = Problem::new(
            restore_model::Code::BadUpstream,
            format!("status {} with a body that is no JSON object: {said}", reply.status),
        )
        .effect(Effect::Possible)
        .upstream(error);
        return Outcome::Unsure { reason: problem.detail.clone(), problem };
    };
    let handle = ["job_id", "operation_log_id", "id", "task_id"]
        .iter()
        .find_map(|name| lenient::text(&body, &[name]))
        .filter(|id| id.parse::<Id>().is_ok())
        .map(|id| Handle { kind: OPERATION_LOG.to_owned(), id });
    let anomaly = handle.is_none().then(|| format!("status {} with a body that names no task", reply.status));
    started(handle, anomaly)
}

const fn started(handle: Option<Handle>, anomaly: Option<String>) -> Outcome {
    Outcome::Started { handle, status: None, anomaly }
}
