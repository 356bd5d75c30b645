//! What is still to be told to others: webhook deliveries that outlive the process. The ledger
//! keeps them beside the events they are about, so that nothing which was committed goes untold.
//!
//! A hook has a cursor in the feed. [`Outbox::post`] moves it and puts in what stands between, in
//! one transaction, so every event is put in once, whichever process does it; [`Outbox::due`] hands
//! each delivery to one process at a time. A delivery may still reach its receiver twice, when a
//! process dies between sending it and [`Outbox::delivered`].

use std::time::Duration;

use futures_util::future::BoxFuture;
use restore_model::{RestoreId, Timestamp};

use crate::{LedgerError, Position};

/// One hook's standing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Up to where the feed was put into its outbox.
    pub cursor: Position,
    /// Why nothing is delivered to it at present; `None` when it is enabled.
    pub disabled: Option<String>,
}

/// Which event is to be told: the restore and the event's number in its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageRef {
    /// The restore.
    pub restore: RestoreId,
    /// The event's number.
    pub seq: u32,
}

/// A letter that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The restore.
    pub restore: RestoreId,
    /// The event's number.
    pub seq: u32,
    /// How often it was tried in vain.
    pub attempts: u32,
}

impl Delivery {
    /// The letter it delivers.
    #[must_use]
    pub const fn message_ref(&self) -> MessageRef {
        MessageRef { restore: self.restore, seq: self.seq }
    }
}

/// How many letters a hook has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Still to be delivered.
    pub waiting: u64,
    /// Given up.
    pub dead: u64,
}

/// The durable outbox of every hook. Each call is one transaction.
pub trait Outbox: Send + Sync + 'static {
    /// A hook's standing; `None` when it is new.
    fn hook<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Hook>, LedgerError>>;

    /// Moves the hook's cursor from `from` (`None`: the hook is new) to `to` and puts these letters
    /// in, due at once. False, and nothing is done, when the cursor is elsewhere: another process
    /// has moved it. A letter that is in already is not put in again.
    fn post<'a>(
        &'a self,
        name: &'a str,
        from: Option<Position>,
        to: Position,
        message_refs: Vec<MessageRef>,
    ) -> BoxFuture<'a, Result<bool, LedgerError>>;

    /// Letters that are due at `now`, the longest due first, at most `limit`. Each is put off to
    /// `now + reserve`, so that no other process delivers it meanwhile. None of a disabled hook.
    fn due<'a>(
        &'a self,
        name: &'a str,
        now: Timestamp,
        reserve: Duration,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Delivery>, LedgerError>>;

    /// When the hook's next letter is due; `None` when none waits or the hook is disabled. What was
    /// never tried is due since 1970.
    fn next_due<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Timestamp>, LedgerError>>;

    /// The letter has arrived and is forgotten. One that is not there is no error.
    fn delivered<'a>(
        &'a self,
        name: &'a str,
        message_ref: MessageRef,
    ) -> BoxFuture<'a, Result<(), LedgerError>>;

    /// The letter is tried again at `until`; `attempts` were in vain so far, the last one for `why`.
    fn put_off<'a>(
        &'a self,
        name: &'a str,
        message_ref: MessageRef,
        attempts: u32,
        until: Timestamp,
        why: String,
    ) -> BoxFuture<'a, Result<(), LedgerError>>;

    /// The letter is not tried again. It is kept, with the reason, and counted as dead.
    fn give_up<'a>(
        &'a self,
        name: &'a str,
        message_ref: MessageRef,
        why: String,
    ) -> BoxFuture<'a, Result<(), LedgerError>>;

    /// Disables a hook for a reason, or enables it again. What waits is kept, and so is the cursor.
    /// A hook that was never posted to is left as it is.
    fn set_disabled<'a>(
        &'a self,
        name: &'a str,
        why: Option<String>,
    ) -> BoxFuture<'a, Result<(), LedgerError>>;

    /// How many letters a hook has.
    fn waiting<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Waiting, LedgerError>>;
}
