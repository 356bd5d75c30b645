//! The listener: accepts connections, guards them, serves HTTP/1.1 and HTTP/2, and lets requests
//! under way finish when it is told to stop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::connection::{Guarded, Peer, Terms};
use crate::layers::well_formed::Framing;
use crate::telemetry::metrics::Connections;
use crate::way_in::WayIn;

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(120);
/// After a failure to accept (out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a listener is given.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) connections: usize,
    pub(crate) head_bytes: usize,
    pub(crate) head: Duration,
    pub(crate) write: Duration,
    pub(crate) drain: Duration,
    pub(crate) metrics: Connections,
}

/// Accepts until `stop`, then drains.
pub(crate) async fn serve(listener: TcpListener, service: WayIn, options: Options, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(options.connections));
    let graceful = GracefulShutdown::new();
    let builder = protocol(&options);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let (socket, peer, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(error = %error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Small answers, each wanted at once.
        let _ = socket.set_nodelay(true);
        let terms = Terms { head: options.head, write: options.write, head_bytes: options.head_bytes };
        let (guarded, shared) = Guarded::new(socket, terms);
        let service = service.clone();
        let handler = service_fn(move |mut request: Request<Incoming>| {
            let verdict = shared.begin(request.method(), request.headers().len());
            let framing = Framing { verdict, connection: Arc::clone(&shared) };
            if hyper::body::Body::is_end_stream(request.body()) {
                shared.body_read();
            }
            request.extensions_mut().insert(framing);
            request.extensions_mut().insert(Peer(peer));
            let shared = Arc::clone(&shared);
            let answer = service.clone().call(request);
            async move {
                let mut answer = answer.await?;
                if !shared.end() {
                    // The rest of an unread body would be taken for the next request.
                    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, std::convert::Infallible>(answer)
            }
        });
        let connection = builder.serve_connection(TokioIo::new(guarded), handler).into_owned();
        let connection = graceful.watch(connection);
        let open = options.metrics.opened();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %error, "a connection ended early");
            }
            drop((place, open));
        });
    }
    drop(listener);
    if tokio::time::timeout(options.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were still open at the end of the drain");
    }
}

/// Waits for a place before it accepts: what is over the cap waits in the kernel's queue.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (socket, peer) = listener.accept().await?;
    Ok((socket, peer, place))
}

fn protocol(options: &Options) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Between requests; within a head the connection's guard is stricter.
        .header_read_timeout(IDLE)
        .max_buf_size(options.head_bytes.max(8 * 1024))
        .max_headers(128);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(128)
        .max_pending_accept_reset_streams(32)
        .max_header_list_size(u32::try_from(options.head_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}
