//! Route: finds the route of a request once. All layers below read [`Found`](crate::dispatch::Found) and no path. Every
//! response of a compatibility endpoint gets the headers that its clients expect: the deprecation notice, the ID of the
//! request under their name, and `Retry-After` only if they can read it. This includes rejections and the response
//! after a panic.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::{BoxFuture, Either};
use http::header::RETRY_AFTER;
use http::{Request, Response};
use tower::{Layer, Service};

use super::stages::Routed;
use crate::dispatch::Router;
use crate::server::arrival::Arrived;

const X_REQUEST_ID: &str = "x-request-id";

/// The layer.
#[derive(Clone)]
pub(crate) struct RouteLayer(Arc<Router>);

impl RouteLayer {
    /// Routes by this table.
    pub(crate) fn new(router: Router) -> Self {
        Self(Arc::new(router))
    }
}

impl<S> Layer<S> for RouteLayer {
    type Service = Route<S>;

    fn layer(&self, inner: S) -> Route<S> {
        Route { inner, router: Arc::clone(&self.0) }
    }
}

/// The service.
#[derive(Clone)]
pub(crate) struct Route<S> {
    inner: S,
    router: Arc<Router>,
}

impl<S, R> Service<Request<Arrived>> for Route<S>
where
    S: Service<Request<Routed>, Response = Response<R>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<R>;
    type Error = Infallible;
    type Future = Either<S::Future, BoxFuture<'static, Result<Response<R>, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Arrived>) -> Self::Future {
        let (head, Arrived { arrival, body }) = request.into_parts();
        let found = self.router.find(&head.method, head.uri.path(), &arrival.destination);
        let endpoint =
            found.at_endpoint().map(|at| (Arc::clone(&at.endpoint), head.headers.get(X_REQUEST_ID).cloned()));
        let call = self.inner.call(Request::from_parts(head, Routed { arrival, found, body }));
        match endpoint {
            None => Either::Left(call),
            Some((endpoint, request_id)) => Either::Right(Box::pin(async move {
                let mut answer = call.await?;
                let (status, headers) = (answer.status().as_u16(), answer.headers_mut());
                headers.extend(endpoint.notice.clone());
                let source_api = endpoint.endpoint;
                if let (Some(name), Some(id)) = (source_api.request_id_header(), request_id) {
                    headers.insert(name, id);
                }
                if !source_api.allows_retry_after(status) {
                    headers.remove(RETRY_AFTER);
                }
                Ok(answer)
            })),
        }
    }
}
