//! The outbox of every database store: changes go through the writer, reads do not.

use std::time::Duration;

use futures_util::future::BoxFuture;
use restore_model::Timestamp;

use crate::group::Side;
use crate::writer::Queue;
use crate::{Delivery, Hook, LedgerError, MessageRef, Outbox, Position, Waiting};

/// A store that writes in groups.
pub(crate) trait Stored: Send + Sync + 'static {
    fn queue(&self) -> &Queue;

    fn hook<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Hook>, LedgerError>>;

    fn next_due<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Timestamp>, LedgerError>>;

    fn waiting<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Waiting, LedgerError>>;
}

impl<T: Stored> Outbox for T {
    fn hook<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Hook>, LedgerError>> {
        Stored::hook(self, name)
    }

    fn post<'a>(
        &'a self,
        name: &'a str,
        from: Option<Position>,
        to: Position,
        message_refs: Vec<MessageRef>,
    ) -> BoxFuture<'a, Result<bool, LedgerError>> {
        Box::pin(self.queue().post(Side::Post { hook: name.to_owned(), from, to, message_refs }))
    }

    fn due<'a>(
        &'a self,
        name: &'a str,
        now: Timestamp,
        reserve: Duration,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Delivery>, LedgerError>> {
        Box::pin(self.queue().due(Side::Due { hook: name.to_owned(), now, reserve, limit }))
    }

    fn next_due<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Timestamp>, LedgerError>> {
        Stored::next_due(self, name)
    }

    fn delivered<'a>(
        &'a self,
        name: &'a str,
        message_ref: MessageRef,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(self.queue().carry_out(Side::Delivered { hook: name.to_owned(), message_ref }))
    }

    fn put_off<'a>(
        &'a self,
        name: &'a str,
        message_ref: MessageRef,
        attempts: u32,
        until: Timestamp,
        why: String,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        let hook = name.to_owned();
        Box::pin(self.queue().carry_out(Side::PutOff { hook, message_ref, attempts, until, why }))
    }

    fn give_up<'a>(
        &'a self,
        name: &'a str,
        message_ref: MessageRef,
        why: String,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(self.queue().carry_out(Side::GiveUp { hook: name.to_owned(), message_ref, why }))
    }

    fn set_disabled<'a>(
        &'a self,
        name: &'a str,
        why: Option<String>,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(self.queue().carry_out(Side::SetDisabled { hook: name.to_owned(), why }))
    }

    fn waiting<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Waiting, LedgerError>> {
        Stored::waiting(self, name)
    }
}
