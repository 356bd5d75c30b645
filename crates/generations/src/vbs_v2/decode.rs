//! The answer to the restore call: 200 with `job_id`, or an error in the same documented slot,
//! under 200 too (cloud APIs 1.5, T5).

use restore_model::{Code, Effect, Id, Problem, TaskRef};

use super::wire::JOB;
use crate::call::Reply;
use crate::{Outcome, errors, lenient};

/// Prefixes of the service's own codes.
const OWN: [&str; 2] = ["VBS.", "VolumeBackup."];

pub(super) fn decode(reply: &Reply) -> Outcome {
    if !matches!(reply.status, 200..=299) {
        return errors::of_restore(reply).into();
    }
    let error = errors::read(reply);
    let body = reply.json().filter(serde_json::Value::is_object);
    let job = body
        .as_ref()
        .and_then(|body| lenient::text(body, &["job_id"]))
        .filter(|job| job.parse::<Id>().is_ok());
    if let Some(job) = job {
        // An error beside a job: the job will show the outcome. A rejection could be false.
        let anomaly = error.code.map(|code| format!("the answer names a job and error {code} as well"));
        let task = Some(TaskRef { kind: JOB.to_owned(), id: job });
        return Outcome::Started { task, status: Some("INIT".to_owned()), anomaly };
    }
    if let Some(code) = error.code.as_deref().filter(|_| body.is_some()) {
        // A known code decides alone, and so does one of the service's own. Any other code under 200 decides nothing.
        return match errors::under_success(reply) {
            Some(verdict) => verdict.into(),
            None if OWN.iter().any(|prefix| code.starts_with(prefix)) => errors::uncatalogued(reply).into(),
            None => unsure("an error under a success status, with a code that is not catalogued", error),
        };
    }
    unsure("a success status without a job id", error)
}

fn unsure(what: &str, error: restore_model::UpstreamError) -> Outcome {
    let problem = Problem::new(Code::UpstreamInvalidResponse, format!("the upstream answered with {what}"))
        .effect(Effect::Possible)
        .upstream(error);
    Outcome::Unsure { reason: problem.detail.clone(), problem }
}
