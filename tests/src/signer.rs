//! Requests that are signed with an access key (SDK-HMAC-SHA256), by hand: what the gateway's own signer would not make as well.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;

use crate::http_client::Answer;

/// The longest any single exchange of a test may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The access key of a test's caller.
pub const ACCESS_KEY: &str = "RGTESTACCESSKEY00009";
/// The secret key that belongs to it.
pub const SECRET_KEY: &str = "rgTestSecretKey/000000000000000000000009";

/// Configuration of a caller with that key, and of its policy; the secrets are in the files `ak` and `sk`.
pub const CALLER: &str = r#"
[[callers]]
name = "sdk"
type = "aksk"
access_key = { file = "ak" }
secret_key = { file = "sk" }
[[policies]]
callers = ["sdk"]
actions = ["restore", "read", "check", "preview"]
"#;

/// The files that [`CALLER`] names, and the password of the credential `robot`.
pub const FILES: [(&str, &str); 3] = [("password", "example-only"), ("ak", ACCESS_KEY), ("sk", SECRET_KEY)];

/// A request that is signed once, and then sent as it is or with changes.
#[derive(Clone, Debug)]
pub struct SignedRequest {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// The headers that are sent, `host` and `authorization` among them.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl SignedRequest {
    /// Signs a request to `host` now. `signed` are further headers that the signature covers.
    #[must_use]
    pub fn new(method: Method, host: &str, target: &str, signed: &[(&str, &str)], body: &str) -> Self {
        Self::at(&sdk_date(0), method, host, target, signed, body)
    }

    /// The same, at a moment as `X-Sdk-Date` writes it.
    #[must_use]
    pub fn at(
        date: &str,
        method: Method,
        host: &str,
        target: &str,
        signed: &[(&str, &str)],
        body: &str,
    ) -> Self {
        Self::with_secret(SECRET_KEY, date, method, host, target, signed, body)
    }

    /// The same, with a secret key that need not be the right one.
    #[must_use]
    pub fn with_secret(
        secret: &str,
        date: &str,
        method: Method,
        host: &str,
        target: &str,
        signed: &[(&str, &str)],
        body: &str,
    ) -> Self {
        let mut headers = vec![("host", host), ("x-sdk-date", date)];
        headers.extend_from_slice(signed);
        headers.sort_unstable();
        let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let slash = if path.ends_with('/') { "" } else { "/" };
        let mut pairs: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
        pairs.sort_unstable();
        let query = pairs.join("&");
        let hash = hex(&Sha256::digest(body.as_bytes()));
        let canonical = format!("{method}\n{path}{slash}\n{query}\n{lines}\n{names}\n{hash}");
        let text = format!("SDK-HMAC-SHA256\n{date}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap_or_else(|_| unreachable!());
        mac.update(text.as_bytes());
        let signature = hex(&mac.finalize().into_bytes());
        let authorization =
            format!("SDK-HMAC-SHA256 Access={ACCESS_KEY}, SignedHeaders={names}, Signature={signature}");
        let mut headers: Vec<(String, String)> =
            headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        headers.push(("authorization".to_owned(), authorization));
        Self { method, target: target.to_owned(), headers, body: body.to_owned() }
    }

    /// A restore of the canonical API.
    #[must_use]
    pub fn restore(host: &str, request: &serde_json::Value) -> Self {
        let json = [("content-type", "application/json")];
        Self::new(Method::POST, host, "/api/v1/restores", &json, &request.to_string())
    }

    /// The same request with a header that is not signed, or with another value of one that is.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// Sends it over HTTP/1.1, to a target in absolute form where there is one.
    ///
    /// # Panics
    /// When no answer comes.
    pub async fn send(&self, to: SocketAddr) -> Answer {
        self.send_to(to, &self.target, false).await
    }

    /// Sends it over HTTP/1.1 or HTTP/2, with this target: of HTTP/2 its authority is `:authority`.
    ///
    /// # Panics
    /// When no answer comes.
    pub async fn send_to(&self, to: SocketAddr, target: &str, http2: bool) -> Answer {
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        exchange(to, http2, &self.method, target, &headers, &self.body).await
    }
}

/// One exchange on a connection of its own, with exactly these headers.
///
/// # Panics
/// When no answer comes.
pub async fn exchange(
    to: SocketAddr,
    http2: bool,
    method: &Method,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut request = Request::builder().method(method.clone()).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if http2 {
        request = request.version(http::Version::HTTP_2);
    }
    let request = request.body(Full::new(Bytes::from(body.to_owned()))).expect("a request");
    let talk = async {
        let socket = TokioIo::new(TcpStream::connect(to).await.expect("a connection"));
        let (answer, connection) = if http2 {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), socket).await.expect("HTTP/2");
            let connection = tokio::spawn(async move { drop(connection.await) });
            (sender.send_request(request).await, connection)
        } else {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(socket).await.expect("HTTP/1.1");
            let connection = tokio::spawn(async move { drop(connection.await) });
            (sender.send_request(request).await, connection)
        };
        let (head, body) = answer.expect("an answer").into_parts();
        let body = body.collect().await.expect("its body").to_bytes();
        connection.abort();
        Answer { status: head.status.as_u16(), headers: head.headers, body, http2 }
    };
    tokio::time::timeout(PATIENCE, talk).await.expect("an answer in time")
}

/// The time now and so many seconds later, as `X-Sdk-Date` writes it.
#[must_use]
pub fn sdk_date(offset: i64) -> String {
    let now = i64::try_from(crate::issuer::now()).unwrap_or_default() + offset;
    let at = restore_model::Timestamp::from_micros(now * 1_000_000).to_string();
    let seconds = at.split(['.', 'Z']).next().unwrap_or_default();
    seconds.replace(['-', ':'], "") + "Z"
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
