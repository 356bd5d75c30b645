//! A ledger in a PostgreSQL database, for any number of processes. The database provides uniqueness, locks and leases;
//! the processes need no other protocol.
//!
//! | module | content |
//! |---|---|
//! | `connect` | user and transport of the connections |
//! | `schema` | the tables, their upgrade, and the registration of a process |
//! | `replica_lease` | the lease of this process, and its renewal |
//! | `hold` | holders of restores |
//! | `store` | commits groups of writes |
//! | `rows`, `side` | the statements that store a group |
//! | `fail` | meaning of a failure |
//! | `read` | all read-only queries |
//!
//! A write that returned [`LedgerError::Unavailable`] may have been committed all the same, if the connection broke
//! after the commit was sent. A retry is safe: the key, the identical request or the event's number detects it. A
//! restore that was accepted in this way has no holder until it is claimed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use restore_model::{Event, ProjectId, RestoreId, Timestamp};
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{Connection, Executor};
use tokio::time::Instant;

use crate::group::Side;
use crate::open::Found;
use crate::stored::Stored;
use crate::writer::Queue;
use crate::{
    Accept, Claim, Entry, FeedItem, Hook, Lease, Ledger, LedgerError, NewEntry, OpenOptions, Position,
    PostgresUrl, Pruned, Query, Record, Recovery, Unfinished, Waiting,
};
use connect::Way;
use replica_lease::ReplicaLease;
use store::PostgresStore;

mod connect;
mod fail;
mod hold;
mod read;
mod replica_lease;
mod rows;
mod schema;
mod side;
mod store;

/// The ledger in a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresLedger {
    queue: Queue,
    pool: PgPool,
    /// `None` if it was opened read-only.
    replica_lease: Option<Arc<ReplicaLease>>,
}

impl PostgresLedger {
    /// Opens the ledger, upgrades the database's schema, and registers this process as one of those that share it.
    ///
    /// # Errors
    /// If the database is not reachable or not writable, it requires a newer program, or a running program could not
    /// continue with the upgraded schema.
    pub async fn open(url: &PostgresUrl, options: OpenOptions) -> Result<Self, LedgerError> {
        let way = Way::to(url, options.password.as_ref());
        Self::register(&way, options.lease).await.map_err(|error| named(url, error))
    }

    async fn register(way: &Way, lease: Duration) -> Result<Self, LedgerError> {
        let mut connection = way.connect_patiently().await?;
        let replica: String = sqlx::query_scalar("select gen_random_uuid()::text")
            .fetch_one(&mut connection)
            .await
            .map_err(unavailable)?;
        let asked = Instant::now();
        schema::enter(&mut connection, schema::MIGRATIONS, &replica, lease).await?;
        let _leftover = connection.close().await;
        let replica_lease = Arc::new(ReplicaLease::new(replica, lease, asked));
        let heart = tokio::spawn(Arc::clone(&replica_lease).keep_alive(way.clone()));
        let queue = Queue::to(PostgresStore::new(way.clone(), Arc::clone(&replica_lease), heart));
        Ok(Self { queue, pool: way.pool(), replica_lease: Some(replica_lease) })
    }

    /// Opens the ledger read-only. Nothing is created, this process is not registered, and every write is rejected.
    ///
    /// # Errors
    /// If the database is not reachable, or has no ledger that this program can read.
    pub async fn open_to_read(url: &PostgresUrl, options: OpenOptions) -> Result<Self, LedgerError> {
        let way = Way::to(url, options.password.as_ref()).for_reading();
        let open = async {
            let mut connection = way.connect().await?;
            schema::check(&mut connection).await?;
            let _leftover = connection.close().await;
            Ok(Self { queue: Queue::to_nowhere(), pool: way.pool(), replica_lease: None })
        };
        open.await.map_err(|error| named(url, error))
    }

    fn replica_lease(&self) -> Result<&ReplicaLease, LedgerError> {
        self.replica_lease.as_deref().ok_or_else(crate::writer::only_to_be_read)
    }
}

/// Checks if there is a ledger that this program supports, or a database for a new one.
pub(crate) async fn look(url: &PostgresUrl, options: OpenOptions) -> Result<Found, LedgerError> {
    let look = async {
        let mut connection = Way::to(url, options.password.as_ref()).for_reading().connect().await?;
        let found = schema::look(&mut connection).await?;
        let _leftover = connection.close().await;
        Ok(found)
    };
    look.await.map_err(|error| named(url, error))
}

/// Reclaims the space of deleted rows, and updates the database's statistics. Gateways may continue meanwhile.
///
/// # Errors
/// If the database is not reachable or has no ledger.
pub async fn vacuum(url: &PostgresUrl, options: OpenOptions) -> Result<(), LedgerError> {
    const TABLES: &str = "vacuum analyze restores, events, locks, keys, targets, deliveries";
    let vacuum = async {
        let mut connection: PgConnection =
            Way::to(url, options.password.as_ref()).connect_patiently().await?;
        schema::check(&mut connection).await?;
        connection.execute(TABLES).await.map_err(unavailable)?;
        connection.close().await.map_err(unavailable)
    };
    vacuum.await.map_err(|error| named(url, error))
}

fn unavailable(error: sqlx::Error) -> LedgerError {
    LedgerError::Unavailable(match error {
        sqlx::Error::PoolTimedOut => "the database does not answer".to_owned(),
        sqlx::Error::PoolClosed => "it is closed".to_owned(),
        other => other.to_string(),
    })
}

/// Adds the URL to an error. The URL contains no secret.
fn named(url: &PostgresUrl, error: LedgerError) -> LedgerError {
    match error {
        LedgerError::Unavailable(why) => LedgerError::Unavailable(format!("{url:?}: {why}")),
        other => other,
    }
}

impl Stored for PostgresLedger {
    fn queue(&self) -> &Queue {
        &self.queue
    }

    fn hook<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Hook>, LedgerError>> {
        Box::pin(read::hook(&self.pool, name))
    }

    fn next_due<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Timestamp>, LedgerError>> {
        Box::pin(read::next_due(&self.pool, name))
    }

    fn waiting<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Waiting, LedgerError>> {
        Box::pin(read::waiting(&self.pool, name))
    }
}

impl Ledger for PostgresLedger {
    fn accept(&self, new: NewEntry) -> BoxFuture<'_, Result<Accept, LedgerError>> {
        Box::pin(self.queue.accept(new))
    }

    fn append(
        &self,
        id: RestoreId,
        seen: u32,
        events: Vec<Event>,
    ) -> BoxFuture<'_, Result<Entry, LedgerError>> {
        Box::pin(self.queue.append(id, seen, events))
    }

    fn get(&self, id: RestoreId) -> BoxFuture<'_, Result<Option<Entry>, LedgerError>> {
        Box::pin(read::get(&self.pool, id))
    }

    fn events(&self, id: RestoreId) -> BoxFuture<'_, Result<Vec<Event>, LedgerError>> {
        Box::pin(read::events(&self.pool, id))
    }

    fn list(&self, query: Query) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        Box::pin(read::list(&self.pool, query))
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<Unfinished, LedgerError>> {
        Box::pin(read::tally(&self.pool))
    }

    fn claim(&self, which: Claim, limit: usize) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        Box::pin(async move { hold::claim(&self.pool, self.replica_lease()?, which, limit).await })
    }

    fn claim_one(&self, id: RestoreId) -> BoxFuture<'_, Result<Option<Entry>, LedgerError>> {
        Box::pin(async move { hold::claim_one(&self.pool, self.replica_lease()?, id).await })
    }

    fn take(&self, id: RestoreId) -> BoxFuture<'_, Result<bool, LedgerError>> {
        Box::pin(async move { hold::take(&self.pool, self.replica_lease()?, id).await })
    }

    fn lease(&self) -> Lease {
        self.replica_lease.as_ref().map_or_else(Lease::of_nothing, |replica_lease| replica_lease.lease())
    }

    fn reserve_read(&self, id: RestoreId, interval: Duration) -> BoxFuture<'_, Result<bool, LedgerError>> {
        Box::pin(async move {
            self.replica_lease()?;
            hold::reserve_read(&self.pool, id, interval).await
        })
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn processes(&self) -> BoxFuture<'_, Result<usize, LedgerError>> {
        Box::pin(hold::processes(&self.pool))
    }

    fn feed(&self, after: Position, limit: usize) -> BoxFuture<'_, Result<Vec<FeedItem>, LedgerError>> {
        Box::pin(read::feed(&self.pool, after, limit))
    }

    fn position(&self) -> BoxFuture<'_, Result<Position, LedgerError>> {
        Box::pin(read::position(&self.pool))
    }

    fn keys<'a>(&'a self, caller: &'a str, at_most: usize) -> BoxFuture<'a, Result<usize, LedgerError>> {
        Box::pin(read::keys(&self.pool, caller, at_most))
    }

    fn prune(
        &self,
        restores_before: Option<Timestamp>,
        keys_before: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<Pruned, LedgerError>> {
        Box::pin(self.queue.prune(Side::Prune { restores_before, keys_before, limit }))
    }

    fn audit(
        &self,
        after: Option<RestoreId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, LedgerError>> {
        Box::pin(read::audit(&self.pool, after, limit))
    }

    fn recovery(&self) -> BoxFuture<'_, Result<Option<Recovery>, LedgerError>> {
        Box::pin(read::recovery(&self.pool))
    }

    fn set_recovery(&self, recovery: Option<Recovery>) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(self.queue.carry_out(Side::SetRecovery(recovery)))
    }

    fn task_holder<'a>(
        &'a self,
        project: &'a ProjectId,
        task: &'a str,
    ) -> BoxFuture<'a, Result<Option<RestoreId>, LedgerError>> {
        Box::pin(read::task_holder(&self.pool, project, task))
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(self.queue.touch())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.queue.close().await;
            self.pool.close().await;
        })
    }
}
