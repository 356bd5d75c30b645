//! What strangers write into a request. Whatever it is, it is refused with its place, and the cloud
//! never hears of it.

use http::Method;
use restore_tests::raw::Raw;
use restore_tests::{Answer, TestConfig, World, ids, requests};
use serde_json::{Value, json};

/// Ids that could leave their place in a path, a query or a header (S1).
fn hostile_ids() -> Vec<String> {
    let mut ids: Vec<String> = [
        "",
        "../../x",
        "..%2f..%2fx",
        "%2e%2e/",
        "%2e%2e%2f",
        "a/b",
        "a\\b",
        "a?b=c",
        "a#b",
        "a%00b",
        "a\0b",
        "a b",
        "a\r\nX-Auth-Token: other",
        "a;b",
        "{project_id}",
        "a\u{2215}b",
        "a\u{ff0f}b",
        "\u{202e}a",
        "-a",
        ".",
        "..",
        "http://169.254.169.254/",
    ]
    .map(str::to_owned)
    .to_vec();
    ids.push("a".repeat(10 * 1024));
    ids
}

/// Every place of an id, each in a request that holds it.
fn places() -> Vec<(Value, &'static str)> {
    let mut server = requests::cbr_server();
    server["source"]["checkpoint_id"] = json!(ids::CSBS_CHECKPOINT);
    let resource = json!({
        "project_id": ids::PROJECT,
        "source": {"backup_id": ids::CBR_BACKUP},
        "target": {"type": "resource", "resource_id": ids::SERVER},
    });
    vec![
        (server.clone(), "/project_id"),
        (server.clone(), "/source/backup_id"),
        (server.clone(), "/source/checkpoint_id"),
        (server.clone(), "/target/server_id"),
        (server.clone(), "/target/volumes/0/backup_id"),
        (server, "/target/volumes/1/volume_id"),
        (requests::free_disk(), "/target/volume_id"),
        (resource, "/target/resource_id"),
    ]
}

fn pointers(problem: &Value) -> Vec<&str> {
    let faults = problem["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    faults.iter().filter_map(|fault| fault["pointer"].as_str()).collect()
}

fn code(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.header("content-type"), "application/problem+json", "{}", answer.text());
    let problem = answer.json();
    assert_eq!(problem["effect"], "none", "{problem}");
    (answer.status, problem["code"].as_str().unwrap_or_default().to_owned())
}

/// Sends a body as it is.
async fn post(world: &World, body: impl Into<bytes::Bytes>) -> Answer {
    let headers = [("x-auth-token", ids::TOKEN), ("content-type", "application/json")];
    world.http.send(Method::POST, &world.url("/api/v1/restores"), &headers, body).await
}

#[tokio::test]
async fn s1_s2_no_hostile_id_in_any_place_of_the_body_reaches_the_cloud() {
    let world = World::new().await;
    for path in ["/api/v1/restores", "/api/v1/restore-checks", "/api/v1/restore-previews"] {
        for (request, pointer) in places() {
            for id in hostile_ids() {
                let mut request = request.clone();
                *request.pointer_mut(pointer).expect(pointer) = json!(id);
                let answer = world.post(path, &request).await;
                assert_eq!(code(&answer), (422, "invalid_request".to_owned()), "{pointer} {id:?}");
                assert_eq!(pointers(&answer.json()), [pointer], "{id:?}");
                assert!(answer.body.len() < 2_000, "{id:?} is not repeated");
            }
        }
    }
    assert_eq!(world.arrived().await, Vec::<Value>::new());
    assert_eq!(world.get("/api/v1/restores").await.json()["restores"], json!([]));
    world.end().await;
}

#[tokio::test]
async fn s2_no_hostile_id_in_the_path_or_query_reaches_the_cloud() {
    let world = World::new().await;
    let good = "0199a7c4-8d5e-7c21-9f0e-5b1f3a2d4c6e";
    for id in
        hostile_ids().into_iter().chain([good.to_uppercase(), format!("{good}0"), good.replace('-', "")])
    {
        // As bytes: a client would tidy the path up.
        for (method, tail) in [("GET", ""), ("DELETE", ""), ("GET", "/events")] {
            let mut raw = Raw::open(world.gateway.api()).await;
            let head = format!(
                "{method} /api/v1/restores/{id}{tail} HTTP/1.1\r\nHost: gateway\r\nX-Auth-Token: {}\r\n\r\n",
                ids::TOKEN
            );
            raw.send(head).await;
            let answer = raw.answer().await.expect("an answer");
            if id.is_empty() && tail.is_empty() || answer.body.is_empty() {
                assert!(matches!(answer.status, 400 | 404), "{method} {id:?}: {answer:?}");
                continue;
            }
            let problem = answer.json();
            let named = problem["code"] == "not_found"
                || problem["detail"].as_str().is_some_and(|detail| detail.contains("path parameter id"))
                // A good id that nobody has.
                || problem["detail"].as_str().is_some_and(|detail| detail.contains(good));
            let known =
                matches!(answer.status, 400 | 404) || (answer.status == 405 && id.contains(['?', '#']));
            assert!(known && named, "{method} {id:?}: {answer:?}");
            assert!(answer.body.len() < 2_000, "{id:?} is not repeated whole");
        }
    }
    for query in
        ["project_id=..%2f", "target=a%2fb", "cursor=%00", "status=%0d%0a", "endpoint=http://x/", "limit=1e9"]
    {
        let answer = world.get(&format!("/api/v1/restores?{query}")).await;
        assert_eq!(code(&answer), (400, "invalid_parameter".to_owned()), "{query}");
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.starts_with("query "), "{detail}");
    }
    assert_eq!(world.arrived().await, Vec::<Value>::new());
    world.end().await;
}

#[tokio::test]
async fn s6_a_caller_cannot_name_where_a_restore_goes() {
    let world = World::new().await;
    let evil = "http://169.254.169.254/";
    for (member, value) in [
        ("endpoint", json!(evil)),
        ("api_base", json!(evil)),
        ("restore_target", json!(evil)),
        ("upstream", json!("cbr")),
        ("$ref", json!(evil)),
        ("$schema", json!(evil)),
    ] {
        for place in ["", "/source", "/target", "/target/volumes/0"] {
            let mut request = requests::cbr_server();
            request.pointer_mut(place).expect(place)[member] = value.clone();
            let answer = world.submit(&request).await;
            assert_eq!(code(&answer), (422, "invalid_request".to_owned()), "{place}/{member}");
            assert_eq!(pointers(&answer.json()), [format!("{place}/{member}")]);
        }
    }
    assert_eq!(world.arrived().await, Vec::<Value>::new());
    world.end().await;
}

#[tokio::test]
async fn s14_what_is_not_one_json_value_is_refused_with_its_place() {
    let world = World::new().await;
    let good = requests::free_disk().to_string();
    let twice = good.replacen("{\"project_id\"", "{\"project_id\":\"x\",\"project_id\"", 1);
    assert_ne!(good, twice);
    let inner = good.replacen("\"backup_id\"", "\"backup_id\":\"x\",\"backup_id\"", 1);
    let with = |value: &str| good.replacen('{', &format!("{{\"x\":{value},"), 1);
    for (what, body) in [
        ("nothing", Vec::new()),
        ("depth", format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000)).into_bytes()),
        ("depth of objects", "{\"a\":".repeat(10_000).into_bytes()),
        ("a duplicate", twice.into_bytes()),
        ("a duplicate within", inner.into_bytes()),
        ("a lone surrogate", with("\"\\ud800\"").into_bytes()),
        ("a surrogate pair upside down", with("\"\\udc00\\ud800\"").into_bytes()),
        ("NaN", with("NaN").into_bytes()),
        ("Infinity", with("-Infinity").into_bytes()),
        ("1e400", with("1e400").into_bytes()),
        ("a leading zero", with("01").into_bytes()),
        ("a byte order mark", format!("\u{feff}{good}").into_bytes()),
        ("UTF-16", good.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("invalid UTF-8", [b"{\"x\":\"\xff\"," as &[u8], &good.as_bytes()[1..]].concat()),
        ("a control character", with("\"\n\"").into_bytes()),
        ("trailing bytes", format!("{good}x").into_bytes()),
        ("a second value", format!("{good}{good}").into_bytes()),
        ("a trailing NUL", format!("{good}\0").into_bytes()),
        ("a comment", format!("/* */{good}").into_bytes()),
        ("half of it", good.as_bytes()[..good.len() / 2].to_vec()),
    ] {
        let answer = post(&world, body).await;
        assert_eq!(code(&answer), (400, "invalid_json".to_owned()), "{what}");
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.contains(" at line ") && detail.contains(" column "), "{what}: {detail}");
    }
    assert_eq!(world.arrived().await, Vec::<Value>::new());
    world.end().await;
}

#[tokio::test]
async fn s14_s15_large_requests_are_refused_with_a_small_answer() {
    let world = World::with(TestConfig::default().set("limits.max_body_bytes", "1048576")).await;
    // As many members as fit.
    let keys: Vec<String> = (0..100_000).map(|key| format!("\"{key:x}\":1")).collect();
    let keys = format!("{{{}}}", keys.join(","));
    // 100,000 mappings, of every kind that fits.
    let mut request = requests::cbr_server();
    let mut mappings = |mapping: Value| {
        request["target"]["volumes"] = Value::Array(vec![mapping; 100_000]);
        request.to_string()
    };
    for body in
        [keys, mappings(json!({})), mappings(json!(1)), mappings(Value::Null), mappings(json!("../.."))]
    {
        assert!(body.len() < 1_048_576, "{}", body.len());
        let answer = post(&world, body).await;
        assert_eq!(code(&answer), (422, "invalid_request".to_owned()));
        assert!(answer.body.len() < 32 * 1024, "{}", answer.body.len());
        assert!(!pointers(&answer.json()).is_empty());
    }
    // One more than the schema takes, all of them good.
    let volumes: Vec<Value> =
        (0..129).map(|n| json!({"backup_id": format!("b{n}"), "volume_id": format!("v{n}")})).collect();
    request["target"]["volumes"] = json!(volumes);
    let answer = world.submit(&request).await;
    assert_eq!(code(&answer), (422, "invalid_request".to_owned()));
    assert_eq!(pointers(&answer.json()), ["/target/volumes"]);
    assert_eq!(world.arrived().await, Vec::<Value>::new());
    world.end().await;
}

#[tokio::test]
async fn s45_a_target_is_never_guessed() {
    let world = World::new().await;
    let without = |pointer: &str| {
        let mut request = requests::cbr_server();
        let (parent, member) = pointer.rsplit_once('/').expect("a pointer");
        request.pointer_mut(parent).and_then(Value::as_object_mut).expect(pointer).remove(member);
        (request, pointer.to_owned())
    };
    let with = |pointer: &str, value: Value| {
        let mut request = requests::cbr_server();
        let (parent, member) = pointer.rsplit_once('/').expect("a pointer");
        request.pointer_mut(parent).expect(parent)[member] = value;
        (request, pointer.to_owned())
    };
    for (request, pointer) in [
        without("/target"),
        without("/target/type"),
        without("/target/server_id"),
        without("/target/power_on"),
        without("/target/volumes"),
        without("/target/volumes/0/volume_id"),
        with("/target", Value::Null),
        with("/target", json!([])),
        with("/target/type", json!("SERVER")),
        with("/target/type", json!("everything")),
        with("/target/power_on", json!("true")),
        with("/target/power_on", Value::Null),
        with("/target/volumes", json!([])),
        with("/target/volume_id", json!(ids::FREE.1)),
        with("/target/volumes/0/force", json!(true)),
        with("/dry_run", json!(true)),
    ] {
        let answer = world.submit(&request).await;
        assert_eq!(code(&answer), (422, "invalid_request".to_owned()), "{request}");
        let problem = answer.json();
        assert!(pointers(&problem).contains(&pointer.as_str()), "{pointer}: {problem}");
    }
    // The same disk twice, in two spellings.
    let twice = json!([
        {"backup_id": ids::SYSTEM.0, "volume_id": ids::SYSTEM.1},
        {"backup_id": ids::DATA.0, "volume_id": ids::SYSTEM.1.to_uppercase()},
    ]);
    let (request, _) = with("/target/volumes", twice);
    let answer = world.submit(&request).await;
    assert_eq!(pointers(&answer.json()), ["/target/volumes/1/volume_id"], "{}", answer.text());
    for body in ["null", "[]", "\"restore\"", "7", "{}"] {
        assert_eq!(code(&post(&world, body).await), (422, "invalid_request".to_owned()), "{body}");
    }
    assert_eq!(world.arrived().await, Vec::<Value>::new());
    world.end().await;
}

#[tokio::test]
async fn every_error_of_a_request_is_reported_at_once() {
    let world = World::new().await;
    let mut request = requests::cbr_server();
    request["project_id"] = json!("nope");
    request["endpoint"] = json!("http://x/");
    request["source"]["backup_id"] = json!("../../x");
    request["target"]["power_on"] = json!("on");
    request["target"]["volumes"][1]["volume_id"] = json!("a/b");
    let problem = world.submit(&request).await.json();
    let mut found = pointers(&problem);
    found.sort_unstable();
    let expected =
        ["/endpoint", "/project_id", "/source/backup_id", "/target/power_on", "/target/volumes/1/volume_id"];
    assert_eq!(found, expected);
    world.end().await;
}

#[tokio::test]
async fn s21_the_admin_pages_are_read_only_and_only_by_a_loopback_name() {
    let world = World::new().await;
    let url = |path: &str| format!("http://{}{path}", world.gateway.admin());
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        let answer = world.http.send(method, &url("/config"), &[], "").await;
        assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD"));
    }
    for host in
        ["attacker.example", "127.0.0.1.attacker.example", "localhost.attacker.example:8081", "10.0.0.1", ""]
    {
        let answer = world.http.send(Method::GET, &url("/config"), &[("host", host)], "").await;
        assert_eq!(answer.status, 403, "{host}");
    }
    for path in ["/env", "/env/", "/debug/pprof", "/../settings"] {
        assert_eq!(world.admin(path).await.status, 404, "{path}");
    }
    assert_eq!(world.admin("/config").await.status, 200);
    world.end().await;
}
