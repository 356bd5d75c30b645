//! Access to the clouds: the outbound stack, credentials, the hyper client. The only crate that opens connections and
//! the only one that sees a secret.
//!
//! [`Upstream`] is built once per configured upstream and shared, because a limit or breaker that is built per request
//! does not limit. `stack` lists the layers in the order of a call.
//!
//! The result is a response or a [`Fault`]. A fault answers the question that matters for a call that overwrites disks:
//! is there proof that it was not applied?

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Uri;
use restore_generations::{Call, Generation, Host, Reply};
use restore_model::{Problem, Proof};
use tower::{Service, ServiceExt};

mod body;
mod client;
mod coding;
mod fault;
mod iam;
mod identity;
mod introspection;
mod keys;
mod layers;
mod measures;
pub mod platform;
mod reach;
mod secret;
pub mod signing;
mod stack;
mod token;
mod trace_context;
mod webhook_client;

pub use body::GatedBody;
pub use client::{Client, client_to, plain_client};
pub use fault::{Fault, FaultKind};
pub use iam::catalog::is_loopback;
pub use iam::{Iam, IamLogin, IamOptions, IamProject, IamUser};
pub use identity::ClientIdentity;
pub use introspection::{KeySource, TokenFacts, TokenIntrospection};
pub use keys::{AccessKey, Keys};
pub use layers::authorise::Credential;
pub use layers::breaker::BreakerState;
pub use measures::measure_with;
pub use platform::Platform;
pub use reach::Reached;
pub use secret::SecretCell;
pub use token::Token;
pub use trace_context::TraceContext;
pub use webhook_client::{Message, Receipt, Receiver, SigningKey, WebhookClient, is_public, literal_address};

use layers::breaker::Breaker;
use layers::retry::RetryLimits;
use stack::Stack;

/// Where an upstream is.
#[derive(Clone, Debug)]
pub enum Endpoint {
    /// At this base URL of the backup service, and this of block storage, where checks may read the state of disks.
    At(Uri, Option<Uri>),
    /// Where the catalog of the credential's token says, in this region if it has several.
    Catalog(Option<String>),
}

/// Placeholder in a preview for a base URL that only the catalog contains.
const DISCOVERED: &str = "https://{discovered}";
/// Block storage in catalogs; its calls are of version 2.
const VOLUMES: &[&str] = &["volumev2", "volumev3"];

/// How one upstream is reached.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name in the configuration.
    pub name: String,
    /// Where it is.
    pub endpoint: Endpoint,
    /// Longest time for a connection, TLS included.
    pub connect: Duration,
    /// Longest time for the restore call, from its first byte to the last of its answer.
    pub send: Duration,
    /// Longest time for a read.
    pub read: Duration,
    /// Calls under way at once; more wait, at most as long as `connect`.
    pub concurrency: usize,
    /// Largest answer that is read, in bytes.
    pub max_body_bytes: usize,
    /// Failures in a row after which calls are refused for a while; 0 never.
    pub breaker_threshold: u32,
    /// How long they are refused.
    pub breaker_open: Duration,
    /// Certificates of further roots, PEM.
    pub ca_file: Option<PathBuf>,
    /// The certificate that is shown to it.
    pub identity: Option<ClientIdentity>,
    /// True if HTTP/2 may be agreed upon by ALPN.
    pub http2: bool,
    /// How often and how long a restore may be sent.
    pub sends: u32,
    /// Longest time from the first send to the beginning of the last.
    pub deadline: Duration,
    /// Longest `Retry-After` that is waited for.
    pub retry_after_cap: Duration,
    /// With what it is called.
    pub credential: Credential,
    /// Reads of running restores per minute, for whoever schedules them; 0 is no limit.
    pub polls_per_minute: u32,
    /// Carries its connections instead of the machine, in a simulation.
    pub platform: Option<Arc<dyn Platform>>,
}

impl Options {
    /// The ways of the default configuration to one endpoint.
    #[must_use]
    pub fn to(name: &str, endpoint: Uri) -> Self {
        Self {
            name: name.to_owned(),
            endpoint: Endpoint::At(endpoint, None),
            connect: Duration::from_secs(5),
            send: Duration::from_secs(30),
            read: Duration::from_secs(15),
            concurrency: 64,
            max_body_bytes: 1024 * 1024,
            breaker_threshold: 5,
            breaker_open: Duration::from_secs(10),
            ca_file: None,
            identity: None,
            http2: false,
            sends: 3,
            deadline: Duration::from_secs(120),
            retry_after_cap: Duration::from_secs(30),
            credential: Credential::PassThrough,
            polls_per_minute: 600,
            platform: None,
        }
    }
}

/// The record of the attempts of a restore, as a send needs it.
pub trait Journal: Send + Sync {
    /// Asked at the moment the first byte is about to be written: whether it still may be, or why
    /// not (invariant I11). Must not block.
    ///
    /// # Errors
    /// Why nothing may be written any more.
    fn may_write(&self) -> Result<(), &'static str>;

    /// Writes down, durably, that the send is about to be repeated, before it is (invariants I1,
    /// I2): the proof that the last attempt was not applied and the attempt that follows.
    fn again(&self, proof: Proof, attempt: u32) -> BoxFuture<'_, Result<(), Problem>>;
}

/// Purpose of a call. Limits divide their places by it, so that one caller leaves room for others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Behalf {
    /// A poll of a restore that was accepted.
    #[default]
    Poll,
    /// A restore of this caller that is not sent yet, or its send.
    Restore(Arc<str>),
    /// A question of this caller that changes nothing.
    Question(Arc<str>),
}

/// With what a call is made.
#[derive(Clone, Default)]
pub struct With {
    /// Purpose of the call.
    pub behalf: Behalf,
    /// The caller's token.
    pub token: Option<Token>,
    /// Where repeated sends are written down; without one nothing that restores is ever repeated.
    pub journal: Option<Arc<dyn Journal>>,
    /// The trace the call belongs to.
    pub trace: Option<TraceContext>,
}

/// How long an upstream that answered so asks to be left alone; `None` where it does not say.
#[must_use]
pub fn retry_after(reply: &Reply) -> Option<Duration> {
    layers::retry::wait(reply.retry_after.as_deref()?, || reply.date)
}

/// One configured upstream.
pub struct Upstream {
    options: Options,
    generation: &'static dyn Generation,
    stack: Stack,
    breaker: Breaker,
}

impl Upstream {
    /// Builds the way out to one upstream.
    ///
    /// # Errors
    /// When the roots of trust cannot be loaded; the text says which file.
    pub fn new(options: Options, generation: &'static dyn Generation) -> Result<Self, String> {
        let secure = |uri: &Uri| uri.scheme_str() == Some("https");
        let tls = match &options.endpoint {
            Endpoint::At(backup, volumes) => secure(backup) || volumes.as_ref().is_some_and(secure),
            Endpoint::Catalog(_) => true,
        };
        let client = client::build(&options, tls)?;
        let breaker = Breaker::new(options.breaker_threshold, options.breaker_open);
        let limits = RetryLimits {
            sends: options.sends,
            deadline: options.deadline,
            retry_after_cap: options.retry_after_cap,
            renews: options.credential.renews(),
        };
        let stack = stack::build(client, &options, generation, breaker.clone(), limits);
        Ok(Self { options, generation, stack, breaker })
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// The generation it speaks.
    #[must_use]
    pub fn generation(&self) -> &'static dyn Generation {
        self.generation
    }

    /// Where it is, in the words of the configuration: what tells one cloud from another of the same name.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.options.endpoint {
            Endpoint::At(backup, _) => backup.to_string().trim_end_matches('/').to_owned(),
            // Whose catalog: another IAM is another cloud, though its regions be called the same.
            Endpoint::Catalog(region) => {
                let iam = match &self.options.credential {
                    Credential::Iam(iam) => iam.endpoint().trim_end_matches('/').to_owned(),
                    Credential::PassThrough | Credential::Keys(_) => String::new(),
                };
                format!("catalog {} of {iam}", region.as_deref().unwrap_or("of one region"))
            }
        }
    }

    /// How many reads of running restores it may be asked for per minute; 0 is no limit.
    #[must_use]
    pub fn polls_per_minute(&self) -> u32 {
        self.options.polls_per_minute
    }

    /// True if the gateway has a credential of its own for it, so that it needs nobody's token.
    #[must_use]
    pub fn holds_credential(&self) -> bool {
        !matches!(self.options.credential, Credential::PassThrough)
    }

    /// True if the breaker lets calls through.
    #[must_use]
    pub fn breaker(&self) -> BreakerState {
        self.breaker.state()
    }

    /// The absolute URL of a call, for people; `None` when the configuration names no endpoint for its service. A base URL
    /// that only the catalog tells is shown as `https://{discovered}`.
    #[must_use]
    pub fn url(&self, call: &Call) -> Option<String> {
        let base = match &self.options.endpoint {
            Endpoint::At(backup, volumes) => base(backup, volumes.as_ref(), call.host)?,
            Endpoint::Catalog(_) => DISCOVERED.to_owned(),
        };
        Some(format!("{base}{}", call.path))
    }

    /// The absolute URL that a call is sent to.
    async fn resolve(&self, call: &Call) -> Result<String, Fault> {
        let none = || Fault::not_sent(FaultKind::NoEndpoint, "no such endpoint");
        let base = match (&self.options.endpoint, &self.options.credential) {
            (Endpoint::At(backup, volumes), _) => {
                base(backup, volumes.as_ref(), call.host).ok_or_else(none)?
            }
            (Endpoint::Catalog(region), Credential::Iam(iam)) => {
                let services = match call.host {
                    Host::Backup => self.generation.services(),
                    Host::Volumes => VOLUMES,
                };
                iam.base(services, region.as_deref()).await?
            }
            (Endpoint::Catalog(_), _) => return Err(none()),
        };
        Ok(format!("{base}{}", call.path))
    }

    /// The headers a call is sent with, in their order; a credential is shown as `[redacted]`.
    #[must_use]
    pub fn headers(&self, call: &Call) -> Vec<(String, String)> {
        // Where it goes changes nothing about them.
        let made = layers::translate::request(self.generation, call, "/", self.options.send, With::default());
        let Ok(request) = made else { return Vec::new() };
        let shown = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            (name.as_str().to_owned(), value.to_str().unwrap_or_default().to_owned())
        };
        let mut headers: Vec<_> = request.headers().iter().map(shown).collect();
        let added = self.options.credential.headers().iter();
        headers.extend(added.map(|name| ((*name).to_owned(), "[redacted]".to_owned())));
        headers
    }

    /// Makes a call.
    ///
    /// # Errors
    /// A [`Fault`] when no answer came or it could not be read whole.
    pub async fn send(&self, call: &Call, with: With) -> Result<Reply, Fault> {
        let url = self.resolve(call).await?;
        let timeout = if call.restores { self.options.send } else { self.options.read };
        let request = layers::translate::request(self.generation, call, &url, timeout, with)?;
        let mut stack = self.stack.clone();
        let response = stack.ready().await?.call(request).await?;
        Ok(layers::translate::reply(response))
    }
}

/// The base URL of one of the services, without a slash at its end.
fn base(backup: &Uri, volumes: Option<&Uri>, host: Host) -> Option<String> {
    let endpoint = match host {
        Host::Backup => backup,
        Host::Volumes => volumes?,
    };
    let (scheme, authority) = (endpoint.scheme_str()?, endpoint.authority()?);
    Some(format!("{scheme}://{authority}{}", endpoint.path().trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F34: regions of two clouds may be called the same.
    #[test]
    fn f34_the_catalogs_of_two_iams_are_two_places() {
        let place = |iam: &str| {
            let options = IamOptions {
                name: "robot".to_owned(),
                endpoint: iam.parse().unwrap(),
                login: IamLogin::Token(SecretCell::from("a token".to_owned())),
                project: IamProject::Name("eu-de".to_owned()),
                catalog: true,
                ca_file: None,
            };
            let options = Options {
                endpoint: Endpoint::Catalog(Some("eu-de".to_owned())),
                credential: Credential::Iam(Arc::new(Iam::new(options).unwrap())),
                ..Options::to("cbr", iam.parse().unwrap())
            };
            let generation = restore_generations::by_name("cbr-v3").unwrap();
            Upstream::new(options, generation).unwrap().place()
        };
        assert_ne!(place("http://127.0.0.1:9"), place("http://127.0.0.2:9"));
        assert_eq!(place("http://127.0.0.1:9"), place("http://127.0.0.1:9/"));
    }
}
