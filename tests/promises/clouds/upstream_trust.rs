//! What an upstream may not do to a caller: send the token elsewhere, repeat it, flood the gateway,
//! or pass for another.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use restore_tests::{TestConfig, World, ids, requests};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Where restores are asked for, in every generation.
const RESTORES: [&str; 3] = ["/v3/*/backups/*/restore", "/v1/*/restores", "/v2/*/cloudbackups/*/restore"];

fn requests() -> [(Value, &'static str); 3] {
    [
        (requests::cbr_server(), RESTORES[0]),
        (requests::csbs_server(), RESTORES[1]),
        (requests::free_disk(), RESTORES[2]),
    ]
}

/// One upstream of CBR that is asked nothing before a restore, and short times.
fn hasty() -> TestConfig {
    TestConfig::default()
        .set("polling.absence_confirmation_seconds", "1")
        .set("polling.operator_escalation_seconds", "5")
        .routes(
            "
[[upstreams]]
name = \"cbr\"
generation = \"cbr-v3\"
endpoint = \"{clouds}\"
send_timeout_seconds = 1
max_body_bytes = 8192
[[routes]]
upstream = \"cbr\"
baseline_read = false
",
        )
}

/// A server that only counts who comes.
async fn stranger() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    (addr, count)
}

fn id(restore: &Value) -> String {
    restore["id"].as_str().unwrap_or_else(|| panic!("no id in {restore}")).to_owned()
}

#[tokio::test]
async fn s7_redirects_are_not_followed_and_take_no_token_along() {
    let (elsewhere, visits) = stranger().await;
    let url = format!("http://{elsewhere}/v3/steal");
    // Nobody can say whether the restore was carried out before the redirect was written.
    for status in [301, 302, 303, 307, 308] {
        for (request, path) in requests() {
            let world = World::new().await;
            world
                .faults(json!([{"match": {"method": "POST", "path": path},
                    "redirect": {"url": url, "status": status}, "times": 0}]))
                .await;
            let answer = world.submit(&request).await;
            let restore = answer.json();
            assert_eq!((answer.status, restore["status"].as_str()), (202, Some("unknown")), "{restore}");
            assert_eq!(restore["error"]["effect"], "possible", "{restore}");
            assert_eq!(world.sent().await.len(), 1, "{status} {path}");
            world.end().await;
        }
    }
    let world = World::with(hasty()).await;
    world
        .faults(json!([{"match": {"method": "POST", "path": RESTORES[0]},
            "redirect": {"url": url, "status": 307}, "times": 0, "applied": false}]))
        .await;
    let answer = world.submit(&requests::cbr_server()).await;
    world.until_status(&id(&answer.json()), "not_applied").await;
    assert_eq!(world.sent().await.len(), 1);
    world.end().await;
    // Reads are no different.
    for status in [301, 302, 303, 307, 308] {
        let world = World::new().await;
        world
            .faults(
                json!([{"match": {"method": "GET"}, "redirect": {"url": url, "status": status}, "times": 0}]),
            )
            .await;
        let answer = world.submit(&requests::free_disk()).await;
        if answer.status == 202 {
            let restore = world
                .until(&id(&answer.json()), |restore| restore["last_poll_failed_since"].is_string())
                .await;
            assert_eq!(restore["status"], "running", "{restore}");
        } else {
            assert_eq!(answer.json()["effect"], "none", "{}", answer.text());
        }
        world.post("/api/v1/restore-checks", &requests::free_disk()).await;
        world.end().await;
    }
    assert_eq!(visits.load(Ordering::SeqCst), 0, "somebody came");
}

#[tokio::test]
async fn s19_a_token_that_an_upstream_repeats_is_masked_everywhere() {
    let token = "MIIcanary/0123456789+abcdefghijklmnopqrstuvwxyz/ABCDEFGHIJKLMNOPQRSTUVWXYZ==";
    let cut = &token[..24];
    let escaped = token.replace('/', "\\/");
    let unicode: String = token.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect();
    let percent = token.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D");
    for echo in [token, cut, &escaped, &unicode, &percent] {
        for status in [400, 401, 403, 409, 500, 503] {
            let world = World::with(hasty()).await;
            let body = format!(
                "{{\"error_code\":\"BackupService.0001\",\"error_msg\":\"the token {echo} is not valid\",\"request_id\":\"{echo}\"}}"
            );
            world
                .faults(json!([{"match": {"method": "POST", "path": RESTORES[0]}, "times": 0, "answer": {"status": status,
                    "headers": {"x-request-id": token, "www-authenticate": token, "retry-after": token,
                        "content-type": "application/json"}, "body_raw": body}}]))
                .await;
            let headers = [("x-auth-token", token), ("content-type", "application/json")];
            let url = world.url("/api/v1/restores");
            let body = requests::cbr_server().to_string();
            let answer = world.http.send(Method::POST, &url, &headers, body).await;
            let kept = world.get("/api/v1/restores").await;
            let id = id(&kept.json()["restores"][0]);
            let one = world.get(&format!("/api/v1/restores/{id}")).await;
            let events = world.get(&format!("/api/v1/restores/{id}/events")).await;
            for text in [&answer, &kept, &one, &events]
                .map(|answer| format!("{:?} {}", answer.headers, answer.text()))
            {
                for secret in [token, cut, &escaped, &percent, &token[..16]] {
                    assert!(!text.contains(secret), "{status} {echo}: {text}");
                }
            }
            assert!(events.text().contains("[redacted]"), "the echo was there: {}", events.text());
            world.end().await;
        }
    }
}

#[tokio::test]
async fn an_answer_too_large_or_cut_off_leaves_it_unknown_and_is_not_asked_for_twice() {
    let long = "x".repeat(50_000);
    for fault in [
        json!({"answer": {"status": 202, "body": {"job_id": long}}}),
        json!({"answer": {"status": 200, "body_raw": long}}),
        json!({"answer": {"status": 400, "body": {"error_code": "BackupService.2010", "error_msg": long}}}),
        json!({"answer": {"status": 202, "body": {"job_id": "0".repeat(32)}}, "truncate_body": 10}),
        json!({"answer": {"status": 400, "body": {"error_code": "BackupService.2010", "error_msg": "m"}}, "truncate_body": 5}),
    ] {
        let world = World::with(hasty()).await;
        let mut fault = fault;
        fault["match"] = json!({"method": "POST", "path": RESTORES[0]});
        fault["applied"] = json!(true);
        world.faults(json!([fault])).await;
        let answer = world.submit(&requests::cbr_server()).await;
        let restore = answer.json();
        assert_eq!((answer.status, restore["status"].as_str()), (202, Some("unknown")), "{fault}: {restore}");
        assert_eq!(restore["error"]["effect"], "possible");
        assert!(answer.body.len() < 4_000, "{}", answer.body.len());
        assert_eq!(world.sent().await.len(), 1);
        assert_eq!(world.applied().await.len(), 1);
        world.end().await;
    }
}

#[tokio::test]
async fn a_refused_token_ends_the_restore_before_it_began() {
    for (request, _) in requests() {
        let world = World::new().await;
        let headers = [("x-auth-token", "nobodys-token"), ("content-type", "application/json")];
        let answer = world
            .http
            .send(Method::POST, &world.url("/api/v1/restores"), &headers, request.to_string())
            .await;
        let problem = answer.json();
        assert_eq!(
            (answer.status, problem["code"].as_str()),
            (401, Some("upstream_unauthorized")),
            "{problem}"
        );
        assert_eq!(problem["effect"], "none");
        assert!(world.sent().await.len() <= 1, "not sent again with the same token");
        assert!(world.applied().await.is_empty());
        let restore = world.get(problem["restore"].as_str().expect("a link")).await.json();
        assert_eq!(restore["status"], "rejected");
        world.end().await;
    }
    // Only the restore call itself is refused.
    let world = World::new().await;
    world
        .faults(json!([{"match": {"method": "POST", "path": RESTORES[0]}, "answer": {"status": 401,
            "body": {"error_code": "APIGW.0301", "error_msg": "Incorrect IAM authentication information"}}}]))
        .await;
    let answer = world.submit(&requests::cbr_server()).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some("upstream_unauthorized")));
    assert_eq!(world.sent().await.len(), 1);
    // The target is free: a good token does it.
    assert_eq!(world.submit(&requests::cbr_server()).await.status, 202);
    assert_eq!(world.applied().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn f21_an_expired_token_changes_no_outcome_and_the_next_one_continues() {
    for (request, _) in requests() {
        let world = World::new().await;
        // Without a read of its own a restore of CSBS is only derived, much later.
        world.behave(json!({"csbs_restores_read": true})).await;
        let restore = world.submit(&request).await.json();
        let id = id(&restore);
        assert_eq!(restore["status"], "running", "{restore}");
        let expired = json!({"match": {"method": "GET"}, "times": 0, "answer": {"status": 401,
            "body": {"error_code": "APIGW.0301", "error_msg": "token expired"}}});
        world.faults(json!([expired])).await;
        let stale = world.until(&id, |restore| restore["last_poll_failed_since"].is_string()).await;
        assert_eq!(
            (stale["status"].as_str(), &stale["awaiting_credential"]),
            (Some("running"), &json!(true))
        );
        // The clouds go on meanwhile; the gateway does not ask with a token that was refused.
        world.advance(7_200).await;
        let path = format!("/api/v1/restores/{id}");
        world.faults(json!([])).await;
        let before = world.arrived().await.len();
        let anonymous = world.http.send(Method::GET, &world.url(&path), &[], "").await.json();
        assert_eq!(
            (anonymous["status"].as_str(), &anonymous["awaiting_credential"]),
            (Some("running"), &json!(true))
        );
        assert_eq!(world.arrived().await.len(), before, "nobody's token reads nothing");
        // The next caller's token does.
        let done = world.until_status(&id, "succeeded").await;
        assert!(done["last_poll_failed_since"].is_null() && done["awaiting_credential"] != true, "{done}");
        let history = world.history(&id).await;
        assert_eq!(history.iter().filter(|word| *word == "stale").count(), 1, "{history:?}");
        assert_eq!(world.applied().await.len(), 1);
        world.end().await;
    }
}

#[tokio::test]
async fn f13_an_upstream_that_cannot_be_reached_is_a_refusal_and_never_unknown() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        format!("http://{}", listener.local_addr().expect("an address"))
    };
    for endpoint in [closed.as_str(), "http://no-such-host.invalid"] {
        for (request, generation) in [
            (requests::cbr_server(), "cbr-v3"),
            (requests::csbs_server(), "csbs-v1"),
            (requests::free_disk(), "vbs-v2"),
        ] {
            for baseline in [true, false] {
                let routes = format!(
                    "[[upstreams]]\nname = \"u\"\ngeneration = \"{generation}\"\nendpoint = \"{endpoint}\"\nconnect_timeout_seconds = 2\n\
                     [[routes]]\nupstream = \"u\"\nbaseline_read = {baseline}\n"
                );
                let world = World::with(TestConfig::default().routes(&routes)).await;
                let answer = world.submit(&request).await;
                let problem = answer.json();
                let what = format!("{endpoint} {generation} {baseline}: {problem}");
                assert_eq!(
                    (answer.status, problem["code"].as_str()),
                    (503, Some("upstream_unreachable")),
                    "{what}"
                );
                assert_eq!(
                    (problem["effect"].as_str(), problem["retry"].as_str()),
                    (Some("none"), Some("later")),
                    "{what}"
                );
                let restore = world.get(problem["restore"].as_str().expect("a link")).await.json();
                assert_eq!(restore["status"], "rejected", "{what}");
                let history = world.history(&id(&restore)).await;
                assert!(!history.contains(&"outcome_unclear".to_owned()), "{history:?}");
                world.end().await;
            }
        }
    }
}

#[tokio::test]
async fn the_breaker_opens_and_readyz_shows_it() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("an address")
    };
    let routes = format!(
        "[[upstreams]]\nname = \"u\"\ngeneration = \"cbr-v3\"\nendpoint = \"http://{closed}\"\ncircuit_breaker.failure_threshold = 2\ncircuit_breaker.open_seconds = 600\n\
         [[routes]]\nupstream = \"u\"\nbaseline_read = false\n"
    );
    let world = World::with(TestConfig::default().set("submit.max_attempts", "1").routes(&routes)).await;
    let breaker = async || world.admin("/readyz").await.json()["upstreams"][0]["breaker"].clone();
    assert_eq!(breaker().await, "closed");
    for _ in 0..2 {
        assert_eq!(world.submit(&requests::cbr_server()).await.json()["code"], "upstream_unreachable");
    }
    assert_eq!(breaker().await, "open");
    let ready = world.admin("/readyz").await;
    assert_eq!((ready.status, &ready.json()["ready"]), (200, &json!(true)), "others may be up");
    let page = world.admin("/metrics").await.text();
    assert!(
        page.contains("restore_gateway_circuit_breaker_state{state=\"open\",upstream=\"u\"} 1"),
        "{page}"
    );
    let answer = world.submit(&requests::cbr_server()).await;
    let problem = answer.json();
    assert_eq!((answer.status, problem["code"].as_str()), (503, Some("upstream_unavailable")), "{problem}");
    assert_eq!((problem["effect"].as_str(), answer.header("retry-after").is_empty()), (Some("none"), false));
    world.end().await;
}

#[tokio::test]
async fn a_caller_without_a_token_sends_nothing() {
    let world = World::new().await;
    for token in [None, Some(""), Some("   ")] {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(token.map(|token| ("x-auth-token", token)));
        let body = requests::free_disk().to_string();
        let answer = world.http.send(Method::POST, &world.url("/api/v1/restores"), &headers, body).await;
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (401, Some("credential_missing")),
            "{token:?}"
        );
    }
    // A token in the query is not one.
    let url = world.url(&format!("/api/v1/restores?x-auth-token={}", ids::TOKEN));
    let answer = world
        .http
        .send(Method::POST, &url, &[("content-type", "application/json")], requests::free_disk().to_string())
        .await;
    assert_eq!(answer.status, 400);
    assert!(world.arrived().await.is_empty());
    world.end().await;
}
