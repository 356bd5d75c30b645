//! Before the send: the restore logs of the last day. What is there already is not ours, however
//! much it looks alike (wire reference 2.3.1, step 1).
//!
//! A caller who may restore but not read tasks goes without: correlation is then weaker, and the
//! restore says so.

use restore_model::Problem;
use serde_json::json;

use super::wire::{Log, PAGE, list_logs};
use crate::call::Answer;
use crate::{Prepare, Prepared, Step, lenient};

/// How far back restores may look like the one to come: a day.
const LOOK_BACK_SECONDS: i64 = 24 * 3_600;
/// Pages read at most; beyond them the baseline is given up rather than the restore.
const MAX_PAGES: usize = 5;

pub(super) fn prepare(ask: &Prepare<'_>, answers: &[Answer]) -> Step<Result<Prepared, Problem>> {
    if !ask.baseline {
        return Step::Done(Ok(Prepared::default()));
    }
    let from = ask.now.plus_seconds(-LOOK_BACK_SECONDS);
    let Some(last) = answers.last() else {
        return Step::Ask(list_logs(&ask.request.project_id, from, 0));
    };
    let full = matches!(last, Ok(reply) if reply.status == 200
        && reply.json().is_some_and(|body| lenient::items(&body, &["operation_logs"]).len() >= PAGE));
    if full && answers.len() < MAX_PAGES {
        return Step::Ask(list_logs(&ask.request.project_id, from, answers.len()));
    }

    let mut known: Vec<String> = Vec::new();
    let mut whole = !full;
    for answer in answers {
        match answer {
            Ok(reply) if reply.status == 200 => {
                let body = reply.json().unwrap_or_default();
                let logs = lenient::items(&body, &["operation_logs"]);
                let alike = logs.iter().filter_map(Log::read).filter(|log| {
                    log.backup_id
                        .as_deref()
                        .is_none_or(|id| lenient::same_id(id, ask.request.source.backup_id.as_str()))
                });
                known.extend(alike.map(|log| log.id));
            }
            _ => whole = false,
        }
    }
    let notes =
        if whole { json!({"known": known}) } else { json!({"known": known, "baseline": "incomplete"}) };
    Step::Done(Ok(Prepared { notes, checkpoint_id: None }))
}
