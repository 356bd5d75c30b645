//! The inbound stack: its layers in the order of a request. [`stages`](super::stages) has the type that each makes.

use std::any::Any;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, header};
use restore_model::{Code, Effect, Problem};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceBuilder};
use tower_http::body::UnsyncBoxBody;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::PropagateRequestIdLayer;
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;
use tower_http::set_header::{SetRequestHeaderLayer, SetResponseHeaderLayer};

use super::stages::{Authenticated, Traced};
use super::{Future, of};
use crate::auth::same_site::SameSite;
use crate::auth::{Callers, UsedSignatures};
use crate::middleware::{
    body, caller, deadline, errors, rate, rejection_throttle, route, share, shed, signature, trace,
    well_formed,
};
use crate::server::arrival::Arrived;
use crate::server::memory::Memory;
use crate::telemetry::metrics::LimitsReached;
use crate::web::answer::{self, Answer, Body, Failure};
use restore_config::Limits;

/// The inbound stack behind one short name. Built once; cloned per connection.
pub(crate) type InboundStack =
    BoxCloneSyncService<Request<Arrived>, Response<UnsyncBoxBody<Bytes, BoxError>>, Infallible>;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Parts of the layers, besides the limits.
pub(crate) struct Parts {
    pub(crate) same_site: SameSite,
    pub(crate) route: route::RouteLayer,
    pub(crate) trace: trace::TraceLayer,
    pub(crate) callers: Arc<Callers>,
    pub(crate) used: UsedSignatures,
    pub(crate) rate: rate::RateLayer,
    pub(crate) places: shed::Places,
    pub(crate) memory: Memory,
    pub(crate) reached: LimitsReached,
}

/// Puts the layers together.
pub(crate) fn build<S>(limits: &Limits, parts: Parts, handler: S) -> InboundStack
where
    S: Service<Request<Authenticated>, Response = Answer, Error = Failure, Future = Future>
        + Clone
        + Send
        + Sync
        + 'static,
{
    let Parts { same_site, route, trace, callers, used, rate, places, memory, reached } = parts;
    let share = share::ShareLayer::default();
    let adopt = trace.adopt();
    // Below the errors layer: a request may fail.
    let inner = ServiceBuilder::new()
        // Outside everything that is held for a request, so that a waiting rejection holds nothing.
        .map_future(rejection_throttle::per_second(limits.rejections_per_second))
        // First: a request that two readers could understand differently is rejected.
        .layer(of(well_formed::WellFormedLayer(same_site)))
        // Everything below ends in this time.
        .layer(of(deadline::DeadlineLayer(limits.request_timeout_seconds)))
        // The caller; the credentials end here. A request that waits for a provider holds no place.
        .layer(of(caller::CallerLayer::new(&callers)))
        // Rejected before a body is read.
        .layer(of(shed::ShedLayer::new(places.clone(), memory)))
        // No caller takes all places.
        .layer(of(share.clone()))
        // The body of a caller that is too fast or unknown is not read.
        .layer(of(rate.clone()))
        // From here on a request is in memory, and small.
        .layer(of(body::BodyLayer { bytes: limits.max_body_bytes, time: limits.body_timeout_seconds }))
        // The caller, if only the whole request identifies it.
        .layer(of(signature::SignatureLayer::new(&callers, used)))
        .layer(of(share))
        .layer(of(rate.for_signed()))
        // The trace of a caller counts once the caller is known.
        .layer(of(adopt))
        .service(handler);
    let inner: BoxCloneSyncService<Request<Traced>, Response<Body>, Failure> =
        BoxCloneSyncService::new(inner);

    // Above the errors layer: nothing fails.
    let outer = ServiceBuilder::new()
        // Outermost, so that every response carries it, also after a rejection or a panic.
        .layer(SetRequestHeaderLayer::overriding(X_REQUEST_ID, fresh_id))
        .layer(PropagateRequestIdLayer::new(X_REQUEST_ID))
        // Before anything can print a header.
        .layer(SetSensitiveRequestHeadersLayer::new(SECRETS))
        .layer(SetResponseHeaderLayer::if_not_present(
            header::CACHE_CONTROL,
            HeaderValue::from_static("no-store"),
        ))
        .layer(SetResponseHeaderLayer::overriding(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ))
        // The route, before spans and metrics are named by it.
        .layer(route)
        // Outside catch-panic, so that a panic's 500 is traced and counted.
        .layer(trace)
        .layer(CatchPanicLayer::custom(panicked))
        // The only place where a failure becomes a response.
        .layer(errors::ErrorsLayer::new(reached, places))
        .service(inner);
    BoxCloneSyncService::new(outer)
}

/// Headers that no log may show.
const SECRETS: [HeaderName; 7] = [
    HeaderName::from_static("x-api-key"),
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
    HeaderName::from_static("x-auth-token"),
    HeaderName::from_static("x-security-token"),
    HeaderName::from_static("x-subject-token"),
];

/// Every request gets an ID from the gateway; a value that the caller sent under that name is
/// replaced (S11). Traces carry the caller's own context.
fn fresh_id(_: &Request<Arrived>) -> Option<HeaderValue> {
    HeaderValue::try_from(uuid::Uuid::new_v4().simple().to_string()).ok()
}

fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response<Body> {
    // The text of a panic may hold anything; it is neither shown nor logged here. The panic hook
    // has logged its place.
    drop(panic);
    let problem = Problem::new(Code::Internal, "the gateway failed on this request").effect(Effect::Possible);
    answer::failure(Failure::from(problem).closing(), "")
}

#[cfg(test)]
mod tests {
    use static_assertions::{assert_impl_all, assert_not_impl_any};

    use super::*;
    use crate::handler::Dispatch;
    use crate::middleware::stages::{Identified, Read, Seated};
    use crate::middleware::{Middleware, body::BodyLayer, shed::ShedLayer, signature::SignatureLayer};

    /// S48: somebody takes out the layer that identifies the sender, or the one that verifies its signature. The stack no
    /// longer compiles, because each layer takes the stage of the layer before it, and the handler takes the last one.
    #[test]
    fn s48_a_stack_without_a_layer_that_identifies_the_sender_does_not_compile() {
        assert_impl_all!(Dispatch: Service<Request<Authenticated>>);
        assert_not_impl_any!(
            Dispatch: Service<Request<Arrived>>, Service<Request<Traced>>, Service<Request<Identified>>,
            Service<Request<Seated>>, Service<Request<Read>>
        );
        assert_impl_all!(SignatureLayer: Middleware<Read, Passed = Authenticated>);
        assert_not_impl_any!(SignatureLayer: Middleware<Traced>, Middleware<Identified>, Middleware<Seated>);
        assert_impl_all!(BodyLayer: Middleware<Seated, Passed = Read>);
        assert_not_impl_any!(BodyLayer: Middleware<Traced>, Middleware<Identified>);
        assert_impl_all!(ShedLayer: Middleware<Identified, Passed = Seated>);
        assert_not_impl_any!(ShedLayer: Middleware<Traced>);
        assert_impl_all!(caller::CallerLayer: Middleware<Traced, Passed = Identified>);
    }
}
