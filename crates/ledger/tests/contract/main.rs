//! What every store must do, run against each of them, and what only SQLite or PostgreSQL must.

#[cfg(test)]
mod accept;
#[cfg(test)]
mod append;
#[cfg(test)]
mod feed;
#[cfg(test)]
mod file;
#[cfg(test)]
mod folds;
#[cfg(test)]
mod forget;
#[cfg(test)]
mod made_by_307acd4;
#[cfg(test)]
mod outbox;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod reads;
#[cfg(test)]
mod replicas;
#[cfg(test)]
mod sqlite;
#[cfg(test)]
mod support;

/// Runs each named test against every store.
macro_rules! on_every_store {
    ($($name:ident),+ $(,)?) => {
        mod in_memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let store = crate::support::in_memory();
                super::$name(std::sync::Arc::clone(&store.ledger)).await;
            })+
        }
        mod in_a_file {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let store = crate::support::in_a_file().await;
                super::$name(std::sync::Arc::clone(&store.ledger)).await;
            })+
        }
        mod in_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let store = crate::support::in_postgres().await;
                super::$name(std::sync::Arc::clone(&store.ledger)).await;
                store.ledger.close().await;
            })+
        }
    };
}
pub(crate) use on_every_store;
