//! Calls to an upstream and their replies, without HTTP: the boundary between translation and the outbound middleware.

use bytes::Bytes;
use restore_model::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// The method of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A read; may be repeated freely.
    Get,
    /// A restore, or a check that asks if a restore is possible.
    Post,
}

impl Method {
    /// The method as it appears on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// The service of an upstream that a call goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// The backup service itself.
    Backup,
    /// The block storage service (EVS), for the state of disks.
    Volumes,
}

/// One call to an upstream. It consists only of parts that are safe by type.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The service.
    pub host: Host,
    /// Path and query, beginning with `/`.
    pub path: String,
    /// The path with `{…}` for every ID, safe as a metric label or span name.
    pub template: &'static str,
    /// Additional headers that the API requires, such as the API version: name in lower case, value.
    pub headers: &'static [(&'static str, &'static str)],
    /// The JSON body of a POST.
    pub body: Option<Bytes>,
    /// True if this call overwrites disks.
    pub restores: bool,
}

impl Call {
    /// A read of the backup service.
    #[must_use]
    pub fn read(template: &'static str, path: String) -> Self {
        Self {
            method: Method::Get,
            host: Host::Backup,
            path,
            template,
            headers: &[],
            body: None,
            restores: false,
        }
    }

    /// A POST with a JSON body. It is not yet marked as a restore.
    #[must_use]
    pub fn post<T: Serialize>(template: &'static str, path: String, body: &T) -> Self {
        // Types of this crate with string keys always serialize.
        let body = serde_json::to_vec(body).unwrap_or_default();
        Self { method: Method::Post, body: Some(body.into()), ..Self::read(template, path) }
    }

    /// The same call, for the block storage service.
    #[must_use]
    pub fn on(mut self, host: Host) -> Self {
        self.host = host;
        self
    }

    /// The same call, with headers of its API.
    #[must_use]
    pub fn with(mut self, headers: &'static [(&'static str, &'static str)]) -> Self {
        self.headers = headers;
        self
    }

    /// The same call, marked as the one that overwrites disks.
    #[must_use]
    pub fn restoring(mut self) -> Self {
        self.restores = true;
        self
    }

    /// The body as JSON; null for a read.
    #[must_use]
    pub fn body_json(&self) -> Value {
        self.body.as_deref().and_then(|body| serde_json::from_slice(body).ok()).unwrap_or_default()
    }
}

/// One answer of an upstream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The body, read whole up to the configured bound.
    pub body: Bytes,
    /// Any of the three request-id headers (cloud APIs 1.2).
    pub request_id: Option<String>,
    /// The time of the upstream's clock, from `Date`.
    pub date: Option<Timestamp>,
    /// The `Retry-After` header, unchanged.
    pub retry_after: Option<String>,
}

impl Reply {
    /// The body as JSON, whatever its content type is; `None` if it is not JSON.
    #[must_use]
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// The reason why a read returned no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// No answer arrived: connection, TLS, timeout or circuit breaker. The text describes the reason.
    NoAnswer(String),
    /// The configuration names no endpoint for that service.
    NoEndpoint,
    /// The gateway has no token for the read.
    NoCredential,
}

impl Unread {
    /// The reason as text for a person, and true if another token could help.
    #[must_use]
    pub fn explain(&self) -> (String, bool) {
        match self {
            Self::NoAnswer(why) => (why.clone(), false),
            Self::NoEndpoint => ("the upstream has no evs_endpoint".to_owned(), false),
            Self::NoCredential => ("there is no token to read with".to_owned(), true),
        }
    }
}

/// Result of a read.
pub type Answer = Result<Reply, Unread>;
