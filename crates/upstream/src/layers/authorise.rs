//! Credentials: puts them on each attempt, and takes them out of whatever comes back. Innermost, so
//! that an attempt never goes out with what an earlier one found to be stale.
//!
//! This version passes the caller's own token through; other kinds become further variants of
//! [`Credential`].

use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue};
use tower::{Layer, Service};

use super::Purpose;
use crate::fault::{Fault, FaultKind};
use crate::stack::{Inbound, Outbound};
use crate::token::Token;

const X_AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// With what an upstream is called.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Credential {
    /// The caller's own `X-Auth-Token`.
    PassThrough,
}

impl Credential {
    fn apply(self, request: &mut Outbound) -> Result<Token, Fault> {
        let Self::PassThrough = self;
        let token = request.extensions().get::<Purpose>().and_then(|purpose| purpose.token.clone());
        let missing =
            || Fault::not_sent(FaultKind::NoCredential, "there is no token to call the upstream with");
        let token = token.ok_or_else(missing)?;
        request.headers_mut().insert(X_AUTH_TOKEN, token.to_header().ok_or_else(missing)?);
        Ok(token)
    }
}

/// The layer.
pub(crate) struct AuthoriseLayer(Credential);

impl AuthoriseLayer {
    /// Authorises with this credential.
    pub(crate) const fn new(credential: Credential) -> Self {
        Self(credential)
    }
}

impl<S> Layer<S> for AuthoriseLayer {
    type Service = Authorise<S>;

    fn layer(&self, inner: S) -> Authorise<S> {
        Authorise { inner, credential: self.0 }
    }
}

/// The service.
#[derive(Clone)]
pub(crate) struct Authorise<S> {
    inner: S,
    credential: Credential,
}

impl<S> Service<Outbound> for Authorise<S>
where
    S: Service<Outbound, Response = Inbound, Error = Fault, Future: Send + 'static>,
{
    type Response = Inbound;
    type Error = Fault;
    type Future = BoxFuture<'static, Result<Inbound, Fault>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Outbound) -> Self::Future {
        let call = self.credential.apply(&mut request).map(|token| (token, self.inner.call(request)));
        Box::pin(async move {
            let (token, call) = call?;
            Ok(masked(call.await?, &token))
        })
    }
}

/// An upstream that repeats the token in an error must not get it into the ledger or a log.
fn masked(response: Inbound, token: &Token) -> Inbound {
    let (mut head, body) = response.into_parts();
    for value in head.headers.values_mut() {
        if let Some(clean) = token.masked(value.as_bytes()) {
            *value = HeaderValue::from_bytes(&clean).unwrap_or(HeaderValue::from_static("[redacted]"));
        }
    }
    let body = token.masked(&body).map_or(body, Bytes::from);
    Inbound::from_parts(head, body)
}
