//! An issuer of tokens: signs what a test wants, publishes its keys over HTTP, and counts who asks.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use restore_model::{Clock, SystemClock, Timestamp};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Who signs tokens, and where the keys can be asked for.
pub struct Issuer {
    /// Where it listens.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    keys: Mutex<BTreeMap<String, EcdsaKeyPair>>,
    withdrawn: Mutex<Vec<String>>,
    asked: AtomicUsize,
    away: AtomicBool,
    hangs: AtomicBool,
}

impl Issuer {
    /// One with a first key, named `one`.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let serving = Arc::clone(&serving);
                let handler = service_fn(move |_| {
                    let serving = Arc::clone(&serving);
                    async move {
                        let answer = serving.answer();
                        while serving.hangs.load(Ordering::SeqCst) {
                            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                        }
                        Ok::<_, Infallible>(answer)
                    }
                });
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(socket), handler));
            }
        });
        let issuer = Self { addr, shared };
        issuer.add_key("one");
        issuer
    }

    /// Has another key.
    ///
    /// # Panics
    /// When the system gives none.
    pub fn add_key(&self, name: &str) {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        let key = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).expect("a key");
        self.shared.keys.lock().expect("the keys").insert(name.to_owned(), key);
    }

    /// Withdraws a key; it can still sign until the issuer is dropped, as a stolen one could.
    ///
    /// # Panics
    /// When a test has panicked while it held the keys.
    pub fn withdraw(&self, name: &str) {
        self.shared.withdrawn.lock().expect("the names").push(name.to_owned());
    }

    /// What it publishes.
    #[must_use]
    pub fn published(&self) -> String {
        self.shared.set().to_string()
    }

    /// Answers nobody any more, or again.
    pub fn away(&self, away: bool) {
        self.shared.away.store(away, Ordering::SeqCst);
    }

    /// Holds its answers back, or gives them again.
    pub fn hang(&self, hangs: bool) {
        self.shared.hangs.store(hangs, Ordering::SeqCst);
    }

    /// How often the keys were asked for.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// A good set of claims; a test changes what it is about.
    #[must_use]
    pub fn claims(&self) -> Value {
        json!({
            "iss": "https://login.example", "aud": "restore-gateway", "sub": "nightly",
            "exp": now() + 600, "nbf": now() - 10, "iat": now() - 10,
        })
    }

    /// A token signed with the key of this name.
    ///
    /// # Panics
    /// When there is no such key.
    #[must_use]
    pub fn token(&self, key: &str, claims: &Value) -> String {
        self.token_with(key, claims, &json!({}))
    }

    /// The same, with further members in its header.
    ///
    /// # Panics
    /// When there is no such key.
    #[must_use]
    pub fn token_with(&self, key: &str, claims: &Value, more: &Value) -> String {
        let mut header = json!({"alg": "ES256", "typ": "JWT", "kid": key});
        for (name, value) in more.as_object().into_iter().flatten() {
            header[name] = value.clone();
        }
        let signed = part(&header) + "." + &part(claims);
        let keys = self.shared.keys.lock().expect("the keys");
        let signature = keys[key].sign(&SystemRandom::new(), signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    /// The point of a key, as its owner would show it; what an attacker can know.
    ///
    /// # Panics
    /// When there is no such key.
    #[must_use]
    pub fn public(&self, key: &str) -> Vec<u8> {
        self.shared.keys.lock().expect("the keys")[key].public_key().as_ref().to_vec()
    }
}

impl Shared {
    fn answer(&self) -> Response<Full<bytes::Bytes>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answer = Response::new(Full::from(self.set().to_string()));
        if self.away.load(Ordering::SeqCst) {
            *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        answer
    }

    fn set(&self) -> Value {
        let keys = self.keys.lock().expect("the keys");
        let withdrawn = self.withdrawn.lock().expect("the names");
        let shown = keys.iter().filter(|(name, _)| !withdrawn.contains(name)).map(|(name, key)| {
            let point = key.public_key().as_ref();
            let coordinate = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
            json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": name,
                "x": coordinate(&point[1..33]), "y": coordinate(&point[33..65])})
        });
        json!({"keys": shown.collect::<Vec<_>>()})
    }
}

/// One part of a token.
#[must_use]
pub fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// Seconds since 1970.
///
/// # Panics
/// When the clock stands before that.
#[must_use]
pub fn now() -> u64 {
    u64::try_from(SystemClock.now().micros_since(Timestamp::from_micros(0)) / 1_000_000).expect("after 1970")
}
