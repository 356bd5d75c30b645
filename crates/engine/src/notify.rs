//! Telling others what becomes of restores: those who hold a stream open (`live`), and one relay per configured hook, from
//! the ledger's feed of events to a receiver of webhooks.
//!
//! Nothing is added to a restore's own path. A relay reads the feed after the fact, puts what its hook wants into
//! the ledger's outbox, and delivers from there; so a message outlives the process, and a receiver that is slow or
//! dead costs a task of its own and no more. Delivery is at least once: a message keeps its name (`webhook-id`)
//! however often it is sent, and receivers tell repetitions by it.
//!
//! Messages of one restore go one after the other. One that fails holds the later ones back for its first
//! [`HELD_ATTEMPTS`] attempts, which gets a short absence over in order; after that they pass it, for a message
//! that a receiver never takes must not hide how the restore ended.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use restore_ledger::{Delivery, Hook as Standing, Ledger, LedgerError, Letter, Position, Told};
use restore_model::{Clock, EventKind, Restore, RestoreId, Timestamp};
use restore_upstream::{Courier, Message, Receipt};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Engine;

mod live;

/// What others can be told of, in the order of a restore's life.
pub const OCCASIONS: &[&str] = &[
    "accepted",
    "running",
    "unknown",
    "needs_operator",
    "overdue",
    "succeeded",
    "failed",
    "rejected",
    "not_applied",
    "cancelled",
    "expired",
];

/// How long to wait after each failure, in seconds; a message that fails once more is given up, after some four
/// days. Each wait is spread by a tenth, so that messages which failed together do not come back together.
pub const SCHEDULE: &[u64] = &[5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// Attempts of a message during which later ones of the same restore wait for it.
const HELD_ATTEMPTS: u32 = 2;
/// Restores whose messages are held back at most; beyond, order is not kept.
const MAX_HELD: usize = 10_000;
/// The longest a receiver can ask to be left alone.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(86_400);
/// Letters that are taken in hand together.
const BATCH: usize = 16;
/// Restores whose letters are under way at once, per hook.
const ABREAST: usize = 4;
/// Events read from the feed at once.
const PAGE: usize = 256;
/// Events that nobody wants are passed over in memory; after so many the cursor is moved, which is what a start
/// reads again at most.
const RESCAN: usize = 4_096;
/// From a commit to the look at it, so that commits which come together cost one look.
const GATHER: Duration = Duration::from_millis(50);
/// Between two looks at a ledger that others write as well.
const POLL: Duration = Duration::from_millis(500);
/// Between two looks where nothing is said to have changed.
const IDLE: Duration = Duration::from_secs(60);
/// Until the ledger is asked again when it did not answer.
const LEDGER_PAUSE: Duration = Duration::from_secs(5);
/// What an attempt under way is given to end when the gateway stops; it is made again by the next process.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// The occasion that an event is, one of [`OCCASIONS`]; `None` for what only a restore's history tells.
#[must_use]
pub const fn occasion(event: &EventKind) -> Option<&'static str> {
    Some(match event {
        EventKind::Started { .. } => "running",
        EventKind::Unsure { .. } => "unknown",
        EventKind::Accepted
        | EventKind::NeedsOperator { .. }
        | EventKind::Overdue
        | EventKind::Succeeded
        | EventKind::Failed { .. }
        | EventKind::Rejected { .. }
        | EventKind::NotApplied
        | EventKind::Cancelled
        | EventKind::Expired => event.as_str(),
        _ => return None,
    })
}

/// Who takes a message to its receiver: one attempt, in a time of its own.
pub trait Carrier: Send + Sync + 'static {
    /// Takes it there.
    fn carry(&self, message: Message) -> BoxFuture<'_, Receipt>;
}

impl Carrier for Courier {
    fn carry(&self, message: Message) -> BoxFuture<'_, Receipt> {
        Box::pin(self.deliver(message))
    }
}

/// One hook: what it is told, and how.
pub struct Hook {
    /// Its name in the settings, under which the ledger keeps its messages.
    pub name: String,
    /// Words of [`OCCASIONS`]; `None` is all.
    pub occasions: Option<Vec<String>>,
    /// Projects; `None` is all.
    pub projects: Option<Vec<String>>,
    /// How it is reached.
    pub carrier: Arc<dyn Carrier>,
    /// The longest that one attempt takes.
    pub timeout: Duration,
    /// How long to wait after each failure; see [`SCHEDULE`].
    pub schedule: Vec<Duration>,
}

impl Hook {
    fn wants(&self, told: &Told) -> bool {
        let named = |list: &Option<Vec<String>>, word: &str| {
            list.as_ref().is_none_or(|list| list.iter().any(|item| item == word))
        };
        occasion(&told.event.kind).is_some_and(|word| named(&self.occasions, word))
            && named(&self.projects, told.entry.intent.request.project_id.as_str())
    }
}

/// What a relay has counted, for metrics.
#[derive(Debug, Default)]
pub struct Tally {
    /// Messages that arrived.
    pub delivered: AtomicU64,
    /// Attempts in vain.
    pub failed: AtomicU64,
    /// Messages that were given up by this process.
    pub given_up: AtomicU64,
    /// Messages that wait, as last looked at.
    pub waiting: AtomicU64,
    /// Messages that were ever given up and are kept, as last looked at.
    pub dead: AtomicU64,
    /// Whether the receiver wants no more.
    pub disabled: AtomicBool,
}

impl Engine {
    /// Begins to tell a hook, and goes on until the engine stops. A hook that is new is told what happens from now
    /// on; one that is known, what it has not been told yet.
    ///
    /// # Errors
    /// When the ledger cannot be read or written.
    pub async fn notify(&self, hook: Hook) -> Result<Arc<Tally>, LedgerError> {
        let relay = Relay::new(
            hook,
            Arc::clone(&self.0.ledger),
            Arc::clone(&self.0.clock),
            self.changed(),
            self.0.stop.clone(),
        );
        relay.standing().await?;
        let tally = Arc::clone(&relay.tally);
        self.0.tasks.spawn(relay.run());
        Ok(tally)
    }
}

/// A message that failed, and holds back the later ones of its restore.
#[derive(Clone, Copy)]
struct Held {
    seq: u32,
    until: Timestamp,
}

/// The work of one hook.
struct Relay {
    hook: Hook,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    changed: watch::Receiver<u64>,
    stop: CancellationToken,
    tally: Arc<Tally>,
    held: Mutex<HashMap<RestoreId, Held>>,
    /// Up to where the feed was looked through.
    seen: Position,
    /// Events since the durable cursor that nobody wants.
    passed: usize,
}

impl Relay {
    fn new(
        hook: Hook,
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
        changed: watch::Receiver<u64>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            hook,
            ledger,
            clock,
            changed,
            stop,
            tally: Arc::default(),
            held: Mutex::default(),
            seen: Position::START,
            passed: 0,
        }
    }

    async fn run(mut self) {
        loop {
            let wait = match self.round().await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::warn!(webhook = self.hook.name, error = %error, "a webhook cannot be told for the moment");
                    LEDGER_PAUSE
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(wait) => continue,
                changed = self.changed.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
            tokio::time::sleep(GATHER).await;
        }
    }

    /// The hook's standing; a new one begins at the present end of the feed.
    async fn standing(&self) -> Result<Standing, LedgerError> {
        let name = &self.hook.name;
        loop {
            if let Some(standing) = self.ledger.hook(name).await? {
                return Ok(standing);
            }
            let here = self.ledger.position().await?;
            self.ledger.post(name, None, here, Vec::new()).await?;
        }
    }

    /// Puts in what is new and delivers what is due; how long until there may be more to do.
    async fn round(&mut self) -> Result<Duration, LedgerError> {
        self.changed.mark_unchanged();
        let standing = self.standing().await?;
        self.tally.disabled.store(standing.disabled.is_some(), Ordering::Relaxed);
        if standing.disabled.is_some() {
            return Ok(IDLE);
        }
        self.gather(standing.cursor).await?;
        while !self.stop.is_cancelled() && self.deliver().await? {}
        let name = &self.hook.name;
        let waiting = self.ledger.waiting(name).await?;
        self.tally.waiting.store(waiting.waiting, Ordering::Relaxed);
        self.tally.dead.store(waiting.dead, Ordering::Relaxed);
        let most = if self.ledger.is_shared() { POLL } else { IDLE };
        let next = self.ledger.next_due(name).await?.map_or(most, |next| {
            Duration::from_micros(u64::try_from(next.micros_since(self.clock.now())).unwrap_or(0))
        });
        Ok(next.clamp(GATHER, most))
    }

    /// From the feed into the outbox.
    async fn gather(&mut self, mut cursor: Position) -> Result<(), LedgerError> {
        self.seen = self.seen.max(cursor);
        loop {
            let told = self.ledger.feed(self.seen, PAGE).await?;
            let Some(last) = told.last().map(|told| told.position) else { return Ok(()) };
            let letter = |told: &Told| Letter { restore: told.entry.intent.id, seq: told.event.seq };
            let letters: Vec<_> = told.iter().filter(|told| self.hook.wants(told)).map(letter).collect();
            self.passed += told.len();
            if !letters.is_empty() || self.passed >= RESCAN {
                if !self.ledger.post(&self.hook.name, Some(cursor), last, letters).await? {
                    // Another process has done it; its cursor counts from the next round on.
                    return Ok(());
                }
                cursor = last;
                self.passed = 0;
            }
            self.seen = last;
        }
    }

    /// Delivers a batch of what is due; whether there was any.
    async fn deliver(&self) -> Result<bool, LedgerError> {
        // Where no other process delivers, a letter needs no reserve against one, and a start after a crash does
        // not wait for it to lapse.
        let reserve = match self.ledger.is_shared() {
            true => self.hook.timeout * u32::try_from(BATCH).unwrap_or(u32::MAX) + LEDGER_PAUSE,
            false => Duration::ZERO,
        };
        let due = self.ledger.due(&self.hook.name, self.clock.now(), reserve, BATCH).await?;
        if due.is_empty() {
            return Ok(false);
        }
        let mut of_restore: BTreeMap<RestoreId, Vec<Delivery>> = BTreeMap::new();
        for delivery in due {
            of_restore.entry(delivery.restore).or_default().push(delivery);
        }
        let gone = AtomicBool::new(false);
        let told = futures_util::stream::iter(of_restore.into_values())
            .map(|letters| self.in_order(letters, &gone))
            .buffer_unordered(ABREAST)
            .collect::<Vec<_>>()
            .await;
        told.into_iter().collect::<Result<(), _>>()?;
        Ok(!gone.into_inner())
    }

    /// Delivers letters of one restore, one after the other.
    async fn in_order(&self, mut letters: Vec<Delivery>, gone: &AtomicBool) -> Result<(), LedgerError> {
        letters.sort_unstable_by_key(|delivery| delivery.seq);
        for delivery in letters {
            if self.stop.is_cancelled() || gone.load(Ordering::Relaxed) {
                return Ok(());
            }
            let (name, letter) = (&self.hook.name, delivery.letter());
            if let Some(until) = self.held_back(letter) {
                let why = "an earlier message of the restore comes first".to_owned();
                self.ledger.put_off(name, letter, delivery.attempts, until, why).await?;
                continue;
            }
            let Some(message) = self.message(letter).await? else {
                self.give_up(letter, "the restore is no longer kept".to_owned()).await?;
                continue;
            };
            let cut_off = async {
                self.stop.cancelled().await;
                tokio::time::sleep(LAST_WORDS).await;
            };
            let receipt = tokio::select! {
                receipt = self.hook.carrier.carry(message) => receipt,
                () = cut_off => return Ok(()),
            };
            match receipt {
                Receipt::Delivered => {
                    self.tally.delivered.fetch_add(1, Ordering::Relaxed);
                    self.held().remove(&letter.restore);
                    self.ledger.delivered(name, letter).await?;
                }
                Receipt::Gone => {
                    gone.store(true, Ordering::Relaxed);
                    self.tally.disabled.store(true, Ordering::Relaxed);
                    tracing::warn!(
                        webhook = name,
                        "a receiver wants no more messages (410): the webhook is disabled"
                    );
                    let why = format!("the receiver answered 410 at {}", self.clock.now());
                    self.ledger.set_disabled(name, Some(why)).await?;
                }
                Receipt::Failed { why, retry_after } => self.failed(delivery, why, retry_after).await?,
            }
        }
        Ok(())
    }

    /// An attempt was in vain.
    async fn failed(
        &self,
        delivery: Delivery,
        why: String,
        retry_after: Option<Duration>,
    ) -> Result<(), LedgerError> {
        self.tally.failed.fetch_add(1, Ordering::Relaxed);
        let letter = delivery.letter();
        let attempts = delivery.attempts + 1;
        tracing::warn!(
            webhook = self.hook.name,
            restore.id = %letter.restore,
            attempts,
            why,
            "a webhook message did not arrive",
        );
        let Some(wait) = self.hook.schedule.get(attempts as usize - 1) else {
            return self.give_up(letter, why).await;
        };
        // From 90 to 110 hundredths, by a number that each restore has of its own.
        let spread = *wait * (900 + u32::from(letter.restore.spread() % 201)) / 1_000;
        // A receiver may ask for more time, not for less: its message would be given up the sooner.
        let wait = spread.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER));
        let until = self.clock.now().plus_micros(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX));
        self.hold(letter, attempts, until);
        self.ledger.put_off(&self.hook.name, letter, attempts, until, why).await
    }

    async fn give_up(&self, letter: Letter, why: String) -> Result<(), LedgerError> {
        self.tally.given_up.fetch_add(1, Ordering::Relaxed);
        self.held().remove(&letter.restore);
        tracing::error!(
            webhook = self.hook.name,
            restore.id = %letter.restore,
            why,
            "a webhook message is given up",
        );
        self.ledger.give_up(&self.hook.name, letter, why).await
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<RestoreId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self, letter: Letter, attempts: u32, until: Timestamp) {
        let now = self.clock.now();
        let mut held = self.held();
        if attempts > HELD_ATTEMPTS {
            held.remove(&letter.restore);
            return;
        }
        if held.len() >= MAX_HELD {
            held.retain(|_, held| held.until > now);
        }
        if held.len() < MAX_HELD {
            held.insert(letter.restore, Held { seq: letter.seq, until });
        }
    }

    /// Until when a letter waits for an earlier one of its restore, if it does.
    fn held_back(&self, letter: Letter) -> Option<Timestamp> {
        let held = self.held().get(&letter.restore).copied()?;
        // Just after it, so that both are due together and in this order.
        (letter.seq > held.seq && self.clock.now() < held.until).then(|| held.until.plus_micros(1))
    }

    /// A letter as it is sent: a CloudEvent with the event and the restore as it stands now. `None` when neither
    /// is kept any more.
    async fn message(&self, letter: Letter) -> Result<Option<Message>, LedgerError> {
        let Letter { restore: id, seq } = letter;
        let events = self.ledger.events(id).await?;
        let event = events.into_iter().find(|event| event.seq == seq);
        let (Some(event), Some(entry)) = (event, self.ledger.get(id).await?) else { return Ok(None) };
        let word = occasion(&event.kind).unwrap_or(event.kind.as_str());
        let message_id = format!("{id}.{seq}");
        let body = json!({
            "specversion": "1.0",
            "id": message_id,
            "source": format!("/api/v1/restores/{id}"),
            "type": format!("io.restore-gateway.restore.{word}"),
            "subject": id,
            "time": event.at,
            "datacontenttype": "application/json",
            "data": { "restore": Restore::view(&entry.intent, &entry.state), "event": event },
        });
        Ok(Some(Message { id: message_id, at: self.clock.now(), body: body.to_string().into() }))
    }
}

#[cfg(test)]
mod tests;
