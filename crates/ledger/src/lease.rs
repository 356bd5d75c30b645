//! Whether this process may still act on what it holds (I11).
//!
//! A one-process ledger is held by whoever has it open. In a shared one a process holds its
//! restores for a term, which it prolongs while it lives; when a term lapses, others may take over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The right of this process to act on what it holds, as it was when this was taken.
///
/// **Take it before `submitting` is written, ask it right before the byte is sent.** A lease that
/// has lapsed never comes back: what was held under it may be another's by now, also when this
/// process has a new one since.
#[derive(Clone, Debug)]
pub struct Lease(Option<Arc<Term>>);

/// What a [`Lease`] of a shared ledger is part of. Runs on the monotonic clock of this process alone, and ends before the
/// store thinks so.
#[derive(Debug)]
pub struct Term {
    began: Instant,
    /// Milliseconds after `began`; 0 when it is over for good.
    until: AtomicU64,
}

impl Lease {
    /// Of a ledger that one process has to itself: current for as long as the process lives.
    #[must_use]
    pub const fn for_good() -> Self {
        Self(None)
    }

    /// Of who only reads: current never.
    pub(crate) fn of_nothing() -> Self {
        Self(Some(Arc::new(Term::new(Instant::now(), Duration::ZERO))))
    }

    /// Of a shared ledger: current until the term ends.
    #[must_use]
    pub const fn of(term: Arc<Term>) -> Self {
        Self(Some(term))
    }

    /// Whether this process may go on acting on what it held when the lease was taken.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.0.as_ref().is_none_or(|term| term.is_current())
    }
}

impl Term {
    /// A term that ends `lasts` after `asked`, the moment before the store was asked for it.
    #[must_use]
    pub fn new(asked: Instant, lasts: Duration) -> Self {
        let term = Self { began: asked, until: AtomicU64::new(0) };
        term.until.store(millis(lasts), Ordering::SeqCst);
        term
    }

    /// Moves its end. False when it is over for good, and stays so.
    pub fn prolong(&self, asked: Instant, lasts: Duration) -> bool {
        let until = millis(asked.saturating_duration_since(self.began).saturating_add(lasts));
        let later = |now: u64| (now != 0).then_some(now.max(until));
        self.until.fetch_update(Ordering::SeqCst, Ordering::SeqCst, later).is_ok()
    }

    /// Ends it now and for good.
    pub fn end(&self) {
        self.until.store(0, Ordering::SeqCst);
    }

    fn is_current(&self) -> bool {
        millis(self.began.elapsed()) < self.until.load(Ordering::SeqCst)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_term_ends_by_the_clock_or_for_good() {
        const LASTS: Duration = Duration::from_secs(20);
        let term = Arc::new(Term::new(Instant::now(), LASTS));
        let lease = Lease::of(Arc::clone(&term));
        tokio::time::advance(LASTS - Duration::from_secs(1)).await;
        assert!(lease.is_current());
        let asked = Instant::now();
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!lease.is_current());
        // The database says that nobody came between: the same term goes on, from when it was asked.
        assert!(term.prolong(asked, LASTS));
        assert!(lease.is_current());
        tokio::time::advance(LASTS - Duration::from_secs(2)).await;
        assert!(!lease.is_current());

        assert!(term.prolong(Instant::now(), LASTS));
        term.end();
        assert!(!term.prolong(Instant::now(), LASTS));
        assert!(!lease.is_current(), "what is over for good does not come back");
        assert!(Lease::for_good().is_current());
    }
}
