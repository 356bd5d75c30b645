//! Credentials: adds them to each attempt, and removes them from the response. It is the innermost layer, so that no
//! attempt uses a credential that an earlier attempt found to be invalid.
//!
//! The credential is the caller's token, a token of the gateway, or a signature with a key of the gateway. Another kind
//! is another variant of [`Credential`].

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use restore_generations::Generation;

use super::translate::reply;
use super::{Future, Inner, Middleware, Purpose};
use crate::fault::{Fault, FaultKind};
use crate::iam::Iam;
use crate::keys::{Keys, Signature, Verdict};
use crate::stack::{UpstreamRequest, UpstreamResponse};
use crate::token::Token;

const X_AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// With what an upstream is called.
#[derive(Clone, Debug)]
pub enum Credential {
    /// The caller's own `X-Auth-Token`.
    PassThrough,
    /// A token of the gateway's own, for one project.
    Iam(Arc<Iam>),
    /// A key of the gateway's own, for one project: calls are signed.
    Keys(Arc<Keys>),
}

/// The credential of an attempt.
enum Shown {
    Token(Token),
    Signature(Signature),
}

impl Shown {
    fn secrets(&self) -> &[Token] {
        match self {
            Self::Token(token) => std::slice::from_ref(token),
            Self::Signature(signature) => &signature.secrets,
        }
    }
}

impl Credential {
    /// True if both are one: what either learns the other knows.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::PassThrough, Self::PassThrough) => true,
            (Self::Iam(one), Self::Iam(other)) => Arc::ptr_eq(one, other),
            (Self::Keys(one), Self::Keys(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// The headers that it adds, in the order of a request.
    pub(crate) const fn headers(&self) -> &'static [&'static str] {
        match self {
            Self::PassThrough | Self::Iam(_) => &["x-auth-token"],
            Self::Keys(_) => &["x-sdk-date", "x-project-id", "authorization"],
        }
    }

    /// True if a call that was refused with 401 may be made once more: with a token that was fetched since, and never
    /// with the same key.
    pub(crate) const fn renews(&self) -> bool {
        matches!(self, Self::Iam(_))
    }

    async fn apply(&self, request: &mut UpstreamRequest) -> Result<Shown, Fault> {
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
                if !is_of(request, &granted.project) {
                    let detail = "the credential of this upstream is for another project";
                    return Err(Fault::not_sent(FaultKind::OutOfScope, detail));
                }
                granted.token.clone()
            }
            Self::Keys(keys) => return keys.sign(request).await.map(Shown::Signature),
        };
        request.headers_mut().insert(X_AUTH_TOKEN, token.to_header().ok_or_else(missing)?);
        Ok(Shown::Token(token))
    }

    /// Hears what the upstream said.
    async fn observe(&self, shown: &Shown, answer: &UpstreamResponse, generation: &dyn Generation) {
        let unauthorized = answer.status() == StatusCode::UNAUTHORIZED;
        match (self, shown) {
            (Self::Iam(iam), Shown::Token(token)) if unauthorized => iam.refused(token).await,
            (Self::Keys(keys), Shown::Signature(signature)) => {
                let reply = reply(answer.clone());
                // The time that a signature was judged by is that of the refusal itself, where it names one.
                let refused = generation.signature_refusal(&reply);
                let date = refused.and_then(|refusal| refusal.upstream_time).or(reply.date);
                let verdict = match answer.status() {
                    _ if generation.refuses_credential(&reply) => Verdict::Refused,
                    status if status.is_server_error() => Verdict::Unclear,
                    _ => Verdict::Accepted,
                };
                keys.observe(signature, date, verdict);
            }
            _ => {}
        }
    }
}

/// True if the path of a call is of this project: in its own place, and not anywhere, for an id of a
/// caller's may look like a project.
pub(crate) fn is_of(request: &UpstreamRequest, project: &str) -> bool {
    request.extensions().get::<Purpose>().is_some_and(|purpose| purpose.project == project)
}

/// The layer.
#[derive(Clone)]
pub(crate) struct AuthoriseLayer(Credential, &'static dyn Generation);

impl AuthoriseLayer {
    /// Authorises with this credential; the generation tells what a refusal of it looks like.
    pub(crate) const fn new(credential: Credential, generation: &'static dyn Generation) -> Self {
        Self(credential, generation)
    }
}

impl Middleware for AuthoriseLayer {
    fn call<S: Inner>(&self, inner: &mut S, mut request: UpstreamRequest) -> Future {
        let credential = self.0.clone();
        let generation = self.1;
        // The one that is ready goes; its clone stays.
        let stays = inner.clone();
        let mut inner = std::mem::replace(inner, stays);
        Box::pin(async move {
            let shown = credential.apply(&mut request).await?;
            let answer = inner.call(request).await?;
            credential.observe(&shown, &answer, generation).await;
            Ok(shown.secrets().iter().fold(answer, masked))
        })
    }
}

/// An upstream that repeats a secret in an error must not get it into the ledger or a log.
fn masked(response: UpstreamResponse, token: &Token) -> UpstreamResponse {
    let (mut head, body) = response.into_parts();
    for value in head.headers.values_mut() {
        if let Some(clean) = token.masked(value.as_bytes()) {
            *value = HeaderValue::from_bytes(&clean).unwrap_or(HeaderValue::from_static("[redacted]"));
        }
    }
    let body = token.masked(&body).map_or(body, Bytes::from);
    UpstreamResponse::from_parts(head, body)
}
