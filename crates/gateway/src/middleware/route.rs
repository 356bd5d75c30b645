//! Route: finds the route of a request once. All that stands below reads [`Found`](crate::dispatch::Found) and no path. Every answer of a
//! compatibility endpoint carries its notice, a refusal or the answer after a panic included.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::{BoxFuture, Either};
use http::{Request, Response};
use tower::{Layer, Service};

use super::stages::Routed;
use crate::dispatch::Router;
use crate::server::arrival::Arrived;

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
        let endpoint = found.at_endpoint().map(|at| Arc::clone(&at.endpoint));
        let call = self.inner.call(Request::from_parts(head, Routed { arrival, found, body }));
        match endpoint {
            None => Either::Left(call),
            Some(endpoint) => Either::Right(Box::pin(async move {
                let mut answer = call.await?;
                answer.headers_mut().extend(endpoint.notice.clone());
                Ok(answer)
            })),
        }
    }
}
