//! Traces: one client span per attempt by the HTTP semantic conventions, and the W3C headers of that span on the
//! request. Without sampling no span is built, and the caller's context is passed on unchanged. Every attempt is
//! counted, sampled or not.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderName, HeaderValue, Method, Uri};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::field::Empty;
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::{Future, Inner, Middleware, Purpose};
use crate::fault::Fault;
use crate::measures;
use crate::stack::{UpstreamRequest, UpstreamResponse};
use crate::trace_context::TraceContext;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The layer.
#[derive(Clone)]
pub(crate) struct TraceLayer(Arc<str>);

impl TraceLayer {
    /// Spans carry the name of the upstream.
    pub(crate) fn new(upstream: &str) -> Self {
        Self(upstream.into())
    }
}

impl Middleware for TraceLayer {
    fn call<S: Inner>(&self, inner: &mut S, mut request: UpstreamRequest) -> Future {
        let begun = Instant::now();
        let (upstream, method, uri) = (Arc::clone(&self.0), request.method().clone(), request.uri().clone());
        let (trace, template) = match request.extensions().get::<Purpose>() {
            Some(purpose) => (purpose.trace.clone(), purpose.template),
            None => (None, ""),
        };
        let Some(trace) = trace.as_ref().filter(|trace| trace.sampled) else {
            if let Some(trace) = &trace {
                inject(&mut request, trace);
            }
            let call = inner.call(request);
            return Box::pin(async move {
                let result = call.await;
                count(&result, &method, &upstream, &uri, template, begun);
                result
            });
        };

        let span = span(&request, &self.0, trace);
        let context = span.context();
        let own = context.span().span_context().clone();
        if own.is_valid() {
            let own = TraceContext {
                trace_id: u128::from_be_bytes(own.trace_id().to_bytes()),
                span_id: u64::from_be_bytes(own.span_id().to_bytes()),
                sampled: own.is_sampled(),
                state: trace.state.clone(),
            };
            inject(&mut request, &own);
        }
        let call = inner.call(request);
        Box::pin(
            async move {
                let result = call.await;
                record(&Span::current(), &result);
                count(&result, &method, &upstream, &uri, template, begun);
                result
            }
            .instrument(span),
        )
    }
}

fn count(
    result: &Result<UpstreamResponse, Fault>,
    method: &Method,
    upstream: &str,
    uri: &Uri,
    template: &'static str,
    begun: Instant,
) {
    let outcome = match result {
        Ok(response) => Ok(response.status().as_u16()),
        Err(fault) => Err(fault.kind.as_str()),
    };
    measures::attempt(method, upstream, uri, template, outcome, begun.elapsed());
}

fn inject(request: &mut UpstreamRequest, trace: &TraceContext) {
    if let Ok(value) = HeaderValue::try_from(trace.to_string()) {
        request.headers_mut().insert(TRACEPARENT, value);
    }
    if let Some(Ok(value)) = trace.state.as_deref().map(HeaderValue::from_str) {
        request.headers_mut().insert(TRACESTATE, value);
    }
}

/// The client span, a child of `trace`: calls are made in tasks of their own, where no span is current.
fn span(request: &UpstreamRequest, upstream: &str, trace: &TraceContext) -> Span {
    let purpose = request.extensions().get::<Purpose>();
    let template = purpose.map_or("", |purpose| purpose.template);
    let resend = purpose.map_or(0, |purpose| purpose.attempt.saturating_sub(1));
    let uri = request.uri();
    let span = tracing::info_span!(
        target: "restore_gateway::span",
        parent: None,
        "upstream",
        otel.name = format!("{} {template}", request.method()),
        otel.kind = "client",
        otel.status_code = Empty,
        http.request.method = request.method().as_str(),
        http.response.status_code = Empty,
        http.request.resend_count = Empty,
        server.address = uri.host().unwrap_or_default(),
        server.port = i64::from(measures::port(uri)),
        url.template = template,
        url.full = uri.to_string(),
        error.type = Empty,
        restore_gateway.upstream = upstream,
    );
    let parent = SpanContext::new(
        TraceId::from(trace.trace_id),
        SpanId::from(trace.span_id),
        TraceFlags::SAMPLED,
        false,
        TraceState::default(),
    );
    // Refused only once the span has begun, which it has not.
    let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(parent));
    if resend > 0 {
        span.record("http.request.resend_count", i64::from(resend));
    }
    span
}

fn record(span: &Span, result: &Result<UpstreamResponse, Fault>) {
    match result {
        Ok(response) => {
            let status = response.status();
            span.record("http.response.status_code", i64::from(status.as_u16()));
            if status.is_client_error() || status.is_server_error() {
                span.record("error.type", status.as_str());
                span.record("otel.status_code", "ERROR");
            }
        }
        Err(fault) => {
            span.record("error.type", fault.kind.as_str());
            span.record("otel.status_code", "ERROR");
        }
    }
}
