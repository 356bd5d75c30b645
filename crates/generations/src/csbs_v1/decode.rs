//! The answer to the restore call: 200 with the restore, whose status may already be `fail` (cloud APIs 1.3). One
//! published sample is not valid JSON (T1). Such a restore may have been accepted, so its ID is extracted from the text
//! if present.

use restore_model::{Code, Effect, Id, Problem, TaskRef, UpstreamError};
use serde_json::Value;

use super::wire::RESTORE;
use crate::call::Reply;
use crate::{Outcome, errors, lenient};

/// Meaning of a `restore.status` value. The documentation says only "String" (cloud APIs 1.3).
pub(super) enum Word {
    Running,
    Done,
    Failed,
    Other,
}

pub(super) fn word(status: &str) -> Word {
    match status.to_ascii_lowercase().replace('-', "_").as_str() {
        "in_progress" | "started" | "running" | "waiting" => Word::Running,
        "success" | "succeeded" | "available" => Word::Done,
        "fail" | "failed" | "failure" | "error" => Word::Failed,
        _ => Word::Other,
    }
}

pub(super) fn decode(reply: &Reply) -> Outcome {
    if !matches!(reply.status, 200..=299) {
        return errors::of_restore(reply).into();
    }
    let body = reply.json().unwrap_or_default();
    let Some(restore) = lenient::at(&body, &["restore"]).filter(|restore| restore.is_object()) else {
        return unreadable(reply);
    };
    let task = lenient::text(restore, &["id"])
        .filter(|id| id.parse::<Id>().is_ok())
        .map(|id| TaskRef { kind: RESTORE.to_owned(), id });
    let status = lenient::text(restore, &["status"]);
    let mut anomaly = None;
    match status.as_deref().map(word) {
        Some(Word::Failed) => return Outcome::Failed(failed(restore, reply)),
        // An immediate success needs a confirming read.
        Some(Word::Running | Word::Done) => {}
        Some(Word::Other) => {
            let word = status.as_deref().unwrap_or_default();
            anomaly = Some(format!("the upstream says {word:?}, a word this version does not know"));
        }
        None if task.is_none() => return unreadable(reply),
        None => anomaly = Some("the answer has no status".to_owned()),
    }
    Outcome::Started { task, status, anomaly }
}

/// The failure that a restore object reports, with its reasons per resource.
pub(super) fn failed(restore: &Value, reply: &Reply) -> Problem {
    let reasons =
        ["resources_reason", "resource_reason"].iter().find_map(|name| lenient::at(restore, &[name]));
    let reasons = match reasons {
        Some(Value::Object(members)) => members
            .iter()
            .map(|(resource, why)| {
                format!("{resource}: {}", lenient::as_text(why).unwrap_or_else(|| why.to_string()))
            })
            .collect::<Vec<_>>()
            .join("; "),
        Some(other) => lenient::as_text(other).unwrap_or_default(),
        None => String::new(),
    };
    let reasons: String = reasons.chars().filter(|c| !c.is_control()).take(512).collect();
    let detail = if reasons.is_empty() {
        "the restore failed; the upstream gives no reason".to_owned()
    } else {
        format!("the restore failed ({reasons})")
    };
    Problem::new(Code::RestoreFailed, detail).effect(Effect::Possible).upstream(UpstreamError {
        status: Some(reply.status),
        code: None,
        message: (!reasons.is_empty()).then_some(reasons),
        request_id: reply.request_id.clone(),
    })
}

fn unreadable(reply: &Reply) -> Outcome {
    let mut error = errors::read(reply);
    if let Some(id) = salvaged(&reply.body) {
        error.message = Some(format!("restore id {id} stands in an answer that is no JSON"));
    }
    let problem = Problem::new(
        Code::UpstreamInvalidResponse,
        format!("status {} with a body that cannot be read; the restore may have begun", reply.status),
    )
    .effect(Effect::Possible)
    .upstream(error);
    Outcome::Unsure { reason: problem.detail.clone(), problem }
}

/// The first `"id": "…"` of a text, if it is a valid ID.
fn salvaged(body: &[u8]) -> Option<Id> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once("\"id\"")?;
    let rest = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    rest.split_once('"')?.0.parse().ok()
}
