//! Delivery from outbox to receiver: builds a message, sends it, and records the result.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use restore_ledger::{Delivery, Hook as Standing, Ledger, LedgerError, MessageRef};
use restore_model::{Clock, Restore, RestoreId, Timestamp};
use restore_upstream::{Message, Receipt};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Hook, Tally, occasion};

/// Number of attempts of a message during which later ones of the same restore wait for it.
const HELD_ATTEMPTS: u32 = 2;
/// Maximum number of restores whose messages are held back; beyond it, order is not kept.
const MAX_HELD: usize = 10_000;
/// Maximum pause that a receiver can request.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(86_400);
/// Time for an attempt in progress to end when the gateway stops; the next process repeats it.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(3);

/// Meaning of an attempt for the later messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The next message may be sent.
    Next,
    /// No message is sent: the receiver rejects further messages.
    Gone,
}

/// A failed message that holds back the later ones of its restore.
#[derive(Clone, Copy)]
struct Held {
    seq: u32,
    until: Timestamp,
}

/// Delivery from outbox to receiver for one webhook.
pub(super) struct Post {
    pub(super) hook: Hook,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) stop: CancellationToken,
    pub(super) tally: Arc<Tally>,
    held: Mutex<HashMap<RestoreId, Held>>,
    /// Messages with a 410 response since the last accepted message.
    gone: Mutex<HashSet<MessageRef>>,
}

impl Post {
    pub(super) fn new(
        hook: Hook,
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            hook,
            ledger,
            clock,
            stop,
            tally: Arc::default(),
            held: Mutex::default(),
            gone: Mutex::default(),
        }
    }

    /// Returns the state of the webhook; a new one begins at the current end of the feed.
    pub(super) async fn standing(&self) -> Result<Standing, LedgerError> {
        let name = &self.hook.name;
        loop {
            if let Some(standing) = self.ledger.hook(name).await? {
                return Ok(standing);
            }
            let here = self.ledger.position().await?;
            self.ledger.post(name, None, here, Vec::new()).await?;
        }
    }

    /// Attempts to deliver one message, and records the result.
    pub(super) async fn attempt(&self, delivery: Delivery) -> Result<Outcome, LedgerError> {
        let (name, message_ref) = (&self.hook.name, delivery.message_ref());
        if let Some(until) = self.held_back(message_ref) {
            let why = "an earlier message of the restore comes first".to_owned();
            self.ledger.put_off(name, message_ref, delivery.attempts, until, why).await?;
            return Ok(Outcome::Next);
        }
        let Some(message) = self.message(message_ref).await? else {
            self.give_up(message_ref, "the restore is no longer kept".to_owned()).await?;
            return Ok(Outcome::Next);
        };
        let receipt = tokio::select! {
            biased;
            () = self.cut_off() => None,
            receipt = self.hook.carrier.carry(message) => Some(receipt),
        };
        match receipt {
            None => {
                let why = "the gateway stopped".to_owned();
                self.ledger.put_off(name, message_ref, delivery.attempts, self.clock.now(), why).await?;
            }
            Some(Receipt::Delivered) => {
                self.tally.delivered.fetch_add(1, Ordering::Relaxed);
                // The receiver accepts messages, whatever it returned before.
                self.gone().clear();
                self.held().remove(&message_ref.restore);
                self.ledger.delivered(name, message_ref).await?;
            }
            // A single 410 may be a mistake, such as during the replacement of a receiver. A second one for the same
            // message is final.
            Some(Receipt::Gone) if !self.gone().insert(message_ref) => {
                self.gone().clear();
                self.tally.disabled.store(true, Ordering::Relaxed);
                tracing::warn!(webhook = name, "webhook disabled: the receiver answered 410");
                let why =
                    format!("the receiver answered 410 twice to one message, at {} again", self.clock.now());
                self.ledger.set_disabled(name, Some(why)).await?;
                return Ok(Outcome::Gone);
            }
            Some(Receipt::Gone) => {
                let why = "the receiver answered 410; a second 410 disables the webhook".to_owned();
                self.failed(delivery, why, None).await?;
            }
            Some(Receipt::Failed { why, retry_after }) => self.failed(delivery, why, retry_after).await?,
        }
        Ok(Outcome::Next)
    }

    /// Completes when the gateway stops and the time for an attempt in progress is over. An attempt that has not
    /// started gets no time.
    async fn cut_off(&self) {
        if self.stop.is_cancelled() {
            return;
        }
        self.stop.cancelled().await;
        tokio::time::sleep(LAST_WORDS).await;
    }

    /// Handles a failed attempt.
    async fn failed(
        &self,
        delivery: Delivery,
        why: String,
        retry_after: Option<Duration>,
    ) -> Result<(), LedgerError> {
        self.tally.failed.fetch_add(1, Ordering::Relaxed);
        let message_ref = delivery.message_ref();
        let attempts = delivery.attempts + 1;
        tracing::warn!(
            webhook = self.hook.name,
            restore.id = %message_ref.restore,
            attempts,
            why,
            "webhook delivery failed",
        );
        let Some(wait) = self.hook.schedule.get(attempts as usize - 1) else {
            return self.give_up(message_ref, why).await;
        };
        // From 90 to 110 percent, by a number specific to the restore.
        let spread = *wait * (900 + u32::from(message_ref.restore.spread() % 201)) / 1_000;
        // A receiver may request a longer wait, not a shorter one, because its message would be given up sooner.
        let wait = spread.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER));
        let until = self.clock.now().plus_micros(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX));
        self.hold(message_ref, attempts, until);
        self.ledger.put_off(&self.hook.name, message_ref, attempts, until, why).await
    }

    async fn give_up(&self, message_ref: MessageRef, why: String) -> Result<(), LedgerError> {
        self.tally.given_up.fetch_add(1, Ordering::Relaxed);
        self.held().remove(&message_ref.restore);
        self.gone().remove(&message_ref);
        tracing::error!(
            webhook = self.hook.name,
            restore.id = %message_ref.restore,
            why,
            "webhook message given up",
        );
        self.ledger.give_up(&self.hook.name, message_ref, why).await
    }

    fn gone(&self) -> MutexGuard<'_, HashSet<MessageRef>> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, HashMap<RestoreId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self, message_ref: MessageRef, attempts: u32, until: Timestamp) {
        let now = self.clock.now();
        let mut held = self.held();
        if attempts > HELD_ATTEMPTS {
            held.remove(&message_ref.restore);
            return;
        }
        if held.len() >= MAX_HELD {
            held.retain(|_, held| held.until > now);
        }
        if held.len() < MAX_HELD {
            held.insert(message_ref.restore, Held { seq: message_ref.seq, until });
        }
    }

    /// Returns the time until which a message waits for an earlier one of its restore, if it does.
    fn held_back(&self, message_ref: MessageRef) -> Option<Timestamp> {
        let held = self.held().get(&message_ref.restore).copied()?;
        // Slightly later, so that both are due together and in this order.
        (message_ref.seq > held.seq && self.clock.now() < held.until).then(|| held.until.plus_micros(1))
    }

    /// Builds the message: a CloudEvent with the event and the current state of the restore. `None` if the ledger has
    /// deleted either.
    async fn message(&self, message_ref: MessageRef) -> Result<Option<Message>, LedgerError> {
        let MessageRef { restore: id, seq } = message_ref;
        let events = self.ledger.events(id).await?;
        let event = events.into_iter().find(|event| event.seq == seq);
        let (Some(event), Some(entry)) = (event, self.ledger.get(id).await?) else { return Ok(None) };
        let word = occasion(&event.kind, entry.state.status).unwrap_or(event.kind.as_str());
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
