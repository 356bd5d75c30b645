//! Compatibility endpoints, routes and upstreams together: configuration that takes no restore, rejects every restore,
//! or leaves the identity of a backup unclear.

use super::faults;

fn upstream(name: &str, generation: &str) -> String {
    format!(
        "[[upstreams]]\nname = \"{name}\"\ngeneration = \"{generation}\"\nendpoint = \"https://{name}.cloud.example\"\n"
    )
}

fn cbr() -> String {
    upstream("cbr", "cbr-v3")
}

fn vbs() -> String {
    upstream("vbs", "vbs-v2")
}

fn endpoint(source_api: &str) -> String {
    format!("[[compat_endpoints]]\napi = \"{source_api}\"\nprefix = \"/{source_api}\"\n")
}

fn route(upstream: &str, more: &str) -> String {
    format!("[[routes]]\nupstream = \"{upstream}\"\n{more}\n")
}

/// Returns the messages about this configuration, without their location.
fn said(parts: &[String]) -> Vec<String> {
    let without_place =
        |fault: String| fault.split_once(' ').map_or(fault.clone(), |(_, rest)| rest.to_owned());
    faults(&parts.concat(), &[]).into_iter().map(without_place).collect()
}

#[test]
fn the_upstream_that_an_endpoint_asks_is_used() {
    let parts = [cbr(), vbs(), endpoint("vbs-v2"), route("cbr", "")];
    assert_eq!(said(&parts), Vec::<String>::new());
    // No compatibility endpoint reads from it.
    let parts = [cbr(), vbs(), endpoint("csbs-v1"), route("cbr", "")];
    assert_eq!(said(&parts), ["unused-upstream upstreams[1]: no route leads here"]);
}

#[test]
fn an_endpoint_that_could_ask_two_upstreams_says_which() {
    let two =
        [cbr(), vbs(), upstream("old", "vbs-v2"), endpoint("vbs-v2"), route("vbs", ""), route("old", "")];
    let two: Vec<String> = two.into_iter().filter(|part| !part.contains("upstream = \"old\"")).collect();
    let routes = "[[routes]]\nupstream = \"old\"\nmatch = { target_types = [\"volume\"] }\n".to_owned();
    let cbr_too = "[[routes]]\nupstream = \"cbr\"\nmatch = { target_types = [\"server\"] }\n".to_owned();
    let all = [vec![routes, cbr_too], two].concat();
    assert_eq!(
        said(&all),
        [
            "missing-key compat_endpoints[0]: `vbs` and `old` speak vbs-v2, and it is not said which of them this compatibility endpoint asks"
        ]
    );
    let named: Vec<String> =
        all.iter().map(|part| part.replace("/vbs-v2\"\n", "/vbs-v2\"\nupstream = \"old\"\n")).collect();
    assert_eq!(said(&named), Vec::<String>::new());
}

#[test]
fn an_endpoint_that_no_route_serves_is_doubted() {
    let none = |source_api: &str, words: &str| {
        format!(
            "useless-endpoint compat_endpoints[0]: no route takes a restore that comes through it ({source_api}, {words})"
        )
    };
    let parts = [cbr(), endpoint("csbs-v1"), route("cbr", "source_apis = [\"canonical\"]")];
    assert_eq!(said(&parts), [none("csbs-v1", "server")]);
    let parts = [cbr(), endpoint("csbs-v1"), route("cbr", "match = { target_types = [\"volume\"] }")];
    assert_eq!(said(&parts), [none("csbs-v1", "server")]);
    let parts = [cbr(), endpoint("vbs-v2"), route("cbr", "match = { server_ids = [\"s\"] }")];
    assert_eq!(said(&parts), [none("vbs-v2", "volume")]);
}

#[test]
fn an_endpoint_to_what_cannot_do_its_restores_is_doubted() {
    let cannot = "no route leads csbs-v1 to an upstream that can do what its programs ask for";
    let parts = [vbs(), endpoint("csbs-v1"), route("vbs", "")];
    assert_eq!(said(&parts), [format!("useless-endpoint compat_endpoints[0]: {cannot}")]);
    let parts = [vbs(), endpoint("csbs-v1"), route("vbs", "per_disk_restore = true")];
    assert_eq!(said(&parts), Vec::<String>::new());
    // One suitable route is enough.
    let parts = [cbr(), vbs(), endpoint("csbs-v1"), route("vbs", "traffic_percent = 50"), route("cbr", "")];
    assert_eq!(said(&parts), Vec::<String>::new());
    let parts = [upstream("csbs", "csbs-v1"), endpoint("vbs-v2"), route("csbs", "")];
    let cannot = cannot.replace("csbs-v1", "vbs-v2");
    assert_eq!(said(&parts), [format!("useless-endpoint compat_endpoints[0]: {cannot}")]);
}

#[test]
fn a_route_that_takes_nothing_is_doubted() {
    let parts = [cbr(), route("cbr", "source_apis = [\"vbs-v2\"]")];
    assert_eq!(
        said(&parts),
        [
            "unreachable-route routes[0].source_apis: no compatibility endpoint speaks vbs-v2: no restore takes this route"
        ]
    );
    let parts = [cbr(), vbs(), endpoint("vbs-v2"), route("cbr", "traffic_percent = 0"), route("vbs", "")];
    assert_eq!(
        said(&parts),
        ["unreachable-route routes[0].traffic_percent: a share of 0 takes no restore at all"]
    );
}

#[test]
fn keys_that_programs_of_endpoints_do_not_send_are_doubted() {
    let required = "idempotency_key = \"required\"";
    let parts = [cbr(), endpoint("cbr-v3"), route("cbr", required)];
    assert_eq!(
        said(&parts),
        [
            "conflict routes[0].idempotency_key: programs of cbr-v3 send no Idempotency-Key: this route rejects them"
        ]
    );
    let canonical = format!("{required}\nsource_apis = [\"canonical\"]");
    let parts = [cbr(), endpoint("cbr-v3"), route("cbr", &canonical), route("cbr", "")];
    assert_eq!(said(&parts), Vec::<String>::new());
    assert_eq!(said(&[cbr(), route("cbr", required)]), Vec::<String>::new());
}

#[test]
fn what_means_nothing_to_a_generation_is_doubted() {
    let parts = [cbr(), vbs(), route("cbr", "per_disk_restore = true\nfallback_upstream = \"vbs\"")];
    assert_eq!(
        said(&parts),
        [
            "conflict routes[0].per_disk_restore: cbr-v3 is never asked disk by disk for a server: this does nothing",
            "conflict routes[0].fallback_upstream: cbr-v3 is closed to no project: this does nothing",
        ]
    );
    let parts = [cbr(), vbs(), route("vbs", "per_disk_restore = true\nfallback_upstream = \"cbr\"")];
    assert_eq!(said(&parts), Vec::<String>::new());
}

/// A restore with the gateway's own credential brings no token for the upstream of the source lookup.
#[test]
fn who_tells_which_backup_is_meant_can_be_asked() {
    let held = |upstream: String| format!("{upstream}credential = \"robot\"\n");
    let parts = |home: String| {
        [held(cbr()), home, endpoint("vbs-v2"), route("cbr", ""), super::CREDENTIAL.to_owned()]
    };
    let faults = said(&parts(vbs()));
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(
        faults[0]
            .starts_with("conflict compat_endpoints[0]: `vbs` is asked with the token that a program brings"),
        "{faults:?}"
    );
    assert_eq!(said(&parts(held(vbs()))), Vec::<String>::new());
}

#[test]
fn an_endpoint_does_not_take_the_names_of_the_api() {
    let at = |host: &str| {
        let endpoint = format!("[[compat_endpoints]]\napi = \"cbr-v3\"\nhost = \"{host}\"\n");
        said(&["[listen]\nallowed_hosts = [\"Gateway\"]\n".to_owned(), cbr(), endpoint, route("cbr", "")])
    };
    for address in ["127.0.0.1", "[::1]", "10.0.0.1"] {
        let message =
            "is an address, by which the API is called: all of it would be this compatibility endpoint";
        assert_eq!(at(address), [format!("conflict compat_endpoints[0].host: `{address}` {message}")]);
    }
    for name in ["localhost", "gateway"] {
        let message = "as well: by that name all of it is this compatibility endpoint";
        assert_eq!(
            at(name),
            [format!("conflict compat_endpoints[0].host: the API is called `{name}` {message}")]
        );
    }
    assert_eq!(at("cbr.internal"), Vec::<String>::new());
}

#[test]
fn a_route_that_refuses_whatever_it_takes_is_told() {
    let server = "match = { target_types = [\"server\"] }";
    let rest = route("cbr", "");
    let told = "unreachable-route routes[0].match.target_types: vbs-v2 restores no server: whatever takes this route is refused";
    assert_eq!(said(&[cbr(), vbs(), route("vbs", server), rest.clone()]), [told]);
    for good in [
        "match = { target_types = [\"server\", \"volume\"] }",
        &format!("per_disk_restore = true\n{server}"),
        "",
    ] {
        let found = said(&[cbr(), vbs(), rest.clone(), route("vbs", good)]);
        assert!(!found.iter().any(|line| line.contains("is refused")), "{good}: {found:?}");
    }
}
