//! Caller: finds out who asks, before a body is read, and takes what shows it out of the request's
//! headers, so that nothing below can print or pass it on by accident. What a caller may do is the
//! engine's to decide, where it is known what is asked for.
//!
//! Who signs a request is known only once its body has been read: `signature` ends what begins here.
//!
//! On a listener without callers nobody is asked: the token's own rights in the cloud decide.

use std::sync::Arc;

use http::{Extensions, HeaderMap, Request};
use restore_engine::{Caller, RequestContext};
use restore_model::Code;
use restore_upstream::{Token, TraceContext};

use super::{Future, Inner, Middleware};
use crate::auth::{Callers, Presented};
use crate::dispatch::Found;
use crate::server::certificate::Certificate;
use crate::server::connection::Peer;
use crate::web::answer::Failure;

/// The layer.
#[derive(Clone)]
pub(crate) struct CallerLayer(Option<Arc<Callers>>);

impl CallerLayer {
    /// Lets in whom these know; whoever comes, where there are none.
    pub(crate) fn new(callers: &Arc<Callers>) -> Self {
        Self(Some(Arc::clone(callers)).filter(|callers| !callers.is_empty()))
    }
}

/// How a request came in: by the id of ours and the trace that the layers above gave it.
pub(crate) fn request_context(headers: &HeaderMap, extensions: &Extensions) -> RequestContext {
    RequestContext {
        request_id: headers.get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned),
        trace_id: extensions.get::<TraceContext>().map(|trace| format!("{:032x}", trace.trace_id)),
        peer: extensions.get::<Peer>().map(|peer| peer.address),
    }
}

impl<B: Send + 'static> Middleware<B> for CallerLayer {
    type Passed = B;

    fn call<S: Inner<B>>(&self, inner: &mut S, mut request: Request<B>) -> Future {
        let public = request.extensions().get::<Found>().is_some_and(Found::is_public);
        let Some(callers) = self.0.clone().filter(|_| !public) else {
            let token = request.headers_mut().remove("x-auth-token");
            let token = token.as_ref().and_then(Token::from_header);
            request.extensions_mut().insert(Caller::anyone(token));
            return inner.call(request);
        };
        let ready = inner.clone();
        let mut inner = std::mem::replace(inner, ready);
        Box::pin(async move {
            let (mut head, body) = request.into_parts();
            let certificate = head.extensions.get::<Arc<Certificate>>().cloned();
            let request_context = request_context(&head.headers, &head.extensions);
            let presented =
                callers.identify(&mut head.headers, certificate.as_deref(), request_context).await;
            // The body stays unread.
            let token = match presented.map_err(|problem| Failure::from(problem).closing())? {
                Presented::Known(caller) => {
                    let token = caller.token.clone();
                    head.extensions.insert(caller);
                    token
                }
                Presented::Signed(claim) => {
                    head.extensions.insert(claim);
                    None
                }
            };
            let answer = inner.call(Request::from_parts(head, body)).await;
            if let (Err(failure), Some(token)) = (&answer, &token)
                && failure.problem.code == Code::UpstreamUnauthorized
            {
                callers.doubt(token);
            }
            answer
        })
    }
}
