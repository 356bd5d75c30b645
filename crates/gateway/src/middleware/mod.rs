//! The layers of the inbound stack, one file each. [`crate::middleware::stack`] has their order,
//! [`crate::middleware::stages`] the types between them. A layer takes plain values, never the configuration.

pub(crate) mod body;
pub(crate) mod caller;
pub(crate) mod deadline;
pub(crate) mod errors;
pub(crate) mod rate;
pub(crate) mod rejection_throttle;
pub(crate) mod route;
pub(crate) mod share;
pub(crate) mod shed;
pub(crate) mod signature;
pub(crate) mod stack;
pub(crate) mod stages;
pub(crate) mod trace;
pub(crate) mod well_formed;

use std::pin::Pin;
use std::task::{Context, Poll};

use http::Request;
use tower::layer::layer_fn;
use tower::{Layer, Service};

use crate::web::answer::{Answer, Failure};

/// Result of a layer below the errors layer.
pub(crate) type Result = std::result::Result<Answer, Failure>;
/// The future of such a layer.
pub(crate) type Future = Pin<Box<dyn std::future::Future<Output = Result> + Send>>;

/// The service below a layer: the other layers and the handlers.
pub(crate) trait Inner<B>:
    Service<Request<B>, Response = Answer, Error = Failure, Future = Future> + Clone + Send + 'static
{
}

impl<S, B> Inner<B> for S where
    S: Service<Request<B>, Response = Answer, Error = Failure, Future = Future> + Clone + Send + 'static
{
}

/// One layer: what it does to a request, and to the answer on its way back.
pub(crate) trait Middleware<B>: Clone {
    /// The body that requests have below it.
    type Passed;

    /// Answers a request, or has `inner` answer it.
    fn call<S: Inner<Self::Passed>>(&self, inner: &mut S, request: Request<B>) -> Future;
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

impl<M: Middleware<B>, S: Inner<M::Passed>, B> Service<Request<B>> for Layered<M, S> {
    type Response = Answer;
    type Error = Failure;
    type Future = Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<std::result::Result<(), Failure>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Future {
        self.middleware.call(&mut self.inner, request)
    }
}
