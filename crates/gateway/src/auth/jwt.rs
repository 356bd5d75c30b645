//! Identifies callers by signed tokens (JWT, RFC 7519), verified with the keys that the issuer publishes (JWKS).
//!
//! The configuration pins issuer, audience and algorithms. The token decides none of them, and the gateway follows no
//! URL in a token. One task at a time fetches keys, again if a token names an unknown key, but at most every few
//! seconds. If the issuer is unavailable, its last keys stay valid for a day. Anyone can name an unknown key, so a
//! request that waits for a fetch takes a place by the address of its connection ([`super::turns`]).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use restore_engine::Identity;
use restore_upstream::KeySource;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::turns::Room;
use super::{Row, Unknown, provider};
use crate::web::names::is_name;
use crate::web::pool::Neighbour;

/// Between two fetches, whatever the tokens name.
const PAUSE: Duration = Duration::from_secs(10);
/// After so long keys are fetched anew, so that a withdrawn one ends.
const FRESH: Duration = Duration::from_secs(600);
/// After so long without a fetch that succeeded, keys no longer count.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);
/// Clocks of issuer and gateway may differ by so many seconds.
const LEEWAY: u64 = 30;
/// Keys that are tried for a token that names none.
const TRIES: usize = 4;
/// Largest file of keys.
const FILE: usize = 512 * 1024;

/// Requirements on the tokens of an issuer.
pub(crate) struct IssuerOptions {
    /// `iss`.
    pub(crate) issuer: String,
    /// `aud`.
    pub(crate) audience: String,
    /// Names of algorithms, such as `RS256`.
    pub(crate) algorithms: Vec<String>,
    /// `sub`; empty is any.
    pub(crate) subjects: Vec<String>,
    /// Where the keys are.
    pub(crate) source: Source,
}

/// Where an issuer's keys are.
pub(crate) enum Source {
    /// At an address.
    Address(Box<KeySource>),
    /// In a file.
    File(PathBuf),
}

/// One issuer.
pub(crate) struct Issuer {
    validation: Validation,
    subjects: Vec<String>,
    source: Source,
    row: Row,
    held: RwLock<Held>,
    fetching: Mutex<Fetching>,
    waiting: Room,
}

/// The fetch of keys that is under way, and the last one.
#[derive(Default)]
struct Fetching {
    /// Closed once the task has ended, however it ended.
    running: Option<watch::Receiver<()>>,
    /// When it began or ended.
    last: Option<Instant>,
    failed: Option<String>,
}

#[derive(Clone, Default)]
struct Held {
    keys: Arc<Vec<Jwk>>,
    since: Option<Instant>,
}

impl Held {
    fn age(&self) -> Duration {
        self.since.map_or(Duration::MAX, |since| since.elapsed())
    }
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
}

#[derive(Deserialize)]
struct Named {
    iss: String,
}

impl Issuer {
    /// An issuer whose keys are fetched when the first token comes.
    ///
    /// # Errors
    /// When an algorithm is not known.
    pub(crate) fn new(options: IssuerOptions, row: Row) -> Result<Self, String> {
        provider::install();
        let parse = |name: &String| name.parse::<Algorithm>().map_err(|_| format!("no algorithm {name}"));
        let algorithms = options.algorithms.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        let first = *algorithms.first().ok_or("no algorithm")?;
        let mut validation = Validation::new(first);
        validation.algorithms = algorithms;
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        validation.set_issuer(&[options.issuer]);
        validation.set_audience(&[options.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        Ok(Self {
            validation,
            subjects: options.subjects,
            source: options.source,
            row,
            held: RwLock::default(),
            fetching: Mutex::default(),
            waiting: Room::default(),
        })
    }

    /// The name of the callers that it identifies.
    pub(crate) fn name(&self) -> &str {
        &self.row.name
    }

    /// True if a token says that this issuer signed it, which is not believed before it is checked: no
    /// other issuer has to be asked about it.
    pub(super) fn is_named_by(&self, token: &str) -> bool {
        let named = jsonwebtoken::dangerous::insecure_decode::<Named>(token);
        let issuers = self.validation.iss.as_ref();
        named.is_ok_and(|named| issuers.is_some_and(|issuers| issuers.contains(&named.claims.iss)))
    }

    pub(super) async fn identify(
        self: &Arc<Self>,
        token: &str,
        peer: Option<SocketAddr>,
    ) -> Result<Identity, Unknown> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| Unknown::Refused("no token"))?;
        if !self.validation.algorithms.contains(&header.alg) {
            return Err(Unknown::Refused("an algorithm that is not taken"));
        }
        // A token that was made for another use, such as a logout token, gives no access (RFC 8725, 3.11).
        if !header.typ.as_deref().is_none_or(is_for_access) {
            return Err(Unknown::Refused("a token of another kind"));
        }
        // It names what must be understood (RFC 7515, 4.1.11), and nothing of that kind is here.
        if header.crit.is_some() {
            return Err(Unknown::Refused("an extension that is not understood"));
        }
        // The library wants all algorithms to be of the key's family, and the token has one.
        let validation = Validation { algorithms: vec![header.alg], ..self.validation.clone() };
        let keys = self.keys(header.kid.as_deref(), header.alg, Neighbour::at(peer)).await?;
        let mut why = "a key that the issuer does not have";
        for key in keys.iter().take(TRIES) {
            match jsonwebtoken::decode::<Claims>(token, key, &validation) {
                Ok(token) => {
                    let subject = token.claims.sub;
                    if !self.subjects.is_empty() && !self.subjects.contains(&subject) {
                        return Err(Unknown::Refused("a subject that is not taken"));
                    }
                    if !is_name(&subject) {
                        return Err(Unknown::Refused("a subject that is no name"));
                    }
                    return Ok(self.row.one_of(&subject, None));
                }
                // The signature was verified before.
                Err(error) if matches!(error.kind(), ErrorKind::ExpiredSignature) => {
                    return Err(Unknown::Expired);
                }
                Err(error) => why = reason(&error),
            }
        }
        Err(Unknown::Refused(why))
    }

    /// The keys a token with this header may be signed with.
    async fn keys(
        self: &Arc<Self>,
        kid: Option<&str>,
        algorithm: Algorithm,
        waiter: Neighbour,
    ) -> Result<Vec<DecodingKey>, Unknown> {
        let held = self.held();
        let found = fitting(&held.keys, kid, algorithm);
        if !found.is_empty() && held.age() < FRESH {
            return Ok(found);
        }
        if let Some((mut running, is_first)) = self.fetching() {
            // While the first one waits, the others go on with what there is; who has nothing waits.
            let may_go_on = !found.is_empty() && held.age() < STALE;
            let place = if may_go_on && !is_first { None } else { self.waiting.enter(waiter) };
            match place {
                // It ends by being closed.
                Some(_place) => while running.changed().await.is_ok() {},
                None if may_go_on => return Ok(found),
                None => {
                    let why = "too many wait for the issuer's keys";
                    return Err(Unknown::Unavailable(why.to_owned()));
                }
            }
        }
        let held = self.held();
        if held.age() >= STALE {
            let failed = self.flight().failed.clone();
            let why = failed.unwrap_or_else(|| "issuer keys could not be fetched".to_owned());
            return Err(Unknown::Unavailable(why));
        }
        Ok(fitting(&held.keys, kid, algorithm))
    }

    fn flight(&self) -> MutexGuard<'_, Fetching> {
        self.fetching.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fetch that is under way, begun now where none is; true for whoever begins it. None so soon after the last one.
    fn fetching(self: &Arc<Self>) -> Option<(watch::Receiver<()>, bool)> {
        let mut flight = self.flight();
        // A task that has panicked, or ended with its runtime, is under way no more.
        if let Some(running) = flight.running.as_ref().filter(|running| running.has_changed().is_ok()) {
            return Some((running.clone(), false));
        }
        if flight.last.is_some_and(|last| last.elapsed() < PAUSE) {
            return None;
        }
        let (ends_with_the_task, running) = watch::channel(());
        flight.last = Some(Instant::now());
        flight.running = Some(running.clone());
        drop(flight);
        let issuer = Arc::clone(self);
        // In a separate task, because the caller may disconnect.
        tokio::spawn(async move {
            let failed = issuer.fetch().await.err();
            if let Some(why) = &failed {
                tracing::warn!(caller = &*issuer.row.name, why, "issuer keys could not be fetched");
            }
            let mut flight = issuer.flight();
            flight.last = Some(Instant::now());
            flight.failed = failed;
            drop(ends_with_the_task);
        });
        Some((running, true))
    }

    fn held(&self) -> Held {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn fetch(&self) -> Result<(), String> {
        match &self.source {
            Source::Address(source) => self.take(&source.fetch().await?),
            Source::File(_) => self.renew(),
        }
    }

    /// Reads the keys of a file again, so that a withdrawn one ends at once.
    ///
    /// # Errors
    /// Why they cannot be used; those that were there stay.
    pub(crate) fn renew(&self) -> Result<(), String> {
        let Source::File(path) = &self.source else { return Ok(()) };
        let text = std::fs::read(path).map_err(|error| error.to_string())?;
        if text.len() > FILE {
            return Err(format!("the file has more than {FILE} bytes"));
        }
        self.take(&text)
    }

    fn take(&self, text: &[u8]) -> Result<(), String> {
        let set: JwkSet = serde_json::from_slice(text).map_err(|_| "this is no set of keys")?;
        // An empty set is an issuer's word too: all its keys are withdrawn.
        let keys: Vec<Jwk> = set.keys.into_iter().filter(signs).collect();
        let held = Held { keys: Arc::new(keys), since: Some(Instant::now()) };
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = held;
        Ok(())
    }
}

/// True if a key is for signatures that only its owner can make.
fn signs(key: &Jwk) -> bool {
    !matches!(key.algorithm, AlgorithmParameters::OctetKey(_) | AlgorithmParameters::Other(_))
        && key.common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature)
}

/// Those a token may be signed with: the one it names, or, where it names none, all of its kind.
fn fitting(keys: &[Jwk], kid: Option<&str>, algorithm: Algorithm) -> Vec<DecodingKey> {
    let named = |key: &&Jwk| kid.is_none() || key.common.key_id.as_deref() == kid;
    let same = |key: &&Jwk| {
        let own = key.common.key_algorithm.as_ref().map(ToString::to_string);
        own.is_none_or(|own| own == format!("{algorithm:?}"))
    };
    let keys = keys.iter().filter(named).filter(same).filter_map(|key| DecodingKey::from_jwk(key).ok());
    keys.filter(|key| key.family() == algorithm.family()).collect()
}

fn reason(error: &jsonwebtoken::errors::Error) -> &'static str {
    match error.kind() {
        ErrorKind::ImmatureSignature => "not in force yet",
        ErrorKind::InvalidIssuer => "another issuer's",
        ErrorKind::InvalidAudience => "for another audience",
        ErrorKind::MissingRequiredClaim(_) => "a claim is missing",
        ErrorKind::InvalidSignature => "a signature that is not right",
        _ => "it cannot be read",
    }
}

/// True if a `typ` is that of an access token, or of no kind in particular (RFC 7519, 5.1; RFC 9068, 2.1).
fn is_for_access(typ: &str) -> bool {
    let short = |prefix: &str| prefix.eq_ignore_ascii_case("application/");
    let typ = typ.get(..12).filter(|start| short(start)).map_or(typ, |_| &typ[12..]);
    typ.eq_ignore_ascii_case("jwt") || typ.eq_ignore_ascii_case("at+jwt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn s54_keys_are_fetched_by_one_task_and_again_after_a_lost_one() {
        let options = IssuerOptions {
            issuer: "https://login.example".to_owned(),
            audience: "restore-gateway".to_owned(),
            algorithms: vec!["ES256".to_owned()],
            subjects: Vec::new(),
            source: Source::File("nowhere.json".into()),
        };
        let row = Row { name: "them".into(), grants: Vec::new().into() };
        let issuer = Arc::new(Issuer::new(options, row).unwrap());
        let (mut running, is_first) = issuer.fetching().unwrap();
        assert!(is_first && !issuer.fetching().unwrap().1, "one at a time");
        assert!(running.changed().await.is_err(), "it ends");
        assert!(issuer.flight().failed.is_some() && issuer.fetching().is_none(), "not again so soon");
        // A task that panics, or goes down with its runtime, says nothing any more.
        let (lost, running) = watch::channel(());
        issuer.flight().running = Some(running);
        tokio::time::advance(PAUSE).await;
        assert!(!issuer.fetching().unwrap().1);
        drop(lost);
        assert!(issuer.fetching().unwrap().1, "begun anew");
    }

    #[test]
    fn a_token_is_for_access_or_of_no_kind() {
        for typ in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "Application/JWT"] {
            assert!(is_for_access(typ), "{typ}");
        }
        for typ in
            ["logout+jwt", "application/logout+jwt", "dpop+jwt", "id+jwt", "secevent+jwt", "JOSE", "", "é"]
        {
            assert!(!is_for_access(typ), "{typ}");
        }
    }
}
