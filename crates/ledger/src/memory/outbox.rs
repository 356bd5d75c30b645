//! The outbox, on plain maps.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use futures_util::future::{self, BoxFuture};
use restore_model::{RestoreId, Timestamp};

use super::MemoryLedger;
use crate::{Delivery, Hook, LedgerError, MessageRef, Outbox, Position, Waiting};

/// Due time of a message without an attempt.
const AT_ONCE: Timestamp = Timestamp::from_micros(0);

#[derive(Debug, Default)]
pub(super) struct Hooks(HashMap<String, Post>);

/// The messages of one webhook.
#[derive(Debug)]
struct Post {
    hook: Hook,
    message_refs: BTreeMap<MessageRef, Standing>,
    /// Waiting messages, by due time and order of insertion.
    due: BTreeSet<(Timestamp, u64, MessageRef)>,
    put_in: u64,
}

#[derive(Debug)]
struct Standing {
    number: u64,
    attempts: u32,
    /// `None` if delivery was given up.
    due: Option<Timestamp>,
}

impl Hooks {
    /// Removes the messages of forgotten restores.
    pub(super) fn forget(&mut self, restores: &[RestoreId]) {
        for post in self.0.values_mut() {
            for restore in restores {
                let of_restore = MessageRef { restore: *restore, seq: 0 }..=MessageRef {
                    restore: *restore,
                    seq: u32::MAX,
                };
                let gone: Vec<MessageRef> =
                    post.message_refs.range(of_restore).map(|(message_ref, _)| *message_ref).collect();
                for message_ref in gone {
                    post.remove(message_ref);
                }
            }
        }
    }

    fn post(
        &mut self,
        name: &str,
        from: Option<Position>,
        to: Position,
        message_refs: Vec<MessageRef>,
    ) -> bool {
        match (self.0.get_mut(name), from) {
            (None, None) => {
                let hook = Hook { cursor: to, disabled: None };
                let post = Post { hook, message_refs: BTreeMap::new(), due: BTreeSet::new(), put_in: 0 };
                self.0.insert(name.to_owned(), post);
            }
            (Some(post), Some(from)) if post.hook.cursor == from => post.hook.cursor = to,
            _ => return false,
        }
        if let Some(post) = self.0.get_mut(name) {
            for message_ref in message_refs {
                post.put_in(message_ref);
            }
        }
        true
    }
}

impl Post {
    fn put_in(&mut self, message_ref: MessageRef) {
        if !self.message_refs.contains_key(&message_ref) {
            self.put_in += 1;
            let number = self.put_in;
            self.message_refs.insert(message_ref, Standing { number, attempts: 0, due: Some(AT_ONCE) });
            self.due.insert((AT_ONCE, number, message_ref));
        }
    }

    /// Sets the next due time of a message, `None` for never.
    fn put_off(&mut self, message_ref: MessageRef, due: Option<Timestamp>) -> Option<&mut Standing> {
        let standing = self.message_refs.get_mut(&message_ref)?;
        if let Some(before) = standing.due {
            self.due.remove(&(before, standing.number, message_ref));
        }
        standing.due = due;
        if let Some(due) = due {
            self.due.insert((due, standing.number, message_ref));
        }
        Some(standing)
    }

    fn remove(&mut self, message_ref: MessageRef) {
        self.put_off(message_ref, None);
        self.message_refs.remove(&message_ref);
    }

    fn due(&mut self, now: Timestamp, until: Timestamp, limit: usize) -> Vec<Delivery> {
        if self.hook.disabled.is_some() {
            return Vec::new();
        }
        let due: Vec<MessageRef> = self
            .due
            .iter()
            .take_while(|(due, ..)| *due <= now)
            .map(|(.., message_ref)| *message_ref)
            .take(limit)
            .collect();
        let mut deliveries = Vec::with_capacity(due.len());
        for message_ref in due {
            if let Some(standing) = self.put_off(message_ref, Some(until)) {
                let MessageRef { restore, seq } = message_ref;
                deliveries.push(Delivery { restore, seq, attempts: standing.attempts });
            }
        }
        deliveries
    }

    fn waiting(&self) -> Waiting {
        let (waiting, all) = (self.due.len() as u64, self.message_refs.len() as u64);
        Waiting { waiting, dead: all - waiting }
    }
}

impl MemoryLedger {
    /// Applies a function to the messages of a webhook; a new webhook starts with the default.
    fn with<T: Default + Send + 'static>(
        &self,
        name: &str,
        act: impl FnOnce(&mut Post) -> T,
    ) -> BoxFuture<'static, Result<T, LedgerError>> {
        let done = self.kept().hooks.0.get_mut(name).map(act).unwrap_or_default();
        Box::pin(future::ready(Ok(done)))
    }
}

impl Outbox for MemoryLedger {
    fn hook<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Hook>, LedgerError>> {
        self.with(name, |post| Some(post.hook.clone()))
    }

    fn post<'a>(
        &'a self,
        name: &'a str,
        from: Option<Position>,
        to: Position,
        message_refs: Vec<MessageRef>,
    ) -> BoxFuture<'a, Result<bool, LedgerError>> {
        let posted = self.kept().hooks.post(name, from, to, message_refs);
        Box::pin(future::ready(Ok(posted)))
    }

    fn due<'a>(
        &'a self,
        name: &'a str,
        now: Timestamp,
        reserve: Duration,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Delivery>, LedgerError>> {
        let until = now.plus_micros(i64::try_from(reserve.as_micros()).unwrap_or(i64::MAX));
        self.with(name, |post| post.due(now, until, limit))
    }

    fn next_due<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Timestamp>, LedgerError>> {
        self.with(name, |post| {
            post.due.first().map(|(due, ..)| *due).filter(|_| post.hook.disabled.is_none())
        })
    }

    fn delivered<'a>(
        &'a self,
        name: &'a str,
        message_ref: MessageRef,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        self.with(name, |post| post.remove(message_ref))
    }

    fn put_off<'a>(
        &'a self,
        name: &'a str,
        message_ref: MessageRef,
        attempts: u32,
        until: Timestamp,
        _: String,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        self.with(name, |post| {
            if let Some(standing) = post.put_off(message_ref, Some(until)) {
                standing.attempts = attempts;
            }
        })
    }

    fn give_up<'a>(
        &'a self,
        name: &'a str,
        message_ref: MessageRef,
        _: String,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        self.with(name, |post| {
            post.put_off(message_ref, None);
        })
    }

    fn set_disabled<'a>(
        &'a self,
        name: &'a str,
        why: Option<String>,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        self.with(name, |post| post.hook.disabled = why)
    }

    fn waiting<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Waiting, LedgerError>> {
        self.with(name, |post| post.waiting())
    }
}
