//! Deadline of one attempt, on the monotonic clock of the runtime (invariant I9). When it passes, bytes may have been
//! sent, so the fault carries no proof, unless the send gate reports that no byte was requested; then none will ever
//! be. The client has its own, shorter limit for connecting.

use std::sync::Arc;
use std::time::Duration;

use super::{Future, Inner, Middleware, Purpose};
use crate::body::Gate;
use crate::fault::{Fault, FaultKind};
use crate::stack::UpstreamRequest;

/// Used where a request says nothing.
const FALLBACK: Duration = Duration::from_secs(30);

/// The layer.
#[derive(Clone)]
pub(crate) struct DeadlineLayer;

impl Middleware for DeadlineLayer {
    fn call<S: Inner>(&self, inner: &mut S, request: UpstreamRequest) -> Future {
        let purpose = request.extensions().get::<Purpose>();
        let limit = purpose.map_or(FALLBACK, |purpose| purpose.timeout);
        let gate = purpose.is_some_and(|purpose| purpose.restores).then(Arc::<Gate>::default);
        let request = match &gate {
            Some(gate) => request.map(|body| body.behind(Arc::clone(gate))),
            None => request,
        };
        let call = inner.call(request);
        Box::pin(async move {
            let Ok(answer) = tokio::time::timeout(limit, call).await else {
                let seconds = limit.as_secs_f32();
                return Err(if gate.is_some_and(|gate| gate.shut()) {
                    Fault::not_sent(FaultKind::Withheld, format!("not begun within {seconds} s"))
                } else {
                    Fault::unsure(FaultKind::Timeout, format!("no whole answer within {seconds} s"))
                });
            };
            answer
        })
    }
}
