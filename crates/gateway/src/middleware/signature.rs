//! Signature: the second half of finding out who asks, for requests that are signed with an access
//! key. Below the body's limit, because the signature is one of the whole body; above everything
//! that does anything. Here a signature of a request that changes something is used up.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use restore_model::{Code, Effect};

use super::caller::request_context;
use super::{Future, Inner, Middleware};
use crate::auth::{Callers, Claim, UsedSignatures};
use crate::dispatch::Found;
use crate::web::answer::Failure;

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

impl Middleware<Bytes> for SignatureLayer {
    type Passed = Bytes;

    fn call<S: Inner<Bytes>>(&self, inner: &mut S, request: Request<Bytes>) -> Future {
        let Some(claim) = request.extensions().get::<Claim>().cloned() else {
            return inner.call(request);
        };
        let (mut head, body) = request.into_parts();
        let request_context = request_context(&head.headers, &head.extensions);
        let caller = match self.callers.verify(&claim, &mut head, &body, request_context.clone()) {
            Ok(caller) => caller,
            Err(problem) => return Box::pin(std::future::ready(Err(problem.into()))),
        };
        head.extensions.insert(caller);
        // Before everything that could refuse the request: a refusal uses the signature up as well.
        let changes = head.extensions.get::<Found>().is_none_or(Found::changes);
        if !changes {
            return inner.call(Request::from_parts(head, body));
        }
        let signature = match self.callers.use_up(&self.used, &claim, &request_context) {
            Ok(signature) => signature,
            Err(problem) => return Box::pin(std::future::ready(Err(problem.into()))),
        };
        head.extensions.insert(signature.clone());
        let answer = inner.call(Request::from_parts(head, body));
        Box::pin(async move {
            let answer = answer.await;
            if matches!(&answer, Err(failure) if is_refusal(failure)) {
                signature.refused();
            }
            answer
        })
    }
}

/// Whether the request began nothing. A restore that the failure names was there before, or it began.
fn is_refusal(failure: &Failure) -> bool {
    match failure.problem.code {
        Code::NotCancellable => true,
        Code::TargetBusy => failure.problem.effect == Effect::None,
        _ => failure.problem.effect == Effect::None && failure.restore.is_none(),
    }
}
