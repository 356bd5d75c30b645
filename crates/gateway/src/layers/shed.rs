//! Load shedding: so many requests are worked on at once, one more is turned away at once with
//! `Retry-After`, before its body is read, and so is one that brings a body while the process holds
//! as much memory as it may. Without it memory would grow with the impatience of callers.
//!
//! Not tower's own pair of limit and shed: a request that only waits for a restore to end works on
//! nothing, and hands its [`Place`] back while it waits.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::Request;
use http_body::Body;
use restore_model::{Code, Problem};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::{Layer, Service};

use super::Future;
use super::share::Held;
use crate::answer::{Answer, Failure};
use crate::memory::Memory;

/// A request's place among those worked on; given back when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Place {
    permit: Arc<OwnedSemaphorePermit>,
    /// The same, among those of its caller, once it is known whose it is.
    share: Option<Arc<Held>>,
}

impl Place {
    /// How many places are free besides.
    pub(crate) fn free(&self) -> usize {
        self.permit.semaphore().available_permits()
    }

    /// Whether it is counted among those of its caller.
    pub(crate) const fn is_counted(&self) -> bool {
        self.share.is_some()
    }

    /// The same place, counted.
    pub(crate) fn counted(self, held: Held) -> Self {
        Self { share: Some(Arc::new(held)), ..self }
    }
}

/// The layer.
#[derive(Clone)]
pub(crate) struct ShedLayer {
    places: Arc<Semaphore>,
    memory: Memory,
}

impl ShedLayer {
    /// At most `most` requests at once, over all connections, and no body above the ceiling.
    pub(crate) fn new(most: usize, memory: Memory) -> Self {
        Self { places: Arc::new(Semaphore::new(most)), memory }
    }
}

impl<S> Layer<S> for ShedLayer {
    type Service = Shed<S>;

    fn layer(&self, inner: S) -> Shed<S> {
        Shed { inner, places: Arc::clone(&self.places), memory: self.memory.clone() }
    }
}

/// The service.
#[derive(Clone)]
pub(crate) struct Shed<S> {
    inner: S,
    places: Arc<Semaphore>,
    memory: Memory,
}

impl<S, B: Body> Service<Request<B>> for Shed<S>
where
    S: Service<Request<B>, Response = Answer, Error = Failure, Future = Future>,
{
    type Response = Answer;
    type Error = Failure;
    type Future = Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Future {
        if self.memory.is_over() && !request.body().is_end_stream() {
            let detail = "the gateway holds as much memory as it may; nothing was started";
            let failure = Failure::from(Problem::new(Code::Overloaded, detail).after(5)).closing();
            return Box::pin(std::future::ready(Err(failure.at_limit("memory_bytes"))));
        }
        let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() else {
            let problem = Problem::new(Code::Overloaded, "too many requests are being worked on").after(1);
            return Box::pin(std::future::ready(Err(Failure::from(problem).closing().at_limit("in_flight"))));
        };
        request.extensions_mut().insert(Place { permit: Arc::new(permit), share: None });
        self.inner.call(request)
    }
}
