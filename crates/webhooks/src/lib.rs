//! Webhooks: one relay per configured webhook, from the ledger's feed of events to a receiver.
//!
//! A relay adds no work to a restore's own path. It reads the feed afterwards, puts the selected events into the
//! ledger's outbox, and delivers from there. So a message survives the process, and a slow or dead receiver occupies
//! only its own task. Delivery is at least once: a message keeps its ID (`webhook-id`) at every attempt, and receivers
//! detect repetitions by it.
//!
//! A relay delivers messages of a few restores at once, and those of one restore one after the other. Several processes
//! that share a ledger all do so, and receivers order by the event's number. A failed message delays the later ones of
//! its restore during its first attempts, so order survives a short outage. After that they overtake it: a message that
//! a receiver never accepts must not hide the end of the restore.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use restore_ledger::{Delivery, FeedItem, GATHER, Ledger, LedgerError, MessageRef, POLL, Position};
use restore_model::{Clock, EventKind, RestoreId, Status};
use restore_upstream::{Message, Receipt, WebhookClient};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

mod post;

use post::{Outcome, Post};

/// The occasions of a message, in the order of a restore's life.
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

/// Wait after each failure, in seconds. After one more failure, the relay gives a message up, after about four days.
/// Each wait varies by a tenth, so that messages that failed together do not return together.
pub const SCHEDULE: &[u64] = &[5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// Maximum number of restores with a delivery in progress, per webhook.
const ABREAST: usize = 4;
/// Number of events per read of the feed.
const PAGE: usize = 256;
/// Unselected events are skipped in memory. After this many the cursor moves, so a start reads at most this many again.
const RESCAN: usize = 4_096;
/// Interval between two checks if no change is signalled.
const IDLE: Duration = Duration::from_secs(60);
/// Pause after a failed ledger call.
const LEDGER_PAUSE: Duration = Duration::from_secs(5);
/// If other processes deliver as well, a message in progress is reserved for the time of an attempt plus this margin.
const MARGIN: Duration = Duration::from_secs(5);
/// Number of messages per read if no other process delivers: those in progress, which stay due, and some more.
const BATCH: usize = 64;
/// Interval between two checks for due messages while deliveries are in progress, if no other process delivers.
const IN_HAND: Duration = Duration::from_secs(1);

/// Returns the occasion of an event, one of [`OCCASIONS`], for a restore with this status; `None` for an event that
/// only the history shows.
#[must_use]
pub const fn occasion(event: &EventKind, status: Status) -> Option<&'static str> {
    Some(match event {
        EventKind::Started { .. } => "running",
        EventKind::OutcomeUnclear { .. } => "unknown",
        // The end of the restore. An operator's decision on one step ends it, too.
        EventKind::Resolved { .. } => status.as_str(),
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

/// Delivers messages to a receiver: one attempt per call, with its own time limit.
pub trait Carrier: Send + Sync + 'static {
    /// Makes one attempt.
    fn carry(&self, message: Message) -> BoxFuture<'_, Receipt>;
}

impl Carrier for WebhookClient {
    fn carry(&self, message: Message) -> BoxFuture<'_, Receipt> {
        Box::pin(self.deliver(message))
    }
}

/// One webhook: its filters and its receiver.
pub struct Hook {
    /// Its name in the configuration. The ledger stores its messages under this name.
    pub name: String,
    /// Values of [`OCCASIONS`]; `None` means all.
    pub occasions: Option<Vec<String>>,
    /// Project IDs; `None` means all.
    pub projects: Option<Vec<String>>,
    /// The connection to the receiver.
    pub carrier: Arc<dyn Carrier>,
    /// Maximum duration of one attempt.
    pub timeout: Duration,
    /// Wait after each failure; see [`SCHEDULE`].
    pub schedule: Vec<Duration>,
}

impl Hook {
    fn wants(&self, told: &FeedItem) -> bool {
        let named = |list: &Option<Vec<String>>, word: &str| {
            list.as_ref().is_none_or(|list| list.iter().any(|item| item == word))
        };
        occasion(&told.event.kind, told.entry.state.status).is_some_and(|word| named(&self.occasions, word))
            && named(&self.projects, told.entry.intent.request.project_id.as_str())
    }
}

/// Counters of a relay, for metrics.
#[derive(Debug, Default)]
pub struct Tally {
    /// Delivered messages.
    pub delivered: AtomicU64,
    /// Failed attempts.
    pub failed: AtomicU64,
    /// Messages that this process gave up.
    pub given_up: AtomicU64,
    /// Waiting messages, at the last check.
    pub waiting: AtomicU64,
    /// Dead letters that are kept, at the last check.
    pub dead: AtomicU64,
    /// True if the receiver rejects further messages.
    pub disabled: AtomicBool,
}

/// The task of one webhook.
pub struct Relay {
    post: Arc<Post>,
    changed: watch::Receiver<u64>,
    /// Position up to which the feed was read.
    seen: Position,
    /// Number of unselected events since the durable cursor.
    passed: usize,
    /// For each restore with a delivery in progress: that message and, in order, those behind it.
    in_hand: HashMap<RestoreId, VecDeque<Delivery>>,
    under_way: FuturesUnordered<BoxFuture<'static, (RestoreId, Result<Outcome, LedgerError>)>>,
}

impl Relay {
    /// Creates a relay for a webhook. A webhook that is new to the ledger starts with future events; a known one
    /// continues after its cursor. `changed` changes with every commit.
    ///
    /// # Errors
    /// If the ledger is not readable or not writable.
    pub async fn new(
        hook: Hook,
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
        changed: watch::Receiver<u64>,
        stop: CancellationToken,
    ) -> Result<Self, LedgerError> {
        let post = Arc::new(Post::new(hook, ledger, clock, stop));
        post.standing().await?;
        Ok(Self {
            post,
            changed,
            seen: Position::START,
            passed: 0,
            in_hand: HashMap::new(),
            under_way: FuturesUnordered::new(),
        })
    }

    /// Returns its counters.
    #[must_use]
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.post.tally)
    }

    /// Delivers until it is stopped; it ends attempts in progress then.
    pub async fn run(mut self) {
        let mut wait = Duration::ZERO;
        loop {
            tokio::select! {
                () = self.post.stop.cancelled() => break,
                Some((restore, ended)) = self.under_way.next() => self.landed(restore, ended),
                () = tokio::time::sleep(wait) => {}
                changed = self.changed.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    tokio::time::sleep(GATHER).await;
                }
            }
            wait = match self.round().await {
                Ok(wait) => wait,
                Err(error) => {
                    self.away(&error);
                    LEDGER_PAUSE
                }
            };
        }
        while let Some((restore, ended)) = self.under_way.next().await {
            self.landed(restore, ended);
        }
    }

    fn away(&self, error: &LedgerError) {
        let webhook = &self.post.hook.name;
        tracing::warn!(webhook, error = %error, "webhook delivery paused");
    }

    /// Inserts new messages and starts due deliveries. Returns the time until there may be more to do.
    async fn round(&mut self) -> Result<Duration, LedgerError> {
        self.changed.mark_unchanged();
        let post = Arc::clone(&self.post);
        let standing = post.standing().await?;
        post.tally.disabled.store(standing.disabled.is_some(), Ordering::Relaxed);
        if standing.disabled.is_some() {
            return Ok(IDLE);
        }
        self.gather(standing.cursor).await?;
        self.take_what_is_due().await?;
        let (ledger, name) = (&post.ledger, &post.hook.name);
        let waiting = ledger.waiting(name).await?;
        post.tally.waiting.store(waiting.waiting, Ordering::Relaxed);
        post.tally.dead.store(waiting.dead, Ordering::Relaxed);
        let (least, most) = match ledger.is_shared() {
            true => (GATHER, POLL),
            false if self.in_hand.is_empty() => (GATHER, IDLE),
            false => (IN_HAND, IDLE),
        };
        if self.in_hand.len() >= ABREAST {
            // Due messages wait until one of these deliveries ends, which wakes the relay at once.
            return Ok(most);
        }
        let next = ledger.next_due(name).await?.map_or(most, |next| {
            Duration::from_micros(u64::try_from(next.micros_since(post.clock.now())).unwrap_or(0))
        });
        Ok(next.clamp(least, most))
    }

    /// Moves events from the feed into the outbox.
    async fn gather(&mut self, mut cursor: Position) -> Result<(), LedgerError> {
        let Post { hook, ledger, .. } = &*self.post;
        self.seen = self.seen.max(cursor);
        loop {
            let told = ledger.feed(self.seen, PAGE).await?;
            let Some(last) = told.last().map(|told| told.position) else { return Ok(()) };
            let message_ref =
                |told: &FeedItem| MessageRef { restore: told.entry.intent.id, seq: told.event.seq };
            let message_refs: Vec<_> = told.iter().filter(|told| hook.wants(told)).map(message_ref).collect();
            self.passed += told.len();
            if !message_refs.is_empty() || self.passed >= RESCAN {
                if !ledger.post(&hook.name, Some(cursor), last, message_refs).await? {
                    // Another process has done it; its cursor counts from the next round on.
                    return Ok(());
                }
                cursor = last;
                self.passed = 0;
            }
            self.seen = last;
        }
    }

    /// Starts deliveries while there is capacity and a message is due.
    async fn take_what_is_due(&mut self) -> Result<(), LedgerError> {
        while self.in_hand.len() < ABREAST && !self.post.stop.is_cancelled() {
            let Post { hook, ledger, clock, .. } = &*self.post;
            // A reservation only excludes other processes. After a crash a message need not wait for its expiry, and
            // the next process finds all messages of a restore due, in their order.
            let (reserve, limit) = match ledger.is_shared() {
                true => (hook.timeout + MARGIN, ABREAST - self.in_hand.len()),
                false => (Duration::ZERO, BATCH),
            };
            let mut due = ledger.due(&hook.name, clock.now(), reserve, limit).await?;
            due.sort_unstable_by_key(|delivery| delivery.seq);
            if due.into_iter().filter(|delivery| self.take(*delivery)).count() == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Starts a delivery, unless it is in progress already or there is no capacity for its restore.
    fn take(&mut self, delivery: Delivery) -> bool {
        if self.in_hand.len() >= ABREAST && !self.in_hand.contains_key(&delivery.restore) {
            return false;
        }
        let message_refs = self.in_hand.entry(delivery.restore).or_default();
        if message_refs.iter().any(|message_ref| message_ref.seq == delivery.seq) {
            return false;
        }
        // Behind the delivery in progress, in order.
        let behind =
            message_refs.iter().skip(1).take_while(|message_ref| message_ref.seq < delivery.seq).count();
        message_refs.insert(message_refs.len().min(1 + behind), delivery);
        if message_refs.len() == 1 {
            self.send(delivery);
        }
        true
    }

    fn send(&self, delivery: Delivery) {
        let post = Arc::clone(&self.post);
        // A separate task: a future that waits for its turn at the ledger and is not polled during a round would block
        // all requests behind it, including the round's own.
        let attempt = tokio::spawn(async move { post.attempt(delivery).await });
        let ended_early = |_| Err(LedgerError::Unavailable("the attempt ended early".to_owned()));
        self.under_way
            .push(Box::pin(async move { (delivery.restore, attempt.await.unwrap_or_else(ended_early)) }));
    }

    /// Handles the end of a delivery, and starts the next one of its restore.
    fn landed(&mut self, restore: RestoreId, ended: Result<Outcome, LedgerError>) {
        match ended {
            Ok(Outcome::Next) => {}
            Ok(Outcome::Gone) => self.in_hand.values_mut().for_each(|message_refs| message_refs.truncate(1)),
            // The message is still in the outbox, and due again when its reservation expires.
            Err(error) => self.away(&error),
        }
        let message_refs = self.in_hand.entry(restore).or_default();
        message_refs.pop_front();
        match message_refs.front() {
            Some(next) => {
                let next = *next;
                self.send(next);
            }
            None => {
                self.in_hand.remove(&restore);
            }
        }
    }
}

#[cfg(test)]
mod tests;
