use super::{HOOK, LEAST, caller, clean, faults};
use crate::Settings;
use crate::keys::{Key, Preset};
use crate::kinds::Kind;

/// Every key with bounds, with its least and most.
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
                Kind::Ratio => vec![(path, "0".to_owned(), "1".to_owned())],
                _ => Vec::new(),
            }
        })
        .collect()
}

#[test]
fn each_bound_holds() {
    let text = &format!("{LEAST}{HOOK}{}", caller("api-key"));
    for (path, least, most) in bounded(Settings::KEYS, "") {
        let variable = crate::environment::twin(&path);
        for inside in [&least, &most] {
            // times that must fit into one another, and a share of nothing, are the rules' affair
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
    check(Settings::KEYS);
}

#[test]
fn seconds_may_be_decimal_and_counts_may_not() {
    let settings = clean(&format!("[limits]\nheader_seconds = 0.25\n{LEAST}"), &[]);
    assert_eq!(settings.limits.header_seconds, std::time::Duration::from_millis(250));
    assert_eq!(
        faults(
            &format!("[limits]\nin_flight = 1.5\nheader_seconds = \"10s\"\nbody_seconds = inf\n{LEAST}"),
            &[]
        ),
        [
            "2:13 wrong-type limits.in_flight: expected a whole number from 1 to 1000000, found a decimal number",
            "3:18 wrong-type limits.header_seconds: expected seconds from 0.1 to 3600, found text",
            "4:16 wrong-type limits.body_seconds: expected seconds from 0.1 to 3600, found a date or a number that is not finite",
        ]
    );
}

#[test]
fn values_of_other_kinds_are_checked() {
    let wrong = [
        ("LISTEN_API", "localhost:8080", "`localhost:8080` is not an ip address with a port"),
        ("LEDGER_URL", "mysql://db/restores", "this is not where a ledger can be"),
        ("LEDGER_URL", "postgres://db/restores", "the url names no user"),
        ("LEDGER_URL", "postgres://me@db", "the url names no database"),
        ("LEDGER_URL", "postgres://me@db/", "the url names no database"),
        ("LEDGER_URL", "postgres://me@/restores", "the url names no host"),
        ("LEDGER_URL", "postgres:db", "the url has no // after its scheme"),
        ("LEDGER_URL", "sqlite:", "this is not where a ledger can be"),
        ("LEDGER_URL", "sqlite::memory:", "this is not where a ledger can be"),
        ("LEDGER_URL", "sqlite://ledger.db", "this is not where a ledger can be"),
        ("TELEMETRY_LOG_LEVEL", "inf", "`inf` is not allowed here"),
        ("TELEMETRY_SERVICE_NAME", " ", "this must not be empty"),
        ("TELEMETRY_TRUST_PARENT", "yes", "expected true or false, found text"),
        ("UPSTREAMS_0_NAME", "EU_DE", "`EU_DE` is not a name"),
        ("UPSTREAMS_0_ENDPOINT", "ftp://host", "`ftp://host` is not an http or https url"),
        ("UPSTREAMS_0_ENDPOINT", "cbr.cloud.example", "`cbr.cloud.example` is not an http or https url"),
        ("UPSTREAMS_0_ENDPOINT", "https://host/?a=b", "the url has a query or a fragment"),
        ("ROUTES_0_MATCH_PROJECT_ID", "", "an empty list matches nothing"),
        ("ROUTES_0_MATCH_PROJECT_ID", "a b", "`a b` is not an id"),
        ("ROUTES_0_MATCH_TARGET", "servr", "`servr` is not allowed here"),
    ];
    for (name, value, message) in wrong {
        let found = faults(LEAST, &[(&format!("RESTORE_GATEWAY_{name}"), value)]);
        assert!(found.iter().any(|fault| fault.ends_with(message)), "{name}={value}: {found:?}");
    }
}

#[test]
fn values_resolve_to_types() {
    let settings = clean(LEAST, &[("RESTORE_GATEWAY_UPSTREAMS_0_ENDPOINT", "https://host:8443/prefix/")]);
    assert_eq!(settings.upstreams[0].endpoint.as_ref().unwrap().path(), "/prefix/");
    assert_eq!(settings.upstreams[0].volumes_endpoint, None);
    assert_eq!(settings.follow.interval_seconds, None);
    assert_eq!(settings.telemetry.otlp_endpoint, None);
    assert_eq!(settings.telemetry.log_level, tracing::Level::INFO);
    assert_eq!(settings.ledger.url.to_string(), "sqlite:restore-gateway.db");
    assert_eq!(settings.routes[0].overdue_seconds, settings.follow.overdue_seconds);
    assert_eq!(settings.routes[0].key_window_seconds, settings.submit.key_window_seconds);
    assert_eq!(settings.routes[0].duplicate_window_seconds, settings.submit.duplicate_window_seconds);
    assert_eq!((settings.ledger.password, settings.ledger.retention_days), (None, 0));
    assert_eq!((settings.upstreams[0].reads_per_minute, settings.submit.keys_per_caller), (600, 100_000));
    assert!(settings.webhooks.is_empty());
    assert_eq!(settings.routes[0].r#match.target, None);
}

#[test]
fn a_route_may_have_windows_of_its_own() {
    let settings = clean(
        &format!("{LEAST}key_window_seconds = 60\nduplicate_window_seconds = 0\noverdue_seconds = 9\n"),
        &[],
    );
    let seconds = |time: std::time::Duration| time.as_secs();
    let route = &settings.routes[0];
    assert_eq!(
        [route.key_window_seconds, route.duplicate_window_seconds, route.overdue_seconds].map(seconds),
        [60, 0, 9]
    );
}
