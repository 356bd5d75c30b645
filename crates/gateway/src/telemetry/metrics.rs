//! Metrics: one set of instruments, served as a Prometheus page and exported over OTLP. Labels are templates, classes
//! and names from the configuration, never IDs or text of a stranger (S34).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, MeterProvider, UpDownCounter};
use opentelemetry_otlp::{MetricExporter, Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use prometheus::process_collector::ProcessCollector;
use prometheus::{Encoder, Registry, TextEncoder};
use restore_engine::Engine;
use restore_upstream::BreakerState;
use restore_webhooks::Tally;
use tokio_util::sync::CancellationToken;

use super::otlp;
use super::restores::Restores;
use super::stock::Stock;
use super::traces::Losses;

/// Bounds of a request's time, in seconds; a restore call waits for the cloud.
const SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// All metrics of one gateway.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Registry,
    meter: Meter,
    // Held: the instruments report through it.
    provider: SdkMeterProvider,
}

impl Metrics {
    /// A set of its own, so that several gateways in one process do not mix. Where there is a collector, it is sent
    /// the same that the page shows; must be called within the runtime then.
    pub(crate) fn new(collector: Option<&otlp::Options>) -> Result<Self, String> {
        let registry = Registry::new();
        // CPU time, memory, file descriptors, threads and start time, under the names that every exporter has.
        registry.register(Box::new(ProcessCollector::for_self())).map_err(|error| error.to_string())?;
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .without_target_info()
            .build()
            .map_err(|error| error.to_string())?;
        let mut builder = SdkMeterProvider::builder().with_reader(exporter);
        if let Some((options, interval)) = collector.and_then(|options| Some((options, options.metrics?))) {
            let exporter = MetricExporter::builder()
                .with_http()
                .with_http_client(options.client()?)
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(options.address("metrics"))
                .with_timeout(options.timeout)
                .build()
                .map_err(|error| error.to_string())?;
            let reader = PeriodicReader::builder(exporter).with_interval(interval).build();
            builder = builder.with_reader(reader).with_resource(options.resource());
        }
        let provider = builder.build();
        let meter = provider.meter("restore-gateway");
        meter
            .u64_observable_gauge("restore_gateway.build_info")
            .with_description("1, with the version of the program")
            .with_callback(|gauge| gauge.observe(1, &[KeyValue::new("version", crate::version())]))
            .build();
        Ok(Self { registry, meter, provider })
    }

    /// The meter, for those who have instruments of their own.
    pub(crate) fn meter(&self) -> Meter {
        self.provider.meter("restore-gateway")
    }

    /// Sends what was counted last. Blocks.
    pub(crate) fn shut_down(&self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::debug!(error = %error, "last metrics not exported");
        }
    }

    /// The page.
    pub(crate) fn page(&self) -> Vec<u8> {
        let mut page = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut page) {
            tracing::warn!(error = %error, "metrics page is incomplete");
        }
        page
    }

    /// Counts requests.
    pub(crate) fn requests(&self) -> Requests {
        let duration = self
            .meter
            .f64_histogram("http.server.request.duration")
            .with_unit("s")
            .with_description("duration of requests, including the wait that they asked for")
            .with_boundaries(SECONDS.to_vec())
            .build();
        let compat = self
            .meter
            .u64_counter("restore_gateway.compat.requests")
            .with_description("requests at compatibility endpoints, by source API, route and outcome")
            .build();
        let active = self
            .meter
            .i64_up_down_counter("http.server.active_requests")
            .with_description("requests in progress, including those that wait for a restore")
            .build();
        Requests { duration, compat, active }
    }

    /// Counts the connections of a listener.
    pub(crate) fn connections(&self, listener: &'static str) -> Connections {
        let open = self
            .meter
            .i64_up_down_counter("restore_gateway.connections")
            .with_description("open connections, by listener")
            .build();
        Connections { open, label: [KeyValue::new("listener", listener)].into() }
    }

    /// Counts limits that are reached.
    pub(crate) fn limits(&self) -> LimitsReached {
        let reached = self
            .meter
            .u64_counter("restore_gateway.requests.rejected")
            .with_description(
                "requests and connections rejected or closed because of a limit; reason is its key in limits",
            )
            .build();
        LimitsReached(reached)
    }

    /// Counts callers that are not known.
    pub(crate) fn refusals(&self) -> Refusals {
        let refusals = self
            .meter
            .u64_counter("restore_gateway.authentication.failures")
            .with_description("requests that failed authentication, by method")
            .build();
        Refusals(refusals)
    }

    /// Counts loads of the configuration, and shows whether what is in effect is what was last read.
    pub(crate) fn loads(&self, is_current: impl Fn() -> bool + Send + Sync + 'static) -> Loads {
        self.meter
            .u64_observable_gauge("restore_gateway.config.last_reload_successful")
            .with_description("1 if the last reload of the configuration was accepted, 0 if it was rejected")
            .with_callback(move |gauge| gauge.observe(u64::from(is_current()), &[]))
            .build();
        let loads = self
            .meter
            .u64_counter("restore_gateway.config.reloads")
            .with_description("reloads of the configuration since the start, by outcome")
            .build();
        Loads(loads)
    }

    /// Shows the gauges of an engine's ledger, which is read until `stop`.
    pub(crate) fn watch_stock(
        &self,
        engine: &Engine,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let stock = Stock::default();
        stock.observe(&self.meter, engine);
        stock.watch(engine.clone(), stop)
    }

    /// Counts what happens to restores, which are kept in a ledger of this system.
    pub(crate) fn restores(&self, system: &'static str) -> Restores {
        Restores::on(&self.meter, system)
    }

    /// Shows the breakers of an engine.
    pub(crate) fn observe_breakers(&self, engine: &Engine) {
        let engine = engine.clone();
        self.meter
            .u64_observable_gauge("restore_gateway.circuit_breaker.state")
            .with_description("1 for the state of the circuit breaker of an upstream, 0 for the other states")
            .with_callback(move |gauge| {
                const STATES: [(BreakerState, &str); 3] = [
                    (BreakerState::Closed, "closed"),
                    (BreakerState::HalfOpen, "half_open"),
                    (BreakerState::Open, "open"),
                ];
                for (name, now) in engine.breakers() {
                    for (state, word) in STATES {
                        let labels = [KeyValue::new("upstream", name.clone()), KeyValue::new("state", word)];
                        gauge.observe(u64::from(state == now), &labels);
                    }
                }
            })
            .build();
    }

    /// Shows what became of messages to the receivers of webhooks.
    pub(crate) fn observe_webhooks(&self, tallies: Vec<(String, Arc<Tally>)>) {
        let counted = Arc::new(tallies);
        let tallies = Arc::clone(&counted);
        self.meter
            .u64_observable_counter("restore_gateway.webhook.deliveries")
            .with_description("delivery attempts by outcome (delivered, failed), and messages that were given up (given_up)")
            .with_callback(move |counter| {
                for (name, tally) in &*tallies {
                    for (outcome, count) in [
                        ("delivered", &tally.delivered),
                        ("failed", &tally.failed),
                        ("given_up", &tally.given_up),
                    ] {
                        let labels =
                            [KeyValue::new("webhook", name.clone()), KeyValue::new("outcome", outcome)];
                        counter.observe(count.load(Ordering::Relaxed), &labels);
                    }
                }
            })
            .build();
        let gauge = |what: &str, about: &'static str, read: fn(&Tally) -> u64| {
            let tallies = Arc::clone(&counted);
            self.meter
                .u64_observable_gauge(format!("restore_gateway.webhook.{what}"))
                .with_description(about)
                .with_callback(move |gauge| {
                    for (name, tally) in &*tallies {
                        gauge.observe(read(tally), &[KeyValue::new("webhook", name.clone())]);
                    }
                })
                .build();
        };
        gauge("pending_messages", "messages that wait for delivery", |tally| {
            tally.waiting.load(Ordering::Relaxed)
        });
        gauge("dead_letters", "messages that were given up and are stored", |tally| {
            tally.dead.load(Ordering::Relaxed)
        });
        gauge("disabled", "1 if the receiver answered 410 and gets no more messages", |tally| {
            tally.disabled.load(Ordering::Relaxed).into()
        });
    }

    /// Shows what became of files that were rotated: whether all are in use, and how many changes were taken and refused.
    pub(crate) fn observe_rotation(
        &self,
        is_current: impl Fn() -> bool + Send + Sync + 'static,
        changes: impl Fn() -> [u64; 2] + Send + Sync + 'static,
    ) {
        self.meter
            .u64_observable_gauge("restore_gateway.files.last_reload_successful")
            .with_description(
                "1 if the last reload of every watched file was accepted, 0 if one was rejected",
            )
            .with_callback(move |gauge| gauge.observe(u64::from(is_current()), &[]))
            .build();
        self.meter
            .u64_observable_counter("restore_gateway.file.reloads")
            .with_description(
                "reloads of changed files by outcome: accepted, rejected (the previous content stays in use)",
            )
            .with_callback(move |counter| {
                for (outcome, count) in ["accepted", "rejected"].into_iter().zip(changes()) {
                    counter.observe(count, &[KeyValue::new("outcome", outcome)]);
                }
            })
            .build();
    }

    /// Shows whether revocation lists of client certificates are in force; without any they are.
    pub(crate) fn observe_tls(&self, is_current: impl Fn() -> bool + Send + Sync + 'static) {
        self.meter
            .u64_observable_gauge("restore_gateway.tls.crl_current")
            .with_description(
                "1 while all revocation lists of client certificates are current, 0 if one is out of date",
            )
            .with_callback(move |gauge| {
                gauge.observe(u64::from(is_current()), &[]);
            })
            .build();
    }

    /// Shows what became of spans.
    pub(crate) fn observe_losses(&self, losses: Arc<Losses>) {
        self.meter
            .u64_observable_counter("restore_gateway.telemetry.spans")
            .with_description("spans by outcome: exported, dropped (queue full), failed (collector)")
            .with_callback(move |counter| {
                for (outcome, count) in
                    [("exported", &losses.exported), ("dropped", &losses.dropped), ("failed", &losses.failed)]
                {
                    counter.observe(count.load(Ordering::Relaxed), &[KeyValue::new("outcome", outcome)]);
                }
            })
            .build();
    }
}

/// Counts requests.
#[derive(Clone)]
pub(crate) struct Requests {
    duration: Histogram<f64>,
    compat: Counter<u64>,
    active: UpDownCounter<i64>,
}

impl Requests {
    /// One request has been answered.
    pub(crate) fn record(
        &self,
        method: &'static str,
        template: &'static str,
        scheme: &'static str,
        status: u16,
        time: Duration,
    ) {
        self.duration.record(
            time.as_secs_f64(),
            &[
                KeyValue::new("http.request.method", method),
                KeyValue::new("http.route", template),
                KeyValue::new("http.response.status_code", i64::from(status)),
                KeyValue::new("url.scheme", scheme),
            ],
        );
    }
}

impl Requests {
    /// One more is being worked on, until the guard is dropped.
    pub(crate) fn begun(&self, method: &'static str, scheme: &'static str) -> ActiveRequest {
        let label = [KeyValue::new("http.request.method", method), KeyValue::new("url.scheme", scheme)];
        self.active.add(1, &label);
        ActiveRequest(self.active.clone(), label)
    }

    /// Counts a request at a compatibility endpoint. A path without a template was proxied or unknown.
    pub(crate) fn at_compat_endpoint(&self, source_api: &'static str, template: &'static str, status: u16) {
        let route = if template.is_empty() { "(proxied)" } else { template };
        let outcome = match status {
            ..400 => "answered",
            400..500 => "refused",
            _ => "failed",
        };
        self.compat.add(
            1,
            &[
                KeyValue::new("source_api", source_api),
                KeyValue::new("http.route", route),
                KeyValue::new("outcome", outcome),
            ],
        );
    }
}

/// Counts connections.
#[derive(Clone)]
pub(crate) struct Connections {
    open: UpDownCounter<i64>,
    label: Arc<[KeyValue]>,
}

impl Connections {
    /// One more is open, until the guard is dropped.
    pub(crate) fn opened(&self) -> OpenConnection {
        self.open.add(1, &self.label);
        OpenConnection(self.clone())
    }
}

/// Counts the limits that were reached.
#[derive(Clone)]
pub(crate) struct LimitsReached(Counter<u64>);

impl LimitsReached {
    /// One request or connection more that was ended or turned away, by the key of `limits`.
    pub(crate) fn count(&self, limit: &'static str) {
        self.0.add(1, &[KeyValue::new("reason", limit)]);
    }
}

/// Counts requests of callers that nobody knows.
#[derive(Clone)]
pub(crate) struct Refusals(Counter<u64>);

impl Refusals {
    /// One more, by its authentication method.
    pub(crate) fn count(&self, method: &'static str) {
        self.0.add(1, &[KeyValue::new("method", method)]);
    }
}

/// Counts loads of the configuration.
#[derive(Clone)]
pub(crate) struct Loads(Counter<u64>);

impl Loads {
    /// One more, by what became of it.
    pub(crate) fn count(&self, outcome: &'static str) {
        self.0.add(1, &[KeyValue::new("outcome", outcome)]);
    }
}

/// A request that is being worked on.
pub(crate) struct ActiveRequest(UpDownCounter<i64>, [KeyValue; 2]);

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.add(-1, &self.1);
    }
}

/// An open connection.
pub(crate) struct OpenConnection(Connections);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.add(-1, &self.0.label);
    }
}
