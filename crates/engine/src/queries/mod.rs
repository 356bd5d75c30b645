//! Answers questions about restores and clouds. They start no restore.
//!
//! Stands above the poller, planning and `id_mapping`.

use std::sync::Arc;

use restore_ledger::{Entry, Ledger};
use restore_model::{Problem, RestoreId};
use restore_upstream::TraceContext;
use tokio::time::Instant;

use crate::callers::Caller;
use crate::journal::Journal;
use crate::permissions::Permissions;
use crate::polling::Poller;
use crate::routing::Routing;

mod inquiries;
mod list;
mod proxied_reads;
mod refresh_on_read;

pub(crate) use inquiries::Inquiries;
pub use inquiries::{CheckReport, Preview, cell};
pub use list::Page;
pub(crate) use proxied_reads::ProxiedReads;

/// Shows restores to callers.
pub(crate) struct Views {
    journal: Arc<Journal>,
    ledger: Arc<dyn Ledger>,
    routing: Arc<Routing>,
    permissions: Arc<Permissions>,
    poller: Arc<Poller>,
}

impl Views {
    pub(crate) const fn new(
        journal: Arc<Journal>,
        ledger: Arc<dyn Ledger>,
        routing: Arc<Routing>,
        permissions: Arc<Permissions>,
        poller: Arc<Poller>,
    ) -> Self {
        Self { journal, ledger, routing, permissions, poller }
    }

    /// One restore as it is stored, if this caller may see it.
    ///
    /// # Errors
    /// As [`Journal::get`]; one that may not be seen is not found.
    pub(crate) async fn look(&self, id: RestoreId, caller: &Caller) -> Result<Entry, Problem> {
        let entry = self.journal.get(id).await?;
        self.permissions.show(caller, &entry)?;
        Ok(entry)
    }

    /// Refreshes, then waits until the restore is final or `until` has come.
    ///
    /// # Errors
    /// As [`Views::look`].
    pub(crate) async fn refresh_and_wait(
        &self,
        id: RestoreId,
        caller: &Caller,
        trace: Option<TraceContext>,
        until: Option<Instant>,
    ) -> Result<Entry, Problem> {
        let entry = self.look(id, caller).await?;
        let entry = self.poller.refresh(entry, caller.token.clone(), trace).await?;
        match until {
            Some(until) if !entry.state.status.is_final() => self.journal.wait(id, until).await,
            _ => Ok(entry),
        }
    }
}
