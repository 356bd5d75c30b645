//! Traces over OTLP/HTTP. The queue is bounded, an unavailable collector costs only its spans, and lost spans are
//! counted (F39).
//!
//! The trace layer decides on sampling before a span exists, so the SDK records all spans that it gets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, Span, SpanData,
    SpanExporter as ExportSpans, SpanProcessor,
};

use super::otlp::Options;

/// Spans sent at once.
const BATCH: usize = 256;
/// Longest wait of a span for its batch.
const BATCH_DELAY: Duration = Duration::from_millis(500);

/// Counts of exported and lost spans of this process.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    waiting: AtomicUsize,
    /// Given to the collector.
    pub(crate) exported: AtomicU64,
    /// Dropped because the queue was full.
    pub(crate) dropped: AtomicU64,
    /// Sent, and not taken by the collector.
    pub(crate) failed: AtomicU64,
}

/// Builds the provider. Must be called within the runtime that is to carry the exports.
///
/// # Errors
/// When the endpoint needs TLS and there are no roots of trust.
pub(crate) fn provider(options: &Options, losses: &Arc<Losses>) -> Result<SdkTracerProvider, String> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(options.client()?)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(options.address("traces"))
        .with_timeout(options.timeout)
        .build()
        .map_err(|error| error.to_string())?;
    let counted = Counted { inner: exporter, losses: Arc::clone(losses) };
    let batches = BatchSpanProcessor::builder(counted)
        .with_batch_config(
            BatchConfigBuilder::default()
                // Never full: the gate before it is narrower, and counts.
                .with_max_queue_size(options.queue + BATCH)
                .with_max_export_batch_size(BATCH)
                .with_scheduled_delay(BATCH_DELAY)
                .build(),
        )
        .build();
    Ok(SdkTracerProvider::builder()
        .with_sampler(Sampler::AlwaysOn)
        .with_resource(options.resource())
        .with_span_processor(Gate { inner: batches, losses: Arc::clone(losses), most: options.queue })
        .build())
}

/// Lets so many spans wait, and counts those it turns away: the SDK's own queue drops in silence.
#[derive(Debug)]
struct Gate {
    inner: BatchSpanProcessor,
    losses: Arc<Losses>,
    most: usize,
}

impl SpanProcessor for Gate {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.losses.waiting.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.losses.waiting.fetch_sub(1, Ordering::Relaxed);
            self.losses.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.inner.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Counts what the collector took and what it did not.
#[derive(Debug)]
struct Counted {
    inner: SpanExporter,
    losses: Arc<Losses>,
}

impl ExportSpans for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        self.losses.waiting.fetch_sub(count, Ordering::Relaxed);
        let result = self.inner.export(batch).await;
        let counter = if result.is_ok() { &self.losses.exported } else { &self.losses.failed };
        counter.fetch_add(count as u64, Ordering::Relaxed);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
