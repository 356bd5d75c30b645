//! Verifies the signature of a caller: strict parsing, comparison in constant time.

use hmac::Mac;
use http::{HeaderMap, Method, header};
use restore_model::Timestamp;

use super::{
    ALGORITHM, SourceApi, WINDOW_SECONDS, X_SDK_DATE, canonical_request, mac, payload_hash, read_sdk_date,
};

/// In it a signer may name the hash of the body itself.
const X_SDK_CONTENT: &str = "x-sdk-content-sha256";
/// More headers than these nobody signs.
const MOST_NAMES: usize = 64;

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// It is not written as a signature is; the text says what is wrong and repeats nothing of it.
    #[error("the signature is malformed: {0}")]
    Malformed(&'static str),
    /// It does not cover what it must; the text says what.
    #[error("the signature does not count: {0}")]
    Incomplete(&'static str),
    /// It was made too long ago, or is from the future: so many seconds before our time.
    #[error("the request was signed {0} s before our time, and 900 s either way are allowed")]
    Clock(i64),
    /// It was made with another key, or of another request.
    #[error("the signature does not match")]
    Mismatch,
}

use SignatureError::{Clock, Incomplete, Malformed, Mismatch};

/// A signature as a request presents it: read, and not yet believed.
#[derive(Clone)]
pub struct Signed {
    access_key: String,
    source_api: SourceApi,
    names: Vec<String>,
    signature: [u8; 32],
}

impl std::fmt::Debug for Signed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signed").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Signed {
    /// Reads `Authorization`; `None` when there is none, or one of another kind.
    ///
    /// # Errors
    /// When it is a signature and not written as cloud APIs 5.4 or 5.5 have it, or there are several.
    pub fn parse(headers: &HeaderMap) -> Result<Option<Self>, SignatureError> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Ok(None) };
        let scheme = value.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
        let is_ours = scheme == ALGORITHM.as_bytes();
        if values.next().is_some() {
            let other = |value: &http::HeaderValue| value.as_bytes().starts_with(ALGORITHM.as_bytes());
            let any = is_ours || headers.get_all(header::AUTHORIZATION).iter().any(other);
            return if any { Err(Malformed("there are several Authorization headers")) } else { Ok(None) };
        }
        if !is_ours {
            return Ok(None);
        }
        let text = value.to_str().map_err(|_| Malformed("it is not ASCII"))?;
        let parts: Vec<&str> = text[ALGORITHM.len()..].trim_start().split(',').map(str::trim).collect();
        let [credential, names, signature] = parts[..] else {
            return Err(Malformed("it has not three parts"));
        };
        let (access_key, source_api) = credential_of(credential)?;
        let names = names_of(names.strip_prefix("SignedHeaders=").ok_or(Malformed("no SignedHeaders"))?)?;
        let hexadecimal = signature.strip_prefix("Signature=").ok_or(Malformed("no Signature"))?;
        let mut signature = [0; 32];
        hex::decode_to_slice(hexadecimal, &mut signature)
            .map_err(|_| Malformed("the Signature has not 64 hexadecimal digits"))?;
        Ok(Some(Self { access_key, source_api, names, signature }))
    }

    /// Whose key it is said to be.
    #[must_use]
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// The signature, decoded: two spellings of one signature have the same bytes.
    #[must_use]
    pub const fn signature(&self) -> &[u8; 32] {
        &self.signature
    }

    /// In which source API it is written.
    #[must_use]
    pub const fn source_api(&self) -> &SourceApi {
        &self.source_api
    }

    /// The names of the headers that are signed, in lower case and in order. What another header says, `X-Project-Id`
    /// too, is not covered by the signature.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// True if a header is covered by the signature.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        self.names.iter().any(|signed| signed == name)
    }

    /// Believes it, if it was made with this key, now, of this very request. `target` is path and query as received;
    /// `headers` as received, with `Host` (of HTTP/2: put there from `:authority`); `body` is all of it.
    ///
    /// The moment at which its window ends.
    ///
    /// # Errors
    /// Why it does not count. The comparison takes the same time whatever differs.
    pub fn verify(
        &self,
        secret_key: &str,
        (method, target): (&Method, &str),
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Timestamp, SignatureError> {
        for needed in ["host", X_SDK_DATE] {
            if !self.covers(needed) {
                return Err(Incomplete("Host and X-Sdk-Date must be signed"));
            }
        }
        let mut signed = Vec::with_capacity(self.names.len());
        for name in &self.names {
            signed.push((name.as_str(), only(headers, name)?.as_bytes()));
        }
        let date = only(headers, X_SDK_DATE)?.to_str().unwrap_or_default().trim();
        let at = read_sdk_date(date).ok_or(Malformed("X-Sdk-Date is not YYYYMMDDTHHMMSSZ"))?;
        if let SourceApi::B { day, .. } = &self.source_api
            && !date.starts_with(day.as_str())
        {
            return Err(Malformed("the day of the Credential is not that of X-Sdk-Date"));
        }
        let age = now.micros_since(at);
        if age.abs() > WINDOW_SECONDS * 1_000_000 {
            return Err(Clock(age / 1_000_000));
        }
        let hash = payload_hash(body);
        if headers.contains_key(X_SDK_CONTENT) && only(headers, X_SDK_CONTENT)?.as_bytes() != hash.as_bytes()
        {
            return Err(Incomplete("X-Sdk-Content-Sha256 is not the hash of the body"));
        }
        let canonical = canonical_request(method.as_str(), target, &signed, &hash);
        mac(&self.source_api, secret_key, date, &canonical)
            .verify_slice(&self.signature)
            .map_err(|_| Mismatch)?;
        Ok(at.plus_seconds(WINDOW_SECONDS))
    }
}

/// The one value of a header that is signed: of two it would not be clear which.
fn only<'h>(headers: &'h HeaderMap, name: &str) -> Result<&'h http::HeaderValue, SignatureError> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or(Incomplete("a header that is signed is absent"))?;
    if values.next().is_some() {
        return Err(Incomplete("a header that is signed is repeated"));
    }
    Ok(value)
}

fn credential_of(text: &str) -> Result<(String, SourceApi), SignatureError> {
    let key = |key: &str| {
        let legal = (1..=128).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
        if legal { Ok(key.to_owned()) } else { Err(Malformed("the access key is not legible")) }
    };
    if let Some(access_key) = text.strip_prefix("Access=") {
        return Ok((key(access_key)?, SourceApi::A));
    }
    let scoped = text.strip_prefix("Credential=").ok_or(Malformed("neither Access nor Credential"))?;
    let parts: Vec<&str> = scoped.rsplitn(5, '/').collect();
    let ["sdk_request", service, region, day, access_key] = parts[..] else {
        return Err(Malformed("the Credential has no scope"));
    };
    if day.len() != 8 || !day.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Malformed("the scope has no day"));
    }
    let source_api =
        SourceApi::B { day: day.to_owned(), region: region.to_owned(), service: service.to_owned() };
    Ok((key(access_key)?, source_api))
}

fn names_of(text: &str) -> Result<Vec<String>, SignatureError> {
    let legal = |name: &&str| {
        // Gateways discard names with `_`: one could stand for another behind them.
        let byte = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !name.is_empty() && name.bytes().all(byte)
    };
    let names: Vec<&str> = text.split(';').collect();
    if names.len() > MOST_NAMES || !names.iter().all(legal) {
        return Err(Malformed("the names of SignedHeaders are not lower-case names"));
    }
    if !names.is_sorted_by(|one, next| one < next) {
        return Err(Malformed("the names of SignedHeaders are not in order"));
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}
