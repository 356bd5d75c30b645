use super::{HOOK, LEAST, caller, clean, faults};
use crate::Config;
use crate::keys::{Key, Preset};
use crate::kinds::Kind;

/// Returns every key with bounds, with minimum and maximum.
fn bounded(keys: &'static [Key], prefix: &str) -> Vec<(String, String, String)> {
    keys.iter()
        .flat_map(|key| {
            let path = format!("{prefix}{}", key.name);
            match &key.kind {
                Kind::Table(keys) => bounded(keys, &format!("{path}.")),
                Kind::Tables(keys) => bounded(keys, &format!("{path}[0].")),
                Kind::Whole(least, most) => vec![(path, least.to_string(), most.to_string())],
                Kind::Seconds(least, most) | Kind::OrNone(Kind::Seconds(least, most)) => {
                    vec![(path, least.to_string(), most.to_string())]
                }
                Kind::UpTo(most) => vec![(path, "0".to_owned(), most.to_string())],
                _ => Vec::new(),
            }
        })
        .collect()
}

#[test]
fn each_bound_holds() {
    let text = &format!("{LEAST}{HOOK}{}", caller("api-key"));
    for (path, least, most) in bounded(Config::KEYS, "") {
        let variable = crate::environment::twin(&path);
        for inside in [&least, &most] {
            // Rules check dependent times and an empty share.
            let by_rule = |fault: &String| {
                [" conflict ", " unreachable-route ", " unbounded "].iter().any(|code| fault.contains(code))
            };
            assert!(faults(text, &[(&variable, inside)]).iter().all(by_rule), "{variable}={inside}");
        }
        let below = (least.parse::<f64>().unwrap() - 1.0).to_string();
        let above = (most.parse::<f64>().unwrap() + 1.0).to_string();
        for outside in [below, above] {
            let expected = format!("{variable} bad-value {path}: {outside} is out of bounds");
            assert_eq!(faults(text, &[(&variable, &outside)]), [expected]);
        }
    }
}

#[test]
fn each_default_is_a_value_of_its_kind() {
    fn check(keys: &[Key]) {
        for key in keys {
            if let Kind::Table(keys) | Kind::Tables(keys) = key.kind {
                check(keys);
            }
            if let Preset::Value(text) = key.preset {
                assert!(key.kind.check(&key.kind.lex(text), &[]).is_ok(), "{}", key.name);
            }
            assert!(key.about().ends_with('.'), "{}", key.name);
        }
    }
    check(Config::KEYS);
}

#[test]
fn seconds_may_be_decimal_and_counts_may_not() {
    let config = clean(&format!("[limits]\nheader_timeout_seconds = 0.25\n{LEAST}"), &[]);
    assert_eq!(config.limits.header_timeout_seconds, std::time::Duration::from_millis(250));
    assert_eq!(
        faults(
            &format!(
                "[limits]\nmax_in_flight = 1.5\nheader_timeout_seconds = \"10s\"\nbody_timeout_seconds = inf\n{LEAST}"
            ),
            &[]
        ),
        [
            "2:17 wrong-type limits.max_in_flight: expected a whole number from 1 to 1000000, found a decimal number",
            "3:26 wrong-type limits.header_timeout_seconds: expected seconds from 0.1 to 3600, found text",
            "4:24 wrong-type limits.body_timeout_seconds: expected seconds from 0.1 to 3600, found a date or a number that is not finite",
        ]
    );
}

#[test]
fn values_of_other_kinds_are_checked() {
    let wrong = [
        ("LISTEN__API", "localhost:8080", "`localhost:8080` is not an ip address with a port"),
        ("LEDGER__URL", "mysql://db/restores", "this is not where a ledger can be"),
        ("LEDGER__URL", "postgres://db/restores", "the url names no user"),
        ("LEDGER__URL", "postgres://me@db", "the url names no database"),
        ("LEDGER__URL", "postgres://me@db/", "the url names no database"),
        ("LEDGER__URL", "postgres://me@/restores", "the url names no host"),
        ("LEDGER__URL", "postgres:db", "the url has no // after its scheme"),
        ("LEDGER__URL", "sqlite:", "this is not where a ledger can be"),
        ("LEDGER__URL", "sqlite::memory:", "this is not where a ledger can be"),
        ("LEDGER__URL", "sqlite://ledger.db", "this is not where a ledger can be"),
        ("TELEMETRY__LOG_LEVEL", "inf", "`inf` is not allowed here"),
        ("TELEMETRY__SERVICE_NAME", " ", "this must not be empty"),
        ("TELEMETRY__TRUST_REMOTE_SAMPLING", "yes", "expected true or false, found text"),
        ("UPSTREAMS__0__NAME", "EU_DE", "`EU_DE` is not a name"),
        ("UPSTREAMS__0__ENDPOINT", "ftp://host", "`ftp://host` is not an http or https url"),
        ("UPSTREAMS__0__ENDPOINT", "cbr.cloud.example", "`cbr.cloud.example` is not an http or https url"),
        ("UPSTREAMS__0__ENDPOINT", "https://host/?a=b", "the url has a query or a fragment"),
        ("ROUTES__0__MATCH__PROJECT_IDS", "", "an empty list matches nothing"),
        ("ROUTES__0__MATCH__PROJECT_IDS", "a b", "`a b` is not an id"),
        ("ROUTES__0__MATCH__TARGET_TYPES", "servr", "`servr` is not allowed here"),
    ];
    for (name, value, message) in wrong {
        let found = faults(LEAST, &[(&format!("RESTORE_GATEWAY_{name}"), value)]);
        assert!(found.iter().any(|fault| fault.ends_with(message)), "{name}={value}: {found:?}");
    }
}

#[test]
fn values_resolve_to_types() {
    let config = clean(LEAST, &[("RESTORE_GATEWAY_UPSTREAMS__0__ENDPOINT", "https://host:8443/prefix/")]);
    assert_eq!(config.upstreams[0].endpoint.as_ref().unwrap().path(), "/prefix/");
    assert_eq!(config.upstreams[0].evs_endpoint, None);
    assert_eq!(config.polling.interval_seconds, None);
    assert_eq!(config.telemetry.otlp_endpoint, None);
    assert_eq!(config.telemetry.log_level, tracing::Level::INFO);
    assert_eq!(config.ledger.url.to_string(), "sqlite:restore-gateway.db");
    assert_eq!(config.routes[0].overdue_seconds, config.polling.overdue_seconds);
    assert_eq!(config.routes[0].idempotency_key_ttl_seconds, config.submit.idempotency_key_ttl_seconds);
    assert_eq!(config.routes[0].dedup_window_seconds, config.submit.dedup_window_seconds);
    assert_eq!((config.ledger.password, config.ledger.retention_days), (None, 0));
    assert_eq!((config.upstreams[0].polls_per_minute, config.submit.max_keys_per_caller), (600, 100_000));
    assert!(config.webhooks.is_empty());
    assert_eq!(config.routes[0].r#match.target_types, None);
}

#[test]
fn a_route_may_have_windows_of_its_own() {
    let config = clean(
        &format!("{LEAST}idempotency_key_ttl_seconds = 60\ndedup_window_seconds = 0\noverdue_seconds = 9\n"),
        &[],
    );
    let seconds = |time: std::time::Duration| time.as_secs();
    let route = &config.routes[0];
    assert_eq!(
        [route.idempotency_key_ttl_seconds, route.dedup_window_seconds, route.overdue_seconds].map(seconds),
        [60, 0, 9]
    );
}
