//! F6, F8: the ledger goes away at the worst moments. Nothing is sent without a durable intent, no
//! outcome is lost, and no target stays locked by a restore that nobody works on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use restore_engine::{
    Caller, Decision, Engine, Idempotency, Match, Observer, Policy, Route, Routes, Submission,
};
use restore_ledger::memory::MemoryLedger;
use restore_ledger::{
    Accept, Claim, Delivery, Entry, FeedItem, Hook, Lease, Ledger, LedgerError, MessageRef, NewEntry, Outbox,
    Position, Pruned, Query, Record, Recovery, Unfinished, Waiting,
};
use restore_model::{Code, Effect, Event, EventKind, ProjectId, RestoreId, Status, SystemClock, Timestamp};
use restore_simulator::Simulator;
use restore_upstream::{Options, Token, Upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A ledger that refuses the next so many appends, after having let some pass.
#[derive(Default)]
struct Away {
    kept: MemoryLedger,
    pass: AtomicU32,
    refuse: AtomicU32,
    /// So many further attempts are written down without an answer.
    unheard: AtomicU32,
}

fn take(counter: &AtomicU32) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

/// Each call as the kept ledger answers it.
macro_rules! as_kept {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        $(fn $name<'a>(&'a self, $($argument: $kind),*) -> BoxFuture<'a, Result<$answer, LedgerError>> {
            self.kept.$name($($argument),*)
        })*
    };
}

impl Ledger for Away {
    fn append(
        &self,
        id: RestoreId,
        seen: u32,
        events: Vec<Event>,
    ) -> BoxFuture<'_, Result<Entry, LedgerError>> {
        let again = EventKind::Submitting { attempt: 2, step: 0 };
        if events.iter().any(|event| event.kind == again) && take(&self.unheard) {
            return Box::pin(async move {
                self.kept.append(id, seen, events).await?;
                Err(LedgerError::Unavailable("the connection broke".to_owned()))
            });
        }
        if !take(&self.pass) && take(&self.refuse) {
            let error = LedgerError::Unavailable("the disk is full".to_owned());
            return Box::pin(std::future::ready(Err(error)));
        }
        self.kept.append(id, seen, events)
    }

    fn lease(&self) -> Lease {
        self.kept.lease()
    }

    fn is_shared(&self) -> bool {
        self.kept.is_shared()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.kept.close()
    }

    as_kept! {
        accept(new: NewEntry) -> Accept;
        get(id: RestoreId) -> Option<Entry>;
        events(id: RestoreId) -> Vec<Event>;
        list(query: Query) -> Vec<Entry>;
        claim(which: Claim, limit: usize) -> Vec<Entry>;
        claim_one(id: RestoreId) -> Option<Entry>;
        take(id: RestoreId) -> bool;
        reserve_read(id: RestoreId, interval: Duration) -> bool;
        feed(after: Position, limit: usize) -> Vec<FeedItem>;
        position() -> Position;
        keys(caller: &'a str, at_most: usize) -> usize;
        prune(restores: Option<Timestamp>, keys: Timestamp, limit: usize) -> Pruned;
        audit(after: Option<RestoreId>, limit: usize) -> Vec<Record>;
        recovery() -> Option<Recovery>;
        set_recovery(recovery: Option<Recovery>) -> ();
        task_holder(project: &'a ProjectId, task: &'a str) -> Option<RestoreId>;
        ready() -> ();
        unfinished() -> Unfinished;
    }
}

impl Outbox for Away {
    as_kept! {
        hook(name: &'a str) -> Option<Hook>;
        post(name: &'a str, from: Option<Position>, to: Position, message_refs: Vec<MessageRef>) -> bool;
        due(name: &'a str, now: Timestamp, reserve: Duration, limit: usize) -> Vec<Delivery>;
        next_due(name: &'a str) -> Option<Timestamp>;
        delivered(name: &'a str, message_ref: MessageRef) -> ();
        put_off(name: &'a str, message_ref: MessageRef, attempts: u32, until: Timestamp, why: String) -> ();
        give_up(name: &'a str, message_ref: MessageRef, why: String) -> ();
        set_disabled(name: &'a str, why: Option<String>) -> ();
        waiting(name: &'a str) -> Waiting;
    }
}

struct Nobody;

impl Observer for Nobody {
    fn committed(&self, _: &Entry, _: &Event) {}
    fn decided(&self, _: &Decision<'_>) {}
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
        source_api: Vec::new(),
        per_disk_restore: false,
        share: 1.0,
        fallback_upstream: None,
        upstream,
        baseline: true,
        idempotency: Idempotency::Optional,
        key_window: Duration::from_secs(60),
        duplicate_window: Duration::from_secs(60),
        overdue: Duration::from_secs(3_600),
    }]);
    let policy = Policy {
        answer: Duration::from_secs(10),
        unsent: Duration::from_secs(60),
        max_keys_per_caller: 100,
        retention: None,
        takeover_interval: Duration::from_secs(1),
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
    Submission::new(
        restore_model::schema::parse_restore(request).expect("a request"),
        Caller::anyone(Token::from_header(&http::HeaderValue::from_static("demo-token"))),
    )
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

/// The faults of the clouds from now on.
async fn faults(clouds: &Simulator, faults: &str) {
    let address = clouds.url().trim_start_matches("http://").to_owned();
    let body = format!("{{\"faults\":[{faults}]}}");
    let head = format!(
        "POST /_sim/faults HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let mut stream = tokio::net::TcpStream::connect(&address).await.expect("the clouds");
    stream.write_all(format!("{head}{body}").as_bytes()).await.expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 2"), "{answer}");
}

#[tokio::test]
async fn a_further_attempt_that_was_written_down_unheard_was_not_made() {
    let Bench { clouds, ledger, engine } = bench().await;
    let busy = r#"{"status": 429, "headers": {"retry-after": "0"}, "body": {"error_code": "APIGW.0308", "error_msg": "m"}}"#;
    faults(&clouds, &format!(r#"{{"match": {{"method": "POST"}}, "times": 1, "answer": {busy}}}"#)).await;
    ledger.unheard.store(1, Ordering::SeqCst);
    let first = engine.submit(submission()).await;
    let id =
        first.map_or_else(|refusal| refusal.holder.expect("it was taken in"), |first| first.entry.intent.id);
    until(&engine, id, Status::Rejected).await;
    // Its target is nobody's.
    let mut again = submission();
    again.key = Some("another".to_owned());
    let again = engine.submit(again).await.expect("a restore");
    until(&engine, again.entry.intent.id, Status::Succeeded).await;
    engine.drain(Duration::from_secs(5)).await;
    clouds.stop().await;
}

/// Recovery mode that begins at another replica stops what is about to be sent here as well.
#[tokio::test]
async fn f41_what_is_about_to_be_sent_is_not_when_recovery_begins() {
    let Bench { clouds, ledger, engine } = bench().await;
    faults(&clouds, r#"{"match": {"method": "GET"}, "times": 1, "delay_ms": 1500}"#).await;
    let sending = tokio::spawn({
        let engine = engine.clone();
        async move { engine.submit(submission()).await }
    });
    let page = Query { limit: 1, ..Query::default() };
    let checking = async {
        loop {
            let page = ledger.list(page.clone()).await.expect("a list");
            if page.first().is_some_and(|entry| entry.state.status == Status::Checking) {
                return page[0].intent.id;
            }
            tokio::task::yield_now().await;
        }
    };
    let id = tokio::time::timeout(Duration::from_secs(10), checking).await.expect("it looks first");
    engine.begin_recovery("a test", Timestamp::from_micros(0)).await.expect("the ledger");
    let _refused = sending.await.expect("an answer");
    until(&engine, id, Status::Rejected).await;
    let state = engine.get(id).await.expect("the restore").state;
    assert_eq!(state.error.map(|problem| problem.effect), Some(Effect::None));
    engine.drain(Duration::from_secs(5)).await;
    clouds.stop().await;
}
