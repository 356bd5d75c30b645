//! Traces over OTLP/HTTP. The queue is bounded, a dead collector costs nothing but its spans, and
//! what is lost is counted (F39).
//!
//! Sampling is decided by the trace layer before any span exists, so the SDK records all it gets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Limited};
use opentelemetry::Context;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, Span, SpanData,
    SpanExporter as ExportSpans, SpanProcessor,
};
use opentelemetry_semantic_conventions::resource::{SERVICE_INSTANCE_ID, SERVICE_VERSION};
use restore_upstream::Client;
use tokio::runtime::Handle;

/// Spans sent at once.
const BATCH: usize = 256;
/// Longest wait of a span for its batch.
const BATCH_DELAY: Duration = Duration::from_millis(500);

/// How traces are exported.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) endpoint: Uri,
    pub(crate) service_name: String,
    pub(crate) timeout: Duration,
    pub(crate) queue: usize,
}

/// What became of the spans of this process.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    waiting: AtomicUsize,
    /// Given to the collector.
    pub(crate) exported: AtomicU64,
    /// Not taken in because the queue was full.
    pub(crate) dropped: AtomicU64,
    /// Sent, and not taken by the collector.
    pub(crate) failed: AtomicU64,
}

/// Builds the provider. Must be called within the runtime that is to carry the exports.
///
/// # Errors
/// When the endpoint needs TLS and there are no roots of trust.
pub(crate) fn provider(options: &Options, losses: &Arc<Losses>) -> Result<SdkTracerProvider, String> {
    let client = restore_upstream::plain_client(&options.endpoint, options.timeout)?;
    let http = OwnRuntime { client, runtime: Handle::current(), timeout: options.timeout };
    let base = options.endpoint.to_string();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(http)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", base.trim_end_matches('/')))
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
    let resource = Resource::builder()
        .with_service_name(options.service_name.clone())
        .with_attribute(opentelemetry::KeyValue::new(SERVICE_VERSION, env!("CARGO_PKG_VERSION")))
        .with_attribute(opentelemetry::KeyValue::new(SERVICE_INSTANCE_ID, uuid::Uuid::new_v4().to_string()))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_sampler(Sampler::AlwaysOn)
        .with_resource(resource)
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

/// Carries exports on the gateway's own runtime: the SDK exports from a thread without one.
#[derive(Clone)]
struct OwnRuntime {
    client: Client,
    runtime: Handle,
    timeout: Duration,
}

impl std::fmt::Debug for OwnRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnRuntime")
    }
}

#[async_trait]
impl HttpClient for OwnRuntime {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let timeout = self.timeout;
        let exchange = async move {
            let (head, body) = client.request(request.map(Into::into)).await?.into_parts();
            let body = Limited::new(body, 64 * 1024).collect().await?.to_bytes();
            Ok::<_, HttpError>(Response::from_parts(head, body))
        };
        self.runtime.spawn(async move { tokio::time::timeout(timeout, exchange).await? }).await?
    }
}
