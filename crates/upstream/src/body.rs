//! The body of an outbound request with the send gate: hyper requests the bytes of a body at the moment it is about to
//! write the first of them. A process that was held up meanwhile (stopped, suspended, starved) learns there that its
//! time is over, and the body is not written. Over HTTP/1 the head is not written either, because hyper writes both at
//! once, so it is proven that nothing was sent. Over HTTP/2 the head has left as a separate frame: no cloud restores by
//! a head alone, but that is no proof, and polls decide.
//!
//! The same gate reports if a byte of an abandoned call can have been written.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use crate::Journal;

/// True if the first byte of an attempt was let through.
#[derive(Debug, Default)]
pub(crate) struct Gate(AtomicU8);

impl Gate {
    const ASKED_FOR_NOTHING: u8 = 0;
    const OPENED: u8 = 1;
    const SHUT: u8 = 2;

    fn open(&self) -> bool {
        self.leave(Self::OPENED)
    }

    /// Shuts it for good, unless it was opened before: whether no byte has been or will be written.
    pub(crate) fn shut(&self) -> bool {
        self.leave(Self::SHUT)
    }

    fn leave(&self, to: u8) -> bool {
        let left = self.0.compare_exchange(Self::ASKED_FOR_NOTHING, to, Ordering::SeqCst, Ordering::SeqCst);
        left.is_ok()
    }
}

/// A body of known length, with a gate where the call restores.
#[derive(Clone)]
pub struct GatedBody {
    bytes: Full<Bytes>,
    /// The same once more: what is signed is what is sent.
    whole: Bytes,
    /// Asked once, at the first byte.
    journal: Option<Arc<dyn Journal>>,
    gate: Option<Arc<Gate>>,
}

impl GatedBody {
    /// These bytes, given out only if `journal` allows it then.
    pub(crate) fn new(bytes: Bytes, journal: Option<Arc<dyn Journal>>) -> Self {
        Self { bytes: Full::new(bytes.clone()), whole: bytes, journal, gate: None }
    }

    /// All that will be sent.
    pub(crate) fn bytes(&self) -> Bytes {
        self.whole.clone()
    }

    /// The same body behind the gate of one attempt.
    pub(crate) fn behind(self, gate: Arc<Gate>) -> Self {
        Self { gate: Some(gate), ..self }
    }
}

impl From<Bytes> for GatedBody {
    fn from(bytes: Bytes) -> Self {
        Self::new(bytes, None)
    }
}

/// The gate was closed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Closed(&'static str);

impl Body for GatedBody {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        if let Some(journal) = self.journal.take()
            && let Err(why) = journal.may_write()
        {
            return Poll::Ready(Some(Err(Closed(why))));
        }
        if let Some(gate) = self.gate.take()
            && !gate.open()
        {
            return Poll::Ready(Some(Err(Closed("the call was given up before its first byte"))));
        }
        Pin::new(&mut self.bytes).poll_frame(context).map_err(|never| match never {})
    }

    fn is_end_stream(&self) -> bool {
        // The gate is asked even where there is nothing behind it.
        self.journal.is_none() && self.gate.is_none() && self.bytes.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.bytes.size_hint()
    }
}
