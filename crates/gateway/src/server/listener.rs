//! The listener: accepts connections, with TLS or without, guards them, serves HTTP/1.1 and HTTP/2, and lets requests
//! in progress finish at a stop.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, Response, Version, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{BoxError, Service};

use crate::server::arrival::{Arrival, Arrived};
use crate::server::certificate::Certificate;
use crate::server::connection::Framing;
use crate::server::connection::{Guarded, Peer, Terms};
use crate::server::connections::{self, Admission, Seat, UnderWay};
use crate::server::heads::{HeadMemory, no_room};
use crate::server::memory::{LOOK, Memory};
use crate::server::tls::Tls;
use crate::telemetry::metrics::{Connections, LimitsReached};
use crate::web::answer::EVENT_STREAM;
use crate::web::destination::{Destination, Place};
use crate::web::pool::{Neighbour, Pool};

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(120);
/// Headers of a request: more than any client sends, and few enough to be kept.
const MOST_HEADERS: usize = 128;
/// Error text for a request with more headers.
pub(crate) const TOO_MANY_HEADERS: &str = "the request has more than 128 headers";
/// Bytes of an answer that are handed over before the peer takes them.
const SEND_BUFFER: usize = 64 * 1024;
/// Bytes that TLS has encrypted and the peer has not taken.
const TLS_BUFFER: usize = 16 * 1024;
/// After a failure to accept (out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// And at most, while it goes on.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Between two lines of the log about that.
const TELL_AGAIN: Duration = Duration::from_secs(60);
/// For a connection to close by itself whose seat is taken.
const FAREWELL: Duration = Duration::from_secs(1);

/// Options of a listener.
#[derive(Clone)]
pub(crate) struct Options {
    /// Of all listeners that share it.
    pub(crate) cap: connections::Connections,
    pub(crate) head_bytes: usize,
    /// Largest body, in bytes: no more of it is taken before somebody reads it.
    pub(crate) max_body_bytes: usize,
    pub(crate) head: Duration,
    pub(crate) write: Duration,
    pub(crate) drain: Duration,
    pub(crate) metrics: Connections,
    pub(crate) reached: LimitsReached,
    pub(crate) memory: Memory,
    /// Bytes of heads that are not whole, of all listeners that share it.
    pub(crate) heads: Pool,
    /// Set once the gateway is about to stop: answers close their connections then, so that whoever keeps one open
    /// opens the next one elsewhere and never finds a listener that has closed.
    pub(crate) leaving: Arc<AtomicBool>,
    /// None is plain HTTP.
    pub(crate) tls: Option<Arc<Tls>>,
    /// Which listener this is.
    pub(crate) place: Place,
}

/// Accepts until `stop`, then drains.
pub(crate) async fn serve<S, B>(listener: TcpListener, service: S, options: Options, stop: CancellationToken)
where
    S: Service<Request<Arrived>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    let tasks = TaskTracker::new();
    let builder = protocol(&options);
    let mut failures = Failures::default();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &options) => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                let pause = failures.happened(&error, &options);
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(pause) => continue,
                }
            }
        };
        failures.over();
        let seat = tokio::select! {
            () = stop.cancelled() => break,
            seat = seat(Neighbour::from(peer), &options) => seat,
        };
        let Some(seat) = seat else { continue };
        // Small answers, each wanted at once.
        let _ = socket.set_nodelay(true);
        let (service, options) = (service.clone(), options.clone());
        let (builder, stop) = (builder.clone(), stop.clone());
        // Before its task runs: what is accepted is open.
        let open = options.metrics.opened();
        tasks.spawn(async move {
            let mut ends = Ends { seat, stop, trust: None };
            match &options.tls {
                None => talk(socket, None, peer, service, &options, builder, ends).await,
                Some(tls) => {
                    let memory = HeadMemory::new(options.heads.clone(), Neighbour::from(peer));
                    let trust = tls.trust();
                    let shaken = tokio::select! {
                        () = ends.seat.is_taken() => return,
                        shaken = shake_hands(tls, Shaking::new(socket, memory), options.head) => shaken,
                    };
                    match shaken {
                        Ok((socket, certificate)) => {
                            ends.trust = certificate.as_ref().map(|_| trust);
                            talk(socket, certificate, peer, service, &options, builder, ends).await;
                        }
                        // Gateway and peer may both be the cause; a scanner must not fill the log.
                        Err(Failed { error, limit }) => {
                            limit.into_iter().for_each(|limit| options.reached.count(limit));
                            tracing::debug!(error = %error, "TLS handshake failed");
                        }
                    }
                }
            }
            drop(open);
        });
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(options.drain, tasks.wait()).await.is_err() {
        tracing::warn!("connections still open at the end of the shutdown");
    }
}

/// Failures to accept. Without free file descriptors they come by the thousand, so one log line per minute reports them.
#[derive(Default)]
struct Failures {
    pause: Option<Duration>,
    untold: u64,
    told: Option<Instant>,
}

impl Failures {
    /// One more; how long to wait before the next try.
    fn happened(&mut self, error: &io::Error, options: &Options) -> Duration {
        // The peer has gone before it was accepted.
        if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
            return Duration::ZERO;
        }
        options.reached.count("max_connections");
        options.cap.make_room();
        self.untold += 1;
        if self.told.is_none_or(|told| told.elapsed() >= TELL_AGAIN) {
            tracing::warn!(error = %error, count = self.untold, "connections cannot be accepted");
            (self.told, self.untold) = (Some(Instant::now()), 0);
        }
        let pause = self.pause.map_or(ACCEPT_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE));
        self.pause = Some(pause);
        pause
    }

    /// One was accepted.
    fn over(&mut self) {
        self.pause = None;
    }
}

/// A seat for a connection that came; waits for one where there is no room and nobody is idle. `None` where its address has its share.
async fn seat(peer: Neighbour, options: &Options) -> Option<Seat> {
    let mut waits = false;
    loop {
        match options.cap.admit(peer) {
            Admission::Seated(seat, limit) => {
                limit.into_iter().for_each(|limit| options.reached.count(limit));
                return Some(seat);
            }
            Admission::Refused => {
                options.reached.count("max_share_per_address");
                return None;
            }
            Admission::Full => {
                if !std::mem::replace(&mut waits, true) {
                    options.reached.count("max_connections");
                }
                // Of several listeners one alone is told.
                let _ = tokio::time::timeout(LOOK, options.cap.room()).await;
            }
        }
    }
}

/// Reasons to end a connection early.
struct Ends {
    /// Its seat is taken for another.
    seat: Seat,
    /// The listener stops.
    stop: CancellationToken,
    /// The authorities or revocation lists that accepted its client certificate have changed.
    trust: Option<watch::Receiver<()>>,
}

impl Ends {
    /// Waits until the connection is to end after its request.
    async fn come(&mut self) {
        let Self { stop, trust, .. } = self;
        let distrusted = async {
            match trust {
                // Nobody can change it any more: the listener is about to stop.
                Some(trust) => trust.changed().await.unwrap_or_default(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = distrusted => {}
        }
    }
}

/// A body whose request is under way until all of it was handed over.
struct Tracked<B> {
    body: B,
    _under_way: UnderWay,
}

impl<B: Body + Unpin> Body for Tracked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A socket during the handshake of TLS, which counts what is sent to it until that is over.
struct Shaking {
    socket: TcpStream,
    memory: Option<HeadMemory>,
    received: usize,
    limit: Option<&'static str>,
}

impl Shaking {
    const fn new(socket: TcpStream, memory: HeadMemory) -> Self {
        Self { socket, memory: Some(memory), received: 0, limit: None }
    }
}

impl AsyncRead for Shaking {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.socket).poll_read(context, buffer);
        let this = &mut *self;
        if let Some(memory) = &mut this.memory {
            this.received += buffer.filled().len() - before;
            if let Err(limit) = memory.grow_to(this.received) {
                this.limit = Some(limit);
                return Poll::Ready(Err(no_room()));
            }
        }
        result
    }
}

impl AsyncWrite for Shaking {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

/// A handshake that failed, and the key of `limits` that ended it, if one did.
struct Failed {
    error: io::Error,
    limit: Option<&'static str>,
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self { error, limit: None }
    }
}

/// TLS, and whose certificate the peer has shown.
async fn shake_hands(
    tls: &Tls,
    socket: Shaking,
    patience: Duration,
) -> Result<(TlsStream<Shaking>, Option<Arc<Certificate>>), Failed> {
    let accepting = tls.acceptor().accept_with(socket, |connection| {
        // An answer that is in there holds its place no longer.
        connection.set_buffer_limit(Some(TLS_BUFFER));
    });
    let accepted = tokio::time::timeout(patience, accepting.into_fallible()).await;
    let Ok(accepted) = accepted else {
        let error = io::Error::new(io::ErrorKind::TimedOut, "the handshake takes too long");
        return Err(Failed { error, limit: Some("header_timeout_seconds") });
    };
    let mut socket = accepted.map_err(|(error, socket)| Failed { error, limit: socket.limit })?;
    socket.get_mut().0.memory = None;
    let shown = socket.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let certificate = shown.and_then(|shown| Certificate::read(shown)).map(Arc::new);
    if shown.is_some() && certificate.is_none() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the certificate cannot be read").into());
    }
    Ok((socket, certificate))
}

/// Serves one connection to its end.
async fn talk<I, S, B>(
    socket: I,
    certificate: Option<Arc<Certificate>>,
    peer: SocketAddr,
    service: S,
    options: &Options,
    builder: auto::Builder<TokioExecutor>,
    mut ends: Ends,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Arrived>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    let terms = Terms { head: options.head, write: options.write, head_bytes: options.head_bytes };
    let memory = HeadMemory::new(options.heads.clone(), Neighbour::from(peer));
    let (guarded, shared) = Guarded::new(socket, terms, memory);
    let guard = Arc::clone(&shared);
    let leaving = Arc::clone(&options.leaving);
    let place = options.place.clone();
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    let seat = ends.seat.clone();
    let taken = ends.seat.clone();
    let handler = service_fn(move |mut request: Request<Incoming>| {
        let under_way = seat.request();
        let mut verdict = shared.begin(request.method(), request.headers().len());
        if request.headers().len() > MOST_HEADERS {
            // HTTP/2 bounds their bytes alone, and an empty one takes many times its bytes of memory.
            request.headers_mut().clear();
            verdict = Err(TOO_MANY_HEADERS);
        }
        let framing = Framing { verdict, connection: Arc::clone(&shared) };
        if request.body().is_end_stream() {
            shared.body_read();
        }
        // Before any other reader: none is left a second word on where the request goes.
        let destination = Destination::take(&mut request, &place);
        let peer = Peer { address: peer, scheme };
        let arrival = Arrival { destination, peer, framing, certificate: certificate.clone() };
        let (shared, leaving) = (Arc::clone(&shared), Arc::clone(&leaving));
        let http1 = request.version() < Version::HTTP_2;
        let answer = service.clone().call(request.map(|body| Arrived { arrival, body }));
        async move {
            let mut answer = answer.await?;
            if answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == EVENT_STREAM) {
                shared.pauses();
            }
            if !shared.end() || (http1 && leaving.load(Ordering::Relaxed)) {
                // The rest of an unread body would be taken for the next request.
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer.map(|body| Tracked { body, _under_way: under_way }))
        }
    });
    let connection = builder.serve_connection(TokioIo::new(guarded), handler);
    tokio::pin!(connection);
    let (mut is_taken, mut stops) = (false, false);
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error = %error, "connection ended early");
                }
                break;
            }
            () = ends.come(), if !stops => {
                stops = true;
                connection.as_mut().graceful_shutdown();
            }
            () = taken.is_taken(), if !is_taken => {
                is_taken = true;
                connection.as_mut().graceful_shutdown();
            }
            // Who does not close by itself is closed; a request that came in the same moment is finished.
            () = tokio::time::sleep(FAREWELL), if is_taken => {
                if taken.is_idle() {
                    break;
                }
            }
        }
    }
    if let Some(limit) = guard.limit() {
        options.reached.count(limit);
    }
}

/// While the process holds more memory than it may, it accepts so few connections that each still gets a response.
async fn accept(listener: &TcpListener, options: &Options) -> io::Result<(TcpStream, SocketAddr)> {
    if options.memory.is_over() {
        options.reached.count("max_memory_bytes");
        tokio::time::sleep(LOOK).await;
    }
    listener.accept().await
}

fn protocol(options: &Options) -> auto::Builder<TokioExecutor> {
    let window = u32::try_from(options.max_body_bytes).unwrap_or(u32::MAX / 4).clamp(65_535, u32::MAX / 4);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Between requests; within a head the connection's guard is stricter.
        .header_read_timeout(IDLE)
        .max_buf_size(options.head_bytes.max(8 * 1024))
        .max_headers(MOST_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(128)
        .max_pending_accept_reset_streams(32)
        .max_local_error_reset_streams(Some(128))
        .max_header_list_size(u32::try_from(options.head_bytes).unwrap_or(u32::MAX))
        // What was sent and is not read yet stays in memory: one body at most, and as much again for the others.
        .initial_stream_window_size(window)
        .initial_connection_window_size(window.saturating_mul(2))
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}
