//! How commands speak to a running gateway: one exchange at a time over the same client as everything else.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;

/// Largest answer that is read.
const ANSWER: usize = 16 * 1024 * 1024;

/// A gateway as a command reaches it.
pub(super) struct Gateway {
    /// Its URL, without a slash at the end.
    base: String,
    client: restore_upstream::Client,
    headers: HeaderMap,
}

/// What it said.
pub(super) struct Said {
    pub(super) status: StatusCode,
    /// Null where there is no JSON.
    pub(super) body: Value,
}

/// Why it said nothing.
pub(super) struct Silence {
    /// Whether the request may have reached it.
    pub(super) sent: bool,
    pub(super) why: String,
}

impl Gateway {
    /// The gateway at a URL; `headers` go with every request.
    ///
    /// # Errors
    /// When TLS is needed and the authorities cannot be loaded, or a header cannot be sent.
    pub(super) fn at(
        url: &Uri,
        ca_file: Option<PathBuf>,
        headers: &[(&'static str, Option<&str>)],
    ) -> Result<Self, String> {
        const CONNECT: Duration = Duration::from_secs(10);
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            let Some(value) = value else { continue };
            // What it holds is not said: it may be a secret.
            let value =
                value.parse().map_err(|_| format!("the value for {name} cannot be sent in a header"))?;
            all.insert(*name, value);
        }
        let client = restore_upstream::client_to(url, CONNECT, ca_file)?;
        let whole = url.to_string();
        // A user and a password in it would be shown with every complaint.
        if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("the URL of a gateway has no user and password: use --api-key or --token".to_owned());
        }
        Ok(Self { base: whole.trim_end_matches('/').to_owned(), client, headers: all })
    }

    /// Where it is.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// One exchange, of at most so long.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        more: &[(&'static str, &str)],
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<Said, Silence> {
        let unsent = |why: String| Silence { sent: false, why };
        let text = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(headers) = request.headers_mut() {
            headers.extend(self.headers.clone());
            headers.insert("content-type", http::HeaderValue::from_static("application/json"));
            for (name, value) in more {
                let value =
                    value.parse().map_err(|_| unsent(format!("{name} cannot be sent in a header")))?;
                headers.insert(*name, value);
            }
        }
        let request = request.body(text.into()).map_err(|error| unsent(error.to_string()))?;
        let exchange = async {
            let answer = self
                .client
                .request(request)
                .await
                .map_err(|error| Silence { sent: !error.is_connect(), why: with_causes(&error) })?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER).collect().await;
            let body = body.map_err(|error| Silence { sent: true, why: error.to_string() })?.to_bytes();
            Ok(Said { status: head.status, body: serde_json::from_slice(&body).unwrap_or_default() })
        };
        let late = || Silence { sent: true, why: "no answer in time".to_owned() };
        tokio::time::timeout(patience, exchange).await.unwrap_or_else(|_| Err(late()))
    }
}

/// What a gateway refused, for a person.
pub(super) fn print_refusal(said: &Said) {
    let problem = &said.body;
    eprintln!("error: {}", problem["title"].as_str().unwrap_or(said.status.as_str()));
    for member in ["detail", "effect", "restore"] {
        if let Some(text) = problem[member].as_str() {
            eprintln!("{member}: {text}");
        }
    }
    for fault in problem["errors"].as_array().into_iter().flatten() {
        let text = |member: &str| fault[member].as_str().unwrap_or_default();
        eprintln!("  {}: {}", text("pointer"), text("detail"));
    }
}

fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
