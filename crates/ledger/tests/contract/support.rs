//! Restores, events and stores to test with.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use restore_ledger::memory::MemoryLedger;
use restore_ledger::sqlite::SqliteLedger;
use restore_ledger::{
    Accept, Entry, FeedItem, Ledger, LedgerUrl, NewEntry, OpenOptions, Position, Query, open,
};
use restore_model::{
    Cause, Code, Event, EventKind, Evidence, Intent, Mapping, Problem, RestoreId, RestoreRequest, RoutePin,
    Source, Status, Strength, Target, TaskRef, Timestamp,
};
use restore_test_postgres::Postgres;
use tempfile::TempDir;

pub(crate) const PROJECT: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
pub(crate) const KEY_WINDOW: i64 = 1000;
pub(crate) const DUPLICATE_WINDOW: i64 = 100;

/// The moment `seconds` after the tests' beginning.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000).plus_seconds(seconds)
}

pub(crate) fn volume(id: &str) -> RestoreRequest {
    RestoreRequest {
        project_id: PROJECT.parse().unwrap(),
        source: Source { backup_id: "b1".parse().unwrap(), checkpoint_id: None },
        target: Target::Volume { volume_id: id.parse().unwrap() },
    }
}

pub(crate) fn server(id: &str, disks: &[&str]) -> RestoreRequest {
    let volumes = disks.iter().enumerate().map(|(n, disk)| Mapping {
        backup_id: format!("d{n}").parse().unwrap(),
        volume_id: disk.parse().unwrap(),
    });
    let volumes = volumes.collect();
    RestoreRequest {
        target: Target::Server { server_id: id.parse().unwrap(), power_on: true, volumes },
        ..volume("x")
    }
}

pub(crate) fn event(seq: u32, at: Timestamp, kind: EventKind) -> Event {
    Event {
        seq,
        at,
        cause: Cause::Gateway,
        evidence: Evidence::new("request", Strength::Strong, at).detail("said \"so\" \u{1f5dd}"),
        trace_id: "0".repeat(32),
        kind,
    }
}

pub(crate) fn started(task: &str) -> EventKind {
    EventKind::Started {
        task: Some(TaskRef { kind: "job".into(), id: task.into() }),
        upstream_status: Some("RUNNING".into()),
        progress: Some(7),
        request_id: None,
        clock_offset_ms: Some(-3),
    }
}

pub(crate) fn problem() -> Box<Problem> {
    Box::new(Problem::new(Code::OutcomeUnknown, "for a test"))
}

/// What `caller` asks for `seconds` after the beginning.
pub(crate) fn ask(caller: &str, key: Option<&str>, request: RestoreRequest, seconds: i64) -> NewEntry {
    let now = at(seconds);
    NewEntry {
        intent: Intent {
            id: RestoreId::at(now),
            caller: caller.into(),
            fingerprint: request.fingerprint(),
            request,
            key: key.map(Into::into),
            origin: None,
            route: RoutePin {
                upstream: "eu-de-cbr".into(),
                generation: "cbr-v3".into(),
                reason: "rule 1".into(),
                baseline: false,
                overdue_seconds: 60,
                steps: Vec::new(),
                at: None,
            },
            fallback: None,
            created_at: now,
            trace_id: "0".repeat(32),
            span_id: "0".repeat(16),
        },
        events: vec![event(1, now, EventKind::Accepted)],
        idempotency_key_ttl_seconds: KEY_WINDOW.unsigned_abs(),
        dedup_window_seconds: DUPLICATE_WINDOW.unsigned_abs(),
        may_keep_key: true,
        clock: None,
    }
}

/// Accepts what must be new.
pub(crate) async fn take(ledger: &dyn Ledger, new: NewEntry) -> Entry {
    match ledger.accept(new).await.unwrap() {
        Accept::New(entry) => entry,
        other => panic!("expected a new restore, got {other:?}"),
    }
}

/// Appends `kinds` one after another in one transaction.
pub(crate) async fn push(ledger: &dyn Ledger, entry: &Entry, seconds: i64, kinds: Vec<EventKind>) -> Entry {
    let seen = entry.state.seq;
    let events = (seen + 1..).zip(kinds).map(|(seq, kind)| event(seq, at(seconds), kind)).collect();
    ledger.append(entry.intent.id, seen, events).await.unwrap()
}

/// Every restore that is not final, oldest first.
pub(crate) async fn unfinished(ledger: &dyn Ledger) -> Vec<Entry> {
    let status = Status::ALL.into_iter().filter(|status| !status.is_final()).collect();
    let query = Query { status, limit: 10_000, ..Query::default() };
    let mut entries = ledger.list(query).await.unwrap();
    entries.reverse();
    entries
}

/// Everything the feed tells after `after`, which is at least `least` events before long: a shared
/// ledger may tell an event a moment after its commit.
pub(crate) async fn told(ledger: &dyn Ledger, after: Position, least: usize) -> Vec<FeedItem> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let told = ledger.feed(after, 10_000).await.unwrap();
        if told.len() >= least {
            return told;
        }
        assert!(Instant::now() < deadline, "the feed tells {} events and not {least}", told.len());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Takes an accepted restore to an end that had an effect.
pub(crate) async fn succeed(ledger: &dyn Ledger, entry: &Entry, seconds: i64) -> Entry {
    let kinds = vec![
        EventKind::Submitting { attempt: 1, step: 0 },
        started(&entry.intent.id.to_string()),
        EventKind::Succeeded,
    ];
    push(ledger, entry, seconds, kinds).await
}

/// A store, and the folder it may live in.
pub(crate) struct Store {
    pub(crate) ledger: Arc<dyn Ledger>,
    _folder: Option<TempDir>,
}

pub(crate) fn in_memory() -> Store {
    Store { ledger: Arc::new(MemoryLedger::default()), _folder: None }
}

pub(crate) async fn in_a_file() -> Store {
    let folder = TempDir::new().unwrap();
    let ledger = Arc::new(sqlite(folder.path()).await);
    Store { ledger, _folder: Some(folder) }
}

pub(crate) async fn sqlite(folder: &Path) -> SqliteLedger {
    SqliteLedger::open(&folder.join("ledger.db")).await.unwrap()
}

/// The server of all tests of this process.
pub(crate) fn server_of_all() -> &'static Postgres {
    static SERVER: LazyLock<Postgres> = LazyLock::new(Postgres::start);
    &SERVER
}

/// The URL of a new database on a server.
pub(crate) fn new_database(server: &Postgres) -> LedgerUrl {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("ledger_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    server.create_database(&name);
    server.url(&name).parse().unwrap()
}

pub(crate) async fn in_postgres() -> Store {
    let ledger = open(&new_database(server_of_all()), OpenOptions::default()).await.unwrap();
    Store { ledger, _folder: None }
}
