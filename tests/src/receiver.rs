//! An OTLP receiver: takes traces and metrics over HTTP and keeps the spans, and what metrics there are.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use prost::Message;
use tokio::net::TcpListener;

/// A span as it arrived.
#[derive(Clone, Debug)]
pub struct SpanSeen {
    /// Its name.
    pub name: String,
    /// 2 server, 3 client.
    pub kind: i32,
    /// Hexadecimal.
    pub trace_id: String,
    /// Hexadecimal.
    pub span_id: String,
    /// Hexadecimal, empty for a root.
    pub parent_id: String,
    /// Attributes as text.
    pub attributes: Vec<(String, String)>,
    /// Names of the attributes that arrived as integers.
    pub integers: Vec<String>,
    /// Trace ids of its links.
    pub links: Vec<String>,
}

impl SpanSeen {
    /// An attribute, empty when it is not there.
    #[must_use]
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

/// A metric as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricSeen {
    /// Its unit, empty where it counts.
    pub unit: String,
    /// What it means.
    pub description: String,
    /// The name of the service that sent it, as its resource says.
    pub service: String,
}

/// What has arrived.
#[derive(Default)]
struct Kept {
    spans: Vec<SpanSeen>,
    metrics: BTreeMap<String, MetricSeen>,
}

/// The receiver.
pub struct Receiver {
    /// Where it listens.
    pub addr: SocketAddr,
    kept: Arc<Mutex<Kept>>,
}

impl Receiver {
    /// Listens on a free port.
    ///
    /// # Panics
    /// When there is none.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let all: Arc<Mutex<Kept>> = Arc::default();
        let kept = Arc::clone(&all);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                let handler = service_fn(move |request| take(Arc::clone(&kept), request));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), handler),
                );
            }
        });
        Self { addr, kept: all }
    }

    /// The spans so far.
    ///
    /// # Panics
    /// When a test has panicked while it held them.
    #[must_use]
    pub fn spans(&self) -> Vec<SpanSeen> {
        self.kept.lock().expect("spans").spans.clone()
    }

    /// The metrics so far, by their names.
    ///
    /// # Panics
    /// When a test has panicked while it held them.
    #[must_use]
    pub fn metrics(&self) -> BTreeMap<String, MetricSeen> {
        self.kept.lock().expect("metrics").metrics.clone()
    }
}

async fn take(
    kept: Arc<Mutex<Kept>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let of_metrics = request.uri().path() == "/v1/metrics";
    let body =
        request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let mut kept = kept.lock().expect("what has arrived");
    if of_metrics {
        let export = ExportMetricsServiceRequest::decode(body).unwrap_or_default();
        for from in export.resource_metrics {
            let attributes = from.resource.unwrap_or_default().attributes;
            let service = attributes.into_iter().find(|pair| pair.key == "service.name");
            let service = match service.and_then(|pair| pair.value?.value) {
                Some(Any::StringValue(text)) => text,
                _ => String::new(),
            };
            for metric in from.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
                let seen = MetricSeen {
                    unit: metric.unit,
                    description: metric.description,
                    service: service.clone(),
                };
                kept.metrics.insert(metric.name, seen);
            }
        }
        return Ok(Response::new(Full::default()));
    }
    let export = ExportTraceServiceRequest::decode(body).unwrap_or_default();
    let spans = export.resource_spans.into_iter().flat_map(|r| r.scope_spans).flat_map(|s| s.spans);
    for span in spans {
        let is_integer = |value: Option<&Any>| matches!(value, Some(Any::IntValue(_)));
        let integers = span
            .attributes
            .iter()
            .filter(|pair| is_integer(pair.value.as_ref().and_then(|value| value.value.as_ref())));
        let integers = integers.map(|pair| pair.key.clone()).collect();
        let attributes = span.attributes.into_iter().map(|pair| {
            let value = match pair.value.and_then(|value| value.value) {
                Some(Any::StringValue(text)) => text,
                Some(Any::IntValue(number)) => number.to_string(),
                Some(Any::BoolValue(truth)) => truth.to_string(),
                Some(other) => format!("{other:?}"),
                None => String::new(),
            };
            (pair.key, value)
        });
        kept.spans.push(SpanSeen {
            name: span.name,
            kind: span.kind,
            trace_id: hex(&span.trace_id),
            span_id: hex(&span.span_id),
            parent_id: hex(&span.parent_span_id),
            attributes: attributes.collect(),
            integers,
            links: span.links.iter().map(|link| hex(&link.trace_id)).collect(),
        });
    }
    Ok(Response::new(Full::default()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
