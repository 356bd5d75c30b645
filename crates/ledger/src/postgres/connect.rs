//! Connections to the database: user, transport and timeouts.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions, Executor};

use super::unavailable;
use crate::LedgerError;
use crate::url::{PostgresUrl, Tls};

/// Maximum wait for a new or free connection.
pub(super) const CONNECT: Duration = Duration::from_secs(3);
/// Connections for everything except groups of writes.
const POOL: u32 = 8;

/// Timeouts of every connection. A statement that waits longer than this waits for something that is broken. A
/// transaction of a lost client must not hold its locks for long.
const PATIENCE: [(&str, &str); 3] =
    [("statement_timeout", "5s"), ("lock_timeout", "4s"), ("idle_in_transaction_session_timeout", "10s")];

/// `submitting` must be on the disk before the first byte leaves, even if the role or the database has a faster setting
/// for other programs. Settings that wait for more than that stay unchanged.
const DURABLE: &str = "select set_config('synchronous_commit', 'on', false)
    where current_setting('synchronous_commit') in ('off', 'local')";

/// Connection parameters of a database, including the password. Never shown.
#[derive(Clone)]
pub(super) struct Way(PgConnectOptions);

impl Way {
    pub(super) fn to(url: &PostgresUrl, password: Option<&SecretString>) -> Self {
        let mut options = PgConnectOptions::new_without_pgpass()
            .username(&url.user)
            .port(url.port)
            .database(&url.database)
            .application_name(url.application_name.as_deref().unwrap_or("restore-gateway"))
            .ssl_mode(match url.tls {
                Tls::Disable => PgSslMode::Disable,
                Tls::Allow => PgSslMode::Allow,
                Tls::Prefer => PgSslMode::Prefer,
                Tls::Require => PgSslMode::Require,
                Tls::VerifyCa => PgSslMode::VerifyCa,
                Tls::VerifyFull => PgSslMode::VerifyFull,
            })
            // Without a password, the driver would use one from the environment.
            .password(password.map_or("", |password| password.expose_secret()))
            .options(PATIENCE)
            .disable_statement_logging();
        options = if url.is_socket() { options.socket(&url.host) } else { options.host(&url.host) };
        if let Some(path) = &url.root_certificate {
            options = options.ssl_root_cert(path);
        }
        if let Some(path) = &url.client_certificate {
            options = options.ssl_client_cert(path);
        }
        if let Some(path) = &url.client_key {
            options = options.ssl_client_key(path);
        }
        Self(options)
    }

    /// Parameters for connections that reject all writes.
    pub(super) fn for_reading(self) -> Self {
        Self(self.0.options([("default_transaction_read_only", "on")]))
    }

    /// Opens a dedicated connection.
    pub(super) async fn connect(&self) -> Result<PgConnection, LedgerError> {
        let connect = async {
            let mut connection = self.0.connect().await?;
            connection.execute(DURABLE).await?;
            Ok(connection)
        };
        match tokio::time::timeout(CONNECT, connect).await {
            Ok(connection) => connection.map_err(unavailable),
            Err(_) => Err(LedgerError::Unavailable(format!(
                "the database does not answer within {} seconds",
                CONNECT.as_secs()
            ))),
        }
    }

    /// Opens a connection without a limit on the duration of statements.
    pub(super) async fn connect_patiently(&self) -> Result<PgConnection, LedgerError> {
        let mut connection = self.connect().await?;
        connection.execute("set statement_timeout = 0; set lock_timeout = 0").await.map_err(unavailable)?;
        Ok(connection)
    }

    /// Creates a pool that opens connections on demand, so it works while the database is unavailable.
    pub(super) fn pool(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(POOL)
            .acquire_timeout(CONNECT)
            .after_connect(|connection, _| {
                Box::pin(async move { connection.execute(DURABLE).await.map(|_| ()) })
            })
            .connect_lazy_with(self.0.clone())
    }
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Way")
    }
}
