//! Access keys of the gateway (AK/SK): they sign calls, which then carry no token.
//!
//! A rejected signature is never repeated at once: five of them block a key for five minutes, for everybody who uses it
//! (cloud APIs 5.4). So many calls must not show a bad key at the same time. If none was accepted recently, one call
//! goes first, and the others wait for its result.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, header};
use restore_model::{Clock, Code, Problem, ProjectId, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::fault::{Fault, FaultKind};
use crate::layers::authorise::is_of;
use crate::signing::{WINDOW_SECONDS, X_SDK_DATE, sdk_date, sign};
use crate::stack::UpstreamRequest;
use crate::{SecretCell, Token};

const X_PROJECT_ID: HeaderName = HeaderName::from_static("x-project-id");
const X_SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-security-token");
const X_SDK_DATE_NAME: HeaderName = HeaderName::from_static(X_SDK_DATE);
/// Within so long five refusals block a key.
const BLOCK: Duration = Duration::from_secs(300);
/// After a signature was refused nothing is signed with the same key for so long: with one that only came at the wrong
/// time at most four are refused within a [`BLOCK`].
const PAUSE: Duration = Duration::from_secs(100);
/// How far from ours a cloud's clock is believed to be. One that is a day away is a wrong header, or a clock of ours that
/// somebody must set.
const BELIEVED_SECONDS: i64 = 24 * 3_600;
/// How long calls wait for the one that goes first. One that hangs does not hold up the others.
const WAIT_FOR_FIRST: Duration = Duration::from_secs(2);

/// A key, permanent or temporary. It is wiped when nobody uses it any more.
pub struct AccessKey {
    /// The access key.
    pub access_key: SecretString,
    /// The secret key.
    pub secret_key: SecretString,
    /// Security token of a temporary key.
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
    clock: Arc<dyn Clock>,
    heard: Mutex<CloudReports>,
    /// Order of the calls with this key.
    first: Arc<Semaphore>,
}

/// Reports of the clouds so far.
#[derive(Default)]
struct CloudReports {
    /// Their time minus ours in seconds, where a signature was refused as made at the wrong time: it counts by their
    /// clock, and ours may be wrong (F30), or one of theirs. A `Date` that explains no refusal may be wrong itself (F50).
    ahead_by_host: HashMap<String, i64>,
    /// What was heard last, for one that was not heard yet: a wrong clock of ours costs one bad signature and not one
    /// for each.
    ahead_by_last: i64,
    /// When a signature was refused last that came at the wrong time.
    untimely: Option<Instant>,
    /// When any other signature was refused last, and of which version of the key.
    refused: Option<(Instant, u64)>,
    /// When a signature was accepted last, and of which version of the key; none where one was refused since.
    accepted: Option<(Instant, u64)>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The inputs of a signature.
pub(crate) struct Signature {
    /// What an echo must not show: whoever has the signature can send the same request again.
    pub(crate) secrets: Vec<Token>,
    /// The version of the key.
    version: u64,
    /// For whom it was made.
    host: String,
    /// When it was made, by the clouds' time.
    at: Timestamp,
    /// Others wait for what becomes of it.
    _first: Option<OwnedSemaphorePermit>,
}

/// Verdict of an upstream on a signature.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// It was looked at and is good.
    Accepted,
    /// It is not.
    Refused,
    /// The answer does not tell.
    Unclear,
}

impl Keys {
    /// A key under the name of the configuration, for a project; the time is that of `clock` until the clouds tell theirs.
    #[must_use]
    pub fn new(name: &str, project: ProjectId, key: SecretCell<AccessKey>, clock: Arc<dyn Clock>) -> Self {
        let (heard, first) = (Mutex::default(), Arc::new(Semaphore::new(1)));
        Self { name: name.to_owned(), project, key, clock, heard, first }
    }

    /// Signs a request, after the one that goes first where there is one.
    pub(crate) async fn sign(&self, request: &mut UpstreamRequest) -> Result<Signature, Fault> {
        let first = self.go_first().await;
        let host = host(request.uri()).unwrap_or_default();
        let now = self.clock.now().plus_seconds(self.so_far().ahead(&host));
        let (version, key) = self.key.versioned();
        self.check_pause(version)?;
        if !is_of(request, self.project.as_str()) {
            let detail = "the credential of this upstream is for another project";
            return Err(Fault::not_sent(FaultKind::OutOfScope, detail));
        }
        let illegible = || self.failed("a part of the key cannot stand in a header", None);
        let named = HeaderValue::from_str(&host).ok().filter(|name| !name.is_empty());
        let target = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        let (method, body) = (request.method().clone(), request.body().bytes());
        let headers = request.headers_mut();
        headers.insert(header::HOST, named.ok_or_else(illegible)?);
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
        Ok(Signature {
            secrets: secrets.into_iter().flatten().collect(),
            version,
            host,
            at: now,
            _first: first,
        })
    }

    /// The right to go first; none is needed where a signature was accepted lately.
    async fn go_first(&self) -> Option<OwnedSemaphorePermit> {
        if self.is_accepted() {
            return None;
        }
        let place =
            tokio::time::timeout(WAIT_FOR_FIRST, Arc::clone(&self.first).acquire_owned()).await.ok()?.ok()?;
        (!self.is_accepted()).then_some(place)
    }

    fn is_accepted(&self) -> bool {
        let (version, _) = self.key.versioned();
        self.so_far().accepted.is_some_and(|(at, of)| of == version && at.elapsed() < BLOCK)
    }

    /// Hears what became of a signature: the upstream's own time, if it told it, and what it thinks of it.
    pub(crate) fn observe(&self, signature: &Signature, date: Option<Timestamp>, verdict: Verdict) {
        let seconds = |later: Timestamp, earlier| later.micros_since(earlier) / 1_000_000;
        let mut heard = self.so_far();
        let now = Instant::now();
        match verdict {
            Verdict::Accepted => heard.accepted = Some((now, signature.version)),
            Verdict::Refused => heard.accepted = None,
            Verdict::Unclear => {}
        }
        if verdict != Verdict::Refused {
            return;
        }
        let untimely = date.is_some_and(|date| seconds(date, signature.at).abs() > WINDOW_SECONDS);
        tracing::warn!(credential = self.name, untimely, "upstream rejected a signature");
        let ahead = date.map(|date| seconds(date, self.clock.now()));
        if let Some(ahead) = ahead.filter(|ahead| untimely && ahead.abs() <= BELIEVED_SECONDS) {
            heard.time_of(&signature.host, ahead);
        }
        // One that only came at the wrong time is made at the right one from now on. If another comes at the wrong one
        // all the same, time is not what is wrong, and it counts as any other.
        let mut is_first =
            || heard.untimely.replace(now).is_none_or(|before| now.duration_since(before) >= BLOCK);
        if !(untimely && is_first()) {
            heard.refused = Some((now, signature.version));
        }
    }

    fn so_far(&self) -> MutexGuard<'_, CloudReports> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_pause(&self, version: u64) -> Result<(), Fault> {
        let refused = self.so_far().refused;
        let Some((at, _)) = refused.filter(|(at, of)| *of == version && at.elapsed() < PAUSE) else {
            return Ok(());
        };
        let left = PAUSE.saturating_sub(at.elapsed()).as_secs() + 1;
        let why = format!(
            "upstream rejected a signature made with it, and five of them block the key; it is not used for {left} s, \
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

impl CloudReports {
    fn ahead(&self, host: &str) -> i64 {
        self.ahead_by_host.get(host).copied().unwrap_or(self.ahead_by_last)
    }

    fn time_of(&mut self, host: &str, ahead: i64) {
        self.ahead_by_last = ahead;
        self.ahead_by_host.insert(host.to_owned(), ahead);
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

    /// A clock that stands still.
    struct At(&'static str);

    impl Clock for At {
        fn now(&self) -> Timestamp {
            read_sdk_date(self.0).unwrap()
        }
    }

    fn keys(security_token: Option<&str>) -> Keys {
        let secret = |text: &str| SecretString::from(text.to_owned());
        let key = AccessKey {
            access_key: secret("RGTESTACCESSKEY00001"),
            secret_key: secret("rgTestSecretKey/000000000000000000000001"),
            security_token: security_token.map(secret),
        };
        let clock = Arc::new(At("20261122T101501Z"));
        Keys::new("robot", PROJECT.parse().unwrap(), SecretCell::new(key), clock)
    }

    fn request(url: &str) -> UpstreamRequest {
        let project = url.split('/').find(|segment| *segment == PROJECT).unwrap_or("another");
        let request = http::Request::post(url).header("content-type", "application/json");
        let request = request.extension(crate::layers::Purpose::of(project));
        request.body(bytes::Bytes::from_static(b"{\"a\": 1}").into()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_is_what_was_signed() {
        let now = read_sdk_date("20261122T101501Z").unwrap();
        for (url, host) in [
            ("https://cbr.example/v3/0a1b2c3d4e5f60718293a4b5c6d7e8f9/backups/b?x=1", "cbr.example"),
            ("https://cbr.example:443/v3/0a1b2c3d4e5f60718293a4b5c6d7e8f9/backups/b", "cbr.example"),
            ("http://127.0.0.1:9000/v3/0a1b2c3d4e5f60718293a4b5c6d7e8f9", "127.0.0.1:9000"),
        ] {
            let mut request = request(url);
            let made = keys(Some("gQpldS10ZXN0LTGIREDACTEDTOKEN==")).sign(&mut request).await.unwrap();
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
            assert!(found.is_ok(), "{found:?}");
            let shown = format!("{headers:?}");
            assert!(!shown.contains("Signature") && !shown.contains("gQpld"), "{shown}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_key_rests_until_it_is_rotated() {
        let (keys, url) = (keys(None), format!("https://cbr.example/v3/{PROJECT}/backups"));
        let made = keys.sign(&mut request(&url)).await.unwrap();
        keys.observe(&made, None, Verdict::Refused);
        let fault = keys.sign(&mut request(&url)).await.err().unwrap();
        assert_eq!((fault.kind, fault.to_problem().code), (FaultKind::NoCredential, Code::CredentialFailed));
        assert!(fault.to_problem().detail.contains("until it is rotated"));
        keys.key.replace(AccessKey {
            access_key: "B".to_owned().into(),
            secret_key: "another".to_owned().into(),
            security_token: None,
        });
        assert!(keys.sign(&mut request(&url)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn while_none_was_accepted_one_goes_first() {
        let (keys, url) = (keys(None), format!("https://cbr.example/v3/{PROJECT}/backups"));
        let begun = tokio::time::Instant::now();
        let bad = keys.sign(&mut request(&url)).await.unwrap();
        let second = async {
            let mut second = request(&url);
            keys.sign(&mut second).await.err().map(|fault| fault.kind)
        };
        let first = async {
            tokio::task::yield_now().await;
            keys.observe(&bad, None, Verdict::Refused);
            drop(bad);
        };
        assert_eq!(tokio::join!(second, first).0, Some(FaultKind::NoCredential), "it is not shown again");
        assert_eq!(begun.elapsed(), Duration::ZERO);

        // One that hangs is not waited for for ever, and once one was accepted nobody waits.
        let keys = super::tests::keys(None);
        let hangs = keys.sign(&mut request(&url)).await.unwrap();
        let good = keys.sign(&mut request(&url)).await.unwrap();
        assert_eq!(begun.elapsed(), WAIT_FOR_FIRST);
        keys.observe(&good, None, Verdict::Accepted);
        assert!(keys.sign(&mut request(&url)).await.is_ok());
        assert_eq!(begun.elapsed(), WAIT_FOR_FIRST);
        drop(hangs);
    }

    #[tokio::test(start_paused = true)]
    async fn another_project_is_not_signed_for() {
        let mut request = request("https://cbr.example/v3/1b2c3d4e5f60718293a4b5c6d7e8f90a/backups");
        let fault = keys(None).sign(&mut request).await.err().unwrap();
        assert_eq!(fault.kind, FaultKind::OutOfScope);
        assert!(!request.headers().contains_key("authorization"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_clock_costs_one_signature_and_the_key_does_not_rest() {
        let (keys, url) = (keys(None), format!("https://cbr.example/v3/{PROJECT}/backups"));
        let date = |request: &UpstreamRequest| request.headers()["x-sdk-date"].to_str().unwrap().to_owned();
        let mut first = request(&url);
        let made = keys.sign(&mut first).await.unwrap();
        assert_eq!(date(&first), "20261122T101501Z");
        keys.observe(&made, read_sdk_date("20261122T111501Z"), Verdict::Refused);
        let mut second = request(&url);
        keys.sign(&mut second).await.unwrap();
        assert_eq!(date(&second), "20261122T111501Z", "by the clouds' own clock");
    }

    #[tokio::test(start_paused = true)]
    async fn one_cloud_whose_clock_is_wrong_does_not_spoil_the_signatures_for_another() {
        let keys = keys(None);
        let (wrong, right) =
            (format!("https://a.example/v3/{PROJECT}/b"), format!("https://b.example/v3/{PROJECT}/b"));
        let signed_at = async |url: &str| {
            let mut request = request(url);
            let made = keys.sign(&mut request).await.unwrap();
            (made, request.headers()["x-sdk-date"].to_str().unwrap().to_owned())
        };
        let (made, _) = signed_at(&right).await;
        keys.observe(&made, read_sdk_date("20261122T101501Z"), Verdict::Accepted);
        let (made, _) = signed_at(&wrong).await;
        keys.observe(&made, read_sdk_date("20261122T111501Z"), Verdict::Refused);
        // What the right one is signed with was refused at the wrong one's time, once.
        let (made, _) = signed_at(&right).await;
        keys.observe(&made, read_sdk_date("20261122T101501Z"), Verdict::Accepted);
        for _ in 0..5 {
            let (made, at) = signed_at(&wrong).await;
            assert_eq!(at, "20261122T111501Z", "by its own clock");
            keys.observe(&made, read_sdk_date("20261122T111501Z"), Verdict::Accepted);
        }
    }

    /// F50: a `Date` that explains no refusal, or that is years away, moves no signature.
    #[tokio::test(start_paused = true)]
    async fn f50_a_wrong_date_does_not_move_the_next_signature() {
        let (keys, url) = (keys(None), format!("https://cbr.example/v3/{PROJECT}/backups"));
        for verdict in [Verdict::Accepted, Verdict::Unclear, Verdict::Refused] {
            for date in ["19700101T000000Z", "20261121T091501Z", "20990101T000000Z"] {
                let mut request = request(&url);
                let made = keys.sign(&mut request).await.unwrap();
                assert_eq!(request.headers()["x-sdk-date"], "20261122T101501Z", "{verdict:?} {date}");
                keys.observe(&made, read_sdk_date(date), verdict);
                // A refused key would rest; only its time is looked at here.
                let ahead_by_host = std::mem::take(&mut keys.so_far().ahead_by_host);
                *keys.so_far() = CloudReports { ahead_by_host, ..CloudReports::default() };
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signature_at_the_wrong_time_makes_the_key_rest() {
        let (keys, url) = (keys(None), format!("https://cbr.example/v3/{PROJECT}/backups"));
        for date in ["20261122T111501Z", "20261122T131501Z"] {
            let made = keys.sign(&mut request(&url)).await.unwrap();
            keys.observe(&made, read_sdk_date(date), Verdict::Refused);
        }
        let fault = keys.sign(&mut request(&url)).await.err().unwrap();
        assert!(fault.to_problem().detail.contains("until it is rotated"));
    }
}
