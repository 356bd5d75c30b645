use super::{LEAST, faults};

/// Returns the messages about these compatibility endpoints, without their location.
fn endpoints(endpoints: &[&str]) -> Vec<String> {
    let endpoint = |lines: &&str| format!("[[compat_endpoints]]\n{lines}\n");
    let text = format!("{LEAST}{}", endpoints.iter().map(endpoint).collect::<String>());
    let without_place =
        |fault: String| fault.split_once(' ').map_or(fault.clone(), |(_, rest)| rest.to_owned());
    faults(&text, &[]).into_iter().map(without_place).collect()
}

#[test]
fn an_endpoint_stands_in_one_place_of_its_own() {
    let good: &[&[&str]] = &[
        &["api = \"cbr-v3\"\nprefix = \"/cbr\"", "api = \"cinder-v3\"\nprefix = \"/cinder\""],
        &["api = \"cbr-v3\"\nhost = \"cbr.internal\"", "api = \"cinder-v3\"\nhost = \"evs.internal\""],
        &["api = \"cbr-v3\"\nlisten = \"127.0.0.1:8083\"", "api = \"vbs-v2\"\nlisten = \"127.0.0.1:8084\""],
        // Port 0 means any free port, a different one each time.
        &["api = \"cbr-v3\"\nlisten = \"127.0.0.1:0\"", "api = \"vbs-v2\"\nlisten = \"127.0.0.1:0\""],
    ];
    for rows in good {
        assert_eq!(endpoints(rows), Vec::<String>::new(), "{rows:?}");
    }
    // CBR and block storage share method and path, so they are not distinguishable at one location.
    let looks = "stands there already, and requests of cinder-v3 look like its own";
    let bad: &[(&[&str], &str)] = &[
        (
            &["api = \"cbr-v3\"\nprefix = \"/v\"", "api = \"cinder-v3\"\nprefix = \"/v\""],
            &format!("conflict compat_endpoints[1].prefix: `compat_endpoints[0]` (cbr-v3) {looks}"),
        ),
        (
            &["api = \"cbr-v3\"\nprefix = \"/v\"", "api = \"cinder-v3\"\nprefix = \"/v/w\""],
            &format!("conflict compat_endpoints[1].prefix: `compat_endpoints[0]` (cbr-v3) {looks}"),
        ),
        (
            &["api = \"cbr-v3\"\nhost = \"A.internal\"", "api = \"cinder-v3\"\nhost = \"a.internal\""],
            &format!("conflict compat_endpoints[1].host: `compat_endpoints[0]` (cbr-v3) {looks}"),
        ),
        (
            &[
                "api = \"cbr-v3\"\nlisten = \"127.0.0.1:8083\"",
                "api = \"cinder-v3\"\nlisten = \"127.0.0.1:8083\"",
            ],
            &format!("conflict compat_endpoints[1].listen: `compat_endpoints[0]` (cbr-v3) {looks}"),
        ),
        (
            &["api = \"cbr-v3\""],
            "conflict compat_endpoints[0]: a compatibility endpoint stands in one place, and none is written",
        ),
        (
            &["api = \"cbr-v3\"\nprefix = \"/a\"\nhost = \"b\""],
            "conflict compat_endpoints[0]: a compatibility endpoint stands in one place, and prefix and host are written",
        ),
        (
            &["api = \"cbr-v3\"\nprefix = \"/api\""],
            "conflict compat_endpoints[0].prefix: `/api` is a path of the API",
        ),
        (
            &["api = \"cbr-v3\"\nprefix = \"/docs/x\""],
            "conflict compat_endpoints[0].prefix: `/docs` is a path of the API",
        ),
        (
            &["api = \"cbr-v3\"\nlisten = \"127.0.0.1:8081\""],
            "conflict compat_endpoints[0].listen: `listen.admin` has the address 127.0.0.1:8081",
        ),
        (
            &["api = \"cbr-v3\"\nlisten = \"0.0.0.0:8083\""],
            "remote-listen compat_endpoints[0].listen: other machines can reach 0.0.0.0:8083, and it has no callers",
        ),
        (
            &["api = \"csbs-v1\"\nprefix = \"/csbs\"\nupstream = \"a\""],
            "conflict compat_endpoints[0].upstream: `a` speaks cbr-v3, which programs of this compatibility endpoint do not read",
        ),
        (
            &["api = \"cbr-v3\"\nprefix = \"/cbr\"\nupstream = \"b\""],
            "dangling-reference compat_endpoints[0].upstream: no upstream is called `b`",
        ),
    ];
    for (rows, expected) in bad {
        assert_eq!(endpoints(rows), [*expected], "{rows:?}");
    }
    for prefix in ["csbs", "/", "/csbs/", "/a//b", "/a/../b", "/a b", "/{x}", ""] {
        let said = endpoints(&[&format!("api = \"cbr-v3\"\nprefix = \"{prefix}\"")]);
        assert_eq!(said.len(), 1, "{prefix:?}: {said:?}");
    }
    for host in ["http://a", "a:80", "a/b", "a b", "@a"] {
        let said = endpoints(&[&format!("api = \"cbr-v3\"\nhost = \"{host}\"")]);
        assert_eq!(said, [format!("conflict compat_endpoints[0].host: `{host}` is no host name")]);
    }
}

/// The names that the configuration accepts are those of the built-in source APIs.
#[test]
fn every_source_api_can_be_written() {
    for source_api in restore_generations::source_api::names() {
        assert!(
            endpoints(&[&format!("api = \"{source_api}\"\nprefix = \"/old\"")]).is_empty(),
            "{source_api}"
        );
        let route = format!("{LEAST}source_apis = [\"{source_api}\", \"canonical\"]\n");
        assert_eq!(faults(&route, &[]), Vec::<String>::new(), "{source_api}");
    }
}

#[test]
fn a_way_around_leads_somewhere_else() {
    let said = faults(&format!("{LEAST}fallback_upstream = \"b\"\n"), &[]);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("no upstream is named `b`"), "{said:?}");
    let said = faults(&format!("{LEAST}fallback_upstream = \"a\"\n"), &[]);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("it leads to the upstream that refused"), "{said:?}");
}

#[test]
fn a_ceiling_below_the_floor_is_doubted() {
    let of = |bytes: &str| faults(&format!("{LEAST}[limits]\nmax_memory_bytes = {bytes}\n"), &[]);
    assert!(
        of("1000000")[0].contains("limits.max_memory_bytes: 1000000 bytes are less"),
        "{:?}",
        of("1000000")
    );
    assert!(of("0")[0].contains("unbounded limits.max_memory_bytes: memory has no ceiling"), "{:?}", of("0"));
    assert!(of("67108864").is_empty());
}
