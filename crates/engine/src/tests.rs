//! What is kept in memory of a restore is let go of once nobody needs it.

use restore_ledger::memory::MemoryLedger;
use restore_model::{Intent, Mapping, RoutePin, Status, SystemClock};

use super::*;

struct Nobody;

impl Witness for Nobody {
    fn witness(&self, _: &Entry, _: &Event) {}
    fn decided(&self, _: &Decision<'_>) {}
}

fn engine() -> Engine {
    engine_that_keeps(None)
}

fn engine_that_keeps(retention: Option<Duration>) -> Engine {
    let short = Duration::from_secs(1);
    let policy = Policy {
        answer: short,
        unsent: short,
        max_keys_per_caller: 1,
        retention,
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

/// The restore of a server with two disks, one after the other.
fn server() -> Intent {
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

/// A restore that the ledger has just taken in.
async fn taken_in(engine: &Engine) -> Entry {
    let asked = Evidence::new("request", Strength::Strong, engine.now());
    let events = number(0, engine.now(), Cause::Caller, &"0".repeat(32), vec![(EventKind::Accepted, asked)]);
    let new = NewEntry {
        intent: server(),
        events,
        idempotency_key_ttl_seconds: 1,
        dedup_window_seconds: 1,
        may_keep_key: true,
        clock: None,
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

/// F47: a restore becomes overdue by the time that passes, whatever the wall clock says, at each of its steps.
#[tokio::test(start_paused = true)]
async fn f47_a_wall_clock_that_was_set_back_keeps_no_step_young() {
    let engine = engine();
    let mut entry = taken_in(&engine).await;
    entry.state.status = Status::Running;
    entry.state.submitted_at = Some(engine.now().plus_seconds(7_200));
    engine.follow(&entry, None);
    tokio::time::advance(Duration::from_secs(90)).await;
    assert!(engine.age(&entry) >= Duration::from_secs(90));

    // Its first disk has ended, and nobody sends the next one.
    entry.state.step = 1;
    engine.now_stands(&entry);
    assert_eq!(engine.age(&entry), Duration::ZERO);
    tokio::time::advance(Duration::from_secs(90)).await;
    assert!(engine.age(&entry) >= Duration::from_secs(90), "it is overdue");
}

/// A restore of a disk of its own that began so many seconds ago, and was refused as many seconds ago where it has ended.
async fn began(engine: &Engine, disk: &str, began: i64, ended: Option<i64>) -> RestoreId {
    let mut intent = server();
    intent.route.steps = Vec::new();
    let ago = |seconds: i64| engine.now().plus_seconds(-seconds);
    intent.id = RestoreId::at(ago(began));
    intent.created_at = ago(began);
    intent.request.target = restore_model::Target::Volume { volume_id: disk.parse().unwrap() };
    intent.fingerprint = intent.own_fingerprint();
    let id = intent.id;
    let evidence = |seconds| Evidence::new("test", Strength::Strong, ago(seconds));
    let accepted = vec![(EventKind::Accepted, evidence(began))];
    let events = number(0, ago(began), Cause::Caller, &"0".repeat(32), accepted);
    let new = NewEntry {
        intent,
        events,
        idempotency_key_ttl_seconds: 1,
        dedup_window_seconds: 1,
        may_keep_key: true,
        clock: None,
    };
    let Ok(Accept::New(entry)) = engine.enter(new).await else { panic!("it is taken in") };
    if let Some(ended) = ended {
        let problem = Box::new(Problem::new(Code::UpstreamBadRequest, "no"));
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
