//! Body limit: reads the body to its end, within limits of size and time. A body that is too large by its
//! `Content-Length` is rejected before a byte is read, and so is anything but plain JSON (S13).

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, header};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use restore_model::{Code, Problem};

use super::stages::{Read, Seated};
use super::{Future, Inner, Middleware};
use crate::web::answer::Failure;

/// The layer.
#[derive(Clone, Copy)]
pub(crate) struct BodyLayer {
    /// Largest body, in bytes.
    pub(crate) bytes: usize,
    /// Longest time for it.
    pub(crate) time: Duration,
}

impl Middleware<Seated> for BodyLayer {
    type Passed = Read;

    fn call<S: Inner<Read>>(&self, inner: &mut S, request: Request<Seated>) -> Future {
        let limits = *self;
        let ready = inner.clone();
        let mut inner = std::mem::replace(inner, ready);
        Box::pin(async move {
            let (head, stage) = request.into_parts();
            let (mut stage, unread) = stage.with_body(Bytes::new());
            if !unread.is_end_stream() {
                plain_json(&head.headers)?;
                stage.body = read(unread, limits).await?;
            }
            stage.arrival.framing.connection.body_read();
            inner.call(Request::from_parts(head, stage)).await
        })
    }
}

fn plain_json(headers: &HeaderMap) -> Result<(), Failure> {
    let refuse = |detail: &str| Failure::from(Problem::new(Code::UnsupportedMediaType, detail)).closing();
    if headers.get(header::CONTENT_ENCODING).is_some_and(|value| value != "identity") {
        return Err(refuse("the body must not be compressed"));
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(refuse("the body must be application/json"))
    }
}

async fn read(body: Incoming, limits: BodyLayer) -> Result<Bytes, Failure> {
    let too_large = || {
        let detail = format!("the body has more than {} bytes", limits.bytes);
        Failure::from(Problem::new(Code::BodyTooLarge, detail)).closing().at_limit("max_body_bytes")
    };
    if body.size_hint().lower() > limits.bytes as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(limits.time, Limited::new(body, limits.bytes).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => {
            let problem = Problem::new(Code::MalformedRequest, "the body broke off or is not framed rightly");
            Err(Failure::from(problem).closing())
        }
        Err(_) => {
            let detail = format!("the body did not arrive within {} s", limits.time.as_secs_f32());
            Err(Failure::from(Problem::new(Code::RequestTimeout, detail))
                .closing()
                .at_limit("body_timeout_seconds"))
        }
    }
}
