//! The guard of one connection, between socket and hyper. It covers what hyper leaves open:
//!
//! * It closes a peer that sends nothing, or its request head one byte at a time (S16): hyper's own timer does not run
//!   before the protocol is known.
//! * It closes a peer that does not read its responses.
//! * It keeps the raw head until the request is handled, so that ambiguous framing can be rejected (S9). hyper resolves
//!   `Content-Length` beside `Transfer-Encoding` by dropping one of them, which hides that a proxy may have resolved it
//!   differently.
//!
//! HTTP/2 frames requests in one way only; [`frames`](crate::server::frames) limits the times that it leaves open.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Method;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::server::frames::{Multiplexed, Patience};
use crate::server::heads::{HeadMemory, no_room};
use crate::web::answer::HEARTBEAT;

/// The other end of the connection that a request came over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) address: SocketAddr,
    /// `https` if the connection uses TLS, else `http`.
    pub(crate) scheme: &'static str,
}

/// Limits of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// For the first byte of a new connection, and from the first to the last byte of a head.
    pub(crate) head: Duration,
    /// For the peer to take what is written.
    pub(crate) write: Duration,
    /// Largest head, in bytes.
    pub(crate) head_bytes: usize,
}

/// State that the guard and the requests of one connection share.
#[derive(Debug)]
pub(crate) struct Shared {
    head: Mutex<Head>,
    body_open: AtomicBool,
    limit: OnceLock<&'static str>,
}

/// Verdict of the connection on the raw head of this request.
#[derive(Clone)]
pub(crate) struct Framing {
    pub(crate) verdict: Result<(), &'static str>,
    pub(crate) connection: Arc<Shared>,
}

#[derive(Debug)]
struct Head {
    bytes: Vec<u8>,
    memory: HeadMemory,
    phase: Phase,
    deadline: Option<Instant>,
    /// Of HTTP/2.
    frames: Option<Box<Multiplexed>>,
    /// True if an answer on this connection may have nothing to say for a while.
    has_pauses: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Before the first byte: the protocol is not known.
    New,
    /// Between requests.
    Idle,
    /// Within a head.
    Head,
    /// A request is being handled.
    Request,
    /// HTTP/2: no bytes are kept.
    Multiplexed,
}

/// All of it: a part that fits is not yet HTTP/2, and its sender is not yet out of the head's time.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Additional memory of an HTTP/2 connection, counted as bytes of a head: its largest frame, half sent.
const FRAME: usize = 6 * 1024;

impl Shared {
    fn new(memory: HeadMemory, deadline: Instant) -> Self {
        let head = Head {
            bytes: Vec::new(),
            memory,
            phase: Phase::New,
            deadline: Some(deadline),
            frames: None,
            has_pauses: false,
        };
        Self { head: Mutex::new(head), body_open: AtomicBool::default(), limit: OnceLock::new() }
    }

    fn head(&self) -> MutexGuard<'_, Head> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has arrived, with this method and so many headers: what was wrong with its head, if
    /// anything.
    pub(crate) fn begin(&self, method: &Method, headers: usize) -> Result<(), &'static str> {
        let mut head = self.head();
        if head.phase == Phase::Multiplexed {
            return Ok(());
        }
        let verdict = framing(&head.bytes, method, headers);
        head.phase = Phase::Request;
        head.deadline = None;
        head.bytes = Vec::new();
        self.body_open.store(true, Ordering::Relaxed);
        verdict
    }

    /// The key of `limits` that ended the connection, if one did.
    pub(crate) fn limit(&self) -> Option<&'static str> {
        self.limit.get().copied()
    }

    /// The body of the present request was read to its end.
    pub(crate) fn body_read(&self) {
        self.body_open.store(false, Ordering::Relaxed);
    }

    /// The answer is known. Returns whether the connection may carry another request: not after a
    /// body that was left unread.
    pub(crate) fn end(&self) -> bool {
        let mut head = self.head();
        if head.phase == Phase::Multiplexed {
            return true;
        }
        head.phase = Phase::Idle;
        head.bytes.clear();
        !self.body_open.load(Ordering::Relaxed)
    }

    /// An answer is a stream of events, which has nothing to say between two heartbeats.
    pub(crate) fn pauses(&self) {
        self.head().has_pauses = true;
    }

    /// Bytes have gone out; whether that is kept account of.
    fn sent<'a>(&self, count: usize, slices: impl Iterator<Item = &'a [u8]>) -> bool {
        let mut head = self.head();
        let has_pauses = head.has_pauses;
        let Some(frames) = &mut head.frames else { return false };
        let (now, mut left) = (Instant::now(), count);
        for slice in slices {
            let gone = left.min(slice.len());
            frames.sent(&slice[..gone], has_pauses, now);
            left -= gone;
        }
        true
    }

    /// When the connection is to be closed if nothing happens until then, and the key of `limits` that says so.
    fn deadline(&self, terms: Terms) -> Option<(Instant, Option<&'static str>)> {
        let head = self.head();
        let Some(frames) = &head.frames else {
            return Some((head.deadline?, Some("header_timeout_seconds")));
        };
        let write = if head.has_pauses { terms.write.max(2 * HEARTBEAT) } else { terms.write };
        frames.deadline(Patience { head: terms.head, write })
    }

    /// Bytes have come in.
    ///
    /// # Errors
    /// The key of `limits` that leaves no room for them.
    fn received(&self, bytes: &[u8], terms: Terms) -> Result<(), &'static str> {
        let mut head = self.head();
        let Head { frames, memory, .. } = &mut *head;
        if let Some(frames) = frames {
            frames.received(bytes, Instant::now());
            return if frames.is_continued() { memory.grow_to(terms.head_bytes) } else { Ok(()) };
        }
        match head.phase {
            Phase::Multiplexed | Phase::Request => return Ok(()),
            Phase::New | Phase::Idle => {
                head.phase = Phase::Head;
                head.deadline = Some(Instant::now() + terms.head);
            }
            Phase::Head => {}
        }
        let room = (terms.head_bytes + PREFACE.len()).saturating_sub(head.bytes.len());
        head.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        // hyper has no more room for it, answers 431 and ends the connection.
        if head.bytes.len() >= terms.head_bytes && !head.bytes.windows(4).any(|end| end == b"\r\n\r\n") {
            let _ = self.limit.set("max_header_bytes");
        }
        if head.bytes.starts_with(PREFACE) {
            let now = Instant::now();
            let mut frames = Box::new(Multiplexed::new(now));
            frames.received(&head.bytes[PREFACE.len()..], now);
            (head.phase, head.deadline) = (Phase::Multiplexed, None);
            (head.bytes, head.frames) = (Vec::new(), Some(frames));
            return head.memory.grow_to(FRAME);
        }
        let bytes = head.bytes.len();
        head.memory.grow_to(bytes)
    }
}

/// True if a head is framed in exactly one way.
///
/// A head that hyper rejects by itself is not checked again. A head that is not whole, or is not the one
/// that hyper read, was sent in part before the answer to the last request: then nothing can be said
/// of it, and it is refused; no client of this API does that.
fn framing(head: &[u8], method: &Method, headers: usize) -> Result<(), &'static str> {
    const INCOMPLETE: &str =
        "the head is incomplete, uses bare line feeds, or was sent before the last answer";
    // hyper skips empty lines before a request, so they must not count as its end here.
    let start = head.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).ok_or(INCOMPLETE)?;
    let head = &head[start..];
    let end = head.windows(4).position(|window| window == b"\r\n\r\n").ok_or(INCOMPLETE)?;
    if !head.strip_prefix(method.as_str().as_bytes()).is_some_and(|rest| rest.starts_with(b" ")) {
        return Err(INCOMPLETE);
    }
    let mut lines = 0;
    let mut lengths = 0;
    let mut encodings = 0;
    let mut hosts = 0;
    let mut rest = &head[..end];
    let mut first = true;
    while !rest.is_empty() {
        let feed = memchr::memchr(b'\n', rest);
        let (line, after) = feed.map_or((rest, &[][..]), |feed| (&rest[..feed], &rest[feed + 1..]));
        rest = after;
        let line = match (line.strip_suffix(b"\r"), feed) {
            (Some(line), _) => line,
            (None, None) => line, // the last one, whose end was cut off
            (None, Some(_)) => return Err("a header line ends with a bare line feed"),
        };
        if std::mem::take(&mut first) {
            continue; // the request line
        }
        if line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
            return Err("a header is folded over two lines");
        }
        lines += 1;
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name.eq_ignore_ascii_case(b"content-length") {
            lengths += 1;
            if !value.trim_ascii().iter().all(u8::is_ascii_digit) {
                return Err("Content-Length is not a number");
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            encodings += 1;
            if !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err("Transfer-Encoding is not just chunked");
            }
        } else if name.eq_ignore_ascii_case(b"host") {
            hosts += 1;
        }
    }
    match (lengths, encodings, hosts) {
        // hyper drops headers only where there are two ways to frame the body.
        (0 | 1, 0, 0 | 1) | (0, 1, 0 | 1) if lines != headers => Err(INCOMPLETE),
        (0 | 1, 0, 0 | 1) | (0, 1, 0 | 1) => Ok(()),
        (_, _, 2..) => Err("there is more than one Host"),
        (_, 0, _) => Err("there is more than one Content-Length"),
        (0, _, _) => Err("there is more than one Transfer-Encoding"),
        _ => Err("there are both Content-Length and Transfer-Encoding"),
    }
}

/// The socket behind the guard.
pub(crate) struct Guarded<S> {
    socket: S,
    shared: Arc<Shared>,
    terms: Terms,
    reading: Pin<Box<Sleep>>,
    writing: Option<Pin<Box<Sleep>>>,
}

impl<S> Guarded<S> {
    /// Guards a fresh connection.
    pub(crate) fn new(socket: S, terms: Terms, memory: HeadMemory) -> (Self, Arc<Shared>) {
        let shared = Arc::new(Shared::new(memory, Instant::now() + terms.head));
        let reading = Box::pin(tokio::time::sleep(terms.head));
        (Self { socket, shared: Arc::clone(&shared), terms, reading, writing: None }, shared)
    }

    /// Ready once the peer has taken longer than it may.
    fn overdue(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let Some((deadline, limit)) = self.shared.deadline(self.terms) else { return Poll::Pending };
        if self.reading.deadline() != deadline {
            self.reading.as_mut().reset(deadline);
        }
        ready!(self.reading.as_mut().poll(context));
        if let Some(limit) = limit {
            let _ = self.shared.limit.set(limit);
        }
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the peer takes too long"))
    }

    /// What went out may bring the time forward that whoever reads waits for.
    fn written<'a>(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<usize>>,
        slices: impl Iterator<Item = &'a [u8]>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = result
            && self.shared.sent(count, slices)
            && let Poll::Ready(error) = self.overdue(context)
        {
            return Poll::Ready(Err(error));
        }
        match result {
            // Some of it has gone out. The time is for all of it, which ends with the next flush.
            Poll::Ready(Ok(_)) => result,
            result => self.write_result(context, result),
        }
    }

    fn write_result<T>(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.writing = None;
            return result;
        }
        let patience = self.terms.write;
        let timer = self.writing.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(timer.as_mut().poll(context));
        let _ = self.shared.limit.set("write_timeout_seconds");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if let Poll::Ready(result) = Pin::new(&mut this.socket).poll_read(context, buffer) {
            let received = &buffer.filled()[before..];
            if !received.is_empty()
                && let Err(limit) = this.shared.received(received, this.terms)
            {
                let _ = this.shared.limit.set(limit);
                return Poll::Ready(Err(no_room()));
            }
            return Poll::Ready(result);
        }
        this.overdue(context).map(Err)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.written(context, result, std::iter::once(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.written(context, result, slices.iter().map(|slice| &**slice))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.socket).poll_flush(context);
        self.write_result(context, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.socket).poll_shutdown(context);
        self.write_result(context, result)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::web::pool::{Neighbour, Pool, Share};

    /// A peer that reads sixteen bytes in ten seconds.
    fn slow_reader() -> (Guarded<tokio::io::DuplexStream>, Arc<Shared>) {
        let (near, mut far) = tokio::io::duplex(64);
        tokio::spawn(async move {
            let mut some = [0; 16];
            while far.read(&mut some).await.is_ok_and(|count| count > 0) {
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
        });
        let write = Duration::from_secs(30);
        let memory = HeadMemory::new(Pool::new(0, Share(1.0)), Neighbour::at(None));
        Guarded::new(near, Terms { head: 100 * write, write, head_bytes: 8192 }, memory)
    }

    #[tokio::test(start_paused = true)]
    async fn s49_an_answer_that_is_read_bit_by_bit_has_one_time_for_all_of_it() {
        let (mut guarded, shared) = slow_reader();
        let written = guarded.write_all(&[0; 4096]).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(shared.limit(), Some("write_timeout_seconds"));
        // What was flushed was taken: the next part has a time of its own.
        let (mut guarded, shared) = slow_reader();
        for _ in 0..40 {
            guarded.write_all(&[0; 16]).await.unwrap();
            guarded.flush().await.unwrap();
        }
        assert_eq!(shared.limit(), None);
    }

    #[test]
    fn a_head_is_framed_in_one_way_or_refused() {
        let head = |lines: &str| {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
            framing(head.as_bytes(), &Method::POST, 1 + lines.lines().count())
        };
        assert_eq!(head("Content-Length: 5\r\n"), Ok(()));
        assert_eq!(head("Transfer-Encoding: chunked\r\n"), Ok(()));
        assert_eq!(head(""), Ok(()));
        for bad in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: +5\r\n",
            "Transfer-Encoding: chunked, identity\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "X: a\r\n folded\r\n",
            "X: a\nY: b\r\n",
            "Host: b\r\n",
        ] {
            assert!(head(bad).is_err(), "{bad:?}");
        }
        assert!(framing(b"POST / HTTP/1.1\r\nHost: a\r\n", &Method::POST, 1).is_err());
        // Empty lines before the head hide nothing of it.
        let both = b"\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(framing(both, &Method::POST, 1).is_err());
        assert_eq!(framing(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", &Method::GET, 1), Ok(()));
        // What is left of a head whose beginning came too early.
        assert!(framing(b"Transfer-Encoding: chunked\r\n\r\n", &Method::POST, 3).is_err());
        assert!(framing(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", &Method::POST, 3).is_err());
    }
}
