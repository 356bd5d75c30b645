//! The outbound stack: its layers in the order of a call.

use bytes::Bytes;
use restore_generations::Generation;
use tower::ServiceBuilder;
use tower::util::BoxCloneSyncService;

use crate::Options;
use crate::body::GatedBody;
use crate::client::Client;
use crate::fault::Fault;
use crate::layers::breaker::{Breaker, BreakerLayer};
use crate::layers::retry::{RetryLayer, RetryLimits};
use crate::layers::{authorise, deadline, exchange, limit, of, trace};

/// A request on its way down the stack. [`crate::layers::translate`] makes it from a call.
pub(crate) type UpstreamRequest = http::Request<GatedBody>;
/// A response on its way up: its body is read to the end.
pub(crate) type UpstreamResponse = http::Response<Bytes>;
/// The stack behind one short name.
pub(crate) type Stack = BoxCloneSyncService<UpstreamRequest, UpstreamResponse, Fault>;

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
        .layer(of(BreakerLayer::new(breaker.clone())))
        // Only on proof that the last send was not applied, and written down first.
        .layer(of(RetryLayer::new(limits)))
        // Inside retry, so that a send that waits for its next attempt holds no place; outside every
        // deadline, for waiting for a place is not sending.
        .layer(of(limit::LimitLayer::new(options.concurrency, options.connect, breaker)))
        // Inside retry, so that every attempt is a span of its own.
        .layer(of(trace::TraceLayer::new(&options.name)))
        // One attempt's time.
        .layer(of(deadline::DeadlineLayer))
        // Innermost, so that every attempt carries credentials that are valid then.
        .layer(of(authorise::AuthoriseLayer::new(options.credential.clone(), generation)))
        .service(exchange::Exchange::new(client, options.max_body_bytes));
    BoxCloneSyncService::new(stack)
}
