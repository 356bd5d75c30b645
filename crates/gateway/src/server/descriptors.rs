//! File descriptors: connections, files, the ledger and the connections to the clouds need them. The gateway reserves
//! those of ledger and clouds, so that no restore fails because of incoming connections.

use restore_config::{Config, LedgerUrl};

/// Of the process itself: standard streams, listeners, the runtime, files of configuration and secrets that are read, the
/// telemetry's connections.
const OWN: usize = 96;
/// Of a ledger in PostgreSQL, and of one in a file.
const LEDGER: usize = 32;
/// Fewer connections than that are no service.
const LEAST: usize = 16;

/// Lets this process open as many files as it may, and returns how many that are; `None` where nobody says.
#[cfg(target_os = "linux")]
pub fn raise() -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current.and_then(|limit| usize::try_from(limit).ok());
    }
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = if raised.is_ok() { maximum } else { current };
    limit.and_then(|limit| usize::try_from(limit).ok())
}

/// Elsewhere the service manager's limit is all there is.
#[cfg(not(target_os = "linux"))]
pub fn raise() -> Option<usize> {
    None
}

/// File descriptors that are reserved for everything except connections of the API and the compatibility endpoints.
fn others(config: &Config) -> usize {
    let upstreams: usize = config.upstreams.iter().map(|upstream| upstream.max_concurrency).sum();
    let ledger = if matches!(config.ledger.url, LedgerUrl::Memory) { 0 } else { LEDGER };
    OWN + ledger + crate::ADMIN_CONNECTIONS + upstreams + config.webhooks.len() + config.credentials.len()
}

/// So many connections of the API and its compatibility endpoints fit, where that is fewer than `limits.max_connections`.
///
/// # Errors
/// Why so few fit that the gateway is of no use.
pub fn fitting(config: &Config, limit: Option<usize>) -> Result<Option<usize>, String> {
    let Some(limit) = limit else { return Ok(None) };
    let (wanted, others) = (config.limits.max_connections, others(config));
    let room = limit.saturating_sub(others);
    if room >= wanted {
        return Ok(None);
    }
    if room < LEAST.min(wanted) {
        return Err(format!(
            "this process may open {limit} files, and {others} are kept for ledger, clouds, admin pages and files: that \
             leaves no room for connections; raise the limit (ulimit -n, LimitNOFILE=) to {} at least",
            others + LEAST
        ));
    }
    Ok(Some(room))
}

/// Message about a lowered limit.
pub fn lowered(config: &Config, fitting: usize) -> String {
    format!(
        "this process may not open as many files as limits.max_connections = {} takes: {fitting} connections fit; raise the \
         limit (ulimit -n, LimitNOFILE=) to {}, or lower limits.max_connections",
        config.limits.max_connections,
        config.limits.max_connections + others(config)
    )
}
