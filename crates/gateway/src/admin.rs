//! The admin listener: is the process alive, can it take a restore, what has it counted. On
//! loopback unless told otherwise; reads only in this version.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::{ALLOW, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use restore_engine::Engine;
use restore_model::{Code, Problem};
use restore_upstream::BreakerState;
use serde_json::{Value, json};

use crate::answer::{self, Answer, Failure};
use crate::telemetry::metrics::Metrics;

/// What the admin pages show.
pub(crate) struct Admin {
    pub(crate) engine: Engine,
    pub(crate) metrics: Metrics,
    pub(crate) settings: Value,
    pub(crate) stopping: Arc<AtomicBool>,
    pub(crate) loopback: bool,
}

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

impl Admin {
    /// Answers one request.
    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<answer::Body>, Infallible> {
        let path = request.uri().path();
        if self.loopback && !names_loopback(&request) {
            let detail = "the Host header does not name this machine";
            return Ok(answer::failure(&Problem::new(Code::Forbidden, detail).into(), path));
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut failure =
                Failure::from(Problem::new(Code::MethodNotAllowed, "this path takes GET, HEAD"));
            failure.allow = Some("GET, HEAD");
            let mut answer = answer::failure(&failure, path);
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Ok(answer);
        }
        Ok(match path {
            "/" => answer::json(
                StatusCode::OK,
                &json!({ "pages": ["/livez", "/readyz", "/metrics", "/settings"] }),
            ),
            "/livez" => answer::json(StatusCode::OK, &json!({ "alive": true })),
            "/readyz" => self.ready().await,
            "/metrics" => answer::typed(StatusCode::OK, TEXT, self.metrics.page()),
            "/settings" => answer::json(StatusCode::OK, &self.settings),
            _ => answer::failure(&Problem::new(Code::NotFound, "GET / lists the pages").into(), path),
        })
    }

    /// Ready means: a restore could be taken in now. An upstream that is down is told, and does not
    /// make the gateway unready: others may be up, and restores can still be looked at.
    async fn ready(&self) -> Answer {
        let mut reasons = self.engine.not_ready().await;
        if self.stopping.load(Ordering::Relaxed) {
            reasons.push("the gateway is stopping".to_owned());
        }
        let upstreams: Vec<Value> = self
            .engine
            .breakers()
            .into_iter()
            .map(|(name, state)| {
                let breaker = match state {
                    BreakerState::Closed => "closed",
                    BreakerState::HalfOpen => "half_open",
                    BreakerState::Open => "open",
                };
                json!({ "name": name, "breaker": breaker })
            })
            .collect();
        let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        answer::json(
            status,
            &json!({ "ready": reasons.is_empty(), "reasons": reasons, "upstreams": upstreams }),
        )
    }
}

/// A page on the web must not read the admin pages through a name that it makes point here.
fn names_loopback(request: &Request<Incoming>) -> bool {
    let named = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let host = named.or_else(|| request.uri().authority().map(http::uri::Authority::as_str));
    let Some(authority) = host.and_then(|host| host.parse::<http::uri::Authority>().ok()) else {
        return false;
    };
    let name = authority.host().trim_matches(['[', ']']);
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
