use super::{CREDENTIAL, Environment, GENERATIONS, LEAST, Source, clean, faults, load};

fn with(text: &str) -> Vec<String> {
    faults(&format!("{LEAST}{text}"), &[])
}

#[test]
fn an_address_others_can_reach_must_be_meant() {
    let open = "[listen]\napi = \"0.0.0.0:8080\"\nadmin = \"[::]:8081\"\n";
    assert_eq!(
        with(open),
        ["10:7 remote-listen listen.api: other machines can reach 0.0.0.0:8080, and it has no callers",]
    );
    assert_eq!(
        with(&format!("{open}allow_unauthenticated_remote = true\n")),
        [
            "12:32 remote-listen listen.allow_unauthenticated_remote: other machines can reach listen.api, and nobody is \
             asked who they are"
        ]
    );
    assert!(with("[listen]\napi = \"[::1]:8080\"\n").is_empty());
    // Without callers, the admin listener shows other machines only health and metrics.
    assert!(with("[listen]\nadmin = \"0.0.0.0:8081\"\n").is_empty());
}

#[test]
fn one_port_is_for_one_listener() {
    let same = "[listen]\napi = \"127.0.0.1:8081\"\n";
    assert_eq!(with(same), ["10:7 conflict listen.api: both listeners have the address 127.0.0.1:8081"]);
    assert!(with("[listen]\napi = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n").is_empty());
}

#[test]
fn an_answer_fits_into_its_request() {
    assert_eq!(
        with("[limits]\nrequest_timeout_seconds = 15\n[submit]\nsync_wait_seconds = 20\n"),
        [
            "10:27 conflict limits.request_timeout_seconds: 15 is not more than `limits.max_wait_seconds`, which is 60",
            "12:21 conflict submit.sync_wait_seconds: 20 is not less than `limits.request_timeout_seconds`, which is 15",
        ]
    );
}

#[test]
fn s53_a_name_that_no_request_can_have_is_refused() {
    for name in ["gateway:8080", "https://gateway", "a name", "::1", "", "*.internal"] {
        let said = faults(&format!("[listen]\nallowed_hosts = [\"{name}\"]\n{LEAST}"), &[]);
        assert!(said.len() == 1 && said[0].contains("listen.allowed_hosts"), "{name}: {said:?}");
    }
    for name in ["gateway", "gateway.internal.", "192.0.2.1", "[2001:db8::1]"] {
        clean(&format!("[listen]\nallowed_hosts = [\"{name}\"]\n{LEAST}"), &[]);
    }
}

#[test]
fn names_are_unique_and_used() {
    let second =
        "[[upstreams]]\nname = \"NAME\"\ngeneration = \"vbs-v2\"\nendpoint = \"https://vbs.cloud.example\"\n";
    assert_eq!(
        with(&second.replace("NAME", "a")),
        ["10:8 duplicate-name upstreams[1].name: `a` is the name of `upstreams[0]` already"]
    );
    assert_eq!(with(&second.replace("NAME", "b")), ["9:1 unused-upstream upstreams[1]: no route leads here"]);
}

#[test]
fn a_faulty_name_does_not_make_its_routes_dangle() {
    let found = faults(&LEAST.replace("\"a\"", "\"A\""), &[]);
    assert_eq!(found, ["3:8 bad-value upstreams[0].name: `A` is not a name"]);
}

#[test]
fn tokens_are_not_sent_in_clear_unnoticed() {
    let to = |url: &str| faults(&LEAST.replace("https://cbr.eu-test-1.cloud.example", url), &[]);
    assert_eq!(
        to("http://cbr.cloud.example"),
        ["5:12 cleartext upstreams[0].endpoint: http without tls: tokens travel in clear to this address"]
    );
    for loopback in ["http://127.0.0.1:9000", "http://[::1]:9000/csbs", "http://localhost:9000"] {
        assert!(to(loopback).is_empty(), "{loopback}");
    }
}

/// Returns the messages about routes with these matches, in this order.
fn routes(matches: &[&str]) -> Vec<String> {
    let head = LEAST.split("[[routes]]").next().unwrap().to_owned();
    let route = |rule: &&str| format!("[[routes]]\nupstream = \"a\"\nmatch = {{ {rule} }}\n");
    faults(&(head + &matches.iter().map(route).collect::<String>()), &[])
}

#[test]
fn a_route_behind_a_wider_one_is_unreachable() {
    let shadowed: &[&[&str]] = &[
        &["", "target_types = [\"server\"]"],
        &["project_ids = [\"p\", \"q\"]", "project_ids = [\"q\"]"],
        &["target_types = [\"server\"]", "server_ids = [\"s\"]"],
        &["project_ids = [\"p\"]", "volume_ids = [\"v\"], project_ids = [\"p\"]"],
        &["target_types = [\"server\", \"volume\", \"resource\"]", ""],
    ];
    for rules in shadowed {
        let expected = "10:1 unreachable-route routes[1]: `routes[0]` matches all that this route matches, and comes first";
        assert_eq!(routes(rules), [expected], "{rules:?}");
    }
    let reachable: &[&[&str]] = &[
        &["target_types = [\"server\"]", ""],
        &["project_ids = [\"p\"]", "project_ids = [\"p\", \"q\"]"],
        &["server_ids = [\"s\"]", "target_types = [\"server\"]"],
        &["project_ids = [\"p\"]", "server_ids = [\"s\"]"],
        &["target_types = [\"volume\"]", "server_ids = [\"s\"]"],
    ];
    for rules in reachable {
        assert!(routes(rules).is_empty(), "{rules:?}");
    }
}

#[test]
fn a_faulty_match_is_not_taken_for_a_wide_one() {
    let found = routes(&["projekt_id = [\"p\"]", "target_types = [\"server\"]"]);
    assert_eq!(found, ["9:11 unknown-key routes[0].match.projekt_id: unknown key `projekt_id`"]);
}

#[test]
fn a_route_that_contradicts_itself_is_unreachable() {
    for rule in
        ["server_ids = [\"s\"], volume_ids = [\"v\"]", "target_types = [\"volume\"], server_ids = [\"s\"]"]
    {
        assert_eq!(routes(&[rule]), ["7:1 unreachable-route routes[0]: no restore can match this route"]);
    }
}

#[test]
fn the_least_has_no_fault() {
    let config = clean(LEAST, &[]);
    assert_eq!((config.upstreams.len(), config.routes.len()), (1, 1));
}

#[test]
fn an_endpoint_is_old_since_a_day_and_ends_on_one() {
    let endpoint = "[[compat_endpoints]]\napi = \"csbs-v1\"\nprefix = \"/csbs\"\n";
    let faulty = format!("{endpoint}deprecated_since = \"yes\"\nsunset = \"30.06.2027\"\n");
    assert_eq!(
        with(&faulty),
        [
            "12:20 conflict compat_endpoints[0].deprecated_since: `yes` is no day",
            "13:10 conflict compat_endpoints[0].sunset: `30.06.2027` is no day",
        ]
    );
    assert!(with(&format!("{endpoint}announce_deprecation = false\nsunset = \"2027-06-30\"\n")).is_empty());
}

#[test]
fn an_address_is_copied_with_version_and_project() {
    let at = |key: &str, url: &str| {
        let own = "https://cbr.eu-test-1.cloud.example";
        match key {
            "endpoint" => faults(&LEAST.replace(own, url), &[]),
            "evs_endpoint" => {
                let line = format!("endpoint = \"{own}\"\nevs_endpoint = \"{url}\"");
                faults(&LEAST.replace(&format!("endpoint = \"{own}\""), &line), &[])
            }
            _ => {
                let credential = CREDENTIAL.replace("https://iam.eu-test-1.cloud.example", url);
                let used = LEAST.replace("endpoint =", "credential = \"robot\"\nendpoint =");
                faults(&format!("{used}{credential}"), &[("IAM_PASSWORD", "x")])
            }
        }
    };
    for key in ["endpoint", "evs_endpoint", "iam"] {
        for end in ["/v3", "/v3/{project}", "/v2/$(tenant_id)s", "/v2/%(tenant_id)s", "/v3/${project_id}"] {
            let found = at(key, &format!("https://x.cloud.example{end}"));
            assert_eq!(found.len(), 1, "{key} {end}: {found:?}");
            assert!(found[0].contains("`https://x.cloud.example` is used"), "{found:?}");
        }
        let found = at(key, "https://x.cloud.example/v3/{project}/backups");
        assert!(found[0].contains("a version, a project or a path"), "{found:?}");
    }
    let source = Source::new("x", LEAST.replace(".example", ".example/v3/{project}"));
    let (config, _) = load(&source, &Environment::default(), GENERATIONS).unwrap();
    let endpoint = config.upstreams[0].endpoint.as_ref().unwrap();
    assert_eq!(endpoint.to_string().trim_end_matches('/'), "https://cbr.eu-test-1.cloud.example");
}

#[test]
fn a_proxy_that_is_ignored_is_warned_of() {
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"] {
        let environment = Environment::new([(name, "http://user:secret@proxy:3128")]);
        let (_, found) = load(&Source::new("x", LEAST), &environment, GENERATIONS).unwrap();
        assert_eq!(found.len(), 1);
        let text = found.render_human(false);
        assert!(text.contains(name) && text.contains("directly") && !text.contains("secret"), "{text}");
    }
    let none = Environment::new([("HTTPS_PROXY", " ")]);
    assert!(load(&Source::new("x", LEAST), &none, GENERATIONS).unwrap().1.is_empty());
}

#[test]
fn f43_a_restore_is_kept_for_as_long_as_a_window_means_it() {
    let at = |days: u32, submit: &str, route: &str| {
        faults(&format!("[ledger]\nretention_days = {days}\n[submit]\n{submit}\n{LEAST}{route}\n"), &[])
    };
    for (submit, route) in [
        ("dedup_window_seconds = 90000", ""),
        ("idempotency_key_ttl_seconds = 90000", ""),
        ("", "dedup_window_seconds = 90000"),
        ("", "idempotency_key_ttl_seconds = 90000"),
    ] {
        let found = at(1, submit, route);
        assert_eq!(found.len(), 1, "{submit} {route}: {found:?}");
        assert!(found[0].contains("conflict ledger.retention_days: 1 days are shorter"), "{found:?}");
        assert!(at(2, submit, route).is_empty() && at(0, submit, route).is_empty(), "{submit} {route}");
    }
    assert!(at(1, "", "").is_empty(), "the defaults fit");
}

/// Absence can be proof only if the time of a send and the wait after it end before an operator must decide.
#[test]
fn f47_an_operator_asked_before_absence_is_proof_is_a_warning() {
    let with = |generation: &str, follow: &str, send: f64| {
        let upstream = LEAST.replace("cbr-v3", generation);
        let upstream =
            upstream.replace("\n\n[[routes]]", &format!("\nsend_timeout_seconds = {send}\n\n[[routes]]"));
        faults(&format!("[polling]\n{follow}\n{upstream}"), &[])
    };
    for (follow, send) in [
        ("operator_escalation_seconds = 100", 30.0),
        ("operator_escalation_seconds = 60\nabsence_confirmation_seconds = 30", 30.0),
        ("operator_escalation_seconds = 60\nabsence_confirmation_seconds = 1", 90.0),
        ("absence_confirmation_seconds = 3600", 30.0),
    ] {
        let found = with("cbr-v3", follow, send);
        assert_eq!(found.len(), 1, "{follow}: {found:?}");
        assert!(found[0].contains("absence from a cloud's list is proof only after"), "{found:?}");
        // Without a list there is no proof, so nothing is lost there.
        assert_eq!(with("vbs-v2", follow, send), Vec::<String>::new(), "{follow}");
    }
    assert_eq!(
        with("cbr-v3", "operator_escalation_seconds = 61\nabsence_confirmation_seconds = 30", 30.0),
        Vec::<String>::new()
    );
    assert_eq!(with("cbr-v3", "", 30.0), Vec::<String>::new(), "the defaults fit");
}
