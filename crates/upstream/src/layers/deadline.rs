//! Deadline of one attempt, on the runtime's monotonic clock (invariant I9). When it passes, bytes
//! may have been sent: the fault carries no proof. Connecting has its own, shorter time in the
//! client, so that a peer that never accepts is known not to have got anything.

use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tower::{Layer, Service};

use super::Purpose;
use crate::fault::{Fault, FaultKind};
use crate::stack::{Inbound, Outbound};

/// Used where a request says nothing.
const FALLBACK: Duration = Duration::from_secs(30);

/// The layer.
pub(crate) struct DeadlineLayer;

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline { inner }
    }
}

/// The service.
#[derive(Clone)]
pub(crate) struct Deadline<S> {
    inner: S,
}

impl<S> Service<Outbound> for Deadline<S>
where
    S: Service<Outbound, Response = Inbound, Error = Fault, Future: Send + 'static>,
{
    type Response = Inbound;
    type Error = Fault;
    type Future = BoxFuture<'static, Result<Inbound, Fault>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Outbound) -> Self::Future {
        let limit = request.extensions().get::<Purpose>().map_or(FALLBACK, |purpose| purpose.timeout);
        let call = self.inner.call(request);
        Box::pin(async move {
            tokio::time::timeout(limit, call).await.unwrap_or_else(|_| {
                Err(Fault::unsure(
                    FaultKind::Timeout,
                    format!("no whole answer within {} s", limit.as_secs_f32()),
                ))
            })
        })
    }
}
