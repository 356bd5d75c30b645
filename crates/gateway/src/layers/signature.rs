//! Signature: the second half of finding out who asks, for requests that are signed with an access
//! key. Below the body's limit, because the signature is one of the whole body; above everything
//! that does anything.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use tower::{Layer, Service};

use super::Future;
use super::caller::trail;
use crate::answer::{Answer, Failure};
use crate::callers::{Callers, Claim};

/// The layer.
#[derive(Clone)]
pub(crate) struct SignatureLayer(Arc<Callers>);

impl SignatureLayer {
    /// Checks what these callers sign.
    pub(crate) fn new(callers: &Arc<Callers>) -> Self {
        Self(Arc::clone(callers))
    }
}

impl<S> Layer<S> for SignatureLayer {
    type Service = Verify<S>;

    fn layer(&self, inner: S) -> Verify<S> {
        Verify { inner, callers: Arc::clone(&self.0) }
    }
}

/// The service.
#[derive(Clone)]
pub(crate) struct Verify<S> {
    inner: S,
    callers: Arc<Callers>,
}

impl<S> Service<Request<Bytes>> for Verify<S>
where
    S: Service<Request<Bytes>, Response = Answer, Error = Failure, Future = Future>,
{
    type Response = Answer;
    type Error = Failure;
    type Future = Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Bytes>) -> Future {
        let Some(claim) = request.extensions().get::<Claim>().cloned() else {
            return self.inner.call(request);
        };
        let (mut head, body) = request.into_parts();
        let trail = trail(&head.headers, &head.extensions);
        match self.callers.verify(&claim, &mut head, &body, trail) {
            Ok(caller) => {
                head.extensions.insert(caller);
                self.inner.call(Request::from_parts(head, body))
            }
            Err(problem) => Box::pin(std::future::ready(Err(problem.into()))),
        }
    }
}
