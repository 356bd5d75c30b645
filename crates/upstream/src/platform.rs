//! The platform of a gateway. In production that is the machine: its sockets, and a runtime that polls every task. A
//! simulation that runs several gateways in one process gives each its own [`Platform`], which carries its connections
//! in memory and can hold all of its tasks, as SIGSTOP does, or drop them, as SIGKILL does.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use http::Uri;
use hyper::rt::{Executor, Read, ReadBufCursor, Write};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

/// A connection that a [`Platform`] carries.
pub trait Carried: Read + Write + Send + Unpin {}

impl<T: Read + Write + Send + Unpin> Carried for T {}

/// The platform of one gateway, instead of the machine.
pub trait Platform: std::fmt::Debug + Send + Sync + 'static {
    /// A connection to where a URL leads.
    fn connect(&self, to: Uri) -> BoxFuture<'static, io::Result<Box<dyn Carried>>>;

    /// Asked before a task is polled: ready where it may run. Where not, the platform wakes the task once it may.
    fn enter(&self, context: &mut Context<'_>) -> Poll<()>;

    /// Said after each poll that [`Platform::enter`] has let through.
    fn leave(&self);

    /// Learns of each task, so that it can be ended with the process.
    fn spawned(&self, task: AbortHandle);
}

/// A task that is polled only while its platform lets it run.
pub struct Hosted<F> {
    platform: Arc<dyn Platform>,
    task: Pin<Box<F>>,
}

impl<F> Hosted<F> {
    /// Of this platform.
    pub fn by(platform: Arc<dyn Platform>, task: F) -> Self {
        Self { platform, task: Box::pin(task) }
    }
}

/// Says that a poll is over, also of one that panics.
struct Leaves<'a>(&'a dyn Platform);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl<F: Future> Future for Hosted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { platform, task } = &mut *self;
        ready!(platform.enter(context));
        let _leaves = Leaves(&**platform);
        task.as_mut().poll(context)
    }
}

/// Where the tasks of connections run.
#[derive(Clone)]
pub(crate) struct Spawns(pub(crate) Option<Arc<dyn Platform>>);

impl<F> Executor<F> for Spawns
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        match &self.0 {
            None => drop(tokio::spawn(task)),
            Some(platform) => {
                platform.spawned(tokio::spawn(Hosted::by(Arc::clone(platform), task)).abort_handle());
            }
        }
    }
}

/// A connection of the machine's, or of a platform's.
#[expect(clippy::large_enum_variant, reason = "in service every one is the large one")]
pub enum Stream {
    /// Over TCP, with TLS where the URL asks for it.
    Machine(MaybeHttpsStream<TokioIo<TcpStream>>),
    /// As a platform carries it.
    Carried(Box<dyn Carried>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self {
            Self::Machine(stream) => stream.connected(),
            Self::Carried(_) => Connected::new(),
        }
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Machine(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Carried(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Machine(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Carried(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Machine(stream) => Pin::new(stream).poll_flush(context),
            Self::Carried(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Machine(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Carried(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Machine(stream) => stream.is_write_vectored(),
            Self::Carried(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Machine(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Self::Carried(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }
}
