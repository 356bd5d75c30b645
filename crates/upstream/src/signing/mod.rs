//! Requests signed with an access key (AK/SK), `SDK-HMAC-SHA256`, in both variants that exist: variant A, the official
//! one, with which this gateway signs its own calls, and variant B, which one SDK uses (cloud APIs 5.4 and 5.5).
//! [`sign`] makes a signature, [`Signed`] verifies the signature of a caller.
//!
//! Both use [`canonical_request`], which is total: it takes any bytes and never panics.
//!
//! Neither made nor accepted: `SDK-HMAC-SM3`, `V11-HMAC-SHA256`, and signatures without the body (`UNSIGNED-PAYLOAD`),
//! because the body decides what a restore overwrites.

mod canonical;
mod verify;

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use restore_model::Timestamp;
use sha2::{Digest, Sha256};

pub use canonical::{canonical_request, signed_query};
pub use verify::{SignatureError, Signed};

/// First word of every signature and of every string to sign.
const ALGORITHM: &str = "SDK-HMAC-SHA256";
/// Where the moment of signing stands.
pub(crate) const X_SDK_DATE: &str = "x-sdk-date";
/// How far a clock may be off, in seconds, either way: verifiers refuse beyond it (cloud APIs 5.4).
pub const WINDOW_SECONDS: i64 = 15 * 60;

/// How the string to sign and its key are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceApi {
    /// `Access=`: the secret key itself.
    A,
    /// `Credential=`: a key derived for a day, a region and a service.
    B {
        /// `20261122`.
        day: String,
        /// Often empty.
        region: String,
        /// Often empty.
        service: String,
    },
}

/// The moment of signing as `X-Sdk-Date` has it: UTC, no fraction.
#[must_use]
pub fn sdk_date(at: Timestamp) -> String {
    at.to_jiff().strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// The moment that an `X-Sdk-Date` names.
#[must_use]
pub fn read_sdk_date(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes[at].is_ascii_digit();
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' || !(0..8).chain(9..15).all(digit) {
        return None;
    }
    let time = jiff::fmt::strtime::parse("%Y%m%dT%H%M%SZ", text).ok()?.to_datetime().ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().into())
}

/// The value of `Authorization` for a request in source API A. `signed` are the names of the headers that are signed,
/// in lower case; `X-Sdk-Date` and `Host` must be among them and in `headers`. `body` is what is sent, byte for byte.
///
/// `None` when a signed header is absent or there is no date.
#[must_use]
pub fn sign(
    (access_key, secret_key): (&str, &str),
    (method, target): (&str, &str),
    headers: &HeaderMap,
    signed: &[&str],
    body: &[u8],
) -> Option<String> {
    let mut names = signed.to_vec();
    names.sort_unstable();
    names.dedup();
    let pick = |name| Some((name, headers.get(name)?.as_bytes()));
    let headers_to_sign = names.iter().copied().map(pick).collect::<Option<Vec<_>>>()?;
    let date = headers.get(X_SDK_DATE)?.to_str().ok()?;
    let request = canonical_request(method, target, &headers_to_sign, &payload_hash(body));
    let signature = mac(&SourceApi::A, secret_key, date, &request).finalize().into_bytes();
    let names = names.join(";");
    let signature = hex::encode(signature);
    Some(format!("{ALGORITHM} Access={access_key}, SignedHeaders={names}, Signature={signature}"))
}

/// The hash that stands for a body.
fn payload_hash(body: &[u8]) -> String {
    hex::encode(Sha256::digest(body))
}

/// The signature of a canonical request, before it is taken out or compared.
fn mac(source_api: &SourceApi, secret_key: &str, date: &str, canonical: &[u8]) -> Hmac<Sha256> {
    let hash = hex::encode(Sha256::digest(canonical));
    match source_api {
        SourceApi::A => keyed(secret_key.as_bytes(), &[ALGORITHM, "\n", date, "\n", &hash]),
        SourceApi::B { day, region, service } => {
            let scope = format!("{day}/{region}/{service}/sdk_request");
            let mut key = secrecy::zeroize::Zeroizing::new(format!("SDK{secret_key}").into_bytes());
            for part in [day, region, service, "sdk_request"] {
                let next = keyed(&key, &[part]).finalize().into_bytes();
                *key = next.to_vec();
            }
            keyed(&key, &[ALGORITHM, "\n", date, "\n", &scope, "\n", &hash])
        }
    }
}

fn keyed(key: &[u8], text: &[&str]) -> Hmac<Sha256> {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        unreachable!("HMAC takes a key of any length")
    };
    for part in text {
        mac.update(part.as_bytes());
    }
    mac
}

#[cfg(test)]
mod vectors;
