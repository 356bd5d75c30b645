//! Reads before the send: the restore logs of the last day. A log that exists already is not ours, however similar it
//! looks (cloud APIs 2.3.1, step 1).
//!
//! A caller who may restore but not read tasks restores without a baseline, and so does every caller while the list is
//! unreadable. Correlation is then weaker, and the restore reports it. Only rejected credentials end it here, because
//! the restore would be rejected, too.

use restore_model::{Code, Problem};
use serde_json::json;

use super::wire::{Page, list_logs};
use crate::call::Answer;
use crate::errors::{Verdict, classify};
use crate::{Prepare, Prepared, Step, lenient};

/// Period in which earlier restores may look like the new one: a day.
const LOOK_BACK_SECONDS: i64 = 24 * 3_600;
/// Maximum number of pages. Beyond them, the restore continues without a baseline.
const MAX_PAGES: usize = 5;

pub(super) fn prepare(ask: &Prepare<'_>, answers: &[Answer]) -> Step<Result<Prepared, Problem>> {
    if !ask.baseline {
        return Step::Done(Ok(Prepared::default()));
    }
    let from = ask.now.plus_seconds(-LOOK_BACK_SECONDS);
    let backup = ask.request.source.backup_id.as_str();
    let mut answers = answers.iter();
    let mut known: Vec<String> = Vec::new();
    let mut read = 0;
    let mut whole = false;
    for _ in 0..MAX_PAGES {
        let Some(answer) = answers.next() else {
            return Step::Ask(list_logs(&ask.request.project_id, from, read));
        };
        let page = match answer {
            Ok(reply) if reply.status == 200 => Page::read(reply),
            Ok(reply) => match classify(reply) {
                Verdict::Refused(problem) if problem.code == Code::UpstreamUnauthorized => {
                    return Step::Done(Err(problem));
                }
                _ => None,
            },
            Err(_) => None,
        };
        let Some(page) = page else { break };
        read += page.length;
        whole = !page.more(read);
        let alike = page
            .logs
            .into_iter()
            .filter(|log| log.backup_id.as_deref().is_none_or(|id| lenient::same_id(id, backup)));
        known.extend(alike.map(|log| log.id));
        if whole {
            break;
        }
    }
    let notes = match whole {
        // A restore that began before `from` is not in the baseline and is not evidence.
        true => json!({"known": known, "known_from": from}),
        false => json!({"known": known, "baseline": "incomplete"}),
    };
    Step::Done(Ok(Prepared { notes, ..Prepared::default() }))
}
