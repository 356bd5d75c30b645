//! Signature: the second step of authentication, for requests signed with an access key. It stands below the body
//! limit, because the signature covers the whole body, and above everything that acts on the request. A signature of a
//! request that changes something is used up here.

use std::sync::Arc;

use http::Request;
use restore_engine::Caller;
use restore_model::{Code, Effect};

use super::shed::Place;
use super::stages::{Authenticated, Read, SeatedSender, Sent, Stage};
use super::{Future, Inner, Middleware};
use crate::auth::{Callers, Sender, Signature, SignedUntil, UsedSignatures};
use crate::web::answer::Failure;

/// The sender of a request, known for certain. Only this layer makes one.
pub(crate) struct Verified {
    caller: Caller,
    place: Place,
    /// The signature of a signed request that changes something.
    signature: Option<Signature>,
    /// The end of the signature of a signed request.
    signed_until: Option<SignedUntil>,
}

impl Verified {
    /// True if the configuration names the caller.
    pub(crate) fn is_named(&self) -> bool {
        self.caller.name().is_some()
    }

    /// The request now belongs to this trace.
    pub(crate) fn adopt(&mut self, trace_id: u128) {
        self.caller.request_context.trace_id = Some(format!("{trace_id:032x}"));
    }

    /// Caller and place; the signature of a request that changes something, and the end of any signature.
    pub(crate) fn into_parts(self) -> (Caller, Place, Option<Signature>, Option<SignedUntil>) {
        (self.caller, self.place, self.signature, self.signed_until)
    }
}

impl Sent for Verified {
    fn caller(&self) -> Option<&Caller> {
        Some(&self.caller)
    }

    fn is_signed(&self) -> bool {
        self.signed_until.is_some()
    }

    fn place(&self) -> &Place {
        &self.place
    }
}

/// The layer.
#[derive(Clone)]
pub(crate) struct SignatureLayer {
    callers: Arc<Callers>,
    used: UsedSignatures,
}

impl SignatureLayer {
    /// Checks what these callers sign, and what of it was used before.
    pub(crate) fn new(callers: &Arc<Callers>, used: UsedSignatures) -> Self {
        Self { callers: Arc::clone(callers), used }
    }
}

impl Middleware<Read> for SignatureLayer {
    type Passed = Authenticated;

    fn call<S: Inner<Authenticated>>(&self, inner: &mut S, request: Request<Read>) -> Future {
        let (mut head, stage) = request.into_parts();
        let Stage { arrival, found, trace, deferred, sender: SeatedSender { sender, place }, body } = stage;
        let (caller, signature, signed_until) = match sender {
            Sender::Known(caller) => (caller, None, None),
            Sender::Signed(claim) => {
                let request_context = arrival.request_context(&head.headers, Some(&trace));
                let verified =
                    self.callers.verify(&claim, &arrival.destination, &mut head, &body, &request_context);
                // Before everything that could refuse the request: a refusal uses the signature up as well.
                let used = verified.and_then(|(caller, until)| {
                    let signature = match found.changes() {
                        true => Some(self.callers.use_up(&self.used, &claim, &request_context)?),
                        false => None,
                    };
                    Ok((caller, signature, Some(until)))
                });
                match used {
                    Ok(used) => used,
                    Err(problem) => return Box::pin(std::future::ready(Err(problem.into()))),
                }
            }
        };
        let sender = Verified { caller, place, signature: signature.clone(), signed_until };
        let stage = Stage { arrival, found, trace, deferred, sender, body };
        let answer = inner.call(Request::from_parts(head, stage));
        let Some(signature) = signature else { return answer };
        Box::pin(async move {
            let answer = answer.await;
            if matches!(&answer, Err(failure) if is_refusal(failure)) {
                signature.refused();
            }
            answer
        })
    }
}

/// True if the request began nothing. A restore that the failure names was there before, or it began.
fn is_refusal(failure: &Failure) -> bool {
    match failure.problem.code {
        Code::NotCancellable => true,
        Code::TargetBusy => failure.problem.effect == Effect::None,
        _ => failure.problem.effect == Effect::None && failure.restore.is_none(),
    }
}
