//! The exporter to a collector: OTLP over HTTP, for traces and metrics.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Limited};
use opentelemetry::KeyValue;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_sdk::Resource;
use opentelemetry_semantic_conventions::resource::{SERVICE_INSTANCE_ID, SERVICE_VERSION};
use restore_upstream::Client;
use tokio::runtime::Handle;

/// Where it leads, and who sends.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) endpoint: Uri,
    pub(crate) service_name: String,
    /// One for each process: traces and metrics of one instance say the same.
    pub(crate) instance: String,
    pub(crate) timeout: Duration,
    /// Spans that wait for export at most.
    pub(crate) queue: usize,
    /// Between two exports of metrics; `None` where they are only shown.
    pub(crate) metrics: Option<Duration>,
}

impl Options {
    /// A client. Must be called within the runtime that is to carry the exports.
    pub(super) fn client(&self) -> Result<OwnRuntime, String> {
        let client = restore_upstream::plain_client(&self.endpoint, self.timeout)?;
        Ok(OwnRuntime { client, runtime: Handle::current(), timeout: self.timeout })
    }

    /// Where a signal is taken.
    pub(super) fn address(&self, signal: &str) -> String {
        format!("{}/v1/{signal}", self.endpoint.to_string().trim_end_matches('/'))
    }

    /// The sender.
    pub(super) fn resource(&self) -> Resource {
        Resource::builder()
            .with_service_name(self.service_name.clone())
            .with_attribute(KeyValue::new(SERVICE_VERSION, crate::version()))
            .with_attribute(KeyValue::new(SERVICE_INSTANCE_ID, self.instance.clone()))
            .build()
    }
}

/// Carries exports on the gateway's own runtime: the SDK exports from a thread without one.
#[derive(Clone)]
pub(super) struct OwnRuntime {
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
