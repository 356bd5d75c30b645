//! How commands speak to a running gateway: one exchange at a time over the same client as everything else.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;

/// Largest answer that is read.
const ANSWER: usize = 16 * 1024 * 1024;

/// Which of a gateway's listeners is asked, in the words of the command line.
#[derive(Clone, Copy)]
pub(super) enum Listener {
    Api,
    Admin,
}

impl Listener {
    /// The flag that says where it is.
    pub(super) const fn flag(self) -> &'static str {
        match self {
            Self::Api => "--gateway",
            Self::Admin => "--admin",
        }
    }

    /// What a person is told who did not reach it.
    pub(super) const fn help(self) -> &'static str {
        match self {
            Self::Api => "--gateway or RESTORE_CLIENT_URL says where the gateway is",
            Self::Admin => "--admin or RESTORE_CLIENT_ADMIN_URL says where the admin listener is",
        }
    }
}

/// A gateway as a command reaches it.
pub(super) struct Gateway {
    /// Its URL, without a slash at the end.
    base: String,
    listener: Listener,
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
    /// When this is no URL of a gateway, TLS is needed and the authorities cannot be loaded, or a header cannot be sent.
    pub(super) fn at(
        listener: Listener,
        url: &Uri,
        ca_file: Option<PathBuf>,
        headers: &[(&'static str, Option<&str>)],
    ) -> Result<Self, String> {
        const CONNECT: Duration = Duration::from_secs(10);
        judge_url(listener, url)?;
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
        Ok(Self { base: whole.trim_end_matches('/').to_owned(), listener, client, headers: all })
    }

    /// Where it is.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// What it is asked as.
    pub(super) const fn listener(&self) -> Listener {
        self.listener
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

/// Whether a gateway can be there. What was written is not repeated: there may be a password in it.
fn judge_url(listener: Listener, url: &Uri) -> Result<(), String> {
    let flag = listener.flag();
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(format!(
            "{flag}: the URL of a gateway has no user and password: use --api-key or --token"
        ));
    }
    let known = matches!(url.scheme_str(), Some("http" | "https"));
    if !known || url.host().is_none_or(str::is_empty) || url.query().is_some() {
        return Err(format!("{flag} is no URL of a gateway: write http://HOST:PORT or https://HOST:PORT"));
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
    fn what_is_no_url_of_a_gateway_is_a_wrong_command_line() {
        for good in ["http://127.0.0.1:8080", "https://gateway.example/restores/"] {
            let url = good.parse().expect("a URI");
            assert_eq!(judge_url(Listener::Api, &url), Ok(()), "{good}");
        }
        for bad in ["127.0.0.1:28080", "gateway", "ftp://gateway", "/x", "http://gateway/?a=b"] {
            let why = judge_url(Listener::Api, &bad.parse().expect("a URI")).expect_err(bad);
            assert!(why.starts_with("--gateway is no URL") && why.contains("write http://"), "{why}");
        }
        let secret = "http://ada:hunter2@gateway".parse().expect("a URI");
        let why = judge_url(Listener::Admin, &secret).expect_err("a password");
        assert!(why.starts_with("--admin: ") && !why.contains("hunter2"), "{why}");
    }
}
