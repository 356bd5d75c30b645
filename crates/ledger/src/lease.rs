//! The right of this process to act on the restores it holds (I11).
//!
//! A ledger for one process belongs to the process that has it open. In a shared ledger, a process holds its restores
//! for a term, and extends the term while it lives. When a term expires, other processes may take over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The right of this process to act on the restores it holds, at the time when the lease was taken.
///
/// **Take it before `submitting` is written, and check it immediately before the first byte is sent.** An expired lease
/// never becomes valid again: another process may hold the restores by then, even if this process has a new lease
/// since.
#[derive(Clone, Debug)]
pub struct Lease(Option<Arc<Term>>);

/// The term of a [`Lease`] in a shared ledger. It uses only the monotonic clock of this process. It ends earlier than
/// the store's record of it.
#[derive(Debug)]
pub struct Term {
    began: Instant,
    /// Milliseconds after `began`; 0 once it has ended permanently.
    until: AtomicU64,
}

impl Lease {
    /// A lease for a ledger that only one process uses: valid for as long as the process lives.
    #[must_use]
    pub const fn for_good() -> Self {
        Self(None)
    }

    /// A lease for a read-only process: never valid.
    pub(crate) fn of_nothing() -> Self {
        Self(Some(Arc::new(Term::new(Instant::now(), Duration::ZERO))))
    }

    /// A lease for a shared ledger: valid until the term ends.
    #[must_use]
    pub const fn of(term: Arc<Term>) -> Self {
        Self(Some(term))
    }

    /// Returns true if this process may still act on the restores it held when the lease was taken.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.0.as_ref().is_none_or(|term| term.is_current())
    }
}

impl Term {
    /// Creates a term that ends `lasts` after `asked`, the time just before the request to the store.
    #[must_use]
    pub fn new(asked: Instant, lasts: Duration) -> Self {
        let term = Self { began: asked, until: AtomicU64::new(0) };
        term.until.store(millis(lasts), Ordering::SeqCst);
        term
    }

    /// Extends the term. Returns false if it has ended permanently.
    pub fn prolong(&self, asked: Instant, lasts: Duration) -> bool {
        let until = millis(asked.saturating_duration_since(self.began).saturating_add(lasts));
        let later = |now: u64| (now != 0).then_some(now.max(until));
        self.until.fetch_update(Ordering::SeqCst, Ordering::SeqCst, later).is_ok()
    }

    /// Ends the term now and permanently.
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
        // The database confirms that no other process took over: the same term continues, from the time of the request.
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
