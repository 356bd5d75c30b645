//! The answer to the restore call: 200 with `job_id`, or an error in the same documented slot,
//! under 200 too (wire reference 1.5, T5).

use restore_model::{Code, Effect, Handle, Id, Problem};

use super::wire::JOB;
use crate::call::Reply;
use crate::errors::{self, Verdict};
use crate::{Outcome, lenient};

pub(super) fn decode(reply: &Reply) -> Outcome {
    if !matches!(reply.status, 200..=299) {
        return refused_or_unsure(errors::classify(reply));
    }
    let error = errors::read(reply);
    let body = reply.json().filter(serde_json::Value::is_object);
    let job = body
        .as_ref()
        .and_then(|body| lenient::text(body, &["job_id"]))
        .filter(|job| job.parse::<Id>().is_ok());
    if let Some(job) = job {
        // An error beside a job: the job will tell, and to call it refused could be a lie.
        let anomaly = error.code.map(|code| format!("the answer names a job and error {code} as well"));
        let handle = Some(Handle { kind: JOB.to_owned(), id: job });
        return Outcome::Started { handle, status: Some("INIT".to_owned()), anomaly };
    }
    if body.is_some() && error.code.is_some() {
        // A code decides for itself; one the table does not know, under 200, decides nothing.
        return match error.code.as_deref().and_then(|code| crate::codes::find(code, reply.status)) {
            Some(_) => refused_or_unsure(errors::judge(error)),
            None => unsure("an error under a success status, with a code that is not catalogued", error),
        };
    }
    unsure("a success status without a job id", error)
}

fn refused_or_unsure(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Refused(problem) => Outcome::Refused(problem),
        Verdict::Ambiguous(problem) => Outcome::Unsure { reason: problem.detail.clone(), problem },
    }
}

fn unsure(what: &str, error: restore_model::UpstreamError) -> Outcome {
    let problem = Problem::new(Code::BadUpstream, format!("the upstream answered with {what}"))
        .effect(Effect::Possible)
        .upstream(error);
    Outcome::Unsure { reason: problem.detail.clone(), problem }
}
