//! Concurrency limit: so many calls to one upstream at once. More wait for a place, and those that
//! wait too long are refused: nothing of them was sent. Without it a stalled upstream would pile
//! up work in memory until there is none left.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tower::{Layer, Service};

use crate::fault::{Fault, FaultKind};
use crate::stack::{Inbound, Outbound};

/// Settings and the one semaphore of all clones.
#[derive(Clone)]
pub(crate) struct LimitLayer {
    places: Arc<Semaphore>,
    patience: Duration,
}

impl LimitLayer {
    /// `most` calls at once; others wait at most `patience`.
    pub(crate) fn new(most: usize, patience: Duration) -> Self {
        Self { places: Arc::new(Semaphore::new(most.max(1))), patience }
    }
}

impl<S> Layer<S> for LimitLayer {
    type Service = Limit<S>;

    fn layer(&self, inner: S) -> Limit<S> {
        Limit { inner, settings: self.clone() }
    }
}

/// The service.
#[derive(Clone)]
pub(crate) struct Limit<S> {
    inner: S,
    settings: LimitLayer,
}

impl<S> Service<Outbound> for Limit<S>
where
    S: Service<Outbound, Response = Inbound, Error = Fault, Future: Send> + Clone + Send + 'static,
{
    type Response = Inbound;
    type Error = Fault;
    type Future = BoxFuture<'static, Result<Inbound, Fault>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Outbound) -> Self::Future {
        let LimitLayer { places, patience } = self.settings.clone();
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        Box::pin(async move {
            let full =
                || Fault::not_sent(FaultKind::Overloaded, "too many calls to this upstream are under way");
            let _place = match places.try_acquire() {
                Ok(place) => place,
                Err(_) => match tokio::time::timeout(patience, places.acquire()).await {
                    Ok(Ok(place)) => place,
                    _ => return Err(full()),
                },
            };
            inner.call(request).await
        })
    }
}
