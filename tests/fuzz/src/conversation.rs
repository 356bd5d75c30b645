//! What holds of any conversation with a cloud of any generation.

use restore_generations::{Found, Known, Outcome, Step};
use restore_model::Effect;

use crate::script::Conversation;
use crate::wording;

pub(crate) fn hold(told: &Conversation) {
    let generation = told.generation;
    for reply in told.answers.iter().flatten() {
        let outcome = generation.decode(&told.request, reply);
        wording::outcome(reply.status, &outcome);
        assert_eq!(outcome, generation.decode(&told.request, reply), "one answer, two meanings");
        if let Outcome::Started { task: None, anomaly: None, .. } = &outcome {
            // Only CBR is documented to accept without a word; all others name what they began.
            let silent = reply.body.iter().all(u8::is_ascii_whitespace);
            let named = generation.name() == "csbs-v1";
            assert!(silent && generation.name() == "cbr-v3" || named, "{reply:?}");
        }
    }

    let watch = told.watch();
    let reading = told.drive(|answers| generation.follow(&watch, answers));
    wording::reading(&reading);
    assert_eq!(
        reading,
        told.drive(|answers| generation.follow(&watch, answers)),
        "one history, two readings"
    );
    match &reading.found {
        Found::Running | Found::Succeeded | Found::Failed(_) => {
            assert!(told.any_success(), "{:?} without a single good answer", reading.found);
        }
        Found::Absent => {
            assert!(generation.lists_restores(), "absent from no list at all");
            assert!(!told.is_accepted(), "absent, though accepted");
            assert!(told.any_success(), "absent from a list that was not read");
        }
        Found::Nothing | Found::Lost(_) | Found::Unreadable { .. } => {}
    }

    let known = Known::default();
    let question = told.question(&known);
    match told.drive(|answers| generation.prepare(&question, answers)) {
        Ok(_) => {}
        Err(problem) => {
            assert_eq!(problem.effect, Effect::None, "nothing was sent yet: {problem:?}");
            wording::problem(&problem);
        }
    }
    wording::checks(&told.drive(|answers| generation.check(&question, answers)));
    match told.drive(|answers| generation.audit(&told.request.project_id, told.since(), answers)) {
        Ok(listed) => assert!(generation.lists_restores() && (listed.is_empty() || told.any_success())),
        Err(problem) => wording::problem(&problem),
    }
    // A reader that is told nothing asks; it never concludes anything from thin air.
    if let Step::Done(reading) = generation.follow(&watch, &[]) {
        panic!("{:?} without asking", reading.found);
    }
}
