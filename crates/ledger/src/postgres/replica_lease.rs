//! This process as one of those that share the ledger: its registration, which it renews while it lives, and the rights
//! that follow.
//!
//! A process that finds the lease of another expired deletes its registration before it takes over restores. So the
//! only question is if the registration still exists. If it does, no process has taken over, and the term continues,
//! however late the renewal was. If not, the term has ended permanently and another begins.

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
    /// The name under which this process holds its restores.
    pub(super) replica: String,
    lease: Duration,
    term: Mutex<Arc<Term>>,
    /// One renewal at a time, so that exactly one new term follows an ended one.
    renewing: tokio::sync::Mutex<()>,
    /// Restores that this process may have claimed without receiving the answer.
    unheard: Mutex<BTreeSet<RestoreId>>,
}

impl ReplicaLease {
    /// For a process that has just been registered; `asked` is the time just before that.
    pub(super) fn new(replica: String, lease: Duration, asked: Instant) -> Self {
        let term = Mutex::new(Arc::new(Term::new(asked, lasts(lease))));
        Self { replica, lease, term, renewing: tokio::sync::Mutex::default(), unheard: Mutex::default() }
    }

    /// Returns restores that this process may hold although no code here works on them.
    pub(super) fn unheard(&self) -> Vec<String> {
        self.all_unheard().iter().map(RestoreId::to_string).collect()
    }

    /// Records that the claim of these restores is about to be committed.
    pub(super) fn claim_unheard(&self, entries: &[Entry]) {
        self.all_unheard().extend(entries.iter().map(|entry| entry.intent.id));
    }

    /// Records that the claim was committed. A write may still lock other restores with a missing answer. If another
    /// process holds one by now, a claim leaves it there.
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

    /// Renews the registration, or registers again if it is missing. Not inside a transaction: other processes must see
    /// it before this process acts on it.
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
            // The term ends before the next one can begin.
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

    /// Renews every third of the lease, on its own connection so that it never waits.
    pub(super) async fn keep_alive(self: Arc<Self>, way: Way) {
        let every = self.lease / 3;
        let mut rounds = tokio::time::interval(every);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        rounds.tick().await;
        let mut connection = None;
        loop {
            rounds.tick().await;
            // A failure is retried soon, because the lease is expiring.
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

    /// Releases the restores that this process holds, so that other processes need not wait for the end of the lease.
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

/// Duration for which this process relies on its lease: a tenth less than in the database, because the two clocks may
/// not run equally fast.
fn lasts(lease: Duration) -> Duration {
    lease / 10 * 9
}
