//! A relay with a ledger in memory, a simulated receiver and a paused clock.

use std::sync::Mutex;

use futures_util::future::join_all;
use restore_ledger::memory::MemoryLedger;
use restore_ledger::{Accept, NewEntry};
use restore_model::{Cause, Event, Evidence, Intent, Problem, ResolvedAs, RoutePin, Strength, Timestamp};
use serde_json::Value;
use tokio::time::Instant;

use super::post::LAST_WORDS;
use super::*;

const PROJECT: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";

/// The wall clock of a paused runtime.
struct Paused(Instant);

impl Clock for Paused {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_800_000_000_000_000 + i64::try_from(self.0.elapsed().as_micros()).unwrap())
    }
}

/// Returns the scripted responses, then success; records each message with its time.
#[derive(Default)]
struct Receives {
    answers: Mutex<VecDeque<Receipt>>,
    got: Mutex<Vec<(Duration, Message)>>,
    begun: Mutex<Option<Instant>>,
    /// Number of initial messages that get no response.
    slow: usize,
}

impl Carrier for Receives {
    fn carry(&self, message: Message) -> BoxFuture<'_, Receipt> {
        let since = self.begun.lock().unwrap().get_or_insert_with(Instant::now).elapsed();
        let slow = self.got.lock().unwrap().len() < self.slow;
        self.got.lock().unwrap().push((since, message));
        let answer = self.answers.lock().unwrap().pop_front().unwrap_or(Receipt::Delivered);
        Box::pin(async move {
            if slow {
                std::future::pending::<()>().await;
            }
            answer
        })
    }
}

impl Receives {
    /// Returns the occasions of the received messages, in order.
    fn words(&self) -> Vec<String> {
        let word = |(_, message): &(Duration, Message)| {
            let body: Value = serde_json::from_slice(&message.body).unwrap();
            body["type"].as_str().unwrap().rsplit('.').next().unwrap().to_owned()
        };
        self.got.lock().unwrap().iter().map(word).collect()
    }

    fn seconds(&self) -> Vec<u64> {
        self.got.lock().unwrap().iter().map(|(at, _)| at.as_secs()).collect()
    }
}

fn failed() -> Receipt {
    Receipt::Failed { why: "answered 503".to_owned(), retry_after: None }
}

/// A ledger, a receiver, and a relay between them.
struct World {
    ledger: Arc<dyn Ledger>,
    receiver: Arc<Receives>,
    changed: watch::Sender<u64>,
    stop: CancellationToken,
    clock: Arc<Paused>,
    tally: Arc<Tally>,
}

impl World {
    async fn with(receiver: Receives, change: impl FnOnce(&mut Hook)) -> (Self, tokio::task::JoinHandle<()>) {
        Self::over(Arc::new(MemoryLedger::default()), receiver, change).await
    }

    async fn over(
        ledger: Arc<dyn Ledger>,
        receiver: Receives,
        change: impl FnOnce(&mut Hook),
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let world = Self {
            ledger,
            receiver: Arc::new(receiver),
            changed: watch::channel(0).0,
            stop: CancellationToken::new(),
            clock: Arc::new(Paused(Instant::now())),
            tally: Arc::default(),
        };
        world.begin(change).await
    }

    /// Starts the relay, as a process does at its start.
    async fn begin(mut self, change: impl FnOnce(&mut Hook)) -> (Self, tokio::task::JoinHandle<()>) {
        self.stop = CancellationToken::new();
        let mut hook = Hook {
            name: "ops".to_owned(),
            occasions: None,
            projects: None,
            carrier: Arc::clone(&self.receiver) as Arc<dyn Carrier>,
            timeout: Duration::from_secs(15),
            schedule: SCHEDULE.iter().copied().map(Duration::from_secs).collect(),
        };
        change(&mut hook);
        let relay = Relay::new(
            hook,
            Arc::clone(&self.ledger),
            Arc::clone(&self.clock) as Arc<dyn Clock>,
            self.changed.subscribe(),
            self.stop.clone(),
        )
        .await
        .unwrap();
        self.tally = relay.tally();
        (self, tokio::spawn(relay.run()))
    }

    fn event(&self, seq: u32, kind: EventKind) -> Event {
        let at = self.clock.now();
        let evidence = Evidence::new("test", Strength::Strong, at);
        Event { seq, at, cause: Cause::Caller, evidence, trace_id: "0".repeat(32), kind }
    }

    /// Accepts a new restore; only its ID differs from the previous one.
    async fn accept(&self, project: &str) -> RestoreId {
        let now = self.clock.now();
        let id = RestoreId::at(now);
        let request = serde_json::json!({
            "project_id": project,
            "source": {"backup_id": "b"},
            "target": {"type": "volume", "volume_id": id.to_string()},
        });
        let request = restore_model::schema::parse_restore(request).unwrap();
        let intent = Intent {
            id,
            caller: project.to_owned(),
            fingerprint: request.fingerprint(),
            request,
            key: None,
            origin: None,
            route: RoutePin {
                upstream: "u".to_owned(),
                generation: "vbs-v2".to_owned(),
                reason: String::new(),
                baseline: false,
                overdue_seconds: 60,
                steps: Vec::new(),
                at: None,
            },
            fallback: None,
            created_at: now,
            trace_id: "0".repeat(32),
            span_id: "0".repeat(16),
        };
        let events = vec![
            self.event(1, EventKind::Accepted),
            self.event(2, EventKind::Submitting { attempt: 1, step: 0 }),
        ];
        let new = NewEntry {
            intent,
            events,
            idempotency_key_ttl_seconds: 60,
            dedup_window_seconds: 60,
            may_keep_key: true,
            clock: None,
        };
        assert!(matches!(self.ledger.accept(new).await.unwrap(), Accept::New(_)));
        self.told();
        id
    }

    async fn append(&self, id: RestoreId, seq: u32, kind: EventKind) {
        self.ledger.append(id, seq - 1, vec![self.event(seq, kind)]).await.unwrap();
        self.told();
    }

    fn told(&self) {
        self.changed.send_modify(|commits| *commits += 1);
    }

    /// Advances time until `wanted` holds.
    async fn until(&self, wanted: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        let end = begun + Duration::from_secs(30 * 86_400);
        while !wanted(self) {
            assert!(Instant::now() < end, "{:?} at {:?}", self.receiver.words(), self.receiver.seconds());
            // The longer it takes, the longer the interval between checks.
            tokio::time::sleep((begun.elapsed() / 1_000).max(Duration::from_millis(100))).await;
        }
    }
}

fn started() -> EventKind {
    EventKind::Started {
        task: None,
        upstream_status: None,
        progress: None,
        request_id: None,
        clock_offset_ms: None,
    }
}

#[test]
fn every_occasion_is_an_event() {
    let problem = || Box::new(Problem::new(restore_model::Code::Internal, "x"));
    let events = [
        EventKind::Accepted,
        started(),
        EventKind::OutcomeUnclear { reason: String::new(), problem: None },
        EventKind::NeedsOperator { reason: String::new() },
        EventKind::Overdue,
        EventKind::Succeeded,
        EventKind::Failed { problem: problem() },
        EventKind::Rejected { problem: problem() },
        EventKind::NotApplied,
        EventKind::Cancelled,
        EventKind::Expired,
    ];
    assert_eq!(
        events.iter().filter_map(|event| occasion(event, Status::Unknown)).collect::<Vec<_>>(),
        OCCASIONS
    );
    // An operator's decision on one of several disks decides the restore.
    let resolved = EventKind::Resolved {
        outcome: ResolvedAs::Applied,
        by: String::new(),
        reason: String::new(),
        early: false,
    };
    for status in [Status::Succeeded, Status::Failed, Status::NotApplied] {
        assert_eq!(occasion(&resolved, status), Some(status.as_str()));
    }
    for quiet in [EventKind::Checking, EventKind::NotFound, EventKind::Submitting { attempt: 1, step: 0 }] {
        assert_eq!(occasion(&quiet, Status::Unknown), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_restore_is_told_in_its_order_and_once() {
    let (world, _task) = World::with(Receives::default(), |_| {}).await;
    let id = world.accept(PROJECT).await;
    world.append(id, 3, started()).await;
    world.append(id, 4, EventKind::Succeeded).await;
    world.until(|world| world.receiver.words().len() == 3).await;
    assert_eq!(world.receiver.words(), ["accepted", "running", "succeeded"]);
    let got = world.receiver.got.lock().unwrap().clone();
    let body: Value = serde_json::from_slice(&got[1].1.body).unwrap();
    assert_eq!(got[1].1.id, format!("{id}.3"));
    assert_eq!((body["id"].as_str(), body["specversion"].as_str()), (Some(&*got[1].1.id), Some("1.0")));
    assert_eq!(body["type"], "io.restore-gateway.restore.running");
    assert_eq!(
        (&body["subject"], &body["data"]["restore"]["id"]),
        (&Value::from(id.to_string()), &body["subject"])
    );
    assert_eq!(body["source"], format!("/api/v1/restores/{id}"));
    // The event is unchanged; the restore has its state at the time of delivery.
    assert_eq!(
        (&body["data"]["event"]["event"], &body["data"]["event"]["seq"]),
        (&"started".into(), &3.into())
    );
    assert_eq!(body["data"]["restore"]["status"], "succeeded");
    assert_eq!(body["time"], body["data"]["event"]["at"]);
    tokio::time::sleep(Duration::from_secs(7 * 86_400)).await;
    assert_eq!(world.receiver.words().len(), 3);
    assert_eq!(world.ledger.waiting("ops").await.unwrap(), restore_ledger::Waiting::default());
}

#[tokio::test(start_paused = true)]
async fn f38_a_receiver_that_is_away_is_tried_for_days_under_one_name_then_given_up() {
    let answers = Mutex::new(std::iter::repeat_with(failed).take(20).collect());
    let (world, _task) = World::with(Receives { answers, ..Receives::default() }, |hook| {
        hook.occasions = Some(vec!["accepted".to_owned()]);
    })
    .await;
    let id = world.accept(PROJECT).await;
    world.until(|world| world.tally.dead.load(Ordering::Relaxed) == 1).await;
    let got = world.receiver.got.lock().unwrap().clone();
    assert_eq!(got.len(), SCHEDULE.len() + 1);
    assert!(got.iter().all(|(_, message)| message.id == format!("{id}.1")));
    for (pair, wait) in got.windows(2).zip(SCHEDULE) {
        let (waited, wait) = ((pair[1].0 - pair[0].0).as_secs_f64(), *wait as f64);
        assert!((wait * 0.9..=wait * 1.1 + 1.0).contains(&waited), "{waited} of {wait}");
        assert!(pair[0].1.at < pair[1].1.at, "the time is that of the attempt");
    }
    let waiting = world.ledger.waiting("ops").await.unwrap();
    assert_eq!((waiting.waiting, waiting.dead), (0, 1));
    assert_eq!(world.tally.given_up.load(Ordering::Relaxed), 1);
    assert_eq!(world.tally.failed.load(Ordering::Relaxed), 10);
}

#[tokio::test(start_paused = true)]
async fn a_short_absence_is_got_over_in_order_and_a_message_never_taken_is_passed() {
    let (world, _task) = World::with(Receives::default(), |_| {}).await;
    world.receiver.answers.lock().unwrap().extend([failed(), failed()]);
    let id = world.accept(PROJECT).await;
    world.until(|world| world.receiver.words().len() == 1).await;
    world.append(id, 3, started()).await;
    world.append(id, 4, EventKind::Succeeded).await;
    world.until(|world| world.receiver.words().len() == 5).await;
    assert_eq!(world.receiver.words(), ["accepted", "accepted", "accepted", "running", "succeeded"]);

    let other = world.accept(PROJECT).await;
    world.until(|world| world.receiver.words().len() == 6).await;
    // One message fails permanently: after its third attempt, the end of the restore overtakes it.
    world.receiver.answers.lock().unwrap().extend([failed(), failed(), failed()]);
    world.append(other, 3, started()).await;
    world.until(|world| world.receiver.words().len() == 7).await;
    world.append(other, 4, EventKind::Succeeded).await;
    world.until(|world| world.receiver.words().len() == 11).await;
    assert_eq!(world.receiver.words()[6..], ["running", "running", "running", "succeeded", "running"]);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_may_ask_for_more_time_and_not_for_less() {
    let after = |seconds| Receipt::Failed {
        why: "answered 429".to_owned(),
        retry_after: Some(Duration::from_secs(seconds)),
    };
    let answers = Mutex::new([after(60), after(1), after(u64::MAX)].into());
    let (world, _task) = World::with(Receives { answers, ..Receives::default() }, |_| {}).await;
    world.accept(PROJECT).await;
    world.until(|world| world.receiver.words().len() == 4).await;
    let at = world.receiver.seconds();
    let waits: Vec<u64> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!((60..=62).contains(&waits[0]) && (270..=332).contains(&waits[1]), "{waits:?}");
    assert!((86_400..=86_402).contains(&waits[2]), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hook_is_told_what_it_wants_from_its_beginning_on() {
    let other = "f".repeat(32);
    let (world, task) = World::with(Receives::default(), |_| {}).await;
    world.stop.cancel();
    task.await.unwrap();
    // A second webhook, which starts after this restore.
    world.accept(PROJECT).await;
    let (world, _task) = world
        .begin(|hook| {
            hook.name = "audit".to_owned();
            hook.projects = Some(vec![PROJECT.to_owned()]);
            hook.occasions = Some(vec!["accepted".to_owned(), "succeeded".to_owned()]);
        })
        .await;
    let unwanted = world.accept(&other).await;
    let wanted = world.accept(PROJECT).await;
    for id in [unwanted, wanted] {
        world.append(id, 3, started()).await;
        world.append(id, 4, EventKind::Succeeded).await;
    }
    world.until(|world| world.receiver.words().len() == 2).await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(world.receiver.words(), ["accepted", "succeeded"]);
    let names: Vec<_> = world.receiver.got.lock().unwrap().iter().map(|(_, m)| m.id.clone()).collect();
    assert_eq!(names, [format!("{wanted}.1"), format!("{wanted}.4")]);
}

#[tokio::test(start_paused = true)]
async fn f38_a_receiver_that_wants_no_more_is_told_no_more_by_any_process() {
    let answers = Mutex::new([Receipt::Gone, Receipt::Gone].into());
    let (world, task) = World::with(Receives { answers, ..Receives::default() }, |_| {}).await;
    world.accept(PROJECT).await;
    world.until(|world| world.tally.disabled.load(Ordering::Relaxed)).await;
    world.accept(PROJECT).await;
    tokio::time::sleep(Duration::from_secs(86_400)).await;
    assert_eq!(world.receiver.words().len(), 2);
    let standing = world.ledger.hook("ops").await.unwrap().unwrap();
    assert!(standing.disabled.as_ref().is_some_and(|why| why.contains("410")), "{standing:?}");
    world.stop.cancel();
    task.await.unwrap();
    let (world, _task) = world.begin(|_| {}).await;
    tokio::time::sleep(Duration::from_secs(86_400)).await;
    assert_eq!((world.receiver.words().len(), world.tally.disabled.load(Ordering::Relaxed)), (2, true));
    // After it is enabled again, it gets the missed messages.
    world.ledger.set_disabled("ops", None).await.unwrap();
    world.until(|world| world.receiver.words().len() == 4).await;
}

#[tokio::test(start_paused = true)]
async fn one_410_silences_nobody() {
    let answers = Mutex::new([Receipt::Gone].into());
    let (world, _task) = World::with(Receives { answers, ..Receives::default() }, |_| {}).await;
    world.accept(PROJECT).await;
    world.until(|world| world.tally.delivered.load(Ordering::Relaxed) == 1).await;
    world.accept(PROJECT).await;
    world.until(|world| world.tally.delivered.load(Ordering::Relaxed) == 2).await;
    assert!(!world.tally.disabled.load(Ordering::Relaxed));
    let standing = world.ledger.hook("ops").await.unwrap().unwrap();
    assert_eq!(standing.disabled, None);
}

#[tokio::test(start_paused = true)]
async fn a_stop_gives_an_attempt_a_moment_and_the_next_process_makes_it_again() {
    let (world, task) = World::with(Receives { slow: usize::MAX, ..Receives::default() }, |_| {}).await;
    world.accept(PROJECT).await;
    world.until(|world| world.receiver.words().len() == 1).await;
    let stopped = Instant::now();
    world.stop.cancel();
    task.await.unwrap();
    assert_eq!(stopped.elapsed(), LAST_WORDS);
    let again = World { receiver: Arc::default(), ..world };
    let (world, _task) = again.begin(|_| {}).await;
    world.until(|world| world.receiver.words().len() == 1).await;
    assert_eq!(world.tally.failed.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_receiver_gets_a_few_at_once_and_nothing_waits_in_memory() {
    let (world, _task) = World::with(Receives { slow: usize::MAX, ..Receives::default() }, |_| {}).await;
    for _ in 0..50 {
        world.accept(PROJECT).await;
    }
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(world.receiver.words().len(), ABREAST);
    assert_eq!(world.ledger.waiting("ops").await.unwrap().waiting, 50);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_hangs_holds_up_its_own_restore_alone() {
    let (world, _task) = World::with(Receives { slow: 1, ..Receives::default() }, |_| {}).await;
    let stuck = world.accept(PROJECT).await;
    world.until(|world| world.receiver.words().len() == 1).await;
    world.append(stuck, 3, started()).await;
    for count in [2, 3, 4, 5, 6, 7] {
        world.accept(PROJECT).await;
        world.until(|world| world.receiver.words().len() == count).await;
    }
    assert!(world.receiver.seconds().iter().all(|at| *at < 5), "{:?}", world.receiver.seconds());
    assert!(world.receiver.words().iter().all(|word| word == "accepted"));
}

/// The file has few read connections, and waiting requests are served in turn. An attempt that has its turn but is not
/// polled would block all others, including the relay's own round.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_at_the_ledger_for_an_attempt_that_is_not_looked_at() {
    const RESTORES: usize = 120;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("ledger.db").display()).parse().unwrap();
    let ledger = restore_ledger::open(&url, restore_ledger::OpenOptions::default()).await.unwrap();
    let (world, _task) = World::over(ledger, Receives::default(), |_| {}).await;
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let ledger = Arc::clone(&world.ledger);
        readers.spawn(async move {
            loop {
                ledger.list(restore_ledger::Query { limit: 5, ..Default::default() }).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
    }
    let told = async {
        // Many at once: as many attempts start together.
        for _ in 0..RESTORES / 30 {
            join_all((0..30).map(|_| world.accept(PROJECT))).await;
        }
        world.until(|world| world.receiver.words().len() == RESTORES).await;
    };
    tokio::select! {
        told = tokio::time::timeout(Duration::from_secs(60), told) => told.expect("everything is told"),
        refused = readers.join_next() => panic!("a read had no turn: {refused:?}"),
    }
}
