//! Permits an attempt: it decides whether each byte may still leave, and writes the next attempt before it is made. The
//! dispatcher gives it to the outbound stack.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use restore_ledger::{Entry, Lease, Ledger};
use restore_model::{Cause, EventKind, Evidence, Problem, Proof, Strength};
use tokio::time::Instant;

use crate::crash;
use crate::journal::{Journal, unavailable};
use crate::routing::Routing;

/// How far the wall clock may be set forward during a send without its being withheld.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);

/// The right to send a restore.
pub(crate) struct SendLease {
    /// As it was before `submitting` was written, so that it ends if another replica takes over.
    lease: Lease,
    /// Just before `submitting` was written.
    pub(super) since: Instant,
}

impl SendLease {
    /// The lease of this process as it is now.
    pub(crate) fn from_now(ledger: &dyn Ledger) -> Self {
        Self { lease: ledger.lease(), since: Instant::now() }
    }
}

/// The permit of one attempt: its written event, and whether it may still be made.
pub(super) struct SendPermit {
    journal: Arc<Journal>,
    routing: Arc<Routing>,
    /// As it was before `submitting` was written.
    lease: Lease,
    kept: Mutex<Kept>,
}

struct Kept {
    entry: Entry,
    /// Just before the present attempt was written down, on the monotonic clock. That one stands
    /// still while a machine is suspended; the time in the entry does not, but can be set.
    since: Instant,
}

impl SendPermit {
    /// Of a restore whose `submitting` has just been written.
    pub(super) fn new(journal: Arc<Journal>, routing: Arc<Routing>, entry: Entry, lease: SendLease) -> Self {
        let SendLease { lease, since } = lease;
        Self { journal, routing, lease, kept: Mutex::new(Kept { entry, since }) }
    }

    /// The restore in its last written state.
    pub(super) fn entry(&self) -> Entry {
        self.kept().entry.clone()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl restore_upstream::Journal for SendPermit {
    /// Later than the settle window allows for, others may have concluded that nothing was sent.
    fn may_write(&self) -> Result<(), &'static str> {
        crash::point("first_byte");
        let limit = self.routing.rules().policy.send;
        let (on_monotonic, on_wall) = {
            let kept = self.kept();
            let now = self.journal.now();
            let written = kept.entry.state.submitted_at.unwrap_or(now);
            (kept.since.elapsed(), now.micros_since(written))
        };
        let by_wall = Duration::from_micros(u64::try_from(on_wall).unwrap_or(0));
        if on_monotonic > limit || by_wall > limit + CLOCK_TOLERANCE {
            return Err("the send was written down too long ago");
        }
        if !self.lease.is_current() {
            return Err("the lease on the restore has lapsed");
        }
        if self.journal.recovery().now().is_some() {
            return Err("the ledger may be an older copy of itself");
        }
        Ok(())
    }

    fn again(&self, proof: Proof, attempt: u32) -> BoxFuture<'_, Result<(), Problem>> {
        Box::pin(async move {
            let entry = self.entry();
            let since = Instant::now();
            let now = self.journal.now();
            let kinds = vec![
                (EventKind::NotSent { proof }, Evidence::new("no_answer", Strength::Strong, now)),
                (
                    EventKind::Submitting { attempt, step: entry.state.step },
                    Evidence::new("gateway", Strength::Strong, now),
                ),
            ];
            let entry = self.journal.append(&entry, Cause::Upstream, kinds).await.map_err(unavailable)?;
            crash::point("submitting");
            *self.kept() = Kept { entry, since };
            Ok(())
        })
    }
}
