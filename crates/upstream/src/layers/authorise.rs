//! Credentials: puts them on each attempt, and takes them out of whatever comes back. Innermost, so
//! that an attempt never goes out with what an earlier one found to be stale.
//!
//! The caller's own token, or one of the gateway's; a further kind is a further variant of
//! [`Credential`].

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue, StatusCode};
use tower::{Layer, Service};

use super::Purpose;
use crate::fault::{Fault, FaultKind};
use crate::iam::Iam;
use crate::stack::{Inbound, Outbound};
use crate::token::Token;

const X_AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// With what an upstream is called.
#[derive(Clone, Debug)]
pub enum Credential {
    /// The caller's own `X-Auth-Token`.
    PassThrough,
    /// A token of the gateway's own, for one project.
    Iam(Arc<Iam>),
}

impl Credential {
    async fn apply(&self, request: &mut Outbound) -> Result<Token, Fault> {
        let missing =
            || Fault::not_sent(FaultKind::NoCredential, "there is no token to call the upstream with");
        let token = match self {
            Self::PassThrough => {
                let purpose = request.extensions().get::<Purpose>();
                purpose.and_then(|purpose| purpose.token.clone()).ok_or_else(missing)?
            }
            Self::Iam(iam) => {
                let granted = iam.token().await?;
                // Whoever asks may not reach into another project with it (confused deputy).
                if !request.uri().path().split('/').any(|segment| segment == granted.project) {
                    let detail = "the credential of this upstream is for another project";
                    return Err(Fault::not_sent(FaultKind::OutOfScope, detail));
                }
                granted.token.clone()
            }
        };
        request.headers_mut().insert(X_AUTH_TOKEN, token.to_header().ok_or_else(missing)?);
        Ok(token)
    }

    /// Hears that the upstream refused a token.
    async fn refused(&self, token: &Token) {
        if let Self::Iam(iam) = self {
            iam.refused(token).await;
        }
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
        Authorise { inner, credential: self.0.clone() }
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
    S: Service<Outbound, Response = Inbound, Error = Fault, Future: Send> + Clone + Send + 'static,
{
    type Response = Inbound;
    type Error = Fault;
    type Future = BoxFuture<'static, Result<Inbound, Fault>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Outbound) -> Self::Future {
        let credential = self.credential.clone();
        // The one that is ready goes; its clone stays.
        let stays = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, stays);
        Box::pin(async move {
            let token = credential.apply(&mut request).await?;
            let answer = inner.call(request).await?;
            if answer.status() == StatusCode::UNAUTHORIZED {
                credential.refused(&token).await;
            }
            Ok(masked(answer, &token))
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
