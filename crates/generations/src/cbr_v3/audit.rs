//! Every restore since a given time, from any client. An operator compares this list with a ledger that may come from
//! an older backup (cloud APIs 2.3).

use restore_model::{Code, Problem, ProjectId, TaskRef, Timestamp};

use super::wire::{OPERATION_LOG, Page, list_logs};
use crate::call::Answer;
use crate::errors::classify;
use crate::{Listed, Step};

/// Maximum number of pages: more restores than a person would compare.
const MAX_PAGES: usize = 20;

pub(super) fn audit(
    project: &ProjectId,
    since: Timestamp,
    answers: &[Answer],
) -> Step<Result<Vec<Listed>, Problem>> {
    let refused = |problem: Problem| Step::Done(Err(problem));
    let mut listed = Vec::new();
    let mut read = 0;
    for answer in answers {
        let page = match answer {
            Ok(reply) if reply.status == 200 => Page::read(reply),
            Ok(reply) => return refused(classify(reply).into_problem()),
            Err(unread) => return refused(Problem::new(Code::UpstreamUnavailable, unread.explain().0)),
        };
        let Some(page) = page else {
            return refused(Problem::new(Code::UpstreamInvalidResponse, "the list of logs is unreadable"));
        };
        read += page.length;
        let more = page.more(read);
        listed.extend(page.logs.into_iter().filter(super::wire::Log::is_restore).map(|log| Listed {
            task: TaskRef { kind: OPERATION_LOG.to_owned(), id: log.id },
            backup_id: log.backup_id,
            target_id: log.target_id,
            status: log.status,
            begun: log.begun,
        }));
        if !more {
            return Step::Done(Ok(listed));
        }
    }
    if answers.len() == MAX_PAGES {
        return refused(Problem::new(
            Code::InvalidParameter,
            "more restores than are read; ask for a later time",
        ));
    }
    Step::Ask(list_logs(project, since, read))
}
