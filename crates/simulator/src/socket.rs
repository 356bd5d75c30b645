//! A TCP stream with a fuse: after so many more bytes, or at once, the connection is reset.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// How long the last bytes before a reset are given to reach the client.
const PAUSE: Duration = Duration::from_millis(30);
const UNLIMITED: u64 = u64::MAX;

/// Shared between a connection's socket and the requests on it.
#[derive(Debug)]
pub(crate) struct Fuse {
    allowed: AtomicU64,
    blown: AtomicBool,
}

impl Fuse {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { allowed: AtomicU64::new(UNLIMITED), blown: AtomicBool::new(false) })
    }

    /// Nothing more goes out, and the connection ends by a reset.
    pub(crate) fn blow(&self) {
        self.allowed.store(0, Ordering::SeqCst);
        self.blown.store(true, Ordering::SeqCst);
    }

    /// The same after so many more bytes.
    pub(crate) fn blow_after(&self, bytes: u64) {
        self.allowed.store(bytes, Ordering::SeqCst);
    }
}

/// A stream whose end can be a reset.
pub(crate) trait Resets {
    /// Has its end be one, where it knows such a thing.
    fn reset_at_end(&self);
}

impl Resets for TcpStream {
    fn reset_at_end(&self) {
        // if it can not be set the close is a plain one, which the client sees as broken all the same
        let _ = self.set_zero_linger();
    }
}

impl Resets for DuplexStream {
    // a pipe that ends in the middle is broken all the same
    fn reset_at_end(&self) {}
}

/// The stream that hyper reads and writes.
#[derive(Debug)]
pub(crate) struct Wire<S: Resets> {
    stream: S,
    fuse: Arc<Fuse>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<S: Resets> Wire<S> {
    pub(crate) fn new(stream: S, fuse: Arc<Fuse>) -> Self {
        Self { stream, fuse, pause: None }
    }
}

impl<S: Resets> Drop for Wire<S> {
    fn drop(&mut self) {
        if self.fuse.blown.load(Ordering::SeqCst) {
            self.stream.reset_at_end();
        }
    }
}

impl<S: Resets + AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: Resets + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let allowed = self.fuse.allowed.load(Ordering::SeqCst);
        if allowed == UNLIMITED {
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        }
        if allowed == 0 {
            if !self.fuse.blown.load(Ordering::SeqCst) {
                let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(PAUSE)));
                ready!(pause.as_mut().poll(cx));
                self.fuse.blow();
            }
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let most = usize::try_from(allowed).unwrap_or(bytes.len()).min(bytes.len());
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &bytes[..most]))?;
        self.fuse.allowed.fetch_sub(written as u64, Ordering::SeqCst);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.fuse.blown.load(Ordering::SeqCst) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
