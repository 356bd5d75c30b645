//! Webhooks: one relay per configured hook, from the ledger's feed of events to a receiver.
//!
//! Nothing is added to a restore's own path. A relay reads the feed after the fact, puts what its hook wants into
//! the ledger's outbox, and delivers from there; so a message outlives the process, and a receiver that is slow or
//! dead costs a task of its own and no more. Delivery is at least once: a message keeps its name (`webhook-id`)
//! however often it is sent, and receivers tell repetitions by it.
//!
//! A few restores' messages are under way at once, and those of one restore go one after the other; of several
//! processes that share a ledger each does so, and receivers order by the event's number. One that fails
//! holds the later ones back for its first attempts, which gets a short absence over in order; after that they pass
//! it, for a message that a receiver never takes must not hide how the restore ended.

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

/// Restores whose letters are under way at once, per hook.
const ABREAST: usize = 4;
/// Events read from the feed at once.
const PAGE: usize = 256;
/// Events that nobody wants are passed over in memory; after so many the cursor is moved, which is what a start
/// reads again at most.
const RESCAN: usize = 4_096;
/// Between two looks where nothing is said to have changed.
const IDLE: Duration = Duration::from_secs(60);
/// Until the ledger is asked again when it did not answer.
const LEDGER_PAUSE: Duration = Duration::from_secs(5);
/// Where others deliver as well, a letter in hand is reserved for the time of an attempt and this.
const MARGIN: Duration = Duration::from_secs(5);
/// Letters that are looked at together where nobody else delivers: those in hand, which are due all the while, and
/// some more.
const BATCH: usize = 64;
/// Between two looks for what is due while letters are in hand, where nobody else delivers.
const IN_HAND: Duration = Duration::from_secs(1);

/// The occasion that an event is, one of [`OCCASIONS`], of a restore that stands like this; `None` for what only a restore's history tells.
#[must_use]
pub const fn occasion(event: &EventKind, status: Status) -> Option<&'static str> {
    Some(match event {
        EventKind::Started { .. } => "running",
        EventKind::OutcomeUnclear { .. } => "unknown",
        // The end of the restore, which an operator's word on one of its steps is.
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

/// Who takes a message to its receiver: one attempt, in a time of its own.
pub trait Carrier: Send + Sync + 'static {
    /// Takes it there.
    fn carry(&self, message: Message) -> BoxFuture<'_, Receipt>;
}

impl Carrier for WebhookClient {
    fn carry(&self, message: Message) -> BoxFuture<'_, Receipt> {
        Box::pin(self.deliver(message))
    }
}

/// One hook: what it is told, and how.
pub struct Hook {
    /// Its name in the configuration, under which the ledger keeps its messages.
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
    fn wants(&self, told: &FeedItem) -> bool {
        let named = |list: &Option<Vec<String>>, word: &str| {
            list.as_ref().is_none_or(|list| list.iter().any(|item| item == word))
        };
        occasion(&told.event.kind, told.entry.state.status).is_some_and(|word| named(&self.occasions, word))
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

/// The work of one hook.
pub struct Relay {
    post: Arc<Post>,
    changed: watch::Receiver<u64>,
    /// Up to where the feed was looked through.
    seen: Position,
    /// Events since the durable cursor that nobody wants.
    passed: usize,
    /// Of each restore in hand, the letter under way and, in their order, those behind it.
    in_hand: HashMap<RestoreId, VecDeque<Delivery>>,
    under_way: FuturesUnordered<BoxFuture<'static, (RestoreId, Result<Outcome, LedgerError>)>>,
}

impl Relay {
    /// A relay for a hook. One that is new to the ledger gets what happens from now on; one that is known, what it has
    /// not got yet. `changed` changes with every commit.
    ///
    /// # Errors
    /// When the ledger cannot be read or written.
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

    /// Its counts.
    #[must_use]
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.post.tally)
    }

    /// Delivers until it is stopped; attempts under way are ended then.
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

    /// Puts in what is new and takes in hand what is due; how long until there may be more to do.
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
            // What is due waits until one of these has ended, which is seen at once.
            return Ok(most);
        }
        let next = ledger.next_due(name).await?.map_or(most, |next| {
            Duration::from_micros(u64::try_from(next.micros_since(post.clock.now())).unwrap_or(0))
        });
        Ok(next.clamp(least, most))
    }

    /// From the feed into the outbox.
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

    /// Takes letters in hand while there are hands and anything is due.
    async fn take_what_is_due(&mut self) -> Result<(), LedgerError> {
        while self.in_hand.len() < ABREAST && !self.post.stop.is_cancelled() {
            let Post { hook, ledger, clock, .. } = &*self.post;
            // A letter is reserved against others alone: after a crash it need not wait for that to lapse, and the
            // next process finds all letters of a restore due, and so in their order.
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

    /// Takes a letter in hand, unless it is already or there is no hand for its restore.
    fn take(&mut self, delivery: Delivery) -> bool {
        if self.in_hand.len() >= ABREAST && !self.in_hand.contains_key(&delivery.restore) {
            return false;
        }
        let message_refs = self.in_hand.entry(delivery.restore).or_default();
        if message_refs.iter().any(|message_ref| message_ref.seq == delivery.seq) {
            return false;
        }
        // Behind the one under way, in order.
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
        // In a task of its own: what waits for its turn at the ledger and is not polled while a round is made would keep
        // everybody behind it waiting, the round among them.
        let attempt = tokio::spawn(async move { post.attempt(delivery).await });
        let ended_early = |_| Err(LedgerError::Unavailable("the attempt ended early".to_owned()));
        self.under_way
            .push(Box::pin(async move { (delivery.restore, attempt.await.unwrap_or_else(ended_early)) }));
    }

    /// A letter is off our hands, and the next one of its restore goes.
    fn landed(&mut self, restore: RestoreId, ended: Result<Outcome, LedgerError>) {
        match ended {
            Ok(Outcome::Next) => {}
            Ok(Outcome::Gone) => self.in_hand.values_mut().for_each(|message_refs| message_refs.truncate(1)),
            // It is still in the outbox, and due again when its reserve lapses.
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
