//! The way out, listed in the order a call meets its layers.

use bytes::Bytes;
use restore_generations::Generation;
use tower::ServiceBuilder;
use tower::util::BoxCloneSyncService;

use crate::Options;
use crate::body::Sealed;
use crate::client::Client;
use crate::fault::Fault;
use crate::layers::breaker::{Breaker, BreakerLayer};
use crate::layers::retry::{RetryLayer, RetryLimits};
use crate::layers::{authorise, deadline, exchange, limit, trace};

/// What travels down the stack. [`crate::layers::translate`] makes it out of a call.
pub(crate) type Outbound = http::Request<Sealed>;
/// What comes up: an answer that is read whole.
pub(crate) type Inbound = http::Response<Bytes>;
/// The stack behind one short name.
pub(crate) type Stack = BoxCloneSyncService<Outbound, Inbound, Fault>;

/// Puts the layers together, once per upstream.
pub(crate) fn build(
    client: Client,
    options: &Options,
    generation: &'static dyn Generation,
    breaker: Breaker,
    limits: RetryLimits,
) -> Stack {
    let stack = ServiceBuilder::new()
        // Outside retry: an upstream that is down is not asked three times per restore.
        .layer(BreakerLayer::new(breaker.clone()))
        // Only on proof that the last send was not applied, and written down first.
        .layer(RetryLayer::new(limits))
        // Inside retry, so that a send that waits for its next attempt holds no place; outside every
        // deadline, for waiting for a place is not sending.
        .layer(limit::LimitLayer::new(options.concurrency, options.connect, breaker))
        // Inside retry, so that every attempt is a span of its own.
        .layer(trace::TraceLayer::new(&options.name))
        // One attempt's time.
        .layer(deadline::DeadlineLayer)
        // Innermost, so that every attempt carries credentials that are valid then.
        .layer(authorise::AuthoriseLayer::new(options.credential.clone(), generation))
        .service(exchange::Exchange::new(client, options.max_body_bytes));
    BoxCloneSyncService::new(stack)
}
