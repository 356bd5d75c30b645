//! Deadline of one request, the wait that a caller asked for included. It frees what the request
//! holds here; a restore that was taken in goes on in its own task, which is why the answer sends
//! the caller to look rather than to ask again.

use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use restore_model::{Code, Effect, Problem};
use tower::{Layer, Service};

use super::Future;
use crate::dispatch::Found;
use crate::web::answer::{Answer, Failure};

/// The layer.
#[derive(Clone, Copy)]
pub(crate) struct DeadlineLayer(pub(crate) Duration);

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline { inner, limit: self.0 }
    }
}

/// The service.
#[derive(Clone)]
pub(crate) struct Deadline<S> {
    inner: S,
    limit: Duration,
}

impl<S, B> Service<Request<B>> for Deadline<S>
where
    S: Service<Request<B>, Response = Answer, Error = Failure, Future = Future>,
{
    type Response = Answer;
    type Error = Failure;
    type Future = Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Future {
        let limit = self.limit;
        let submits = request.extensions().get::<Found>().is_some_and(Found::submits);
        let call = self.inner.call(request);
        Box::pin(async move {
            tokio::time::timeout(limit, call).await.unwrap_or_else(|_| {
                let detail = format!("no answer within {} s", limit.as_secs_f32());
                let effect = if submits { Effect::Possible } else { Effect::None };
                let problem = Problem::new(Code::DeadlineExceeded, detail).effect(effect).after(5);
                Err(Failure::from(problem).at_limit("request_seconds"))
            })
        })
    }
}
