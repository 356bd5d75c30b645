//! Trace: one server span per request by the HTTP semantic conventions, the request metrics, and the access log. The
//! sampling decision comes first: a request that is not sampled builds no span, and still has a trace ID for its log
//! lines and its upstream calls.
//!
//! On a listener with callers the `traceparent` of a stranger is ignored: neither its trace ID nor its sampling
//! decision reaches a span, a log line or the audit. [`AdoptLayer`] applies it after the sender is known.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use http::request::Parts;
use http::{HeaderMap, Request, Response, Version};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use restore_upstream::TraceContext;
use tower::{Layer, Service};
use tracing::field::Empty;
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::stages::{Authenticated, Routed, Stage, Traced};
use super::{Inner, Middleware};
use crate::server::arrival::Arrival;
use crate::telemetry::metrics::Requests;

/// How requests are traced and counted.
#[derive(Clone)]
pub(crate) struct TraceLayer(Arc<Config>);

struct Config {
    requests: Requests,
    sample_below: u64,
    trust_remote_sampling: bool,
    has_callers: bool,
    exporting: bool,
    /// Requests whose trace id is below it are logged; `None` logs none.
    log_below: Option<u64>,
}

impl TraceLayer {
    /// The span's name and every metric use the template of the path, never the path (S34).
    pub(crate) fn new(
        requests: Requests,
        sample_ratio: f64,
        trust_remote_sampling: bool,
        has_callers: bool,
        exporting: bool,
        access_log: Option<f64>,
    ) -> Self {
        let (sample_below, log_below) = (below(sample_ratio), access_log.map(below));
        Self(Arc::new(Config {
            requests,
            sample_below,
            trust_remote_sampling,
            has_callers,
            exporting,
            log_below,
        }))
    }

    /// The part that follows once it is known who asks.
    pub(crate) fn adopt(&self) -> AdoptLayer {
        AdoptLayer(Arc::clone(&self.0))
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Trace<S> {
        Trace { inner, config: Arc::clone(&self.0) }
    }
}

/// The service.
#[derive(Clone)]
pub(crate) struct Trace<S> {
    inner: S,
    config: Arc<Config>,
}

impl<S, R> Service<Request<Routed>> for Trace<S>
where
    S: Service<Request<Traced>, Response = Response<R>, Error = Infallible>,
    S::Future: Send + 'static,
    R: Send + 'static,
{
    type Response = Response<R>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Routed>) -> Self::Future {
        let begun = Instant::now();
        let config = Arc::clone(&self.config);
        let (head, Routed { arrival, found, body }) = request.into_parts();
        let template = found.template();
        let endpoint = found.at_endpoint().map(|at| at.endpoint.endpoint.source_api());
        let method = method(&head.method);
        let scheme = arrival.peer.scheme;

        // On a listener with callers nobody knows yet whose parent it is.
        let parent = parent(&head.headers);
        let (parent, deferred) = if config.has_callers { (None, parent) } else { (parent, None) };
        let (mut context, has_parent) = config.context(parent);
        let adopted = Arc::new(OnceLock::new());
        let deferred = deferred.map(|parent| {
            context.sampled = false;
            Deferred { parent, adopted: Arc::clone(&adopted) }
        });
        let span = context.sampled.then(|| span(&head, &arrival, &mut context, has_parent, method, template));
        let trace_id = context.trace_id;
        // Set by the layer above; on the answer it stands only once that has gone up there.
        let request_id =
            config.log_below.is_some().then(|| head.headers.get("x-request-id").cloned()).flatten();
        let stage = Stage { arrival, found, trace: context, deferred, sender: (), body };
        let request = Request::from_parts(head, stage);

        let active = config.requests.begun(method, scheme);
        let call = match &span {
            Some(span) => span.in_scope(|| self.inner.call(request)),
            None => self.inner.call(request),
        };
        let finish = async move {
            let answer = call.await;
            drop(active);
            if let Ok(answer) = &answer {
                let status = answer.status().as_u16();
                if let Some(source_api) = endpoint {
                    config.requests.at_compat_endpoint(source_api, template, status);
                }
                conclude(&Span::current(), status);
                config.requests.record(method, template, scheme, status, begun.elapsed());
                let trace_id = adopted.get().copied().unwrap_or(trace_id);
                // Errors are logged regardless of the ratio.
                if config.log_below.is_some_and(|share| status >= 500 || is_below(trace_id, share)) {
                    let id = request_id.as_ref().and_then(|id| id.to_str().ok());
                    tracing::info!(
                        target: "restore_gateway::access",
                        {
                            http.request.method = method,
                            http.route = template,
                            http.response.status_code = status,
                            duration_ms = begun.elapsed().as_secs_f64() * 1e3,
                            request_id = id,
                            trace_id = format_args!("{trace_id:032x}"),
                        },
                        "request"
                    );
                }
            }
            answer
        };
        match span {
            Some(span) => Box::pin(finish.instrument(span)),
            None => Box::pin(finish),
        }
    }
}

impl Config {
    /// The trace a request belongs to: the caller's, or a new one; whether it is recorded; and
    /// whether it is the caller's.
    fn context(&self, parent: Option<TraceContext>) -> (TraceContext, bool) {
        let Some(parent) = parent else {
            let (trace_id, span_id) = random_ids();
            let sampled = self.exporting && self.samples(trace_id);
            return (TraceContext { trace_id, span_id, sampled, state: None }, false);
        };
        let wanted = if self.trust_remote_sampling { parent.sampled } else { self.samples(parent.trace_id) };
        let sampled = self.exporting && wanted;
        // What is handed on without a span of ours may say something else of sampling only under
        // another parent (W3C trace context, 3.4).
        let span_id = if parent.sampled && !sampled { random_ids().1 } else { parent.span_id };
        (TraceContext { span_id, sampled, ..parent }, true)
    }

    fn samples(&self, trace_id: u128) -> bool {
        is_below(trace_id, self.sample_below)
    }
}

/// The trace that a request says it belongs to.
fn parent(headers: &HeaderMap) -> Option<TraceContext> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    text("traceparent").and_then(|parent| TraceContext::parse(parent, text("tracestate")))
}

/// A parent that waits until it is known who asks.
pub(crate) struct Deferred {
    parent: TraceContext,
    /// The trace id, once the parent counts.
    adopted: Arc<OnceLock<u128>>,
}

/// The layer below all that find out who asks: a known caller's request belongs to the trace that it names.
#[derive(Clone)]
pub(crate) struct AdoptLayer(Arc<Config>);

impl Middleware<Authenticated> for AdoptLayer {
    type Passed = Authenticated;

    fn call<S: Inner<Authenticated>>(
        &self,
        inner: &mut S,
        mut request: Request<Authenticated>,
    ) -> super::Future {
        let deferred = request.body_mut().deferred.take();
        let is_known = request.body().sender.is_named();
        let Some(Deferred { parent, adopted }) = deferred.filter(|_| is_known) else {
            return inner.call(request);
        };
        let (mut context, has_parent) = self.0.context(Some(parent));
        let (head, mut stage) = request.into_parts();
        let (method, template) = (method(&head.method), stage.found.template());
        let span =
            context.sampled.then(|| span(&head, &stage.arrival, &mut context, has_parent, method, template));
        let _ = adopted.set(context.trace_id);
        stage.sender.adopt(context.trace_id);
        stage.trace = context;
        let request = Request::from_parts(head, stage);
        let Some(span) = span else { return inner.call(request) };
        let call = span.in_scope(|| inner.call(request));
        let finish = async move {
            let answer = call.await;
            let status = match &answer {
                Ok(answer) => answer.status().as_u16(),
                Err(failure) => failure.problem.status(),
            };
            conclude(&Span::current(), status);
            answer
        };
        Box::pin(finish.instrument(span))
    }
}

/// Writes down on a server span how the request ended.
fn conclude(span: &Span, status: u16) {
    if span.is_none() {
        return;
    }
    span.record("http.response.status_code", i64::from(status));
    if status >= 500 {
        span.record("error.type", tracing::field::display(status));
        span.record("otel.status_code", "ERROR");
    }
}

/// The bound below which this share of all trace IDs lies.
fn below(ratio: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a ratio of 0..=1 of 2^63")]
    let bound = (ratio.clamp(0.0, 1.0) * 9_223_372_036_854_775_808.0) as u64;
    bound
}

/// By the lower 63 bits of the trace id, so that every service with the same ratio decides the
/// same (OpenTelemetry's `TraceIdRatioBased`).
fn is_below(trace_id: u128, bound: u64) -> bool {
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
    let low = trace_id as u64;
    low >> 1 < bound
}

fn random_ids() -> (u128, u64) {
    let (trace, span) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    // A v4 UUID has six fixed bits, which is why the span takes the half with the fewest.
    (trace.as_u128(), (span.as_u64_pair().1 ^ trace.as_u64_pair().0).max(1))
}

/// The method if it is one of the known ones: metrics must not take a stranger's words.
fn method(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "_OTHER",
    }
}

/// The server span; `context` then is that span's.
fn span(
    head: &Parts,
    arrival: &Arrival,
    context: &mut TraceContext,
    has_parent: bool,
    method: &'static str,
    template: &'static str,
) -> Span {
    let destination = &arrival.destination;
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let span = tracing::info_span!(
        target: "restore_gateway::span",
        "request",
        otel.name = if template.is_empty() { method.to_owned() } else { format!("{method} {template}") },
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = template,
        http.response.status_code = Empty,
        url.path = head.uri.path(),
        url.scheme = arrival.peer.scheme,
        network.protocol.version = protocol(head.version),
        server.address = destination.host().map(tracing::field::display),
        server.port = destination.authority().and_then(|authority| authority.port).map(i64::from),
        user_agent.original = header("user-agent"),
        error.type = Empty,
        restore_gateway.restore.id = Empty,
    );
    if has_parent {
        let state =
            context.state.as_deref().and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
        let parent = SpanContext::new(
            TraceId::from(context.trace_id),
            SpanId::from(context.span_id),
            TraceFlags::SAMPLED,
            true,
            state,
        );
        // Refused only once the span has begun, which it has not.
        let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(parent));
    }
    let own = span.context().span().span_context().clone();
    if own.is_valid() {
        context.trace_id = u128::from_be_bytes(own.trace_id().to_bytes());
        context.span_id = u64::from_be_bytes(own.span_id().to_bytes());
    }
    span
}

const fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}
