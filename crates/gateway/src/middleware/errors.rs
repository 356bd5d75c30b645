//! Errors to HTTP: only this layer turns a failure into a response, in the format of the compatibility endpoint if the
//! request came through one. Above this layer nothing fails.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Request;
use tower::{Layer, Service};

use super::shed::Places;
use super::stages::Traced;
use crate::dispatch::endpoints;
use crate::telemetry::metrics::LimitsReached;
use crate::web::answer::{self, Answer, Failure};

/// The layer.
#[derive(Clone)]
pub(crate) struct ErrorsLayer {
    reached: LimitsReached,
    places: Places,
}

impl ErrorsLayer {
    /// Counts the limits that were reached. What has no place among the refusals yet gets one, if there is one.
    pub(crate) const fn new(reached: LimitsReached, places: Places) -> Self {
        Self { reached, places }
    }
}

impl<S> Layer<S> for ErrorsLayer {
    type Service = Errors<S>;

    fn layer(&self, inner: S) -> Errors<S> {
        Errors { inner, layer: self.clone() }
    }
}

/// The service.
#[derive(Clone)]
pub(crate) struct Errors<S> {
    inner: S,
    layer: ErrorsLayer,
}

impl<S> Service<Request<Traced>> for Errors<S>
where
    S: Service<Request<Traced>, Response = Answer, Error = Failure>,
    S::Future: Send + 'static,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // No layer below is ever unready; a failure here would be one of the call.
        let _ = self.inner.poll_ready(context);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Traced>) -> Self::Future {
        // No more of it than is shown: the rest need not be held while somebody waits.
        let instance: String = request.uri().path().chars().take(256).collect();
        let peer = request.body().arrival.neighbour();
        let endpoint = request.body().found.at_endpoint().cloned();
        let id = request.headers().get("x-request-id").cloned();
        let call = self.inner.call(request);
        let ErrorsLayer { reached, places } = self.layer.clone();
        Box::pin(async move {
            Ok(match call.await {
                Ok(answer) => answer,
                Err(mut failure) => {
                    places.refuse(&mut failure, peer);
                    if let Some(limit) = failure.limit {
                        reached.count(limit);
                    }
                    if let Some(at) = endpoint {
                        let id = id.as_ref().and_then(|id| id.to_str().ok());
                        return Ok(endpoints::native_failure(failure, &at, id));
                    }
                    answer::failure(failure, &instance)
                }
            })
        })
    }
}
