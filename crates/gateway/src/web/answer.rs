//! HTTP responses. The only place where a problem becomes a status, headers and a body (RFC 9457).

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt};
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Frame, SizeHint};
use restore_generations::source_api::Native;
use restore_model::{Code, Problem, RestoreId};
use serde::Serialize;
use serde_json::{Value, json};

use crate::web::pool::Held;

/// The body of every answer.
pub(crate) enum Body {
    /// In memory: all answers but streams.
    Whole(Whole),
    /// Made part by part, each when the one before has been taken.
    Stream(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
}

/// Bytes, and what is held for them. Whoever writes them out has them in a buffer long after the body was read to its
/// end, so the bytes themselves hold it: until the last of them was written, or the connection lets go of them.
pub(crate) struct Whole {
    bytes: Bytes,
    /// True when other answers have the same buffer.
    shared: bool,
    hold: Option<Hold>,
}

/// A place that an answer holds until it was written.
type Hold = Box<dyn Send>;

struct HeldBytes {
    bytes: Bytes,
    _hold: Hold,
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Body {
    fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Whole { bytes: bytes.into(), shared: false, hold: None })
    }

    /// Bytes that are there for this answer alone.
    pub(crate) const fn weight(&self) -> usize {
        match self {
            Self::Whole(whole) if !whole.shared => whole.bytes.len(),
            Self::Whole(_) | Self::Stream(_) => 0,
        }
    }

    /// Holds something until this was written. A stream has a place of its own among the streams, and is read part by part.
    pub(crate) fn hold(&mut self, hold: impl Send + 'static) {
        if let Self::Whole(whole) = self {
            whole.hold = Some(Box::new(hold));
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(whole) => {
                if whole.bytes.is_empty() {
                    return Poll::Ready(None);
                }
                let bytes = std::mem::take(&mut whole.bytes);
                let bytes = match whole.hold.take() {
                    Some(hold) => Bytes::from_owner(HeldBytes { bytes, _hold: hold }),
                    None => bytes,
                };
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Stream(parts) => {
                parts.poll_next_unpin(context).map(|part| part.map(|part| Ok(Frame::data(part))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.bytes.is_empty(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => SizeHint::with_exact(whole.bytes.len() as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

pub(crate) const EVENT_STREAM: &str = "text/event-stream";
/// Sent when nothing else is, so that nobody on the way takes the connection for dead.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);

/// True if a request asks for a stream. Who takes anything gets JSON, as ever.
pub(crate) fn wants_events(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|kind| {
        let kind = kind.split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case(EVENT_STREAM)
    })
}

/// Every answer.
pub(crate) type Answer = Response<Body>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Why a request got no other answer: what travels up the way in until the errors layer.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Why.
    pub(crate) problem: Box<Problem>,
    /// The restore it is about, where the caller may see it.
    pub(crate) restore: Option<RestoreId>,
    /// The methods that the path does take.
    pub(crate) allow: Option<&'static str>,
    /// True if the connection cannot be used any further.
    pub(crate) close: bool,
    /// True if an earlier, equal request had this very answer.
    pub(crate) replayed: bool,
    /// Where a caller with a rate stands.
    pub(crate) standing: Option<Standing>,
    /// The key of `limits` that was reached, to be counted.
    pub(crate) limit: Option<&'static str>,
    /// True if the restore that it refuses has gone to a cloud.
    pub(crate) sent: bool,
    /// Its place among the refusals.
    pub(crate) seat: Option<Held>,
    /// True when there was no place: then the answer has no body.
    pub(crate) bare: bool,
    /// True if the request came with a bearer token, which is invalid (RFC 6750, 3.1).
    pub(crate) invalid_token: bool,
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self {
            problem: Box::new(problem),
            restore: None,
            allow: None,
            close: false,
            replayed: false,
            standing: None,
            limit: None,
            sent: false,
            seat: None,
            bare: false,
            invalid_token: false,
        }
    }
}

impl Failure {
    /// The same failure, after which the connection is closed.
    pub(crate) fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// The same failure of an authentication; `has_bearer` if the request came with a bearer token.
    pub(crate) fn challenge(mut self, has_bearer: bool) -> Self {
        self.invalid_token = has_bearer;
        self
    }

    /// The same failure, for a limit of the configuration that was reached.
    pub(crate) fn at_limit(mut self, key: &'static str) -> Self {
        self.limit = Some(key);
        self
    }

    /// The same failure, about a restore.
    pub(crate) fn about(mut self, restore: Option<RestoreId>) -> Self {
        self.restore = restore;
        self
    }
}

/// A JSON answer.
pub(crate) fn json<T: Serialize>(status: StatusCode, body: &T) -> Answer {
    // Our own types with string keys always serialize.
    typed(status, JSON, serde_json::to_vec(body).unwrap_or_default())
}

/// An answer of any type.
pub(crate) fn typed(status: StatusCode, kind: HeaderValue, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Body::whole(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// A document that is made once: all answers are this one buffer.
pub(crate) fn document(kind: HeaderValue, text: &Bytes) -> Answer {
    let bytes = text.clone();
    let mut answer = Response::new(Body::Whole(Whole { bytes, shared: true, hold: None }));
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// An answer that goes on.
pub(crate) fn stream(kind: HeaderValue, parts: impl Stream<Item = Bytes> + Send + 'static) -> Answer {
    let mut answer = Response::new(Body::Stream(Box::pin(parts)));
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// The path of a restore.
pub(crate) fn restore_path(id: RestoreId) -> String {
    format!("/api/v1/restores/{id}")
}

/// The body of a problem, as it is shown under the path `instance`.
pub fn problem_body(problem: &Problem, instance: &str, restore: Option<RestoreId>) -> Value {
    let mut body = json!({
        "type": format!("/problems/{}", problem.code.as_str()),
        "title": problem.code.title(),
        "status": problem.status(),
        "detail": problem.detail,
        "instance": instance,
        "code": problem.code.as_str(),
        "effect": problem.effect,
        "retry": problem.retry,
    });
    let mut add = |name: &str, value: Value| {
        body[name] = value;
    };
    if let Some(seconds) = problem.retry_after {
        add("retry_after", json!(seconds));
    }
    if !problem.errors.is_empty() {
        add("errors", json!(problem.errors));
    }
    if let Some(upstream) = &problem.upstream {
        add("upstream", json!(upstream));
    }
    if let Some(id) = restore {
        add("restore", json!(restore_path(id)));
    }
    body
}

/// The answer that a failure becomes.
pub(crate) fn failure(failure: Failure, instance: &str) -> Answer {
    let problem = &failure.problem;
    let status = StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = problem_body(problem, instance, failure.restore);
    let mut answer = typed(status, PROBLEM, serde_json::to_vec(&body).unwrap_or_default());
    if let Some(Ok(location)) = failure.restore.map(|id| HeaderValue::try_from(restore_path(id))) {
        answer.headers_mut().insert(http::header::LOCATION, location);
    }
    finish(answer, failure)
}

/// An answer in a source API.
pub(crate) fn native(native: Native) -> Answer {
    let status = StatusCode::from_u16(native.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    match native.body {
        Some(body) => json(status, &body),
        None => {
            let mut answer = Response::new(Body::whole(Bytes::new()));
            *answer.status_mut() = status;
            answer
        }
    }
}

/// Sets the headers of a failure, for any body.
pub(crate) fn finish(mut answer: Answer, failure: Failure) -> Answer {
    let problem = &failure.problem;
    if failure.bare {
        *answer.body_mut() = Body::whole(Bytes::new());
        answer.headers_mut().remove(CONTENT_TYPE);
    }
    let headers = answer.headers_mut();
    if let Some(seconds) = problem.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(allow) = failure.allow {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    if failure.close {
        headers.insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    }
    if failure.replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    if problem.code == Code::Unauthenticated {
        let challenge = if failure.invalid_token { "Bearer error=\"invalid_token\"" } else { "Bearer" };
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    if let Some(standing) = &failure.standing {
        standing.tell(headers);
    }
    if let Some(seat) = failure.seat {
        answer.body_mut().hold(seat);
    }
    answer
}

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// Where a caller stands, for the headers of its answer.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) policy: HeaderValue,
    pub(crate) state: HeaderValue,
}

impl Standing {
    /// Says it in an answer.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        headers.insert(POLICY, self.policy.clone());
        headers.insert(STATE, self.state.clone());
    }
}

/// Marks the answer to an equal, earlier request.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_asked_for_by_name() {
        let asks = |value: &'static str| {
            wants_events(&HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(value))]))
        };
        assert!(asks("text/event-stream") && asks("application/json;q=0.5, Text/Event-Stream;q=1"));
        assert!(
            !asks("*/*") && !asks("text/*") && !asks("application/json") && !wants_events(&HeaderMap::new())
        );
    }
}
