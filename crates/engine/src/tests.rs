//! What is kept in memory of a restore is let go of once nobody needs it.

use restore_ledger::memory::MemoryLedger;
use restore_model::{Status, SystemClock};

use super::*;
use crate::parts::tests::whole;

struct Nobody;

impl Witness for Nobody {
    fn witness(&self, _: &Entry, _: &Event) {}
    fn decided(&self, _: &Decision<'_>) {}
}

fn engine() -> Engine {
    let short = Duration::from_secs(1);
    let policy = Policy {
        answer: short,
        unsent: short,
        keys_per_caller: 1,
        retention: None,
        patrol: short,
        interval: None,
        status_cache: short,
        settle: short,
        grace: short,
        unknown: short,
        send: short,
    };
    let (ledger, clock) = (Arc::new(MemoryLedger::default()), Arc::new(SystemClock));
    Engine::new(ledger, Routes::default(), policy, clock, Arc::new(Nobody))
}

/// A restore that the ledger has just taken in.
async fn taken_in(engine: &Engine) -> Entry {
    let asked = Evidence::new("request", Strength::Strong, engine.now());
    let events = number(0, engine.now(), Cause::Caller, &"0".repeat(32), vec![(EventKind::Accepted, asked)]);
    let new = NewEntry {
        intent: whole(),
        events,
        key_window_seconds: 1,
        duplicate_window_seconds: 1,
        may_keep_key: true,
    };
    match engine.enter(new).await {
        Ok(Accept::New(entry)) => entry,
        other => panic!("it is taken in: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_hung_up_on_leaves_nothing() {
    let engine = engine();
    let id = taken_in(&engine).await.intent.id;
    let hour = Duration::from_secs(3_600);
    let wait = engine.wait(id, Instant::now() + hour);
    assert!(tokio::time::timeout(Duration::from_secs(1), wait).await.is_err(), "it is waiting");
    assert!(engine.live().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_another_replica_has_ended_leaves_nothing() {
    let engine = engine();
    let mut entry = taken_in(&engine).await;
    let id = entry.intent.id;
    entry.state.status = Status::Unknown;
    engine.live().entry(id).or_default();
    engine.now_stands(&entry);
    assert!(!engine.live().is_empty(), "since when it is unknown is kept");
    entry.state.status = Status::NotApplied;
    engine.now_stands(&entry);
    assert!(engine.live().is_empty());
}
