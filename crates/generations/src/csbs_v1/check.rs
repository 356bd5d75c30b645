//! Checks for CSBS, which has a call for them (cloud APIs 4). A negative result is a 200 with `result: false`. An HTTP
//! error means that the check was not possible, unless its code names the obstacle.

use restore_model::Target;

use super::wire::{CheckBody, CheckTarget, Question, SERVER, action_path};
use crate::call::{Answer, Call};
use crate::lenient::{self, same_id};
use crate::{Check, Prepare, Step};

pub(super) fn check(ask: &Prepare<'_>, answers: &[Answer]) -> Step<Vec<Check>> {
    let request = ask.request;
    let Target::Server { server_id, volumes, .. } = &request.target else {
        return Step::Done(vec![Check::failed("expressible", "", "csbs-v1 restores whole servers only")]);
    };
    let Some(answer) = answers.first() else {
        return Step::Ask(Call::post(
            "/v1/{project_id}/providers/{provider_id}/resources/action",
            action_path(&request.project_id),
            &CheckBody {
                check_restorable: [Question {
                    checkpoint_item_id: &request.source.backup_id,
                    target: CheckTarget { resource_id: server_id, resource_type: SERVER, volumes },
                }],
            },
        ));
    };
    let name = "check_restorable";
    Step::Done(vec![match answer {
        Ok(reply) if reply.status == 200 => {
            let body = reply.json().unwrap_or_default();
            let items = lenient::items(&body, &["restorable"]);
            // The published sample answers with an ID that differs from the request, so the position decides if no ID
            // matches.
            let own = items
                .iter()
                .find(|item| {
                    lenient::text(item, &["resource_id"]).is_some_and(|id| same_id(&id, server_id.as_str()))
                })
                .or_else(|| items.first());
            match own.and_then(|item| Some((item, lenient::truth(item, &["result"])?))) {
                Some((_, true)) => Check::passed(name),
                Some((item, false)) => Check::failed(
                    name,
                    &lenient::text(item, &["error_code"]).unwrap_or_default(),
                    lenient::text(item, &["error_msg"]).unwrap_or_else(|| "no reason given".to_owned()),
                ),
                None => Check::not_run(name, "the upstream's answer cannot be read"),
            }
        }
        Ok(reply) => Check::refused(name, reply),
        Err(unread) => Check::not_run(name, unread.explain().0),
    }])
}
