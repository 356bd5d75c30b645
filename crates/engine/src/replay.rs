//! Driving a generation's questions: each is given all answers so far and asks for one more, or is
//! done. Preparing, following and checking differ in the question alone.

use restore_generations::{Answer, Step, Unread};
use restore_upstream::{Fault, FaultKind, Upstream, With};

/// Reads for one question, at most: some page through long lists.
const MAX_READS: usize = 160;

/// What was read for one question so far.
#[derive(Default)]
pub(crate) struct Reads {
    /// Each answer, in order.
    pub(crate) answers: Vec<Answer>,
    /// Why the last read brought nothing, if it did not.
    pub(crate) fault: Option<Fault>,
}

impl Reads {
    /// Reads until the question is answered; nothing when it does not come to an end.
    pub(crate) async fn until_done<T>(
        &mut self,
        upstream: &Upstream,
        with: &With,
        question: impl Fn(&[Answer]) -> Step<T>,
    ) -> Option<T> {
        loop {
            let call = match question(&self.answers) {
                Step::Done(done) => return Some(done),
                Step::Ask(call) => call,
            };
            if self.answers.len() == MAX_READS {
                return None;
            }
            let answer = upstream.send(&call, with.clone()).await;
            self.fault = answer.as_ref().err().cloned();
            self.answers.push(answer.map_err(|fault| unread(&fault)));
        }
    }
}

/// A fault as generations see it.
fn unread(fault: &Fault) -> Unread {
    match fault.kind {
        FaultKind::NoEndpoint => Unread::NoEndpoint,
        FaultKind::NoCredential => Unread::NoCredential,
        _ => Unread::NoAnswer(fault.to_string()),
    }
}
