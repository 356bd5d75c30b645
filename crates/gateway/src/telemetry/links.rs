//! Links between traces: a restore is submitted in one trace and read in many others.

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Links the present span to the trace of the submit, so that whoever looks at a later read finds
/// where the restore began.
pub(crate) fn link_to_submit(intent: &restore_model::Intent) {
    let span = Span::current();
    if span.is_none() {
        return;
    }
    span.record("restore_gateway.restore.id", tracing::field::display(intent.id));
    let (Ok(trace), Ok(parent)) = (TraceId::from_hex(&intent.trace_id), SpanId::from_hex(&intent.span_id))
    else {
        return;
    };
    let submit = SpanContext::new(trace, parent, TraceFlags::default(), true, TraceState::default());
    // The submit itself needs no link.
    if submit.is_valid() && span.context().span().span_context().span_id() != parent {
        span.add_link(submit);
    }
}
