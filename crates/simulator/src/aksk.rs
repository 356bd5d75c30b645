//! Signed requests: verifies `SDK-HMAC-SHA256` as the API gateway in front of every service does, and holds the access
//! keys. Written from the public signing guide, without any code of the gateway.
//!
//! A key belongs to a user; `X-Project-Id` selects its project. Five bad signatures block a key for five minutes,
//! whichever client sent them.

use std::collections::HashMap;

use hmac::{Hmac, KeyInit, Mac};
use http::header::{AUTHORIZATION, HeaderName};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use crate::call::Call;
use crate::world::PROJECT;

/// The permanent key.
const PERMANENT: (&str, &str) = ("RGTESTACCESSKEY00001", "rgTestSecretKey/000000000000000000000001");
const SCHEME: &str = "SDK-HMAC-SHA256 ";
/// Maximum difference between `X-Sdk-Date` and the clouds' own time.
const WINDOW: SignedDuration = SignedDuration::from_mins(15);
/// Number of bad signatures that block a key, and duration of the block.
const BAD_SIGNATURES: u32 = 5;
const BLOCK: SignedDuration = SignedDuration::from_mins(5);

/// One access key.
#[derive(Debug)]
struct Key {
    secret: String,
    security_token: Option<String>,
    project: String,
    expires_at: Option<Timestamp>,
    bad_signatures: u32,
    blocked_until: Option<Timestamp>,
}

/// A temporary key with its secrets, as issued once.
#[derive(Debug)]
pub(crate) struct Temporary {
    pub(crate) access: String,
    pub(crate) secret: String,
    pub(crate) security_token: String,
}

/// Every existing key.
#[derive(Debug)]
pub(crate) struct Keys {
    keys: HashMap<String, Key>,
    issued: u32,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let permanent = Key {
            secret: PERMANENT.1.to_owned(),
            security_token: None,
            project: PROJECT.to_owned(),
            expires_at: None,
            bad_signatures: 0,
            blocked_until: None,
        };
        Self { keys: HashMap::from([(PERMANENT.0.to_owned(), permanent)]), issued: 0 }
    }

    /// Issues a temporary key: the first one is the documented one, each later one is new.
    pub(crate) fn issue(&mut self, project: &str, expires_at: Timestamp) -> Temporary {
        self.issued += 1;
        let security_token = match self.issued {
            1 => "gQpldS10ZXN0LTGIREDACTEDTOKEN==".to_owned(),
            _ => format!("gQpldS10ZXN0{}==", crate::ids::uuid().simple()),
        };
        let made = Temporary {
            access: format!("RGTESTTEMPACCESS{:04}", self.issued),
            secret: format!("rgTestTempSecret/{:025}", self.issued + 1),
            security_token,
        };
        let key = Key {
            secret: made.secret.clone(),
            security_token: Some(made.security_token.clone()),
            project: project.to_owned(),
            expires_at: Some(expires_at),
            bad_signatures: 0,
            blocked_until: None,
        };
        self.keys.insert(made.access.clone(), key);
        made
    }

    /// Returns the project of a signed request, or the reason of its rejection.
    pub(crate) fn verify(&mut self, call: &Call<'_>) -> Result<String, String> {
        let header = call.header(AUTHORIZATION.as_str()).unwrap_or_default();
        let part = |name: &str| {
            let parts = header.strip_prefix(SCHEME)?.split(", ");
            parts
                .filter_map(|part| part.split_once('='))
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value)
        };
        let (Some(access), Some(names), Some(signature)) =
            (part("Access"), part("SignedHeaders"), part("Signature"))
        else {
            return Err("Authorization format is incorrect".to_owned());
        };
        let key = self.keys.get_mut(access).filter(|key| key.expires_at.is_none_or(|end| call.now < end));
        let key = key.ok_or_else(|| format!("Get secretKey failed,ak:{access},err:ak not exist"))?;
        if key.blocked_until.is_some_and(|until| call.now < until) {
            return Err(
                "verify aksk signature fail, AK access failed to reach the limit,forbidden".to_owned()
            );
        }
        let date = call.header("x-sdk-date").unwrap_or_default();
        let signed_at = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", date)
            .and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC))
            .map_err(|_| "x-sdk-date is missing or malformed".to_owned())?;
        if call.now.duration_since(signed_at.timestamp()).abs() > WINDOW {
            let now = call.now.strftime("%Y%m%dT%H%M%SZ");
            return Err(format!(
                "verify aksk signature fail, signature expired, x-sdk-date:{date}, now:{now}"
            ));
        }
        if !names.split(';').any(|name| name == "x-sdk-date") {
            return Err("x-sdk-date is not signed".to_owned());
        }
        let fits = canonical(call, names).is_some_and(|text| {
            let hash = hex::encode(Sha256::digest(text));
            let to_sign = format!("SDK-HMAC-SHA256\n{date}\n{hash}");
            let mac = Hmac::<Sha256>::new_from_slice(key.secret.as_bytes());
            mac.is_ok_and(|mac| hex::encode(mac.chain_update(to_sign).finalize().into_bytes()) == signature)
        });
        // The token of a temporary key belongs to this key only.
        let token = call.header("x-security-token").map(str::to_owned);
        if !fits || token != key.security_token {
            key.bad_signatures += 1;
            if key.bad_signatures >= BAD_SIGNATURES {
                key.bad_signatures = 0;
                key.blocked_until = call.now.checked_add(BLOCK).ok();
            }
            return Err("verify aksk signature fail".to_owned());
        }
        key.bad_signatures = 0;
        match call.header("x-project-id") {
            Some(project) if project != key.project => Err("the key has no such project".to_owned()),
            _ => Ok(key.project.clone()),
        }
    }
}

/// Returns the text that is hashed and signed; `None` if this request has no such text.
fn canonical(call: &Call<'_>, names: &str) -> Option<String> {
    let target = call.target;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let segments: Option<Vec<String>> =
        path.split('/').map(|segment| Some(escape(&unescape(segment)?))).collect();
    let mut path = segments?.join("/");
    if !path.ends_with('/') {
        path.push('/');
    }
    let mut pairs = Vec::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        pairs.push((unescape(&name.replace('+', " "))?, unescape(&value.replace('+', " "))?));
    }
    pairs.sort();
    let query: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
    let mut lines = String::new();
    for name in names.split(';') {
        let mut values = call.headers.get_all(HeaderName::try_from(name).ok()?).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        lines.push_str(&format!("{name}:{}\n", value.to_str().ok()?.trim()));
    }
    let hash = match call.header("x-sdk-content-sha256") {
        Some(hash) => hash.to_owned(),
        None => hex::encode(Sha256::digest(call.body)),
    };
    Some([call.method.as_str(), &path, &query.join("&"), &lines, names, &hash].join("\n"))
}

fn escape(bytes: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    bytes
        .iter()
        .map(|byte| if plain(byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Decodes escapes; an invalid one returns `None`.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = (part.get(..2)?, part.get(2..)?);
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    Some(bytes)
}
