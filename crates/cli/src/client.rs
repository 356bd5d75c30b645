//! HTTP client of a running gateway: one request at a time.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;

use super::output::{is_verbose, plain};

/// Size limit of a response body.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

/// Listener of the gateway that a command calls.
#[derive(Clone, Copy)]
pub(super) enum Listener {
    Api,
    Admin,
}

impl Listener {
    /// The flag with its URL.
    pub(super) const fn flag(self) -> &'static str {
        match self {
            Self::Api => "--url",
            Self::Admin => "--admin-url",
        }
    }

    /// Advice for a failed connection.
    pub(super) const fn help(self) -> &'static str {
        match self {
            Self::Api => "set the URL of the gateway with --url or RESTORE_CLIENT_URL",
            Self::Admin => "set the URL of the admin listener with --admin-url or RESTORE_CLIENT_ADMIN_URL",
        }
    }

    /// Path of the restores on this listener.
    pub(super) const fn restores(self) -> &'static str {
        match self {
            Self::Api => "/api/v1/restores",
            Self::Admin => "/restores",
        }
    }
}

/// A connection to one listener of a gateway.
pub(super) struct Gateway {
    /// Its URL, without a slash at the end.
    base: String,
    listener: Listener,
    client: restore_upstream::Client,
    headers: HeaderMap,
}

/// A response of the gateway, or of something in front of it.
pub(super) struct Response {
    pub(super) status: StatusCode,
    /// Null if the body is not JSON.
    pub(super) body: Value,
    /// Version of a restore, to be sent back as `If-Match`.
    pub(super) etag: Option<String>,
    /// The `x-request-id` header.
    pub(super) request_id: Option<String>,
}

/// Failure to get a response.
pub(super) struct NoResponse {
    /// True if the request may have reached the gateway.
    pub(super) sent: bool,
    pub(super) why: String,
}

impl Gateway {
    /// Prepares a client for a URL; `headers` go with every request.
    ///
    /// # Errors
    /// If the URL is invalid, a CA file cannot be loaded, or a header value is invalid.
    pub(super) fn at(
        listener: Listener,
        url: &Uri,
        ca_file: Option<PathBuf>,
        headers: &[(&'static str, Option<&str>)],
    ) -> Result<Self, String> {
        const CONNECT: Duration = Duration::from_secs(10);
        check_url(listener, url)?;
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            let Some(value) = value else { continue };
            // The message leaves the value out: it may be a secret.
            let value =
                value.parse().map_err(|_| format!("the value for {name} is no valid header value"))?;
            all.insert(*name, value);
        }
        let client = restore_upstream::client_to(url, CONNECT, ca_file)?;
        let whole = url.to_string();
        Ok(Self { base: whole.trim_end_matches('/').to_owned(), listener, client, headers: all })
    }

    /// Its URL.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// The listener that it calls.
    pub(super) const fn listener(&self) -> Listener {
        self.listener
    }

    /// Sends one request and waits at most `timeout` for the whole response.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Option<&Value>,
        timeout: Duration,
    ) -> Result<Response, NoResponse> {
        let begin = Instant::now();
        let outcome = self.exchange(method.clone(), path, headers, body, timeout).await;
        if is_verbose() {
            eprintln!("{}", trace_line(&method, path, &outcome, begin.elapsed()));
        }
        outcome
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        more: &[(&'static str, &str)],
        body: Option<&Value>,
        timeout: Duration,
    ) -> Result<Response, NoResponse> {
        let unsent = |why: String| NoResponse { sent: false, why };
        let text = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(headers) = request.headers_mut() {
            headers.extend(self.headers.clone());
            headers.insert("content-type", http::HeaderValue::from_static("application/json"));
            for (name, value) in more {
                let value = value
                    .parse()
                    .map_err(|_| unsent(format!("the value for {name} is no valid header value")))?;
                headers.insert(*name, value);
            }
        }
        let request = request.body(text.into()).map_err(|error| unsent(error.to_string()))?;
        let exchange = async {
            let answer = self
                .client
                .request(request)
                .await
                .map_err(|error| NoResponse { sent: !error.is_connect(), why: with_causes(&error) })?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MAX_BODY_BYTES).collect().await;
            let body = body.map_err(|error| NoResponse { sent: true, why: error.to_string() })?.to_bytes();
            let header =
                |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
            Ok(Response {
                status: head.status,
                body: serde_json::from_slice(&body).unwrap_or_default(),
                etag: header("etag"),
                request_id: header("x-request-id"),
            })
        };
        let late = || NoResponse { sent: true, why: "timeout waiting for a response".to_owned() };
        tokio::time::timeout(timeout, exchange).await.unwrap_or_else(|_| Err(late()))
    }
}

/// One line for `--verbose`. It has no query, header value or body except the request ID: they may be secret.
fn trace_line(
    method: &Method,
    path: &str,
    outcome: &Result<Response, NoResponse>,
    duration: Duration,
) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let (status, id) = match outcome {
        Ok(response) => (response.status.as_u16().to_string(), response.request_id.as_deref()),
        Err(_) => ("no response".to_owned(), None),
    };
    let id = plain(id.unwrap_or("-"));
    format!("{method} {path} {status} {} ms request-id={id}", duration.as_millis())
}

/// Checks that a URL can be that of a gateway. The message does not repeat it: it may hold a password.
fn check_url(listener: Listener, url: &Uri) -> Result<(), String> {
    let flag = listener.flag();
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(format!("{flag}: remove user and password from the URL; use --api-key or --token"));
    }
    let known = matches!(url.scheme_str(), Some("http" | "https"));
    if !known || url.host().is_none_or(str::is_empty) || url.query().is_some() {
        return Err(format!("{flag}: invalid URL; write http://HOST:PORT or https://HOST:PORT"));
    }
    Ok(())
}

fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_url_is_rejected_without_its_secrets() {
        for good in ["http://127.0.0.1:8080", "https://gateway.example/restores/"] {
            let url = good.parse().expect("a URI");
            assert_eq!(check_url(Listener::Api, &url), Ok(()), "{good}");
        }
        for bad in ["127.0.0.1:28080", "gateway", "ftp://gateway", "/x", "http://gateway/?a=b"] {
            let why = check_url(Listener::Api, &bad.parse().expect("a URI")).expect_err(bad);
            assert!(why.starts_with("--url: invalid URL") && why.contains("write http://"), "{why}");
        }
        let secret = "http://ada:hunter2@gateway".parse().expect("a URI");
        let why = check_url(Listener::Admin, &secret).expect_err("a password");
        assert!(why.starts_with("--admin-url: ") && !why.contains("hunter2"), "{why}");
    }

    #[test]
    fn trace_line_has_no_query_and_no_control_character() {
        let response = Response {
            status: StatusCode::OK,
            body: Value::Null,
            etag: None,
            request_id: Some("a\u{1b}b".to_owned()),
        };
        let line = trace_line(&Method::GET, "/x?secret=1", &Ok(response), Duration::from_millis(12));
        assert_eq!(line, "GET /x 200 12 ms request-id=ab");
        let lost = Err(NoResponse { sent: true, why: "secret".to_owned() });
        let line = trace_line(&Method::POST, "/x", &lost, Duration::ZERO);
        assert_eq!(line, "POST /x no response 0 ms request-id=-");
    }
}
