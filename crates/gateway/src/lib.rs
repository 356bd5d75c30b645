//! The service: listener, inbound stack, routes, telemetry. The only crate that listens.
//!
//! Only this module and `compose` join the configuration with the other parts: layers, engine and telemetry take plain
//! values. A [`Gateway`] is one running instance; tests start several in one process.

mod admin;
mod api;
mod auth;
mod compat;
mod compose;
mod console;
mod dispatch;
mod handler;
mod middleware;
pub mod offline;
#[doc(hidden)]
pub mod readers;
mod server;
mod telemetry;
mod web;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use opentelemetry_sdk::trace::SdkTracerProvider;
use restore_engine::{Engine, Policy};
use restore_model::{Clock, Problem, SystemClock};
use restore_upstream::{Receiver, WebhookClient};
use restore_webhooks::{Hook, Relay};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use crate::admin::reload::Loaded;
use crate::admin::reload::Reload;
pub use crate::api::inquiries::{native_body, preview_body};
pub use crate::api::openapi;
use crate::api::streams::Streams;
use crate::auth::UsedSignatures;
pub use crate::auth::new_key;
pub use crate::compose::access::readable;
pub use crate::compose::build_error::{BuildError, BuildErrors};
pub use crate::compose::reload::Again;
use crate::compose::reload::{Loader, Trusted};
pub use crate::compose::rotation::Rotation;
pub use crate::compose::rules::Rules;
use crate::compose::serving::Lasting;
pub use crate::compose::upstreams;
pub use crate::dispatch::endpoints;
use crate::dispatch::usage::Usage;
use crate::middleware::shed::{Places, Sizes};
use crate::server::connections::Connections;
pub use crate::server::descriptors;
use crate::server::memory::Memory;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Losses;
pub use crate::web::answer::problem_body;
pub use crate::web::destination;
use crate::web::destination::Place;
use crate::web::pool::Share;
use restore_config::{self as config, Config, LedgerUrl, Listener, LogFormat};

/// Connections of operators, probes and scrapers open at once.
const ADMIN_CONNECTIONS: usize = 256;
/// Requests of theirs at once.
const ADMIN_IN_FLIGHT: usize = 64;
/// Streams among them.
const ADMIN_STREAMS: usize = 64;
/// Share of one address.
const ADMIN_SHARE: f64 = 0.5;
/// How long they have to end when the gateway stops.
const ADMIN_DRAIN: Duration = Duration::from_secs(2);

/// The version, and behind a `+` the commit where the build was told of one (`RESTORE_GATEWAY_COMMIT`): a build asks
/// git nothing, so that one of an archive is the same as one of a checkout.
#[must_use]
pub fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let commit = option_env!("RESTORE_GATEWAY_COMMIT").filter(|commit| !commit.is_empty());
        [Some(env!("CARGO_PKG_VERSION")), commit].into_iter().flatten().collect::<Vec<_>>().join("+")
    });
    &VERSION
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// The ledger cannot be opened or read.
    #[error("cannot use the ledger {url}: {error}")]
    Ledger {
        /// The ledger.
        url: String,
        /// Why.
        error: restore_ledger::LedgerError,
    },
    /// An upstream or the telemetry cannot be set up.
    #[error("{0}")]
    Setup(String),
}

/// How a gateway is started.
pub struct Start {
    clock: Arc<dyn Clock>,
    recovery: bool,
    again: Option<Again>,
}

impl Start {
    /// By the system's clock.
    #[must_use]
    pub fn new() -> Self {
        Self { clock: Arc::new(SystemClock), recovery: false, again: None }
    }

    /// By another clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// True if in recovery mode: nothing is sent until an operator confirms.
    #[must_use]
    pub const fn recovery(mut self, recovery: bool) -> Self {
        self.recovery = recovery;
        self
    }

    /// With configuration that can be loaded again; without, those of the start stay.
    #[must_use]
    pub fn again(mut self, again: Again) -> Self {
        self.again = Some(again);
        self
    }
}

impl Default for Start {
    fn default() -> Self {
        Self::new()
    }
}

/// One running gateway.
pub struct Gateway {
    api: SocketAddr,
    admin: SocketAddr,
    endpoints: Vec<(&'static str, SocketAddr)>,
    engine: Engine,
    reload: Reload,
    stopping: Arc<AtomicBool>,
    stop: CancellationToken,
    listeners: Vec<JoinHandle<()>>,
    traces: Option<SdkTracerProvider>,
    metrics: Metrics,
    shutdown_delay: Duration,
    drain: Duration,
}

impl Gateway {
    /// Starts a gateway: opens the ledger, takes up what is unfinished, listens.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        Self::start_with(config, Start::new()).await
    }

    /// Starts a gateway in a manner of the caller's.
    ///
    /// # Errors
    /// As [`Gateway::start`].
    pub async fn start_with(config: &Config, start: Start) -> Result<Self, StartError> {
        restore_model::schema::warm_up();
        let fitting = descriptors::fitting(config, descriptors::raise()).map_err(StartError::Setup)?;
        let collector = collector(config);
        let metrics = Metrics::new(collector.as_ref()).map_err(StartError::Setup)?;
        opentelemetry_meter(&metrics);
        let losses = Arc::new(Losses::default());
        let traces = collector.map(|options| telemetry::traces::provider(&options, &losses));
        let traces = traces.transpose().map_err(StartError::Setup)?;
        let log_level = telemetry::logs::install(
            telemetry::logs::Options {
                level: config.telemetry.log_level,
                json: config.telemetry.log_format == LogFormat::Json,
            },
            traces.as_ref(),
        );

        if let Some(fitting) = fitting {
            tracing::warn!("{}", descriptors::lowered(config, fitting));
        }
        let most = fitting.unwrap_or(config.limits.max_connections);
        let cap = Connections::new(most, Share(config.limits.max_share_per_address));
        let ledger_fault = |error| StartError::Ledger { url: config.ledger.url.to_string(), error };
        let ledger =
            restore_ledger::open(&config.ledger.url, ledger_options(config)).await.map_err(ledger_fault)?;
        let mut rotation = Rotation::new();
        // Before they are read: what changes meanwhile is a change.
        let trusted = Trusted::by(config);
        let built = upstreams::build(config, None, &start.clock, &mut rotation)
            .map_err(|build_error| StartError::Setup(build_error.into()))?;
        let now = start.clock.now();
        let system = match config.ledger.url {
            LedgerUrl::Memory => {
                tracing::warn!("new ledger in memory; it is lost when the process ends");
                "memory"
            }
            LedgerUrl::Sqlite(_) => "sqlite",
            LedgerUrl::Postgres(_) => "postgresql",
        };
        let observer = Arc::new(metrics.restores(system));
        let engine =
            Engine::new(Arc::clone(&ledger), built.routes.clone(), policy(config), start.clock, observer);
        if start.recovery {
            let reason = "the gateway was started with --recovery";
            engine.begin_recovery(reason, now).await.map_err(ledger_fault)?;
        }
        // Before anything happens that they report.
        let mut tallies = Vec::new();
        for hook in hooks(config, &mut rotation).map_err(StartError::Setup)? {
            let name = hook.name.clone();
            let (ledger, clock) = (Arc::clone(&ledger), Arc::clone(engine.clock()));
            let relay = Relay::new(hook, ledger, clock, engine.changed(), engine.stop());
            let relay = relay.await.map_err(ledger_fault)?;
            tallies.push((name, relay.tally()));
            engine.beside(relay.run());
        }
        metrics.observe_webhooks(tallies);
        engine.recover().await.map_err(ledger_fault)?;
        metrics.observe_breakers(&engine);
        metrics.observe_losses(losses);
        let (current, counts) = (rotation.counts(), rotation.counts());
        metrics.observe_rotation(move || current.is_current(), move || [counts.taken(), counts.refused()]);

        let tls = compose::access::tls(config, engine.clock(), &mut rotation)
            .map_err(|build_error| StartError::Setup(build_error.into()))?;
        let shown = tls.clone();
        metrics.observe_tls(move || shown.as_ref().is_none_or(|tls| tls.overdue_list().is_none()));
        let api = listen(config.listen.api).await?;
        let admin = listen(config.listen.admin).await?;
        let (api_address, admin_address) = (address(&api), address(&admin));
        let stop = CancellationToken::new();
        let memory = Memory::new(config.limits.max_memory_bytes);
        let (reload, asked) = Reload::new(config, now);
        let lasting = Lasting {
            engine: engine.clone(),
            metrics: metrics.clone(),
            memory: memory.clone(),
            connections: cap.clone(),
            places: Places::new(sizes(&config.limits)),
            admin_places: Places::new(Sizes {
                work: ADMIN_IN_FLIGHT,
                waits: ADMIN_IN_FLIGHT,
                share: Share(ADMIN_SHARE),
                ..sizes(&config.limits)
            }),
            stopping: Arc::default(),
            reload: reload.clone(),
            log_level,
            used: UsedSignatures::new(),
            usage: Usage::new(now),
            streams: Streams::new(
                config.limits.max_streams,
                config.limits.stream_max_age_seconds,
                stop.clone(),
            ),
            // Callers who keep all streams of the API open must not blind its operators.
            admin_streams: Streams::new(ADMIN_STREAMS, config.limits.stream_max_age_seconds, stop.clone()),
            exporting: traces.is_some(),
            tls: tls.clone(),
        };
        let stopping = Arc::clone(&lasting.stopping);
        let serving = lasting.serving(config, None, &mut rotation).map_err(StartError::Setup)?;
        let places = compose::reload::Places::of(&serving);
        let mut at_endpoints = Vec::new();
        for (endpoint, place) in serving.apart.iter().zip(&places.apart) {
            let listener = listen(endpoint.address).await?;
            at_endpoints.push((endpoint.source_api, address(&listener), listener, place.clone()));
        }
        let options = server::listener::Options {
            cap: cap.clone(),
            head_bytes: config.limits.max_header_bytes,
            max_body_bytes: config.limits.max_body_bytes,
            head: config.limits.header_timeout_seconds,
            write: config.limits.write_timeout_seconds,
            drain: config.limits.shutdown_timeout_seconds,
            metrics: metrics.connections("api"),
            reached: metrics.limits(),
            memory: memory.clone(),
            heads: lasting.places.heads(),
            leaving: Arc::clone(&stopping),
            tls: tls.clone().filter(|_| config.tls.listeners.contains(&Listener::Api)),
            place: Place {
                port: api_address.port(),
                all: at_endpoints
                    .iter()
                    .map(|(_, address, ..)| *address)
                    .chain([api_address])
                    .map(|at| at.port())
                    .collect(),
                tls: config.tls.certificate_file.is_some() && config.tls.listeners.contains(&Listener::Api),
            },
        };
        let admin_options = server::listener::Options {
            cap: Connections::new(ADMIN_CONNECTIONS, Share(ADMIN_SHARE)),
            metrics: metrics.connections("admin"),
            drain: ADMIN_DRAIN,
            // Operators must reach it to find out why nothing is accepted.
            memory: Memory::default(),
            heads: lasting.admin_places.heads(),
            place: Place { port: admin_address.port(), ..Place::default() },
            tls: tls.clone().filter(|_| config.tls.listeners.contains(&Listener::Admin)),
            ..options.clone()
        };
        let mut listeners = vec![
            tokio::spawn(server::listener::serve(api, places.api.clone(), options.clone(), stop.clone())),
            tokio::spawn(server::listener::serve(admin, places.admin.clone(), admin_options, stop.clone())),
            tokio::spawn(memory.watch(stop.clone())),
            tokio::spawn(metrics.watch_stock(&engine, stop.clone())),
        ];
        listeners.extend(tls.map(|tls| tokio::spawn(tls.watch(stop.clone()))));
        let rotations = rotation.counts();
        listeners.push(tokio::spawn(rotation.run(stop.clone())));
        if let Some(again) = start.again {
            let handle = reload.clone();
            let loads = metrics.loads(move || handle.is_current());
            let (config, stop) = (config.clone(), stop.clone());
            let loader =
                Loader { again, config, built, serving, places, lasting, rotations, loads, stop, trusted };
            listeners.push(tokio::spawn(loader.run(asked)));
        }
        let mut endpoints = Vec::new();
        for (source_api, address, listener, inbound) in at_endpoints {
            tracing::info!(source_api, address = %address, "compatibility endpoint started");
            let mut options = options.clone();
            options.place.port = address.port();
            listeners.push(tokio::spawn(server::listener::serve(listener, inbound, options, stop.clone())));
            endpoints.push((source_api, address));
        }
        tracing::info!(
            api = %api_address,
            admin = %admin_address,
            ledger = %config.ledger.url,
            "gateway started",
        );
        Ok(Self {
            api: api_address,
            admin: admin_address,
            endpoints,
            engine,
            reload,
            stopping,
            stop,
            listeners,
            traces,
            metrics,
            shutdown_delay: config.limits.shutdown_delay_seconds,
            drain: config.limits.shutdown_timeout_seconds,
        })
    }

    /// Where the canonical API listens.
    #[must_use]
    pub const fn api(&self) -> SocketAddr {
        self.api
    }

    /// Where the admin pages listen.
    #[must_use]
    pub const fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The compatibility endpoints that have a listener of their own: the source API of each, and where it listens.
    #[must_use]
    pub fn endpoints(&self) -> &[(&'static str, SocketAddr)] {
        &self.endpoints
    }

    /// Loads the configuration again, if they can be.
    ///
    /// # Errors
    /// The errors; the configuration in effect stays.
    pub async fn reload(&self) -> Result<Loaded, Problem> {
        self.reload.ask().await
    }

    /// Says for a while that it is not ready, then drains: takes nothing more in, lets what is under way finish and be written down, flushes
    /// the telemetry. Returns whether everything was done in time; what was not is found in the
    /// ledger at the next start.
    pub async fn stop(self) -> bool {
        self.stopping.store(true, Ordering::Relaxed);
        // A balancer hears of it before the listeners close.
        tokio::time::sleep(self.shutdown_delay).await;
        self.stop.cancel();
        let end = tokio::time::Instant::now() + self.drain;
        // Waiting callers get the present state of their restore.
        self.engine.leave();
        // The ledger goes last: what was let in may still need it.
        for listener in self.listeners {
            let _ = listener.await;
        }
        let drained = self.engine.drain(end.saturating_duration_since(tokio::time::Instant::now())).await;
        // Blocks, and needs the runtime's threads meanwhile.
        let told = tokio::task::spawn_blocking(move || {
            self.metrics.shut_down();
            self.traces.map(|traces| traces.shutdown())
        });
        let _ = told.await;
        drained
    }
}

fn address(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)))
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| StartError::Listen { address, error })
}

/// The upstream crate's own instruments report to the same page. Only the first gateway of a
/// process can be asked for; a second one (in tests) shares it.
fn opentelemetry_meter(metrics: &Metrics) {
    restore_upstream::measure_with(&metrics.meter());
}

/// Receivers of traces and metrics.
fn collector(config: &Config) -> Option<telemetry::otlp::Options> {
    Some(telemetry::otlp::Options {
        endpoint: config.telemetry.otlp_endpoint.clone()?,
        service_name: config.telemetry.service_name.clone(),
        instance: uuid::Uuid::new_v4().to_string(),
        timeout: config.telemetry.export_timeout_seconds,
        queue: config.telemetry.max_queued_spans,
        metrics: config.telemetry.otlp_metrics_interval_seconds,
    })
}

/// The receivers of webhooks.
fn hooks(config: &Config, rotation: &mut Rotation) -> Result<Vec<Hook>, String> {
    let hook = |written: &config::Webhook| {
        let name = &written.name;
        let fault = |why: &dyn std::fmt::Display| format!("webhook {name}: {why}");
        if written.allow_private_addresses {
            tracing::warn!(webhook = name, "webhook may reach private addresses (allow_private_addresses)");
        }
        let receiver = Receiver {
            url: written.url.expose().clone(),
            key: compose::credentials::signing_key(written, rotation).map_err(|why| fault(&why))?,
            timeout: written.timeout_seconds,
            allow_private: written.allow_private_addresses,
        };
        Ok(Hook {
            name: name.clone(),
            occasions: written.events.clone(),
            projects: written.project_ids.clone(),
            carrier: Arc::new(WebhookClient::new(receiver).map_err(|why| fault(&why))?),
            timeout: written.timeout_seconds,
            schedule: restore_webhooks::SCHEDULE.iter().copied().map(Duration::from_secs).collect(),
        })
    };
    config.webhooks.iter().map(hook).collect()
}

/// How the ledger of this configuration is opened.
#[must_use]
pub fn ledger_options(config: &Config) -> restore_ledger::OpenOptions {
    let mut options = restore_ledger::OpenOptions::default();
    options.password = config.ledger.password.as_ref().map(|secret| secret.expose().to_owned().into());
    options.lease = config.ledger.lease_seconds;
    options
}

/// How many requests these limits let in.
fn sizes(limits: &config::Limits) -> Sizes {
    Sizes {
        work: limits.max_in_flight,
        waits: limits.max_waits,
        memory: limits.max_memory_bytes,
        share: Share(limits.max_share_per_address),
    }
}

/// How the engine works by this configuration.
#[must_use]
pub fn policy(config: &Config) -> Policy {
    let days = config.ledger.retention_days;
    Policy {
        answer: config.submit.sync_wait_seconds,
        unsent: config.submit.dedup_window_seconds,
        max_keys_per_caller: config.submit.max_keys_per_caller,
        retention: (days > 0).then(|| Duration::from_secs(u64::from(days) * 24 * 60 * 60)),
        // Often enough that a silent replica's restores are found soon after its lease is over.
        takeover_interval: config.ledger.lease_seconds / 3,
        interval: config.polling.interval_seconds,
        status_cache: config.polling.status_cache_ttl_seconds,
        settle: config.polling.absence_confirmation_seconds,
        grace: config.polling.visibility_grace_seconds,
        unknown: config.polling.operator_escalation_seconds,
        // Absence counts from the end of the longest send any upstream may take.
        send: config.upstreams.iter().map(|upstream| upstream.send_timeout_seconds).max().unwrap_or_default(),
    }
}
