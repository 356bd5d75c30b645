//! F6, F8: the ledger goes away at the worst moments. Nothing is sent without a durable intent, no
//! outcome is lost, and no target stays locked by a restore that nobody works on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use restore_engine::{Engine, Idempotency, Match, Policy, Route, Routes, Submission, Witness};
use restore_ledger::memory::MemoryLedger;
use restore_ledger::{Accept, Entry, Ledger, LedgerError, NewEntry, Query};
use restore_model::{Code, Effect, Event, RestoreId, Status, SystemClock};
use restore_simulator::Simulator;
use restore_upstream::{Options, Token, Upstream};

/// A ledger that refuses the next so many appends, after having let some pass.
#[derive(Default)]
struct Away {
    kept: MemoryLedger,
    pass: AtomicU32,
    refuse: AtomicU32,
}

fn take(counter: &AtomicU32) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

impl Ledger for Away {
    fn accept(&self, new: NewEntry) -> BoxFuture<'_, Result<Accept, LedgerError>> {
        self.kept.accept(new)
    }

    fn append(
        &self,
        id: RestoreId,
        seen: u32,
        events: Vec<Event>,
    ) -> BoxFuture<'_, Result<Entry, LedgerError>> {
        if !take(&self.pass) && take(&self.refuse) {
            let error = LedgerError::Unavailable("the disk is full".to_owned());
            return Box::pin(std::future::ready(Err(error)));
        }
        self.kept.append(id, seen, events)
    }

    fn get(&self, id: RestoreId) -> BoxFuture<'_, Result<Option<Entry>, LedgerError>> {
        self.kept.get(id)
    }

    fn events(&self, id: RestoreId) -> BoxFuture<'_, Result<Vec<Event>, LedgerError>> {
        self.kept.events(id)
    }

    fn list(&self, query: Query) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        self.kept.list(query)
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        self.kept.unfinished()
    }

    fn handle_taken<'a>(
        &'a self,
        upstream: &'a str,
        handle_id: &'a str,
        but: RestoreId,
    ) -> BoxFuture<'a, Result<bool, LedgerError>> {
        self.kept.handle_taken(upstream, handle_id, but)
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.kept.ready()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.kept.close()
    }
}

struct Nobody;

impl Witness for Nobody {
    fn witness(&self, _: &Entry, _: &Event) {}
}

struct Bench {
    clouds: Simulator,
    ledger: Arc<Away>,
    engine: Engine,
}

async fn bench() -> Bench {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let clouds = Simulator::start(anywhere, restore_simulator::Options::default()).await.expect("clouds");
    let options = Options::to("vbs", format!("{}/vbs", clouds.url()).parse().expect("a URL"));
    let generation = restore_generations::by_name("vbs-v2").expect("the generation");
    let upstream = Arc::new(Upstream::new(options, generation).expect("an upstream"));
    let routes = Routes::new(vec![Route {
        matches: Match::default(),
        upstream,
        baseline: true,
        idempotency: Idempotency::Optional,
        overdue: Duration::from_secs(3_600),
    }]);
    let policy = Policy {
        answer: Duration::from_secs(10),
        duplicate_window: Duration::from_secs(60),
        key_window: Duration::from_secs(60),
        interval: Some(Duration::from_millis(100)),
        status_cache: Duration::from_millis(50),
        settle: Duration::from_secs(1),
        grace: Duration::from_secs(1),
        unknown: Duration::from_secs(5),
        send: Duration::from_secs(1),
    };
    let ledger = Arc::new(Away::default());
    let kept: Arc<dyn Ledger> = Arc::clone(&ledger) as Arc<dyn Ledger>;
    let engine = Engine::new(kept, routes, policy, Arc::new(SystemClock), Arc::new(Nobody));
    engine.recover().await.expect("a start");
    Bench { clouds, ledger, engine }
}

fn submission() -> Submission {
    let request = serde_json::json!({
        "project_id": "0a1b2c3d4e5f60718293a4b5c6d7e8f9",
        "source": {"backup_id": "5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b03"},
        "target": {"type": "volume", "volume_id": "c0ffee02-1111-4222-8333-444455556666"},
    });
    Submission {
        request: restore_model::schema::parse_restore(request).expect("a request"),
        caller: "test".to_owned(),
        key: None,
        token: Token::from_header(&http::HeaderValue::from_static("demo-token")),
        trace: None,
    }
}

async fn until(engine: &Engine, id: RestoreId, status: Status) {
    let look = async {
        while engine.get(id).await.expect("the restore").state.status != status {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), look).await.unwrap_or_else(|_| panic!("never {status:?}"));
}

#[tokio::test]
async fn without_a_durable_intent_nothing_is_sent_and_the_target_is_free_again() {
    let Bench { clouds, ledger, engine } = bench().await;
    // The write-ahead fails, and the first tries to end the restore too.
    ledger.refuse.store(3, Ordering::SeqCst);
    let refusal = engine.submit(submission()).await.expect_err("a refusal");
    assert_eq!((refusal.problem.code, refusal.problem.effect), (Code::LedgerUnavailable, Effect::None));
    let id = refusal.holder.expect("it was taken in");
    until(&engine, id, Status::Rejected).await;
    let history = engine.events(id).await.expect("its history");
    assert!(history.iter().all(|event| event.kind.as_str() != "submitting"), "{history:?}");

    // The ledger is back, and the target is nobody's.
    let again = engine.submit(submission()).await.expect("a restore");
    assert!(!again.replayed);
    until(&engine, again.entry.intent.id, Status::Succeeded).await;
    assert_eq!(again.entry.state.attempts, 1);
    engine.drain(Duration::from_secs(5)).await;
    clouds.stop().await;
}

#[tokio::test]
async fn an_outcome_waits_for_the_ledger() {
    let Bench { clouds, ledger, engine } = bench().await;
    // The write-ahead passes; what came of the send does not, twice.
    ledger.pass.store(1, Ordering::SeqCst);
    ledger.refuse.store(2, Ordering::SeqCst);
    let submitted = engine.submit(submission()).await.expect("a restore");
    assert_eq!(submitted.entry.state.status, Status::Running);
    until(&engine, submitted.entry.intent.id, Status::Succeeded).await;
    assert_eq!(submitted.entry.state.attempts, 1);
    engine.drain(Duration::from_secs(5)).await;
    clouds.stop().await;
}
