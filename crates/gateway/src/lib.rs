//! THE SERVICE: settings, listener, the way in as a tower stack, routes, telemetry, the binary. The
//! only crate that listens.
//!
//! This module alone joins the settings with everything else: layers, engine and telemetry take
//! plain values. A [`Gateway`] is one running instance; tests start several in one process.

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
use restore_upstream::{Courier, Receiver};
use restore_webhooks::{Hook, Relay};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use crate::admin::reload::Loaded;
use crate::admin::reload::Reload;
pub use crate::api::OPENAPI;
pub use crate::api::inquiries::{native_body, preview_body};
use crate::api::streams::Streams;
use crate::auth::UsedSignatures;
pub use crate::auth::new_key;
pub use crate::compose::access::readable;
pub use crate::compose::reload::Again;
use crate::compose::reload::{Loader, Trusted};
pub use crate::compose::rotation::Rotation;
pub use crate::compose::rules::Rules;
use crate::compose::serving::Lasting;
pub use crate::compose::unfit::{Unfit, Unfits};
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
use restore_config::{self as config, LedgerUrl, Listener, LogFormat, Settings};

/// Connections of operators, probes and scrapers open at once.
const ADMIN_CONNECTIONS: usize = 256;
/// Requests of theirs at once.
const ADMIN_IN_FLIGHT: usize = 64;
/// Streams among them.
const ADMIN_STREAMS: usize = 64;
/// What one address may have of these.
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

    /// Whether in recovery mode: nothing is sent until an operator confirms.
    #[must_use]
    pub const fn recovery(mut self, recovery: bool) -> Self {
        self.recovery = recovery;
        self
    }

    /// With settings that can be loaded again; without, those of the start stay.
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
    unready: Duration,
    drain: Duration,
}

impl Gateway {
    /// Starts a gateway: opens the ledger, takes up what is unfinished, listens.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub async fn start(settings: &Settings) -> Result<Self, StartError> {
        Self::start_with(settings, Start::new()).await
    }

    /// Starts a gateway in a manner of the caller's.
    ///
    /// # Errors
    /// As [`Gateway::start`].
    pub async fn start_with(settings: &Settings, start: Start) -> Result<Self, StartError> {
        restore_model::schema::warm_up();
        let fitting = descriptors::fitting(settings, descriptors::raise()).map_err(StartError::Setup)?;
        let collector = collector(settings);
        let metrics = Metrics::new(collector.as_ref()).map_err(StartError::Setup)?;
        opentelemetry_meter(&metrics);
        let losses = Arc::new(Losses::default());
        let traces = collector.map(|options| telemetry::traces::provider(&options, &losses));
        let traces = traces.transpose().map_err(StartError::Setup)?;
        let log_level = telemetry::logs::install(
            telemetry::logs::Options {
                level: settings.telemetry.log_level,
                json: settings.telemetry.log_format == LogFormat::Json,
            },
            traces.as_ref(),
        );

        if let Some(fitting) = fitting {
            tracing::warn!("{}", descriptors::lowered(settings, fitting));
        }
        let most = fitting.unwrap_or(settings.limits.max_connections);
        let cap = Connections::new(most, Share(settings.limits.max_share_per_address));
        let ledger_fault = |error| StartError::Ledger { url: settings.ledger.url.to_string(), error };
        let ledger = restore_ledger::open(&settings.ledger.url, ledger_options(settings))
            .await
            .map_err(ledger_fault)?;
        let mut rotation = Rotation::new();
        // Before they are read: what changes meanwhile is a change.
        let trusted = Trusted::by(settings);
        let built = upstreams::build(settings, None, &start.clock, &mut rotation)
            .map_err(|unfit| StartError::Setup(unfit.into()))?;
        let now = start.clock.now();
        let system = match settings.ledger.url {
            LedgerUrl::Memory => {
                tracing::warn!("new ledger in memory; it is lost when the process ends");
                "memory"
            }
            LedgerUrl::Sqlite(_) => "sqlite",
            LedgerUrl::Postgres(_) => "postgresql",
        };
        let witness = Arc::new(metrics.restores(system));
        let engine =
            Engine::new(Arc::clone(&ledger), built.routes.clone(), policy(settings), start.clock, witness);
        if start.recovery {
            let reason = "the gateway was started with --recovery";
            engine.begin_recovery(reason, now).await.map_err(ledger_fault)?;
        }
        // Before anything happens that they are to be told.
        let mut tallies = Vec::new();
        for hook in hooks(settings, &mut rotation).map_err(StartError::Setup)? {
            let name = hook.name.clone();
            let (ledger, clock) = (Arc::clone(&ledger), Arc::clone(engine.clock()));
            let relay = Relay::new(hook, ledger, clock, engine.changed(), engine.stop());
            let relay = relay.await.map_err(ledger_fault)?;
            tallies.push((name, relay.tally()));
            engine.beside(relay.run());
        }
        metrics.observe_webhooks(tallies);
        let unfinished = engine.recover().await.map_err(ledger_fault)?;
        metrics.observe_breakers(&engine);
        metrics.observe_losses(losses);
        let (current, counts) = (rotation.counts(), rotation.counts());
        metrics.observe_rotation(move || current.is_current(), move || [counts.taken(), counts.refused()]);

        let tls = compose::access::tls(settings, engine.clock(), &mut rotation)
            .map_err(|unfit| StartError::Setup(unfit.into()))?;
        let shown = tls.clone();
        metrics.observe_tls(move || shown.as_ref().is_none_or(|tls| tls.overdue_list().is_none()));
        let api = listen(settings.listen.api).await?;
        let admin = listen(settings.listen.admin).await?;
        let (api_address, admin_address) = (address(&api), address(&admin));
        let stop = CancellationToken::new();
        let memory = Memory::new(settings.limits.max_memory_bytes);
        let (reload, asked) = Reload::new(settings, now);
        let lasting = Lasting {
            engine: engine.clone(),
            metrics: metrics.clone(),
            memory: memory.clone(),
            connections: cap.clone(),
            places: Places::new(sizes(&settings.limits)),
            admin_places: Places::new(Sizes {
                work: ADMIN_IN_FLIGHT,
                waits: ADMIN_IN_FLIGHT,
                share: Share(ADMIN_SHARE),
                ..sizes(&settings.limits)
            }),
            stopping: Arc::default(),
            reload: reload.clone(),
            log_level,
            used: UsedSignatures::new(),
            usage: Usage::new(now),
            streams: Streams::new(
                settings.limits.max_streams,
                settings.limits.stream_max_age_seconds,
                stop.clone(),
            ),
            // Callers who keep all streams of the API open must not blind its operators.
            admin_streams: Streams::new(ADMIN_STREAMS, settings.limits.stream_max_age_seconds, stop.clone()),
            exporting: traces.is_some(),
            tls: tls.clone(),
        };
        let stopping = Arc::clone(&lasting.stopping);
        let serving = lasting.serving(settings, None, &mut rotation).map_err(StartError::Setup)?;
        let places = compose::reload::Places::of(&serving);
        let mut at_doors = Vec::new();
        for (endpoint, place) in serving.apart.iter().zip(&places.apart) {
            let listener = listen(endpoint.address).await?;
            at_doors.push((endpoint.source_api, address(&listener), listener, place.clone()));
        }
        let options = server::listener::Options {
            cap: cap.clone(),
            head_bytes: settings.limits.max_header_bytes,
            max_body_bytes: settings.limits.max_body_bytes,
            head: settings.limits.header_timeout_seconds,
            write: settings.limits.write_timeout_seconds,
            drain: settings.limits.shutdown_timeout_seconds,
            metrics: metrics.connections("api"),
            reached: metrics.limits(),
            memory: memory.clone(),
            heads: lasting.places.heads(),
            leaving: Arc::clone(&stopping),
            tls: tls.clone().filter(|_| settings.tls.listeners.contains(&Listener::Api)),
            place: Place {
                port: api_address.port(),
                all: at_doors
                    .iter()
                    .map(|(_, address, ..)| *address)
                    .chain([api_address])
                    .map(|at| at.port())
                    .collect(),
                tls: settings.tls.certificate_file.is_some()
                    && settings.tls.listeners.contains(&Listener::Api),
            },
        };
        let admin_options = server::listener::Options {
            cap: Connections::new(ADMIN_CONNECTIONS, Share(ADMIN_SHARE)),
            metrics: metrics.connections("admin"),
            drain: ADMIN_DRAIN,
            // Whoever finds out why nothing is taken in must get in.
            memory: Memory::default(),
            heads: lasting.admin_places.heads(),
            place: Place { port: admin_address.port(), ..Place::default() },
            tls: tls.clone().filter(|_| settings.tls.listeners.contains(&Listener::Admin)),
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
            let (settings, stop) = (settings.clone(), stop.clone());
            let loader =
                Loader { again, settings, built, serving, places, lasting, rotations, loads, stop, trusted };
            listeners.push(tokio::spawn(loader.run(asked)));
        }
        let mut endpoints = Vec::new();
        for (source_api, address, listener, way_in) in at_doors {
            tracing::info!(source_api, address = %address, "compatibility endpoint started");
            let mut options = options.clone();
            options.place.port = address.port();
            listeners.push(tokio::spawn(server::listener::serve(listener, way_in, options, stop.clone())));
            endpoints.push((source_api, address));
        }
        tracing::info!(
            api = %api_address,
            admin = %admin_address,
            ledger = %settings.ledger.url,
            unfinished,
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
            unready: settings.limits.shutdown_delay_seconds,
            drain: settings.limits.shutdown_timeout_seconds,
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

    /// Loads the settings again, if they can be.
    ///
    /// # Errors
    /// What is wrong with them; those in effect stay then.
    pub async fn reload(&self) -> Result<Loaded, Problem> {
        self.reload.ask().await
    }

    /// Says for a while that it is not ready, then drains: takes nothing more in, lets what is under way finish and be written down, flushes
    /// the telemetry. Returns whether everything was done in time; what was not is found in the
    /// ledger at the next start.
    pub async fn stop(self) -> bool {
        self.stopping.store(true, Ordering::Relaxed);
        // A balancer hears of it before the listeners close.
        tokio::time::sleep(self.unready).await;
        self.stop.cancel();
        let end = tokio::time::Instant::now() + self.drain;
        // Whoever waits for a restore is answered with how it stands.
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

/// Who is told of traces and metrics.
fn collector(settings: &Settings) -> Option<telemetry::otlp::Options> {
    Some(telemetry::otlp::Options {
        endpoint: settings.telemetry.otlp_endpoint.clone()?,
        service_name: settings.telemetry.service_name.clone(),
        instance: uuid::Uuid::new_v4().to_string(),
        timeout: settings.telemetry.export_timeout_seconds,
        queue: settings.telemetry.max_queued_spans,
        metrics: settings.telemetry.otlp_metrics_interval_seconds,
    })
}

/// The receivers of webhooks.
fn hooks(settings: &Settings, rotation: &mut Rotation) -> Result<Vec<Hook>, String> {
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
            carrier: Arc::new(Courier::new(receiver).map_err(|why| fault(&why))?),
            timeout: written.timeout_seconds,
            schedule: restore_webhooks::SCHEDULE.iter().copied().map(Duration::from_secs).collect(),
        })
    };
    settings.webhooks.iter().map(hook).collect()
}

/// How the ledger of this configuration is opened.
#[must_use]
pub fn ledger_options(settings: &Settings) -> restore_ledger::OpenOptions {
    let mut options = restore_ledger::OpenOptions::default();
    options.password = settings.ledger.password.as_ref().map(|secret| secret.expose().to_owned().into());
    options.lease = settings.ledger.lease_seconds;
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
pub fn policy(settings: &Settings) -> Policy {
    let days = settings.ledger.retention_days;
    Policy {
        answer: settings.submit.sync_wait_seconds,
        unsent: settings.submit.dedup_window_seconds,
        max_keys_per_caller: settings.submit.max_keys_per_caller,
        retention: (days > 0).then(|| Duration::from_secs(u64::from(days) * 24 * 60 * 60)),
        // Often enough that a silent replica's restores are found soon after its lease is over.
        patrol: settings.ledger.lease_seconds / 3,
        interval: settings.polling.interval_seconds,
        status_cache: settings.polling.status_cache_ttl_seconds,
        settle: settings.polling.absence_confirmation_seconds,
        grace: settings.polling.visibility_grace_seconds,
        unknown: settings.polling.operator_escalation_seconds,
        // Absence counts from the end of the longest send any upstream may take.
        send: settings
            .upstreams
            .iter()
            .map(|upstream| upstream.send_timeout_seconds)
            .max()
            .unwrap_or_default(),
    }
}
