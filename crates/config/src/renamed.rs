//! Keys that earlier commits named differently. Only `check-config` uses this list, to suggest the new name for an old
//! one. A test compares the table of the changelog with it.

/// Old path and new path. `[]` stands for the index of a table in an array.
pub(super) const RENAMED: &[(&str, &str)] = &[
    ("follow", "polling"),
    ("ids", "id_mapping"),
    ("doors", "compat_endpoints"),
    ("listen.names", "listen.allowed_hosts"),
    ("listen.dangerous_allow_remote", "listen.allow_unauthenticated_remote"),
    ("tls.certificate", "tls.certificate_file"),
    ("tls.client_ca", "tls.client_ca_file"),
    ("tls.client_crl", "tls.client_crl_file"),
    ("tls.dangerous_allow_expired_crl", "tls.allow_expired_crl"),
    ("tls.listener", "tls.listeners"),
    ("limits.connections", "limits.max_connections"),
    ("limits.header_bytes", "limits.max_header_bytes"),
    ("limits.header_seconds", "limits.header_timeout_seconds"),
    ("limits.body_bytes", "limits.max_body_bytes"),
    ("limits.body_seconds", "limits.body_timeout_seconds"),
    ("limits.write_seconds", "limits.write_timeout_seconds"),
    ("limits.request_seconds", "limits.request_timeout_seconds"),
    ("limits.json_depth", "limits.max_json_depth"),
    ("limits.memory_bytes", "limits.max_memory_bytes"),
    ("limits.in_flight", "limits.max_in_flight"),
    ("limits.peer_share", "limits.max_share_per_address"),
    ("limits.waits", "limits.max_waits"),
    ("limits.refusals_per_second", "limits.rejections_per_second"),
    ("limits.wait_seconds", "limits.max_wait_seconds"),
    ("limits.page_size", "limits.max_page_size"),
    ("limits.unready_seconds", "limits.shutdown_delay_seconds"),
    ("limits.drain_seconds", "limits.shutdown_timeout_seconds"),
    ("limits.streams", "limits.max_streams"),
    ("limits.stream_seconds", "limits.stream_max_age_seconds"),
    ("submit.answer_seconds", "submit.sync_wait_seconds"),
    ("submit.deadline_seconds", "submit.retry_deadline_seconds"),
    ("submit.sends", "submit.max_attempts"),
    ("submit.retry_after_cap_seconds", "submit.max_retry_after_seconds"),
    ("submit.duplicate_window_seconds", "submit.dedup_window_seconds"),
    ("submit.key_window_seconds", "submit.idempotency_key_ttl_seconds"),
    ("submit.keys_per_caller", "submit.max_keys_per_caller"),
    ("follow.status_cache_seconds", "polling.status_cache_ttl_seconds"),
    ("follow.settle_seconds", "polling.absence_confirmation_seconds"),
    ("follow.grace_seconds", "polling.visibility_grace_seconds"),
    ("follow.unknown_seconds", "polling.operator_escalation_seconds"),
    ("telemetry.otlp_metrics_seconds", "telemetry.otlp_metrics_interval_seconds"),
    ("telemetry.trust_parent", "telemetry.trust_remote_sampling"),
    ("telemetry.queue", "telemetry.max_queued_spans"),
    ("upstreams[].volumes_endpoint", "upstreams[].evs_endpoint"),
    ("upstreams[].connect_seconds", "upstreams[].connect_timeout_seconds"),
    ("upstreams[].send_seconds", "upstreams[].send_timeout_seconds"),
    ("upstreams[].read_seconds", "upstreams[].read_timeout_seconds"),
    ("upstreams[].concurrency", "upstreams[].max_concurrency"),
    ("upstreams[].reads_per_minute", "upstreams[].polls_per_minute"),
    ("upstreams[].body_bytes", "upstreams[].max_body_bytes"),
    ("upstreams[].breaker_failures", "upstreams[].circuit_breaker.failure_threshold"),
    ("upstreams[].breaker_seconds", "upstreams[].circuit_breaker.open_seconds"),
    ("upstreams[].client_certificate", "upstreams[].client_certificate_file"),
    ("credentials[].kind", "credentials[].type"),
    ("credentials[].iam", "credentials[].iam_endpoint"),
    ("callers[].kind", "callers[].type"),
    ("callers[].listener", "callers[].listeners"),
    ("callers[].hash", "callers[].key_hash"),
    ("callers[].previous_hash", "callers[].previous_key_hash"),
    ("callers[].jwks", "callers[].jwks_url"),
    ("callers[].subject", "callers[].subjects"),
    ("callers[].san", "callers[].subject_alt_names"),
    ("callers[].iam", "callers[].iam_endpoint"),
    ("callers[].domain", "callers[].domains"),
    ("callers[].project_id", "callers[].project_ids"),
    ("policies[].allow", "policies[].actions"),
    ("webhooks[].project_id", "webhooks[].project_ids"),
    ("webhooks[].dangerous_allow_private", "webhooks[].allow_private_addresses"),
    ("ids.map_file", "id_mapping.file"),
    ("doors[].dialect", "compat_endpoints[].api"),
    ("doors[].deprecated", "compat_endpoints[].deprecated_since"),
    ("routes[].dialect", "routes[].source_apis"),
    ("routes[].share", "routes[].traffic_percent"),
    ("routes[].on_retired", "routes[].fallback_upstream"),
    ("routes[].baseline", "routes[].baseline_read"),
    ("routes[].fan_out", "routes[].per_disk_restore"),
    ("routes[].key_window_seconds", "routes[].idempotency_key_ttl_seconds"),
    ("routes[].duplicate_window_seconds", "routes[].dedup_window_seconds"),
    ("routes[].match.project_id", "routes[].match.project_ids"),
    ("policies[].match.project_id", "policies[].match.project_ids"),
    ("routes[].match.target", "routes[].match.target_types"),
    ("policies[].match.target", "policies[].match.target_types"),
    ("routes[].match.backup_id", "routes[].match.backup_ids"),
    ("policies[].match.backup_id", "policies[].match.backup_ids"),
    ("routes[].match.server_id", "routes[].match.server_ids"),
    ("policies[].match.server_id", "policies[].match.server_ids"),
    ("routes[].match.volume_id", "routes[].match.volume_ids"),
    ("policies[].match.volume_id", "policies[].match.volume_ids"),
    ("follow.interval_seconds", "polling.interval_seconds"),
    ("follow.overdue_seconds", "polling.overdue_seconds"),
    ("doors[].prefix", "compat_endpoints[].prefix"),
    ("doors[].host", "compat_endpoints[].host"),
    ("doors[].listen", "compat_endpoints[].listen"),
    ("doors[].upstream", "compat_endpoints[].upstream"),
    ("doors[].sunset", "compat_endpoints[].sunset"),
    ("doors[].link", "compat_endpoints[].link"),
];

/// Returns the new path of a renamed key, with `[]` for every index of both.
pub(super) fn new_path(old: &str) -> Option<&'static str> {
    RENAMED.iter().find(|(from, _)| *from == old).map(|(_, to)| *to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changelog_lists_every_renamed_key() {
        let changelog =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../CHANGELOG.md")).unwrap();
        for (old, new) in RENAMED {
            assert!(changelog.contains(&format!("| key | `{old}` | `{new}` |")), "{old}");
        }
    }

    use crate::Config;
    use crate::environment::paths;

    #[test]
    fn renamed_keys_new_names_exist() {
        let known: Vec<String> =
            paths(Config::KEYS, 0).into_iter().map(|path| path.replace("[0]", "[]")).collect();
        for (old, new) in RENAMED {
            let exists = |path: &str| {
                known.iter().any(|key| {
                    key == path
                        || key.starts_with(&format!("{path}."))
                        || key.starts_with(&format!("{path}["))
                })
            };
            assert!(exists(new), "{new}");
            assert!(!known.iter().any(|key| key == old), "{old} is still a key");
        }
    }
}
