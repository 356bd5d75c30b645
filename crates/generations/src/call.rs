//! What goes to an upstream and what comes back, without HTTP: the seam between translation and
//! the way out.

use bytes::Bytes;
use restore_model::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// The method of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A read; may be repeated freely.
    Get,
    /// A restore, or the question whether one may be done.
    Post,
}

impl Method {
    /// As it stands on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// Which of an upstream's services a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// The backup service itself.
    Backup,
    /// The block storage service (EVS), for the state of disks.
    Volumes,
}

/// One call to an upstream, built from parts that are safe by type and nothing else.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The service.
    pub host: Host,
    /// Path and query, beginning with `/`.
    pub path: String,
    /// The path with `{…}` for every id: what may become a label of a metric or a span name.
    pub template: &'static str,
    /// Headers that the API wants besides those of every call, such as the version that it is spoken in: name in lower
    /// case, value.
    pub headers: &'static [(&'static str, &'static str)],
    /// The JSON body of a POST.
    pub body: Option<Bytes>,
    /// Whether this call overwrites disks.
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

    /// A POST with a JSON body; not yet one that restores.
    #[must_use]
    pub fn post<T: Serialize>(template: &'static str, path: String, body: &T) -> Self {
        // Our own types with string keys always serialize.
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
    /// The upstream's clock, from `Date`.
    pub date: Option<Timestamp>,
    /// The `Retry-After` header, as it came.
    pub retry_after: Option<String>,
}

impl Reply {
    /// The body as JSON, whatever its content type said; `None` when it is not.
    #[must_use]
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// Why a read brought no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// No answer came: connection, TLS, timeout, breaker. In words.
    NoAnswer(String),
    /// The configuration names no endpoint for that service.
    NoEndpoint,
    /// There is no token to ask with.
    NoCredential,
}

impl Unread {
    /// Why, for a person, and whether a token of somebody else could help.
    #[must_use]
    pub fn explain(&self) -> (String, bool) {
        match self {
            Self::NoAnswer(why) => (why.clone(), false),
            Self::NoEndpoint => ("the upstream has no evs_endpoint".to_owned(), false),
            Self::NoCredential => ("there is no token to read with".to_owned(), true),
        }
    }
}

/// What became of a read.
pub type Answer = Result<Reply, Unread>;
