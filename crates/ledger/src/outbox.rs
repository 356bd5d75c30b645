//! Webhook messages that are not delivered yet and survive the process. The ledger keeps them beside their events, so
//! that every committed event is reported.
//!
//! A webhook has a cursor in the feed. [`Outbox::post`] moves it and inserts the messages in between, in one
//! transaction. So every event is inserted once, whichever process does it. [`Outbox::due`] gives each delivery to one
//! process at a time. A message may still reach its receiver twice, if a process dies between sending it and
//! [`Outbox::delivered`].

use std::time::Duration;

use futures_util::future::BoxFuture;
use restore_model::{RestoreId, Timestamp};

use crate::{LedgerError, Position};

/// State of one webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Position up to which the outbox contains the feed.
    pub cursor: Position,
    /// The reason why deliveries are paused; `None` if the webhook is enabled.
    pub disabled: Option<String>,
}

/// Reference to the event of a message: the restore and the event's number in its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageRef {
    /// The restore.
    pub restore: RestoreId,
    /// The event's number.
    pub seq: u32,
}

/// A message that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The restore.
    pub restore: RestoreId,
    /// The event's number.
    pub seq: u32,
    /// Number of failed attempts.
    pub attempts: u32,
}

impl Delivery {
    /// Returns the reference to its message.
    #[must_use]
    pub const fn message_ref(&self) -> MessageRef {
        MessageRef { restore: self.restore, seq: self.seq }
    }
}

/// Counts of a webhook's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Messages that wait for delivery.
    pub waiting: u64,
    /// Dead letters.
    pub dead: u64,
}

/// The durable outbox of every webhook. Each call is one transaction.
pub trait Outbox: Send + Sync + 'static {
    /// Returns the state of a webhook; `None` if it is new.
    fn hook<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Hook>, LedgerError>>;

    /// Moves the webhook's cursor from `from` (`None`: the webhook is new) to `to` and inserts these messages, due at
    /// once. Returns false without any change if another process has moved the cursor. A message that exists already is
    /// not inserted again.
    fn post<'a>(
        &'a self,
        name: &'a str,
        from: Option<Position>,
        to: Position,
        message_refs: Vec<MessageRef>,
    ) -> BoxFuture<'a, Result<bool, LedgerError>>;

    /// Returns messages that are due at `now`, the earliest first, at most `limit`. Each is delayed to `now + reserve`,
    /// so that no other process delivers it meanwhile. A disabled webhook has no due messages.
    fn due<'a>(
        &'a self,
        name: &'a str,
        now: Timestamp,
        reserve: Duration,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Delivery>, LedgerError>>;

    /// Returns the time when the webhook's next message is due; `None` if none waits or the webhook is disabled. A
    /// message without an attempt is due since 1970.
    fn next_due<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Timestamp>, LedgerError>>;

    /// Deletes a delivered message. A missing message is not an error.
    fn delivered<'a>(
        &'a self,
        name: &'a str,
        message_ref: MessageRef,
    ) -> BoxFuture<'a, Result<(), LedgerError>>;

    /// Schedules the next attempt of a message at `until`. `attempts` is the number of failed attempts, `why` the
    /// reason of the last failure.
    fn put_off<'a>(
        &'a self,
        name: &'a str,
        message_ref: MessageRef,
        attempts: u32,
        until: Timestamp,
        why: String,
    ) -> BoxFuture<'a, Result<(), LedgerError>>;

    /// Ends the attempts for a message. It is kept, with the reason, and counted as a dead letter.
    fn give_up<'a>(
        &'a self,
        name: &'a str,
        message_ref: MessageRef,
        why: String,
    ) -> BoxFuture<'a, Result<(), LedgerError>>;

    /// Disables a webhook for a reason, or enables it again. Waiting messages and the cursor are kept. A webhook
    /// without any post is left unchanged.
    fn set_disabled<'a>(
        &'a self,
        name: &'a str,
        why: Option<String>,
    ) -> BoxFuture<'a, Result<(), LedgerError>>;

    /// Returns the counts of a webhook's messages.
    fn waiting<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Waiting, LedgerError>>;
}
