//! Builds the lower components for unit tests, on a ledger in memory.

use std::sync::Arc;
use std::time::Duration;

use restore_ledger::memory::MemoryLedger;
use restore_ledger::{Accept, Entry, Ledger, NewEntry};
use restore_model::{
    Cause, Event, EventKind, Evidence, Intent, Mapping, RestoreId, RoutePin, Strength, SystemClock, Timestamp,
};
use tokio_util::sync::CancellationToken;

use crate::callers::Decision;
use crate::journal::{Journal, number};
use crate::live_restores::LiveRestores;
use crate::observer::Observer;
use crate::routing::Policy;

/// Hears nothing.
pub(crate) struct Nobody;

impl Observer for Nobody {
    fn committed(&self, _: &Entry, _: &Event) {}
    fn decided(&self, _: &Decision<'_>) {}
}

/// The components that all others stand on.
pub(crate) struct Base {
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) live: Arc<LiveRestores>,
    pub(crate) journal: Arc<Journal>,
}

pub(crate) fn base() -> Base {
    let ledger: Arc<dyn Ledger> = Arc::new(MemoryLedger::default());
    let live = Arc::new(LiveRestores::default());
    let (clock, observer, stop) = (Arc::new(SystemClock), Arc::new(Nobody), CancellationToken::new());
    let journal = Arc::new(Journal::new(Arc::clone(&ledger), clock, observer, Arc::clone(&live), stop));
    Base { ledger, live, journal }
}

/// A second for everything.
pub(crate) fn policy() -> Policy {
    let short = Duration::from_secs(1);
    Policy {
        answer: short,
        unsent: short,
        max_keys_per_caller: 1,
        retention: None,
        takeover_interval: short,
        interval: None,
        status_cache: short,
        settle: short,
        grace: short,
        unknown: short,
        send: short,
    }
}

/// The restore of a server with two disks, one after the other.
pub(crate) fn server() -> Intent {
    let request = serde_json::json!({
        "project_id": "0a1b2c3d4e5f60718293a4b5c6d7e8f9",
        "source": {"backup_id": "b"},
        "target": {"type": "server", "server_id": "s", "power_on": true, "volumes": [
            {"backup_id": "b1", "volume_id": "v1"}, {"backup_id": "b2", "volume_id": "v2"}]},
    });
    let request = restore_model::schema::parse_restore(request).unwrap();
    let now = Timestamp::from_micros(1_800_000_000_000_000);
    let steps: Vec<Mapping> = request.target.mappings().to_vec();
    Intent {
        id: RestoreId::at(now),
        caller: "ann".to_owned(),
        fingerprint: request.fingerprint(),
        request,
        key: None,
        origin: None,
        route: RoutePin {
            upstream: "vbs".to_owned(),
            generation: "vbs-v2".to_owned(),
            reason: String::new(),
            baseline: true,
            overdue_seconds: 60,
            steps,
            at: None,
        },
        fallback: None,
        created_at: now,
        trace_id: "0".repeat(32),
        span_id: "0".repeat(16),
    }
}

/// An intent that the ledger has just accepted.
pub(crate) async fn taken_in(journal: &Journal, intent: Intent, at: Timestamp) -> Entry {
    let asked = Evidence::new("request", Strength::Strong, at);
    let events = number(0, at, Cause::Caller, &"0".repeat(32), vec![(EventKind::Accepted, asked)]);
    let new = NewEntry {
        intent,
        events,
        idempotency_key_ttl_seconds: 1,
        dedup_window_seconds: 1,
        may_keep_key: true,
        clock: None,
    };
    match journal.accept(new).await {
        Ok(Accept::New(entry)) => entry,
        other => panic!("it is taken in: {other:?}"),
    }
}
