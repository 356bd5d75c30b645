//! Readers: every part of the gateway that reads the destination, the action and the signer of a request, behind one
//! function, so that a test can compare their results (`tests/fuzz`, target `requests`). The gateway itself does not
//! use it.

use std::sync::Arc;

use http::{Request, Uri, request};
use restore_model::{Clock, RestoreId, Timestamp};
use restore_upstream::{AccessKey, SecretCell};

use crate::auth::same_site::{self, SameSite};
use crate::auth::{AccessKeys, Hosts, Row};
use crate::compat::cloud;
use crate::dispatch::endpoints;
use crate::dispatch::{Found, Router};
use crate::web::destination::{Destination, Place};
use restore_config::{self as config, Environment, Source};

/// The access key that the readers know, and its secret key.
pub const KEYS: (&str, &str) = ("RGTESTACCESSKEY00001", "rgTestSecretKey/000000000000000000000001");
/// The moment of every reading.
pub const NOW: &str = "20261122T101500Z";

/// Endpoints by name and by prefix, two of which share their paths.
const SETTINGS: &str = r#"
[listen]
allowed_hosts = ["gateway.internal"]
[[upstreams]]
name = "cbr"
generation = "cbr-v3"
endpoint = "https://cbr.cloud.example"
[[upstreams]]
name = "vbs"
generation = "vbs-v2"
endpoint = "https://vbs.cloud.example"
evs_endpoint = "https://evs.cloud.example"
[[routes]]
upstream = "cbr"
[[compat_endpoints]]
api = "cbr-v3"
host = "cbr.internal"
[[compat_endpoints]]
api = "cinder-v3"
host = "cinder.internal"
[[compat_endpoints]]
api = "vbs-v2"
prefix = "/vbs"
"#;

/// The readers of one listener.
pub struct Readers {
    router: Router,
    same_site: SameSite,
    keys: AccessKeys,
    place: Place,
}

/// Result of the readers for one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Understood {
    /// Host and port, in their only form.
    pub authority: Option<String>,
    /// The path that routes go by.
    pub path: String,
    /// Path and query as a signature covers them.
    pub target: String,
    /// `Host` as a signature covers it.
    pub host: Option<String>,
    /// The requested action; `None` if nothing is done.
    pub asked: Option<String>,
    /// True where the request comes from this site.
    pub same_site: bool,
    /// The requested action under a valid signature, as handlers see it.
    pub signed: Option<Option<String>>,
}

#[derive(Debug)]
struct Fixed(Timestamp);

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        self.0
    }
}

impl Default for Readers {
    fn default() -> Self {
        Self::new()
    }
}

impl Readers {
    /// Those of a gateway with endpoints and one access key.
    ///
    /// # Panics
    /// When its own configuration has a fault.
    #[must_use]
    pub fn new() -> Self {
        let loaded = config::load(
            &Source::new("readers", SETTINGS),
            &Environment::new(std::iter::empty::<(&str, &str)>()),
            &["cbr-v3", "vbs-v2"],
        );
        let (config, _) = loaded.unwrap_or_else(|faults| panic!("{}", faults.render_human(false)));
        let endpoints = endpoints::open(&config).unwrap_or_else(|why| panic!("{why}")).beside_the_api;
        let mut names: Vec<String> = endpoints.hosts().collect();
        names.push("gateway.internal".to_owned());
        let address = config.listen.api;
        let mut keys = AccessKeys::of(Some(Hosts { names: names.clone(), addresses: vec![address.ip()] }));
        let (access_key, secret_key) = (KEYS.0.into(), KEYS.1.into());
        let key = SecretCell::new(AccessKey { access_key, secret_key, security_token: None });
        let now = restore_upstream::signing::read_sdk_date(NOW);
        let clock = Arc::new(Fixed(now.unwrap_or_else(|| panic!("{NOW} is no moment"))));
        let row = Row { name: "sdk".into(), grants: Vec::new().into() };
        keys.add(key, Vec::new(), row, clock);
        Self {
            router: Router::new(endpoints),
            same_site: SameSite { hosts: same_site::Hosts::Named, names },
            keys,
            place: Place { port: address.port(), all: [address.port(), 9001].into(), tls: false },
        }
    }

    /// Runs each reader on a request.
    ///
    /// # Errors
    /// Why it is refused before any of them reads it.
    ///
    /// # Panics
    /// When something of the authority is left in the request for another reader.
    pub fn read(&self, mut request: Request<()>, body: &[u8]) -> Result<Understood, &'static str> {
        let destination = Destination::take(&mut request, &self.place);
        let uri = request.uri();
        assert!(
            uri.scheme().is_none() && uri.host().is_none() && !request.headers().contains_key("host"),
            "an authority is left"
        );
        destination.verdict()?;
        let (head, ()) = request.into_parts();
        let found = self.router.find(&head.method, head.uri.path(), &destination);
        let written = destination.as_signed(&head.headers);
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let mut understood = Understood {
            authority: destination.authority().map(ToString::to_string),
            path: head.uri.path().to_owned(),
            target: head.uri.path_and_query().map_or("", |target| target.as_str()).to_owned(),
            host: written.get("host").map(text),
            asked: asked(&found, &head.uri),
            same_site: self.same_site.check(&head.headers, &destination).is_ok(),
            signed: None,
        };
        understood.signed = self.signed(&found, &destination, head, body);
        Ok(understood)
    }

    fn signed(
        &self,
        found: &Found,
        destination: &Destination,
        mut head: request::Parts,
        body: &[u8],
    ) -> Option<Option<String>> {
        let claim = self.keys.claimed(&head.headers).ok()??;
        self.keys.verify(&claim, destination, &mut head, body).ok()?;
        Some(asked(found, &head.uri))
    }
}

/// The requested action in one form; `None` if its path is rejected.
fn asked(found: &Found, uri: &Uri) -> Option<String> {
    let query = uri.query().unwrap_or_default();
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    match found {
        found if found.is_public() => None,
        Found::Route { template, action, parameter } => {
            let id = parameter.as_deref().map(str::parse::<RestoreId>).transpose().ok()?;
            Some(format!("{action:?} {template} {id:?} {pairs:?}"))
        }
        Found::SourceApi(at) if at.is_wrong_method() || !at.names_project() => None,
        Found::SourceApi(at) => {
            let (source_api, named) = (at.endpoint.endpoint.source_api(), at.named().ok()?);
            if at.act().is_some() {
                return Some(format!(
                    "{source_api} {} {} {:?} {pairs:?}",
                    at.template(),
                    named.project,
                    named.id
                ));
            }
            cloud::plain(at.endpoint.endpoint, &at.path, query, &named.project).ok()?;
            Some(format!("{source_api} passes on {} {pairs:?}", at.path))
        }
        Found::OtherMethod { .. } | Found::Nothing => None,
    }
}
