//! Well-formed requests only: one framing, one address, no header name with an underscore (a proxy may have changed it
//! into another), and no second value of a header that must have one meaning (S9, S12, S52). Otherwise two readers of
//! one request could disagree.

use http::{HeaderMap, Request, Version, header};
use restore_model::{Code, Problem};

use super::stages::Traced;
use super::{Future, Inner, Middleware, Result};
use crate::auth::same_site::SameSite;
use crate::server::arrival::Arrival;
use crate::server::listener::TOO_MANY_HEADERS;
use crate::web::answer::Failure;

/// Headers of which a second one would be a contradiction.
const SINGLE: [&str; 9] = [
    "x-api-key",
    "x-auth-token",
    "authorization",
    "x-security-token",
    "x-sdk-date",
    "idempotency-key",
    "content-type",
    "content-encoding",
    "traceparent",
];

/// Refuses a head that is not well-formed, or that another site has sent; both listeners ask this first.
pub(crate) fn check<B>(
    request: &Request<B>,
    arrival: &Arrival,
    same_site: &SameSite,
) -> std::result::Result<(), Failure> {
    let malformed = |why: &str| Failure::from(Problem::new(Code::MalformedRequest, why)).closing();
    arrival.framing.verdict.map_err(|why| {
        let failure = malformed(why);
        if why == TOO_MANY_HEADERS { failure.at_limit("max_header_bytes") } else { failure }
    })?;
    arrival.destination.verdict().map_err(malformed)?;
    headers(request.headers(), request.version()).map_err(malformed)?;
    if request.uri().query().is_some_and(names_credential) {
        return Err(malformed(IN_QUERY));
    }
    let from_here = same_site.check(request.headers(), &arrival.destination);
    from_here.map_err(|problem| Failure::from(problem).closing())
}

/// Error text for a credential in the query.
const IN_QUERY: &str =
    "a credential in the query is refused: send it in a header, and change it, for it was seen";

/// Names of credentials, in lower case and without separators.
const CREDENTIALS: [&str; 10] = [
    "apikey",
    "accesskey",
    "accesstoken",
    "authorization",
    "authtoken",
    "password",
    "secretkey",
    "token",
    "xapikey",
    "xauthtoken",
];

/// The layer.
#[derive(Clone)]
pub(crate) struct WellFormedLayer(pub(crate) SameSite);

impl Middleware<Traced> for WellFormedLayer {
    type Passed = Traced;

    fn call<S: Inner<Traced>>(&self, inner: &mut S, request: Request<Traced>) -> Future {
        if let Err(failure) = check(&request, &request.body().arrival, &self.0) {
            return Box::pin(std::future::ready(Result::Err(failure)));
        }
        inner.call(request)
    }
}

/// True if a query names what looks like a credential. Queries are written down by proxies, browsers
/// and logs on the way, so one that came that way must never begin to work (S24).
fn names_credential(query: &str) -> bool {
    form_urlencoded::parse(query.as_bytes()).any(|(name, _)| {
        let name = name.to_ascii_lowercase().replace(['-', '_'], "");
        CREDENTIALS.contains(&name.as_str())
    })
}

/// Checks these headers.
fn headers(headers: &HeaderMap, version: Version) -> std::result::Result<(), &'static str> {
    if headers.keys().any(|name| name.as_str().contains('_')) {
        return Err("a header name has an underscore");
    }
    if SINGLE.iter().any(|name| headers.get_all(*name).iter().nth(1).is_some()) {
        return Err("a header that must have one meaning is there twice");
    }
    if version == Version::HTTP_10 && headers.contains_key(header::TRANSFER_ENCODING) {
        return Err("HTTP/1.0 has no Transfer-Encoding");
    }
    Ok(())
}
