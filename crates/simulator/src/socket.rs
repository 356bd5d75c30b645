//! A TCP stream with a fuse: the connection is reset at once, or after a number of bytes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// Time for the last bytes before a reset to reach the client.
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

    /// Stops all output, and ends the connection with a reset.
    pub(crate) fn blow(&self) {
        self.allowed.store(0, Ordering::SeqCst);
        self.blown.store(true, Ordering::SeqCst);
    }

    /// Does the same after this many further bytes.
    pub(crate) fn blow_after(&self, bytes: u64) {
        self.allowed.store(bytes, Ordering::SeqCst);
    }
}

/// A stream that can end with a reset.
pub(crate) trait Resets {
    /// Makes the stream end with a reset, if it supports one.
    fn reset_at_end(&self);
}

impl Resets for TcpStream {
    fn reset_at_end(&self) {
        // If the option fails, the close is a normal one; the client sees a broken answer all the same.
        let _ = self.set_zero_linger();
    }
}

impl Resets for DuplexStream {
    // A pipe that ends in the middle is broken all the same.
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
