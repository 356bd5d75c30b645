//! The sockets: one listener for all clouds, HTTP/1.1 and HTTP/2 by prior knowledge, with a time limit for the
//! shutdown.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::behaviour::Behaviour;
use crate::clock::{Clock, CloudClock, SystemClock};
use crate::routes::Table;
use crate::service::{Clouds, Connection};
use crate::socket::{Fuse, Resets, Wire};

/// Maximum duration of open requests after the stop of the simulator.
const DRAIN: Duration = Duration::from_secs(1);

/// Options of a simulator.
#[derive(Debug, Clone)]
pub struct Options {
    /// Duration of a restore, in seconds of the clouds' time.
    pub restore_seconds: u64,
    /// Maximum number of requests that `GET /_sim/requests` returns.
    pub kept_requests: usize,
    /// Number of additional detached disks, each with a backup, for load tests.
    pub extra_disks: u32,
    /// Source of the time.
    pub clock: Arc<dyn Clock>,
}

impl Default for Options {
    fn default() -> Self {
        Self { restore_seconds: 3, kept_requests: 10_000, extra_disks: 0, clock: Arc::new(SystemClock) }
    }
}

/// Returns the initial behaviour of the clouds for these options.
pub(crate) fn behaviour(options: &Options) -> Behaviour {
    Behaviour {
        restore_seconds: u32::try_from(options.restore_seconds).unwrap_or(u32::MAX),
        extra_disks: options.extra_disks,
        ..Behaviour::default()
    }
}

/// Running clouds. Dropping the value stops them without waiting.
#[derive(Debug)]
pub struct Simulator {
    addr: SocketAddr,
    stopping: CancellationToken,
    /// Closes all open connections.
    closing: DropGuard,
    connections: TaskTracker,
}

impl Simulator {
    /// Binds (port 0 selects a free one) and serves until stopped.
    pub async fn start(listen: SocketAddr, options: Options) -> io::Result<Simulator> {
        let listener = TcpListener::bind(listen).await?;
        let addr = listener.local_addr()?;
        let table = Table::build().map_err(io::Error::other)?;
        let behaviour = behaviour(&options);
        let clock = CloudClock::new(options.clock);
        let clouds = Arc::new(Clouds::new(table, clock, behaviour, options.kept_requests));
        let stopping = clouds.stopping.clone();
        let closing = CancellationToken::new();
        let connections = TaskTracker::new();
        tokio::spawn(accept(listener, clouds, connections.clone(), closing.clone()));
        Ok(Simulator { addr, stopping, closing: closing.drop_guard(), connections })
    }

    /// Returns the bound address.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns it as a URL, `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        let mut addr = self.addr;
        if addr.ip().is_unspecified() {
            let loopback =
                if addr.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            addr.set_ip(loopback);
        }
        format!("http://{addr}")
    }

    /// Accepts no more connections, gives open requests a moment to end, and closes the rest.
    pub async fn stop(self) {
        self.stopping.cancel();
        self.connections.close();
        let drained = tokio::time::timeout(DRAIN, self.connections.wait()).await;
        drop(self.closing);
        if drained.is_err() {
            self.connections.wait().await;
        }
    }
}

async fn accept(
    listener: TcpListener,
    clouds: Arc<Clouds>,
    connections: TaskTracker,
    closing: CancellationToken,
) {
    let mut number = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = clouds.stopping.cancelled() => return,
            () = closing.cancelled() => return,
        };
        // A client that disconnects before it is accepted is no reason to stop.
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        // Without this option, small answers arrive later.
        let _ = stream.set_nodelay(true);
        number += 1;
        let connection = Connection { number, fuse: Fuse::new(), hang_up: closing.child_token() };
        connections.spawn(serve(stream, Arc::clone(&clouds), connection));
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve<S>(stream: S, clouds: Arc<Clouds>, connection: Connection)
where
    S: Resets + AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let wire = Wire::new(stream, Arc::clone(&connection.fuse));
    let hang_up = connection.hang_up.clone();
    let stopping = clouds.stopping.clone();
    let service = service_fn(move |request| Arc::clone(&clouds).serve(connection.clone(), request));
    let mut builder = Builder::new(TokioExecutor::new());
    // An idle connection stays open: only a fault plan closes it.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None);
    builder.http2().timer(TokioTimer::new());
    let mut open = std::pin::pin!(builder.serve_connection(TokioIo::new(wire), service));
    tokio::select! {
        // A broken connection comes from the client or from a fault plan.
        _ = open.as_mut() => return,
        () = hang_up.cancelled() => return,
        () = stopping.cancelled() => open.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = open => {}
        () = hang_up.cancelled() => {}
    }
}
