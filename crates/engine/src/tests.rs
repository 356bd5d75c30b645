//! What is kept in memory of a restore is let go of once nobody needs it.

use restore_ledger::memory::MemoryLedger;
use restore_model::{Cause, Code, EventKind, Evidence, Status, Strength, SystemClock};

use super::*;
use crate::journal::number;
use crate::testing::{Nobody, policy, server, taken_in};

fn engine_that_keeps(retention: Option<Duration>) -> Engine {
    let (ledger, clock) = (Arc::new(MemoryLedger::default()), Arc::new(SystemClock));
    Engine::new(ledger, Routes::default(), Policy { retention, ..policy() }, clock, Arc::new(Nobody))
}

/// F47: a restore becomes overdue by the time that passes, whatever the wall clock says, at each of its steps.
#[tokio::test(start_paused = true)]
async fn f47_a_wall_clock_that_was_set_back_keeps_no_step_young() {
    let engine = engine_that_keeps(None);
    let mut entry = taken_in(&engine.0.journal, server(), engine.0.journal.now()).await;
    entry.state.status = Status::Running;
    entry.state.submitted_at = Some(engine.0.journal.now().plus_seconds(7_200));
    engine.follow(&entry, None);
    tokio::time::advance(Duration::from_secs(90)).await;
    assert!(engine.age(&entry) >= Duration::from_secs(90));

    // Its first disk has ended, and nobody sends the next one.
    entry.state.step = 1;
    engine.0.live.now_stands(&entry);
    assert_eq!(engine.age(&entry), Duration::ZERO);
    tokio::time::advance(Duration::from_secs(90)).await;
    assert!(engine.age(&entry) >= Duration::from_secs(90), "it is overdue");
}

/// A restore of a disk of its own that began so many seconds ago, and was refused as many seconds ago where it has ended.
async fn began(engine: &Engine, disk: &str, began: i64, ended: Option<i64>) -> RestoreId {
    let mut intent = server();
    intent.route.steps = Vec::new();
    let ago = |seconds: i64| engine.0.journal.now().plus_seconds(-seconds);
    intent.id = RestoreId::at(ago(began));
    intent.created_at = ago(began);
    intent.request.target = restore_model::Target::Volume { volume_id: disk.parse().unwrap() };
    intent.fingerprint = intent.own_fingerprint();
    let id = intent.id;
    let evidence = |seconds| Evidence::new("test", Strength::Strong, ago(seconds));
    let entry = taken_in(&engine.0.journal, intent, ago(began)).await;
    if let Some(ended) = ended {
        let problem = Box::new(Problem::new(Code::BadRequest, "no"));
        let kinds = vec![(EventKind::Rejected { problem }, evidence(ended))];
        let events = number(entry.state.seq, ago(ended), Cause::Upstream, &"0".repeat(32), kinds);
        engine.0.ledger.append(id, entry.state.seq, events).await.unwrap();
    }
    id
}

/// F43: what is forgotten changes no answer.
#[tokio::test]
async fn f43_nothing_is_forgotten_that_a_window_or_a_restore_still_needs() {
    let engine = engine_that_keeps(Some(Duration::from_secs(1)));
    let old = began(&engine, "v1", 99_000, Some(98_000)).await;
    let recent = began(&engine, "v2", 80_000, Some(79_000)).await;
    engine.forget_old().await.unwrap();
    assert!(engine.0.ledger.get(old).await.unwrap().is_none());
    assert!(engine.0.ledger.get(recent).await.unwrap().is_some(), "its task may be taken for a later one's");

    // It ended while another one was under way that has not ended yet.
    let engine = engine_that_keeps(Some(Duration::from_secs(1)));
    let before = began(&engine, "v0", 119_000, Some(118_000)).await;
    let beside = began(&engine, "v1", 109_000, Some(108_000)).await;
    began(&engine, "v2", 108_500, None).await;
    engine.forget_old().await.unwrap();
    assert!(engine.0.ledger.get(before).await.unwrap().is_none());
    assert!(engine.0.ledger.get(beside).await.unwrap().is_some(), "its task may be taken for the other's");
}
