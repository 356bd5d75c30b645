//! The layers of the outbound stack, one file each. [`crate::stack`] has their order.

pub(crate) mod authorise;
pub(crate) mod breaker;
pub(crate) mod deadline;
pub(crate) mod exchange;
pub(crate) mod limit;
pub(crate) mod retry;
pub(crate) mod trace;
pub(crate) mod translate;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tower::layer::layer_fn;
use tower::{Layer, Service};

use crate::fault::Fault;
use crate::stack::{UpstreamRequest, UpstreamResponse};
use crate::{Behalf, Journal, Token, TraceContext};

/// Facts about a call that the layers need besides HTTP. An extension of the request.
#[derive(Clone)]
pub(crate) struct Purpose {
    /// Purpose of the call.
    pub(crate) behalf: Behalf,
    /// True if the call overwrites disks.
    pub(crate) restores: bool,
    /// The path with placeholders, for span names and metrics.
    pub(crate) template: &'static str,
    /// The project that the path is of.
    pub(crate) project: String,
    /// Longest time of one attempt.
    pub(crate) timeout: Duration,
    /// The caller's token.
    pub(crate) token: Option<Token>,
    /// Where repeated sends are written down.
    pub(crate) journal: Option<Arc<dyn Journal>>,
    /// The trace the call belongs to.
    pub(crate) trace: Option<TraceContext>,
    /// Which attempt this is, counted from 1.
    pub(crate) attempt: u32,
    /// True if an earlier attempt met a 401, after which the credential was renewed.
    pub(crate) renewed: bool,
}

impl Purpose {
    /// A call of this project of which nothing else is known: it may restore, so it is never repeated.
    pub(crate) fn of(project: &str) -> Self {
        Self {
            project: project.to_owned(),
            behalf: Behalf::Poll,
            restores: true,
            template: "",
            timeout: Duration::from_secs(30),
            token: None,
            journal: None,
            trace: None,
            attempt: u32::MAX,
            renewed: true,
        }
    }
}

/// The future of every layer.
pub(crate) type Future = BoxFuture<'static, Result<UpstreamResponse, Fault>>;

/// The service below a layer: the other layers and the client.
pub(crate) trait Inner:
    Service<UpstreamRequest, Response = UpstreamResponse, Error = Fault, Future = Future> + Clone + Send + 'static
{
}

impl<S> Inner for S where
    S: Service<UpstreamRequest, Response = UpstreamResponse, Error = Fault, Future = Future>
        + Clone
        + Send
        + 'static
{
}

/// One layer: what it does to a call, and to the answer on its way back.
pub(crate) trait Middleware: Clone {
    /// Answers a call, or has `inner` answer it.
    fn call<S: Inner>(&self, inner: &mut S, request: UpstreamRequest) -> Future;
}

/// Makes a tower layer of a [`Middleware`].
pub(crate) fn of<M: Clone, S>(middleware: M) -> impl Layer<S, Service = Layered<M, S>> + Clone {
    layer_fn(move |inner| Layered { middleware: middleware.clone(), inner })
}

/// A layer with what stands below it.
#[derive(Clone)]
pub(crate) struct Layered<M, S> {
    middleware: M,
    inner: S,
}

impl<M: Middleware, S: Inner> Service<UpstreamRequest> for Layered<M, S> {
    type Response = UpstreamResponse;
    type Error = Fault;
    type Future = Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: UpstreamRequest) -> Future {
        self.middleware.call(&mut self.inner, request)
    }
}
