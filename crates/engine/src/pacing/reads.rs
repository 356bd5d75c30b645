//! Runs the questions of a generation: each receives all responses so far, and requests one more read or finishes.
//! `prepare`, `follow` and `check` differ in the question only.

use restore_generations::{Answer, Step, Unread};
use restore_upstream::{Behalf, Fault, FaultKind, Upstream, With};

use super::quota::ReadQuota;

/// Reads for one question, at most: some page through long lists.
const MAX_READS: usize = 160;

/// The responses to the reads of one question so far.
pub(crate) struct Reads<'a> {
    /// The quota that counts each read.
    quota: &'a ReadQuota,
    /// True if the first one is counted already.
    paid: bool,
    /// Each answer, in order.
    pub(crate) answers: Vec<Answer>,
    /// Why the last read brought nothing, if it did not.
    pub(crate) fault: Option<Fault>,
}

impl<'a> Reads<'a> {
    /// Reads that are counted in this read quota, and wait for their turn in it.
    pub(crate) const fn counted(quota: &'a ReadQuota) -> Self {
        Self { quota, paid: false, answers: Vec::new(), fault: None }
    }

    /// The same, the first of them having been counted before.
    pub(crate) const fn paid(quota: &'a ReadQuota) -> Self {
        Self { quota, paid: true, answers: Vec::new(), fault: None }
    }

    /// True if one more read may be made. The further reads of a poll follow its first, which waited for its turn.
    async fn is_granted(&self, with: &With) -> bool {
        match &with.behalf {
            Behalf::Poll => {
                self.quota.spend();
                true
            }
            behalf => self.quota.turn(behalf).await,
        }
    }

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
            if !std::mem::take(&mut self.paid) && !self.is_granted(with).await {
                let why = "the upstream was asked often enough for now, so that it was not asked".to_owned();
                self.fault = None;
                self.answers.push(Err(Unread::NoAnswer(why)));
                continue;
            }
            let answer = upstream.send(&call, with.clone()).await;
            match &answer {
                Ok(reply) => self.quota.observe(reply),
                Err(fault) if fault.is_kept_back() => self.quota.give_back(&with.behalf),
                Err(_) => {}
            }
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
