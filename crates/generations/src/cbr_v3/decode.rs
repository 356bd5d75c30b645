//! The answer to the restore call. The documentation defines a 202 without a body. Huawei Cloud sends `{"job_id"}`,
//! whose value is the ID of an operation log (cloud APIs 1.4, T7). A 202 with an empty body is an acceptance, too. If
//! the body is not JSON or contains an error, the sender may not be CBR, and the outcome is unclear.

use restore_model::{Code, Effect, Id, Problem, TaskRef, UpstreamError};

use super::wire::OPERATION_LOG;
use crate::call::Reply;
use crate::{Outcome, errors, lenient};

pub(super) fn decode(reply: &Reply) -> Outcome {
    if !matches!(reply.status, 200..=299) {
        return errors::of_restore(reply).into();
    }
    if reply.body.iter().all(u8::is_ascii_whitespace) {
        return started(None, None);
    }
    let error = errors::read(reply);
    let Some(body) = reply.json().filter(serde_json::Value::is_object) else {
        return unsure("a body that is no JSON object", error);
    };
    let task = ["job_id", "operation_log_id", "id", "task_id"]
        .iter()
        .filter_map(|name| lenient::text(&body, &[name]))
        .find(|id| id.parse::<Id>().is_ok())
        .map(|id| TaskRef { kind: OPERATION_LOG.to_owned(), id });
    if task.is_none() && error.code.is_some() {
        return unsure("an error in the body", error);
    }
    let anomaly = task.is_none().then(|| format!("status {} with a body that names no task", reply.status));
    started(task, anomaly)
}

fn unsure(what: &str, error: UpstreamError) -> Outcome {
    let status = error.status.unwrap_or_default();
    let said = error.message.clone().unwrap_or_default();
    let problem = Problem::new(Code::UpstreamInvalidResponse, format!("status {status} with {what}: {said}"))
        .effect(Effect::Possible)
        .upstream(error);
    Outcome::Unsure { reason: problem.detail.clone(), problem }
}

const fn started(task: Option<TaskRef>, anomaly: Option<String>) -> Outcome {
    Outcome::Started { task, status: None, anomaly }
}
