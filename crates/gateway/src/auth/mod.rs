//! Authentication: all methods by which a caller can identify itself, and their order.
//!
//! Place: `middleware::caller` uses it on the API's listener and `admin` on its own. Both get a [`Caller`], whose
//! permissions the operations of the engine check. To add a method, add a file here, a member of [`Callers`] and a step
//! of [`Callers::identify`].
//!
//! A request shows one credential. `Authorization` or `X-Api-Key` comes first, valid or not. Without them the client
//! certificate of the connection counts, and then an IAM token in `X-Auth-Token`. The gateway never falls back from an
//! invalid credential to a weaker one. All rejections look the same to the caller, except that the
//! holder of a token that the issuer signed learns that it has expired. The log has the reason.

pub(crate) mod api_key;
mod certificate;
mod iam_token;
mod jwt;
mod lines;
mod provider;
pub(crate) mod same_site;
mod signed;
mod turns;
mod used;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, request};
use restore_engine::{Caller, Grant, Identity, RequestContext};
use restore_model::{Code, Problem, ProjectId};
use restore_upstream::Token;

pub(crate) use api_key::Keys;
pub use api_key::new_key;
pub(crate) use certificate::Certificates;
pub(crate) use iam_token::IamTokens;
pub(crate) use jwt::{Issuer, IssuerOptions, Source};
pub(crate) use signed::{AccessKeys, Claim, Hosts, SignedUntil};
pub(crate) use used::{Signature, UsedSignatures};

use self::signed::LIFE;

use crate::auth::lines::Lines;
use crate::server::certificate::Certificate;
use crate::telemetry::metrics::Refusals;
use crate::web::answer::Failure;
use crate::web::destination::Destination;

const X_AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// One configured caller, or kind of callers.
#[derive(Clone)]
pub(crate) struct Row {
    /// Its name in the configuration.
    pub(crate) name: Arc<str>,
    /// Its permissions from the policies.
    pub(crate) grants: Arc<[Grant]>,
}

impl Row {
    /// The caller of this name.
    fn caller(&self) -> Identity {
        self.named(Arc::clone(&self.name), None)
    }

    /// One of the callers of this name, with the subject from the provider.
    fn one_of(&self, subject: &str, scope: Option<Arc<[ProjectId]>>) -> Identity {
        self.named(format!("{}/{subject}", self.name).into(), scope)
    }

    fn named(&self, name: Arc<str>, scope: Option<Arc<[ProjectId]>>) -> Identity {
        Identity { name, grants: Arc::clone(&self.grants), repeatable: Duration::ZERO, scope }
    }
}

/// Why nobody was recognised: words of ours, for the log.
#[derive(Debug)]
pub(crate) enum Unknown {
    /// The credential is invalid.
    Refused(&'static str),
    /// A token of an issuer is valid, but its time is over. Only the holder of such a token learns it.
    Expired,
    /// This header would give the signed part of the request another meaning, and the signature does not cover it.
    Unsigned(&'static str),
    /// It cannot be found out now.
    Unavailable(String),
}

/// The sender according to the head of a request.
pub(crate) enum Sender {
    /// This caller did.
    Known(Caller),
    /// The holder of this access key, if its signature also covers the body that follows.
    Signed(Claim),
}

/// All callers of one listener.
#[derive(Default)]
pub(crate) struct Callers {
    pub(crate) keys: Keys,
    pub(crate) issuers: Vec<Arc<Issuer>>,
    pub(crate) certificates: Certificates,
    pub(crate) iam: Vec<IamTokens>,
    pub(crate) signers: AccessKeys,
    pub(crate) refusals: Option<Refusals>,
    /// Lines of the audit about requests of strangers.
    pub(crate) lines: Lines,
}

/// The one answer to everybody who is not known.
fn unauthenticated() -> Problem {
    let detail = "no credential that this listener knows came with the request; nothing was sent";
    Problem::new(Code::Unauthenticated, detail)
}

/// True if a request shows a bearer token, which decides on the challenge of a 401 (RFC 6750, 3.1).
fn has_bearer(headers: &HeaderMap) -> bool {
    let scheme = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().get(..7));
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "))
}

/// The answer to the holder of a token whose time is over.
fn expired() -> Problem {
    Problem::new(Code::Unauthenticated, "the token has expired: request a new one; nothing was sent")
}

/// The answer to a signed request that was given another meaning. It says nothing of the access key: the header is found
/// before the key is looked up.
fn unsigned(header: &str) -> Problem {
    let detail = format!(
        "the header {header} is not covered by the signature, and it would change what the request means; sign it or leave it \
         out; nothing was changed in the cloud"
    );
    Problem::new(Code::Unauthenticated, detail)
}

impl Callers {
    /// True if there are none, so that nobody is asked.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
            && self.issuers.is_empty()
            && self.certificates.is_empty()
            && self.iam.is_empty()
            && self.signers.is_empty()
    }

    /// Identifies the sender of these headers over a connection with this certificate. Removes every credential from the
    /// headers, so that nothing below can print or forward one by accident.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`], in the same words except for an unsigned header or an expired token;
    /// [`Code::IdentityUnavailable`] if a provider is unavailable. The connection closes after both.
    pub(crate) async fn identify(
        &self,
        headers: &mut HeaderMap,
        certificate: Option<&Certificate>,
        request_context: RequestContext,
    ) -> Result<Sender, Failure> {
        let has_bearer = has_bearer(headers);
        let sender = self.sender(headers, certificate, request_context).await;
        sender.map_err(|problem| Failure::from(problem).closing().challenge(has_bearer))
    }

    async fn sender(
        &self,
        headers: &mut HeaderMap,
        certificate: Option<&Certificate>,
        request_context: RequestContext,
    ) -> Result<Sender, Problem> {
        match self.signers.claimed(headers) {
            Ok(None) => {}
            Ok(Some(_)) if headers.contains_key(X_API_KEY) => {
                return Err(self.refuse(
                    "two",
                    &Unknown::Refused("both a signature and X-Api-Key"),
                    &request_context,
                ));
            }
            Ok(Some(claim)) => return Ok(Sender::Signed(claim)),
            Err(unknown) => return Err(self.refuse("aksk", &unknown, &request_context)),
        }
        let authorization = headers.remove(AUTHORIZATION);
        let key = headers.remove(X_API_KEY);
        let token = headers.remove(X_AUTH_TOKEN).as_ref().and_then(Token::from_header);
        let authorization = authorization.as_ref().map(|value| value.to_str().unwrap_or_default());
        let key = key.as_ref().map(|value| value.to_str().unwrap_or_default());
        let (way, found) = match (authorization, key) {
            (Some(_), Some(_)) => ("two", Err(Unknown::Refused("both Authorization and X-Api-Key"))),
            (None, Some(key)) => ("api-key", self.keys.identify(key)),
            (Some(authorization), None) => self.authorised(authorization, request_context.peer).await,
            (None, None) => self.unspoken(certificate, token.as_ref(), request_context.peer).await,
        };
        match found {
            Ok(identity) => Ok(Sender::Known(Caller::known(identity, token).by(request_context))),
            Err(unknown) => Err(self.refuse(way, &unknown, &request_context)),
        }
    }

    /// Verifies the signature of the whole request and returns its signer.
    ///
    /// # Errors
    /// As [`Callers::identify`].
    pub(crate) fn verify(
        &self,
        claim: &Claim,
        destination: &Destination,
        head: &mut request::Parts,
        body: &[u8],
        request_context: &RequestContext,
    ) -> Result<(Caller, SignedUntil), Problem> {
        match self.signers.verify(claim, destination, head, body) {
            Ok((caller, until)) => Ok((caller.by(request_context.clone()), until)),
            Err(unknown) => Err(self.refuse("aksk", &unknown, request_context)),
        }
    }

    /// Takes the verified signature of a request that changes something into use.
    ///
    /// # Errors
    /// As [`UsedSignatures::begin`].
    pub(crate) fn use_up(
        &self,
        used: &UsedSignatures,
        claim: &Claim,
        request_context: &RequestContext,
    ) -> Result<Signature, Problem> {
        let (access_key, signature) = claim.signature();
        used.begin(access_key, signature).inspect_err(|_| {
            self.refuse("aksk", &Unknown::Refused("a signature that was used before"), request_context);
        })
    }

    /// Identifies the caller by `Authorization`: a token of an issuer, or a key.
    async fn authorised(
        &self,
        value: &str,
        peer: Option<SocketAddr>,
    ) -> (&'static str, Result<Identity, Unknown>) {
        let (scheme, credential) = value.split_once(' ').unwrap_or((value, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return ("authorization", Err(Unknown::Refused("a scheme that no caller has")));
        }
        let credential = credential.trim();
        // A key has no dots; a token has two.
        if credential.split('.').count() != 3 || self.issuers.is_empty() {
            return ("api-key", self.keys.identify(credential));
        }
        let mut last = Unknown::Refused("no issuer's");
        for issuer in self.issuers.iter().filter(|issuer| issuer.is_named_by(credential)) {
            match issuer.identify(credential, peer).await {
                Ok(identity) => return ("jwt", Ok(identity)),
                // That one issuer cannot be asked must not hide that no other knows the token.
                Err(unknown @ Unknown::Unavailable(_)) => last = unknown,
                Err(unknown) if matches!(last, Unknown::Refused(_)) => last = unknown,
                Err(_) => {}
            }
        }
        ("jwt", Err(last))
    }

    /// Identifies a caller without a credential of its own by its certificate, or by its token for the cloud.
    async fn unspoken(
        &self,
        certificate: Option<&Certificate>,
        token: Option<&Token>,
        peer: Option<SocketAddr>,
    ) -> (&'static str, Result<Identity, Unknown>) {
        if let Some(certificate) = certificate
            && let Some(identity) = self.certificates.identify(certificate)
        {
            return ("mtls", Ok(identity));
        }
        if let (Some(token), false) = (token, self.iam.is_empty()) {
            let mut last = Unknown::Refused("no IAM's");
            for iam in &self.iam {
                match iam.identify(token, peer).await {
                    Ok(identity) => return ("iam-token", Ok(identity)),
                    // One that cannot be asked may be the one that knows it, whatever the others say.
                    Err(unknown @ Unknown::Unavailable(_)) => last = unknown,
                    Err(unknown) if matches!(last, Unknown::Refused(_)) => last = unknown,
                    Err(_) => {}
                }
            }
            return ("iam-token", Err(last));
        }
        match certificate {
            Some(_) => ("mtls", Err(Unknown::Refused("a certificate that no caller has"))),
            None => ("none", Err(Unknown::Refused("nothing was shown"))),
        }
    }

    /// An upstream has refused this token: whatever was believed of it is asked anew.
    pub(crate) fn doubt(&self, token: &Token) {
        for iam in &self.iam {
            iam.doubt(token);
        }
    }

    fn refuse(&self, way: &'static str, unknown: &Unknown, request_context: &RequestContext) -> Problem {
        if let Some(refusals) = &self.refusals {
            refusals.count(way);
        }
        let (why, problem) = match unknown {
            Unknown::Refused(why) => (*why, unauthenticated()),
            Unknown::Expired => ("expired", expired()),
            Unknown::Unsigned(header) => ("a header that must be signed is not", unsigned(header)),
            Unknown::Unavailable(why) => {
                // Strangers make as many of these as they like while a provider is slow.
                if let Some(left_out) = self.lines.allow() {
                    tracing::warn!(way, why, left_out, "authentication failed");
                }
                let detail = "the identity provider is unavailable; nothing was sent";
                return Problem::new(Code::IdentityUnavailable, detail).after(5);
            }
        };
        if let Some(left_out) = self.lines.allow() {
            tracing::info!(
                target: "restore_gateway::audit",
                {
                    caller = Option::<&str>::None,
                    way,
                    why,
                    decision = "unauthenticated",
                    left_out,
                    peer = request_context.peer.map(tracing::field::display),
                    request_id = request_context.request_id,
                    trace_id = request_context.trace_id,
                },
                "decision",
            );
        }
        problem
    }
}
