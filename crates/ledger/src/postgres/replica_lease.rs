//! This process as one of those that share the ledger: its registration, which it renews while it
//! lives, and what that allows it.
//!
//! Who finds another's lease over deletes its registration before taking anything over. So the one
//! question is whether the registration is still there: if so nobody has come between, and the term
//! goes on, however late the renewal was; if not, the term is over for good and another begins.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use restore_model::RestoreId;
use sqlx::postgres::PgConnection;
use tokio::time::{Instant, MissedTickBehavior};

use super::connect::{CONNECT, Way};
use super::{schema, unavailable};
use crate::lease::Term;
use crate::{Entry, Lease, LedgerError};

#[derive(Debug)]
pub(super) struct ReplicaLease {
    /// The name under which this process holds what it holds.
    pub(super) replica: String,
    lease: Duration,
    term: Mutex<Arc<Term>>,
    /// One renewal at a time, so that a term that ended is followed by one other and not by two.
    renewing: tokio::sync::Mutex<()>,
    /// Restores that this process may have claimed without hearing of it.
    unheard: Mutex<BTreeSet<RestoreId>>,
}

impl ReplicaLease {
    /// For a process that has just been registered; `asked` is the moment before that.
    pub(super) fn new(replica: String, lease: Duration, asked: Instant) -> Self {
        let term = Mutex::new(Arc::new(Term::new(asked, lasts(lease))));
        Self { replica, lease, term, renewing: tokio::sync::Mutex::default(), unheard: Mutex::default() }
    }

    /// Restores that may be this process's although nobody here works on them.
    pub(super) fn unheard(&self) -> Vec<String> {
        self.all_unheard().iter().map(RestoreId::to_string).collect()
    }

    /// The claim of these is about to be committed.
    pub(super) fn claim_unheard(&self, entries: &[Entry]) {
        self.all_unheard().extend(entries.iter().map(|entry| entry.intent.id));
    }

    /// And was. What else was unheard of may still be locked by a write; where it is another's by now, a claim leaves it
    /// to that one.
    pub(super) fn heard_of(&self, entries: &[Entry]) {
        self.all_unheard().retain(|id| entries.iter().all(|entry| entry.intent.id != *id));
    }

    fn all_unheard(&self) -> MutexGuard<'_, BTreeSet<RestoreId>> {
        self.unheard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lease(&self) -> Lease {
        Lease::of(Arc::clone(&self.term()))
    }

    fn term(&self) -> MutexGuard<'_, Arc<Term>> {
        self.term.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews the registration, or registers anew where it is gone. Not inside a transaction: it
    /// must be seen by others before this process acts on it.
    pub(super) async fn renew(&self, connection: &mut PgConnection) -> Result<(), LedgerError> {
        const RENEW: &str = "update replicas set lease_until = clock_timestamp() + $2 where id = $1";
        let _one_at_a_time = self.renewing.lock().await;
        let mut asked = Instant::now();
        let renewed = sqlx::query(RENEW)
            .bind(&self.replica)
            .bind(self.lease)
            .execute(&mut *connection)
            .await
            .map_err(unavailable)?;
        if renewed.rows_affected() == 0 {
            tracing::warn!("database lease expired; another replica may own these restores");
            // Ended before the next one can begin.
            self.term().end();
            asked = Instant::now();
            schema::enter_again(connection, &self.replica, self.lease).await?;
        }
        let mut term = self.term();
        if !term.prolong(asked, lasts(self.lease)) {
            *term = Arc::new(Term::new(asked, lasts(self.lease)));
        }
        Ok(())
    }

    /// Renews every third of the lease, on a connection of its own so that it waits for nobody.
    pub(super) async fn keep_alive(self: Arc<Self>, way: Way) {
        let every = self.lease / 3;
        let mut rounds = tokio::time::interval(every);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        rounds.tick().await;
        let mut connection = None;
        loop {
            rounds.tick().await;
            // What fails is tried again soon, for the lease is running out.
            while let Err(error) = self.beat(&way, &mut connection, every).await {
                tracing::warn!(error = %error, "database lease cannot be renewed");
                connection = None;
                tokio::time::sleep(every / 10).await;
            }
        }
    }

    async fn beat(
        &self,
        way: &Way,
        connection: &mut Option<PgConnection>,
        patience: Duration,
    ) -> Result<(), LedgerError> {
        let beat = async {
            let connection = match connection {
                Some(connection) => connection,
                none => none.insert(way.connect().await?),
            };
            self.renew(connection).await
        };
        tokio::time::timeout(patience.min(CONNECT), beat)
            .await
            .unwrap_or_else(|_| Err(LedgerError::Unavailable("the database does not answer".to_owned())))
    }

    /// Gives up what this process holds, so that others need not wait for the lease to end.
    pub(super) async fn leave(&self, connection: &mut PgConnection) -> Result<(), LedgerError> {
        self.term().end();
        sqlx::query("delete from replicas where id = $1")
            .bind(&self.replica)
            .execute(connection)
            .await
            .map_err(unavailable)?;
        Ok(())
    }
}

/// For how long this process believes in its lease: a tenth less than the database does, for the
/// two clocks may not run equally fast.
fn lasts(lease: Duration) -> Duration {
    lease / 10 * 9
}
