//! The body of a request on its way out, and in it the last gate before the wire: hyper asks a body
//! for its bytes at the moment it is about to write the first of them. A process that was held up
//! meanwhile (stopped, suspended, starved) learns there that its time is over, and nothing is
//! written: not the head either, for hyper writes both at once.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use crate::Journal;

/// A body of known length, with a gate where the call restores.
#[derive(Clone)]
pub struct Sealed {
    bytes: Full<Bytes>,
    gate: Option<Arc<dyn Journal>>,
}

impl Sealed {
    /// These bytes, given out only while `gate` allows it.
    pub(crate) fn new(bytes: Bytes, gate: Option<Arc<dyn Journal>>) -> Self {
        Self { bytes: Full::new(bytes), gate }
    }
}

impl From<Bytes> for Sealed {
    fn from(bytes: Bytes) -> Self {
        Self::new(bytes, None)
    }
}

/// The gate was closed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Closed(&'static str);

impl Body for Sealed {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        if let Some(gate) = self.gate.take()
            && let Err(why) = gate.may_write()
        {
            return Poll::Ready(Some(Err(Closed(why))));
        }
        Pin::new(&mut self.bytes).poll_frame(context).map_err(|never| match never {})
    }

    fn is_end_stream(&self) -> bool {
        // The gate is asked even where there is nothing behind it.
        self.gate.is_none() && self.bytes.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.bytes.size_hint()
    }
}
