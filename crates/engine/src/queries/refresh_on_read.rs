//! Refreshes restores without a poller when a compatibility endpoint shows them: the caller's token reads those whose
//! token this process has lost. A caller whose token cannot read gets an error.

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use restore_ledger::Entry;
use restore_model::{Code, Problem, Status};
use restore_upstream::TraceContext;

use super::Views;
use crate::callers::Caller;

/// Restores that are read anew for one request, at most: what is read once is followed from then on, and the next
/// request reads others.
const AT_ONCE: usize = 16;
impl Views {
    /// Restores that are about to be shown to a caller who may see them, as they stand: those that nobody follows are read
    /// with this caller's token, a few of them per request.
    ///
    /// # Errors
    /// [`Code::LedgerUnavailable`]; [`Code::CredentialMissing`] or [`Code::UpstreamUnauthorized`] where one has not ended and it was
    /// this caller's own token, or want of one, that it could not be read for: what is known of it is old, and a client
    /// that is not told so reads it for ever.
    pub(crate) async fn refresh_shown(
        &self,
        mut entries: Vec<Entry>,
        caller: &Caller,
        trace: Option<&TraceContext>,
    ) -> Result<Vec<Entry>, Problem> {
        let unread = entries.iter_mut().filter(|entry| self.is_unread(entry, caller)).take(AT_ONCE);
        let reads: Vec<BoxFuture<'_, Result<(), Problem>>> = unread
            .map(|entry| {
                let read = self.poller.refresh(entry.clone(), caller.token.clone(), trace.cloned());
                async move {
                    *entry = read.await?;
                    Ok(())
                }
                .boxed()
            })
            .collect();
        join_all(reads).await.into_iter().collect::<Result<(), Problem>>()?;
        for entry in &entries {
            self.readable_by(entry, caller)?;
        }
        Ok(entries)
    }

    /// True if a restore is read by nobody, and may be with what this caller has.
    fn is_unread(&self, entry: &Entry, caller: &Caller) -> bool {
        let goes_on = matches!(entry.state.status, Status::Running | Status::Unknown);
        if !goes_on
            || entry.state.is_between_steps()
            || self.routing.access(entry, caller.token.clone()).is_none()
        {
            return false;
        }
        if self.poller.refused().knows(entry, caller) {
            return false;
        }
        !self.poller.is_busy(entry.intent.id)
    }

    /// True if what is known of a restore is not old for want of this caller's credential alone.
    ///
    /// # Errors
    /// As [`Views::refresh_shown`].
    pub(crate) fn readable_by(&self, entry: &Entry, caller: &Caller) -> Result<(), Problem> {
        let (state, intent) = (&entry.state, &entry.intent);
        let waits = !state.status.is_final() && state.awaiting_credential;
        if !waits
            || self.routing.access(entry, None).is_some()
            || self.routing.rules().routes.pinned(entry).is_none()
        {
            return Ok(());
        }
        let name = &state.route(intent).upstream;
        if caller.token.is_none() {
            let detail = format!("upstream {name} is read with the caller's own token, and none came");
            return Err(Problem::new(Code::CredentialMissing, detail));
        }
        if self.poller.refused().knows(entry, caller) {
            let detail = format!(
                "upstream {name} rejects this token, so the status of restore {} cannot be read; nothing was changed",
                intent.id
            );
            return Err(Problem::new(Code::UpstreamUnauthorized, detail));
        }
        Ok(())
    }
}
