//! Caller: takes the token out of the request's headers, so that nothing below can print or pass
//! it on by accident. Who may do what is decided by the token's own rights in the cloud: this
//! version has no callers of its own, and listens on loopback unless told otherwise.

use std::task::{Context, Poll};

use http::Request;
use restore_upstream::Token;
use tower::{Layer, Service};

use super::Future;
use crate::answer::{Answer, Failure};

/// Who asks.
#[derive(Clone)]
pub(crate) struct Caller {
    /// The token that came along.
    pub(crate) token: Option<Token>,
}

/// The layer.
#[derive(Clone, Copy)]
pub(crate) struct CallerLayer;

impl<S> Layer<S> for CallerLayer {
    type Service = Identify<S>;

    fn layer(&self, inner: S) -> Identify<S> {
        Identify(inner)
    }
}

/// The service.
#[derive(Clone)]
pub(crate) struct Identify<S>(S);

impl<S, B> Service<Request<B>> for Identify<S>
where
    S: Service<Request<B>, Response = Answer, Error = Failure, Future = Future>,
{
    type Response = Answer;
    type Error = Failure;
    type Future = Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Future {
        let token = request.headers_mut().remove("x-auth-token");
        let token = token.as_ref().and_then(Token::from_header);
        request.extensions_mut().insert(Caller { token });
        self.0.call(request)
    }
}
