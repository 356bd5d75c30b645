//! Requests signed with an access key (SDK-HMAC-SHA256, cloud APIs 5.4 and 5.5), as SDKs of the clouds send them. A
//! signature covers the body, so the check has two steps: the head names the key, and the signature is verified after
//! the body was read.
//!
//! A signature is valid for 15 minutes before and after its date, for anyone who repeats it. Three rules make it
//! restore once: this process remembers used signatures and their results ([`super::used`]); an equal request of the
//! caller is the same request for at least as long as a signature is valid; and a header that would make a repetition a
//! new request must be signed as well.
//!
//! Unsigned data does not change the meaning of the rest (S56). A request with an unsigned header that steers the
//! gateway is rejected. After the verification the handlers see the signed query, the signed headers and [`PLAIN`]. A
//! stream of events ends with the window of the signature ([`SignedUntil`]).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION};
use http::uri::PathAndQuery;
use http::{HeaderMap, Uri, request};
use restore_engine::{Caller, Identity};
use restore_model::{Clock, ProjectId};
use restore_upstream::signing::{SignatureError, Signed, WINDOW_SECONDS, signed_query};
use restore_upstream::{AccessKey, SecretCell};
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::{Row, Unknown, X_AUTH_TOKEN};
use crate::web::destination::Destination;
use restore_config::Host;

/// Compared with in the place of the secret of an access key that nobody has, so that the answer takes as long.
const DECOY: &str = "0000000000000000000000000000000000000000";

/// Headers that steer the gateway, by what this gateway reads of them or by what HTTP says that they mean. `Accept` is among
/// them where it asks for a stream; any other one means JSON, as none does, and every HTTP library sends some.
const STEERING: [&str; 10] = [
    "accept",
    "idempotency-key",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-event-id",
    "prefer",
    "range",
];

/// Headers that handlers see without a signature. None changes what is done: length and kind of a body have one legal value,
/// the id of the request is the gateway's, and the rest is for traces and logs.
const PLAIN: [&str; 6] =
    ["content-length", "content-type", "traceparent", "tracestate", "user-agent", "x-request-id"];

/// The header that would give these another meaning and that this signature does not cover.
fn steered(signed: &Signed, headers: &HeaderMap) -> Option<&'static str> {
    let steers = |name: &&str| {
        headers.contains_key(*name)
            && !signed.covers(name)
            && (*name != ACCEPT.as_str() || crate::web::answer::wants_events(headers))
    };
    STEERING.into_iter().find(steers)
}

/// When the window of a request's signature ends.
#[derive(Clone, Copy)]
pub(crate) struct SignedUntil(pub(crate) Instant);

/// The access keys of one listener.
#[derive(Default)]
pub(crate) struct AccessKeys {
    holders: Vec<Holder>,
    hosts: Option<Hosts>,
}

/// The hosts that a signature may be for: what was signed for another host is not for this gateway.
pub(crate) struct Hosts {
    /// Of the gateway and of its compatibility endpoints, in lower case.
    pub(crate) names: Vec<String>,
    /// The addresses that the API and its compatibility endpoints listen on.
    pub(crate) addresses: Vec<IpAddr>,
}

impl Hosts {
    fn include(&self, host: &Host) -> bool {
        if self.names.iter().any(|name| host.is(name)) {
            return true;
        }
        self.addresses.iter().any(|own| match host {
            Host::Name(_) => own.is_loopback() && host.is_loopback(),
            Host::Address(named) => {
                named == own || own.is_unspecified() || (own.is_loopback() && named.is_loopback())
            }
        })
    }
}

struct Holder {
    key: SecretCell<AccessKey>,
    projects: Option<Arc<[ProjectId]>>,
    row: Row,
    clock: Arc<dyn Clock>,
}

/// For how long a signature is good at most: from the beginning of its window to the end.
pub(super) const LIFE: Duration = Duration::from_secs(2 * WINDOW_SECONDS.unsigned_abs() + 60);

/// Whose signature a request is said to have.
#[derive(Clone)]
pub(crate) struct Claim(Arc<Signed>);

impl Claim {
    /// The access key, and the signature itself, however both were written.
    pub(super) fn signature(&self) -> (&str, [u8; 32]) {
        (self.0.access_key(), *self.0.signature())
    }
}

impl AccessKeys {
    /// Keys that count on requests to these hosts alone.
    pub(crate) const fn of(hosts: Option<Hosts>) -> Self {
        Self { holders: Vec::new(), hosts }
    }

    /// Takes in a key. Empty `projects` is whatever the policies allow.
    pub(crate) fn add(
        &mut self,
        key: SecretCell<AccessKey>,
        projects: Vec<ProjectId>,
        row: Row,
        clock: Arc<dyn Clock>,
    ) {
        let projects = (!projects.is_empty()).then(|| projects.into());
        self.holders.push(Holder { key, projects, row, clock });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }

    /// The current holder of this access key, and the key.
    fn holder(&self, access_key: &str) -> Result<(&Holder, Arc<AccessKey>), Unknown> {
        let mut holders = self.holders.iter().map(|holder| (holder, holder.key.current()));
        let found = holders.find(|(_, key)| key.access_key.expose_secret() == access_key);
        found.ok_or(Unknown::Refused("an access key that nobody has"))
    }

    /// Whose key a request is said to be signed with; none where it is not signed.
    pub(crate) fn claimed(&self, headers: &HeaderMap) -> Result<Option<Claim>, Unknown> {
        if self.is_empty() {
            return Ok(None);
        }
        let signed = Signed::parse(headers).map_err(|error| Unknown::Refused(reason(error)))?;
        let Some(signed) = signed else { return Ok(None) };
        // Whether the key is known shows in nothing, the time of the answer included: an unknown one is refused where a
        // known one with a wrong signature is.
        if let Some(header) = steered(&signed, headers) {
            return Err(Unknown::Unsigned(header));
        }
        Ok(Some(Claim(Arc::new(signed))))
    }

    /// Who signed, if the signature counts. Leaves of the head what the signature covers, without the credentials: a
    /// signed request is identified by its signature only.
    pub(crate) fn verify(
        &self,
        claim: &Claim,
        destination: &Destination,
        head: &mut request::Parts,
        body: &[u8],
    ) -> Result<(Caller, SignedUntil), Unknown> {
        let signed = &claim.0;
        let known = self.holder(signed.access_key());
        if destination.is_path_ambiguous() {
            return Err(Unknown::Refused("a signed path with an escaped slash"));
        }
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let headers = destination.as_signed(&head.headers);
        let (secret, clock) = match &known {
            Ok((holder, key)) => (key.secret_key.expose_secret(), Some(&holder.clock)),
            Err(_) => (DECOY, self.holders.first().map(|holder| &holder.clock)),
        };
        let now = clock.ok_or(Unknown::Refused("no access key"))?.now();
        let verified = signed.verify(secret, (&head.method, target), &headers, body, now);
        let (holder, _) = known?;
        let end = verified.map_err(|error| Unknown::Refused(reason(error)))?;
        // The signature covers the host, so this is the one that the signer meant.
        let Some(host) = destination.host() else { return Err(Unknown::Refused("signed for no host")) };
        if self.hosts.as_ref().is_some_and(|hosts| !hosts.include(host)) || destination.is_elsewhere() {
            return Err(Unknown::Refused("signed for another host or listener"));
        }
        keep_signed(head, signed)?;
        let rest = u64::try_from(end.micros_since(now)).unwrap_or_default();
        let until = SignedUntil(Instant::now() + Duration::from_micros(rest));
        let identity = Identity { scope: holder.projects.clone(), repeatable: LIFE, ..holder.row.caller() };
        Ok((Caller::known(identity, None), until))
    }
}

/// Takes out of a head what its signature does not cover, and the credentials.
fn keep_signed(head: &mut request::Parts, signed: &Signed) -> Result<(), Unknown> {
    let is_kept = |name: &str| signed.covers(name) || PLAIN.contains(&name);
    let others: Vec<_> = head.headers.keys().filter(|name| !is_kept(name.as_str())).cloned().collect();
    for name in others.into_iter().chain([AUTHORIZATION, X_AUTH_TOKEN]) {
        head.headers.remove(name);
    }
    // The path is routed by already. The signature covers it as it is decoded, and an escape in it finds no route.
    if let Some(query) = head.uri.query() {
        let target = format!("{}?{}", head.uri.path(), signed_query(query));
        let target: PathAndQuery =
            target.parse().map_err(|_| Unknown::Refused("a signed query that is too long"))?;
        head.uri = Uri::from(target);
    }
    Ok(())
}

fn reason(error: SignatureError) -> &'static str {
    match error {
        SignatureError::Malformed(why) | SignatureError::Incomplete(why) => why,
        SignatureError::Clock(_) => "signed at another time: the clocks differ, or it is a repetition",
        _ => "a signature that is not right",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::destination::Authority;

    #[test]
    fn a_listener_is_called_by_its_names_and_its_address() {
        let of = |address: &str, host: &str| {
            let names = vec!["gateway.internal".to_owned(), "vbs.internal".to_owned()];
            let hosts = Hosts { names, addresses: vec![address.parse().unwrap()] };
            hosts.include(&Authority::parse(host).unwrap().host)
        };
        for (address, host) in [
            ("10.0.0.7", "gateway.internal"),
            ("10.0.0.7", "Gateway.Internal:8080"),
            ("10.0.0.7", "VBS.internal.:8080"),
            ("10.0.0.7", "10.0.0.7:8080"),
            ("127.0.0.1", "localhost:8080"),
            ("127.0.0.1", "[::1]:8080"),
            ("0.0.0.0", "10.0.0.7"),
        ] {
            assert!(of(address, host), "{host} at {address}");
        }
        for (address, host) in [
            ("10.0.0.7", "gateway.internal.evil"),
            ("10.0.0.7", "other.internal"),
            ("10.0.0.7", "10.0.0.8"),
            ("10.0.0.7", "localhost"),
            ("0.0.0.0", "localhost"),
        ] {
            assert!(!of(address, host), "{host} at {address}");
        }
    }
}
