//! Metrics, log lines and audit of events of restores and of authorization decisions.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};
use restore_engine::{Decision, Observer};
use restore_ledger::Entry;
use restore_model::{Event, EventKind, RestoreRequest};

/// Bounds of a write into the ledger, in seconds.
const WRITE_SECONDS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];
/// Bounds of a read's delay, in seconds; a cloud may ask for a quarter of an hour of quiet.
const LAG_SECONDS: [f64; 11] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 180.0, 420.0, 900.0];

/// Counts and logs what happens to restores.
#[derive(Clone)]
pub(crate) struct Restores {
    events: Counter<u64>,
    decisions: Counter<u64>,
    writes: Histogram<f64>,
    lag: Histogram<f64>,
    system: &'static str,
}

impl Restores {
    /// On a meter; they are kept in a ledger of this system.
    pub(super) fn on(meter: &Meter, system: &'static str) -> Self {
        let events = meter
            .u64_counter("restore_gateway.restore.events")
            .with_description("events of restores, by event and generation")
            .build();
        let decisions = meter
            .u64_counter("restore_gateway.authorization.decisions")
            .with_description("authorization decisions on authenticated callers, by action and decision")
            .build();
        let writes = meter
            .f64_histogram("db.client.operation.duration")
            .with_unit("s")
            .with_description(
                "duration of writes of a restore to the ledger, including the wait for other writes",
            )
            .with_boundaries(WRITE_SECONDS.to_vec())
            .build();
        let lag = meter
            .f64_histogram("restore_gateway.poll.delay")
            .with_unit("s")
            .with_description("delay of a poll after its due time")
            .with_boundaries(LAG_SECONDS.to_vec())
            .build();
        Self { events, decisions, writes, lag, system }
    }
}

impl Observer for Restores {
    fn wrote(&self, operation: &'static str, took: Duration, fault: Option<&'static str>) {
        let labels = [
            KeyValue::new("db.system.name", self.system),
            KeyValue::new("db.operation.name", operation),
            KeyValue::new("error.type", fault.unwrap_or_default()),
        ];
        let labels = if fault.is_some() { &labels[..] } else { &labels[..2] };
        self.writes.record(took.as_secs_f64(), labels);
    }

    fn read(&self, upstream: &str, late: Duration) {
        let label = KeyValue::new("upstream", upstream.to_owned());
        self.lag.record(late.as_secs_f64(), &[label]);
    }

    fn committed(&self, entry: &Entry, event: &Event) {
        let generation = restore_generations::by_name(&entry.state.route(&entry.intent).generation);
        self.events.add(
            1,
            &[
                KeyValue::new("event", event.kind.as_str()),
                KeyValue::new("generation", generation.map_or("", |generation| generation.name())),
            ],
        );
        let error = event.kind.problem();
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    restore.id = %entry.intent.id,
                    restore.event = event.kind.as_str(),
                    restore.status = entry.state.status.as_str(),
                    restore.upstream = entry.state.route(&entry.intent).upstream,
                    restore.project = %entry.intent.request.project_id,
                    restore.target = %entry.intent.request.target.id(),
                    restore.caller = entry.intent.caller,
                    evidence = event.evidence.kind,
                    detail = event.evidence.detail,
                    error.code = error.map(|error| error.code.as_str()),
                    upstream.code = error.and_then(|error| error.upstream.as_ref()?.code.as_deref()),
                    trace_id = event.trace_id,
                    "restore",
                )
            };
        }
        match event.kind {
            EventKind::OutcomeUnclear { .. }
            | EventKind::NeedsOperator { .. }
            | EventKind::Overdue
            | EventKind::Anomaly { .. }
            | EventKind::Rerouted { .. }
            | EventKind::Failed { .. } => line!(warn),
            EventKind::Stale { awaiting_credential: true } => tracing::warn!(
                restore.id = %entry.intent.id,
                restore.status = entry.state.status.as_str(),
                restore.upstream = entry.state.route(&entry.intent).upstream,
                awaiting_credential = true,
                detail = event.evidence.detail,
                "restore awaits a credential; read it with a token of its project",
            ),
            EventKind::Progress { .. }
            | EventKind::NotFound
            | EventKind::Checking
            | EventKind::Checked { .. } => {
                line!(debug);
            }
            _ => line!(info),
        }
    }

    fn decided(&self, decision: &Decision<'_>) {
        let Decision { caller, action, request, restore, upstream, request_context, allowed } = *decision;
        let (action, decision) = (action.as_str(), if allowed { "allow" } else { "deny" });
        self.decisions.add(1, &[KeyValue::new("action", action), KeyValue::new("decision", decision)]);
        // For auditors: each decision, in one form, under one target, without a secret.
        tracing::info!(
            target: "restore_gateway::audit",
            {
                caller,
                action,
                decision,
                project = request.map(|request| request.project_id.as_str()),
                target.kind = request.map(|request| request.target.kind().as_str()),
                target.id = request.map(|request| request.target.id().as_str()),
                backup = request.map(|request| request.source.backup_id.as_str()),
                disks = request.and_then(disks),
                upstream,
                restore.id = restore.map(tracing::field::display),
                peer = request_context.peer.map(tracing::field::display),
                request_id = request_context.request_id,
                trace_id = request_context.trace_id,
            },
            "decision",
        );
    }
}

/// The disks that a server is mapped to: what is overwritten besides what the target itself says.
fn disks(request: &RestoreRequest) -> Option<String> {
    let disks: Vec<&str> =
        request.target.mappings().iter().map(|mapping| mapping.volume_id.as_str()).collect();
    (!disks.is_empty()).then(|| disks.join(" "))
}
