//! Recovery mode: the ledger may be an older copy of itself. Nothing is sent until a person confirms it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use restore_ledger::{Ledger, LedgerError, Recovery};
use restore_model::Timestamp;

/// True if the ledger may be an older copy of itself, as it was last read there.
pub(crate) struct RecoveryMode {
    ledger: Arc<dyn Ledger>,
    known: Mutex<Option<Recovery>>,
}

impl RecoveryMode {
    pub(crate) fn of(ledger: Arc<dyn Ledger>) -> Self {
        Self { ledger, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Option<Recovery>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if the ledger may be an older copy of itself, and why.
    pub(crate) fn now(&self) -> Option<Recovery> {
        self.known().clone()
    }

    /// Begins recovery mode: nothing is sent until an operator confirms. Survives restarts.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub(crate) async fn begin(&self, reason: &str, since: Timestamp) -> Result<(), LedgerError> {
        self.ledger.set_recovery(Some(Recovery { since, reason: reason.to_owned() })).await?;
        self.learn().await
    }

    /// Ends recovery mode.
    pub(crate) async fn end(&self) -> Result<(), LedgerError> {
        self.ledger.set_recovery(None).await?;
        self.learn().await
    }

    /// Reads from the ledger whether it is in recovery mode: another replica may have ended it.
    pub(crate) async fn learn(&self) -> Result<(), LedgerError> {
        let recovery = self.ledger.recovery().await?;
        let mut known = self.known();
        if known.is_none()
            && let Some(recovery) = &recovery
        {
            tracing::error!(
                reason = recovery.reason,
                "recovery mode: sending is paused until an operator confirms"
            );
        }
        *known = recovery;
        Ok(())
    }
}
