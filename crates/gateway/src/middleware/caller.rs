//! Caller: identifies the sender before the body is read, and removes its credentials from the headers, so that nothing
//! below can print or forward them by accident. The engine decides on permissions, because it knows the requested
//! action.
//!
//! The signer of a request is known only after its body was read: the layer `signature` verifies it.
//!
//! On a listener without callers nobody is identified: the rights of the token in the cloud decide.

use std::sync::Arc;

use http::Request;
use restore_engine::Caller;
use restore_model::Code;
use restore_upstream::Token;

use super::stages::{Identified, Traced};
use super::{Future, Inner, Middleware};
use crate::auth::{Callers, Sender};

/// The layer.
#[derive(Clone)]
pub(crate) struct CallerLayer(Option<Arc<Callers>>);

impl CallerLayer {
    /// Identifies these callers; without any, it admits everybody.
    pub(crate) fn new(callers: &Arc<Callers>) -> Self {
        Self(Some(Arc::clone(callers)).filter(|callers| !callers.is_empty()))
    }
}

impl Middleware<Traced> for CallerLayer {
    type Passed = Identified;

    fn call<S: Inner<Identified>>(&self, inner: &mut S, mut request: Request<Traced>) -> Future {
        let is_public = request.body().found.is_public();
        let Some(callers) = self.0.clone().filter(|_| !is_public) else {
            let token = request.headers_mut().remove("x-auth-token");
            let caller = Caller::anyone(token.as_ref().and_then(Token::from_header));
            return inner.call(request.map(|stage| stage.by(|()| Sender::Known(caller))));
        };
        let ready = inner.clone();
        let mut inner = std::mem::replace(inner, ready);
        Box::pin(async move {
            let (mut head, stage) = request.into_parts();
            let request_context = stage.arrival.request_context(&head.headers, Some(&stage.trace));
            let certificate = stage.arrival.certificate.as_deref();
            // After a failure the body stays unread.
            let sender = callers.identify(&mut head.headers, certificate, request_context).await?;
            let token = match &sender {
                Sender::Known(caller) => caller.token.clone(),
                Sender::Signed(_) => None,
            };
            let answer = inner.call(Request::from_parts(head, stage.by(|()| sender))).await;
            if let (Err(failure), Some(token)) = (&answer, &token)
                && failure.problem.code == Code::UpstreamUnauthorized
            {
                callers.doubt(token);
            }
            answer
        })
    }
}
