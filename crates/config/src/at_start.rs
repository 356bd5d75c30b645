//! Keys that the gateway reads only at its start: sockets, the ledger, and everything bound to them. A reload applies
//! all other keys.

use std::path::Path;

use serde_json::Value;

use super::Config;
use super::values::{Secret, Setting};

/// The keys, or tables in which this applies to every key.
pub(super) const KEYS: &[&str] = &[
    "listen.api",
    "listen.admin",
    "tls",
    "limits.max_connections",
    "limits.max_header_bytes",
    "limits.header_timeout_seconds",
    "limits.write_timeout_seconds",
    "limits.shutdown_delay_seconds",
    "limits.shutdown_timeout_seconds",
    "limits.max_memory_bytes",
    "limits.max_streams",
    "limits.stream_max_age_seconds",
    "ledger.url",
    "ledger.password",
    "ledger.lease_seconds",
    "polling.status_cache_ttl_seconds",
    "telemetry.service_name",
    "telemetry.otlp_endpoint",
    "telemetry.otlp_metrics_interval_seconds",
    "telemetry.export_timeout_seconds",
    "telemetry.max_queued_spans",
    "telemetry.log_format",
    "webhooks",
    "compat_endpoints.listen",
];

/// Returns true if a key, written without indices, is read only at the start.
pub(super) fn is_at_start(key: &str) -> bool {
    KEYS.iter()
        .any(|listed| key.strip_prefix(listed).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

/// Returns the start-only keys that differ. For a secret only its location counts: a change of the file's content is
/// reloaded separately.
pub fn read_at_start(before: &Config, after: &Config) -> Vec<&'static str> {
    let secrets = |config: &Config| {
        let place = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.file().map(Path::to_owned));
        [
            ("ledger.password", vec![place(&config.ledger.password)]),
            ("tls", vec![place(&config.tls.key)]),
            ("webhooks", config.webhooks.iter().map(|hook| place(&Some(hook.secret.clone()))).collect()),
        ]
    };
    let urls = |config: &Config| -> Vec<_> { config.webhooks.iter().map(|hook| hook.url.clone()).collect() };
    // The JSON shows them without their paths.
    let urls_moved = (urls(before) != urls(after)).then_some("webhooks");
    let moved: Vec<&str> = secrets(before)
        .into_iter()
        .zip(secrets(after))
        .filter(|(one, other)| one != other)
        .map(|((key, _), _)| key)
        .chain(urls_moved)
        .collect();
    let [before, after] = [before, after].map(Setting::show);
    let differs = |key: &&&str| at(&before, key) != at(&after, key) || moved.contains(*key);
    KEYS.iter().filter(differs).copied().collect()
}

/// Returns the value of a key. For an array of tables: the value of each table that has the key.
fn at<'a>(tree: &'a Value, key: &str) -> Vec<&'a Value> {
    let (table, rest) = key.split_once('.').unwrap_or((key, ""));
    match &tree[table] {
        Value::Array(tables) if !rest.is_empty() => tables
            .iter()
            .filter(|table| !table[rest].is_null())
            .flat_map(|table| [&table[rest], &table["api"]])
            .collect(),
        value if rest.is_empty() => vec![value],
        value => vec![&value[rest]],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_list_is_one() {
        for key in KEYS {
            assert!(crate::explain(key).is_some(), "{key}");
        }
        assert!(
            is_at_start("tls.key") && is_at_start("webhooks.url") && is_at_start("compat_endpoints.listen")
        );
        assert!(
            !is_at_start("listen.allowed_hosts")
                && !is_at_start("compat_endpoints.listener")
                && !is_at_start("routes")
        );
    }
}
