//! The body of a response: whole, chunked, or broken off on purpose.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use crate::socket::Fuse;

/// Time for the first part of a broken answer to reach the client.
const PAUSE: Duration = Duration::from_millis(30);

/// The error that ends an answer as planned.
#[derive(Debug)]
pub(crate) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cut off by a fault plan")
    }
}

impl std::error::Error for Cut {}

/// A response body.
pub(crate) enum Outgoing {
    Whole(Option<Bytes>),
    Chunked(Option<Bytes>),
    /// Sends a part, waits for its arrival, and breaks the connection: by reset if there is a fuse.
    Broken {
        first: Option<Bytes>,
        pause: Pin<Box<Sleep>>,
        fuse: Option<Arc<Fuse>>,
    },
}

impl Outgoing {
    pub(crate) fn whole(body: Bytes) -> Self {
        Outgoing::Whole((!body.is_empty()).then_some(body))
    }

    pub(crate) fn chunked(body: Bytes) -> Self {
        Outgoing::Chunked((!body.is_empty()).then_some(body))
    }

    pub(crate) fn broken(first: Bytes, fuse: Option<Arc<Fuse>>) -> Self {
        let pause = Box::pin(tokio::time::sleep(PAUSE));
        Outgoing::Broken { first: (!first.is_empty()).then_some(first), pause, fuse }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match &mut *self {
            Outgoing::Whole(body) | Outgoing::Chunked(body) => {
                Poll::Ready(body.take().map(|body| Ok(Frame::data(body))))
            }
            Outgoing::Broken { first, pause, fuse } => {
                if let Some(part) = first.take() {
                    return Poll::Ready(Some(Ok(Frame::data(part))));
                }
                ready!(pause.as_mut().poll(cx));
                if let Some(fuse) = fuse {
                    fuse.blow();
                }
                Poll::Ready(Some(Err(Cut)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Outgoing::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Outgoing::Whole(body) => SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64)),
            Outgoing::Chunked(_) | Outgoing::Broken { .. } => SizeHint::default(),
        }
    }
}
