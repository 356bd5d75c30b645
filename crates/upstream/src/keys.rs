//! Access keys of the gateway's own (AK/SK): calls are signed instead of carrying a token.
//!
//! A signature that is refused is never made again at once: five of them block a key for five minutes, and then for
//! everybody who has it (wire reference 5.4).

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, header};
use restore_model::{Code, Problem, ProjectId, Timestamp};
use secrecy::{ExposeSecret, SecretString};

use crate::fault::{Fault, FaultKind};
use crate::signing::{X_SDK_DATE, sdk_date, sign};
use crate::stack::Outbound;
use crate::{SecretCell, Token};

const X_PROJECT_ID: HeaderName = HeaderName::from_static("x-project-id");
const X_SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-security-token");
const X_SDK_DATE_NAME: HeaderName = HeaderName::from_static(X_SDK_DATE);
/// After a signature was refused nothing is signed with the same key for so long: at most four are refused within the
/// five minutes that a block lasts.
const PAUSE: Duration = Duration::from_secs(90);

/// A key, permanent or temporary. It is wiped when nobody uses it any more.
pub struct AccessKey {
    /// The access key.
    pub access_key: SecretString,
    /// The secret key.
    pub secret_key: SecretString,
    /// What comes with a temporary key.
    pub security_token: Option<SecretString>,
}

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AccessKey([redacted])")
    }
}

/// A key for one project. The parts of a key are rotated together, so that no signature mixes an old and a new one.
pub struct Keys {
    name: String,
    project: ProjectId,
    key: SecretCell<AccessKey>,
    /// When a signature was refused last, and of which version of the key.
    refused: Mutex<Option<(Instant, u64)>>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a signature was made of.
pub(crate) struct Signature {
    /// What an echo must not show: whoever has the signature can send the same request again.
    pub(crate) secrets: Vec<Token>,
    /// The version of the key.
    pub(crate) version: u64,
}

impl Keys {
    /// A key under the name of the settings, for a project.
    #[must_use]
    pub fn new(name: &str, project: ProjectId, key: SecretCell<AccessKey>) -> Self {
        Self { name: name.to_owned(), project, key, refused: Mutex::default() }
    }

    /// Signs a request as of `now`, which is the upstream's time.
    pub(crate) fn sign(&self, request: &mut Outbound, now: Timestamp) -> Result<Signature, Fault> {
        let (version, key) = self.key.versioned();
        self.check_pause(version)?;
        if !request.uri().path().split('/').any(|segment| segment == self.project.as_str()) {
            let detail = "the credential of this upstream is for another project";
            return Err(Fault::not_sent(FaultKind::OutOfScope, detail));
        }
        let illegible = || self.failed("a part of the key cannot stand in a header", None);
        let host = host(request.uri()).and_then(|host| HeaderValue::from_str(&host).ok());
        let target = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        let (method, body) = (request.method().clone(), request.body().bytes());
        let headers = request.headers_mut();
        headers.insert(header::HOST, host.ok_or_else(illegible)?);
        let plain = |text: &str| HeaderValue::from_str(text).map_err(|_| illegible());
        headers.insert(X_SDK_DATE_NAME, plain(&sdk_date(now))?);
        headers.insert(X_PROJECT_ID, plain(self.project.as_str())?);
        let mut secrets = vec![hidden(key.access_key.expose_secret())];
        if let Some(token) = &key.security_token {
            let token = hidden(token.expose_secret());
            headers
                .insert(X_SECURITY_TOKEN, token.as_ref().and_then(Token::to_header).ok_or_else(illegible)?);
            secrets.push(token);
        }
        let signed = ["content-type", "host", "x-project-id", X_SDK_DATE, "x-security-token"];
        let signed: Vec<&str> = signed.into_iter().filter(|name| headers.contains_key(*name)).collect();
        let pair = (key.access_key.expose_secret(), key.secret_key.expose_secret());
        let value = sign(pair, (method.as_str(), &target), headers, &signed, &body).ok_or_else(illegible)?;
        secrets.push(value.rsplit('=').next().and_then(hidden));
        let mut value = HeaderValue::from_str(&value).map_err(|_| illegible())?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
        Ok(Signature { secrets: secrets.into_iter().flatten().collect(), version })
    }

    /// The upstream refused a signature that was made at the right time.
    pub(crate) fn refused(&self, version: u64) {
        tracing::warn!(credential = self.name, "the upstream refused a signature");
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), version));
    }

    fn check_pause(&self, version: u64) -> Result<(), Fault> {
        let refused = *self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((at, _)) = refused.filter(|(at, of)| *of == version && at.elapsed() < PAUSE) else {
            return Ok(());
        };
        let left = PAUSE.saturating_sub(at.elapsed()).as_secs() + 1;
        let why = format!(
            "the upstream refused a signature made with it, and five of them block the key; it is not used for {left} s, \
             or until it is rotated"
        );
        Err(self.failed(&why, u32::try_from(left).ok()))
    }

    fn failed(&self, why: &str, after: Option<u32>) -> Fault {
        let problem = Problem::new(Code::CredentialFailed, format!("credential {}: {why}", self.name));
        Fault::of_credential(match after {
            Some(seconds) => problem.after(seconds),
            None => problem,
        })
    }
}

/// A part of a key in a form that can be masked.
fn hidden(text: &str) -> Option<Token> {
    Token::from_header(&HeaderValue::from_str(text).ok()?)
}

/// `Host` as the client sends it: the port where it is not the scheme's own.
fn host(uri: &http::Uri) -> Option<String> {
    let name = uri.host()?;
    let own = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    Some(match uri.port_u16().filter(|port| *port != own) {
        Some(port) => format!("{name}:{port}"),
        None => name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::{Signed, read_sdk_date};

    const PROJECT: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";

    fn keys(security_token: Option<&str>) -> Keys {
        let secret = |text: &str| SecretString::from(text.to_owned());
        let key = AccessKey {
            access_key: secret("RGTESTACCESSKEY00001"),
            secret_key: secret("rgTestSecretKey/000000000000000000000001"),
            security_token: security_token.map(secret),
        };
        Keys::new("robot", PROJECT.parse().unwrap(), SecretCell::new(key))
    }

    fn request(url: &str) -> Outbound {
        let request = http::Request::post(url).header("content-type", "application/json");
        request.body(bytes::Bytes::from_static(b"{\"a\": 1}").into()).unwrap()
    }

    #[test]
    fn what_is_sent_is_what_was_signed() {
        let now = read_sdk_date("20261122T101501Z").unwrap();
        for (url, host) in [
            ("https://cbr.example/v3/0a1b2c3d4e5f60718293a4b5c6d7e8f9/backups/b?x=1", "cbr.example"),
            ("https://cbr.example:443/v3/0a1b2c3d4e5f60718293a4b5c6d7e8f9/backups/b", "cbr.example"),
            ("http://127.0.0.1:9000/v3/0a1b2c3d4e5f60718293a4b5c6d7e8f9", "127.0.0.1:9000"),
        ] {
            let mut request = request(url);
            let made = keys(Some("gQpldS10ZXN0LTGIREDACTEDTOKEN==")).sign(&mut request, now).unwrap();
            assert_eq!(made.secrets.len(), 3);
            let headers = request.headers();
            assert_eq!(headers["host"], host);
            assert_eq!(headers["x-project-id"], PROJECT);
            let presented = Signed::parse(headers).unwrap().unwrap();
            let names = ["content-type", "host", "x-project-id", "x-sdk-date", "x-security-token"];
            assert_eq!(presented.names(), names);
            let target = request.uri().path_and_query().unwrap().as_str();
            let found = presented.verify(
                "rgTestSecretKey/000000000000000000000001",
                (request.method(), target),
                headers,
                b"{\"a\": 1}",
                now,
            );
            assert_eq!(found, Ok(()));
            let shown = format!("{headers:?}");
            assert!(!shown.contains("Signature") && !shown.contains("gQpld"), "{shown}");
        }
    }

    #[test]
    fn a_refused_key_rests_until_it_is_rotated() {
        let now = read_sdk_date("20261122T101501Z").unwrap();
        let (keys, url) = (keys(None), format!("https://cbr.example/v3/{PROJECT}/backups"));
        let made = keys.sign(&mut request(&url), now).unwrap();
        keys.refused(made.version);
        let fault = keys.sign(&mut request(&url), now).err().unwrap();
        assert_eq!((fault.kind, fault.to_problem().code), (FaultKind::NoCredential, Code::CredentialFailed));
        assert!(fault.to_problem().detail.contains("until it is rotated"));
        keys.key.replace(AccessKey {
            access_key: "B".to_owned().into(),
            secret_key: "another".to_owned().into(),
            security_token: None,
        });
        assert!(keys.sign(&mut request(&url), now).is_ok());
    }

    #[test]
    fn another_project_is_not_signed_for() {
        let mut request = request("https://cbr.example/v3/1b2c3d4e5f60718293a4b5c6d7e8f90a/backups");
        let fault = keys(None).sign(&mut request, Timestamp::from_micros(0)).err().unwrap();
        assert_eq!(fault.kind, FaultKind::OutOfScope);
        assert!(!request.headers().contains_key("authorization"));
    }
}
