//! Connects to checked addresses only. The host of the URL is used for TLS and the `Host` header only, so a later
//! change of its DNS record has no effect.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::Service;

/// A connector with its addresses pinned.
#[derive(Clone, Debug)]
pub(super) struct Pinned(pub(super) Arc<[SocketAddr]>);

impl Service<http::Uri> for Pinned {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let addresses = Arc::clone(&self.0);
        Box::pin(async move {
            let socket = TcpStream::connect(&*addresses).await?;
            socket.set_nodelay(true)?;
            Ok(TokioIo::new(socket))
        })
    }
}
