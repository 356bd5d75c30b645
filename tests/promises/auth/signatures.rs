//! A signed request that changes something counts once, however it is spelt and whatever became of it (S50).

use futures_util::future::join_all;
use http::Method;
use restore_tests::signer::{self, SignedRequest};
use restore_tests::{Answer, TestConfig, World, requests};
use serde_json::{Value, json};

use crate::auth::tokens::VBS_ALONE;
use crate::compat::basics::native;

const HOST: &str = "gateway";
const JSON: (&str, &str) = ("content-type", "application/json");

/// One who signs, at clouds that take a credential of the gateway's own.
pub(crate) fn config() -> TestConfig {
    TestConfig::default().robot().each_upstream("credential = \"robot\"").and(signer::CALLER)
}

pub(crate) async fn world(config: TestConfig) -> World {
    let world = World::serve_beside(config, &[], &signer::FILES).await;
    world.behave(json!({"extra_disks": 8})).await;
    world
}

/// The same signature in other words. Each is either the same request or none that counts.
fn spellings(request: &SignedRequest) -> Vec<SignedRequest> {
    let written = request.header("authorization").to_owned();
    let (before, signature) = written.split_once("Signature=").expect("a signature");
    let upper = signature.to_uppercase();
    let mixed: String = signature
        .chars()
        .enumerate()
        .map(|(at, digit)| if at % 2 == 0 { digit.to_ascii_uppercase() } else { digit })
        .collect();
    let others = [
        format!("{before}Signature={upper}"),
        format!("{before}Signature={mixed}"),
        written.replace(", ", ","),
        written.replace(", ", " ,  "),
        written.replace(", ", ",\t"),
        written.replace("SDK-HMAC-SHA256 ", "SDK-HMAC-SHA256   "),
        format!("{written} "),
        format!("  {written}"),
        written.replace("SDK-HMAC-SHA256 ", "SDK-HMAC-SHA256 \t"),
        written.replace("SDK-HMAC", "sdk-hmac"),
        written.replace("Access=", "access="),
        written.replace("Signature=", "Signature= "),
        format!("{written},"),
    ];
    let mut all: Vec<_> = others.iter().map(|other| request.clone().with("authorization", other)).collect();
    // The order of headers, and the spelling of those that are signed but for their blanks.
    let mut turned = request.clone();
    turned.headers.reverse();
    all.push(turned);
    let date = request.header("x-sdk-date").to_owned();
    all.push(request.clone().with("x-sdk-date", &format!(" {date} ")));
    all
}

fn id(answer: &Answer) -> &str {
    answer.header("location").rsplit('/').next().unwrap_or_default()
}

/// Reads until the restore of an answer has ended well; its path.
async fn until_succeeded(world: &World, taken: &Answer) -> String {
    let path = format!("/api/v1/restores/{}", id(taken));
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let read = SignedRequest::new(Method::GET, HOST, &path, &[], "").send(world.gateway.api()).await;
        if read.json()["status"] == "succeeded" {
            return path;
        }
        assert!(tokio::time::Instant::now() < end, "{}", read.text());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Refused by the cloud once: a second attempt would be done.
async fn refused_once(world: &World) {
    let refusal = json!({"match": {"method": "POST", "path": "*/restore*"}, "answer": {"status": 403, "body": {"error_code": "X.403"}}});
    world.faults(json!([refusal])).await;
}

#[tokio::test]
async fn s50_another_spelling_of_a_signature_is_the_same_signature() {
    let world = world(config()).await;
    let api = world.gateway.api();
    refused_once(&world).await;
    let request = SignedRequest::restore(HOST, &requests::extra_disk(0));
    let first = request.send(api).await;
    assert_eq!(first.status, 403, "{}", first.text());
    world.faults(json!([])).await;
    let mut again = spellings(&request);
    again.push(request.clone());
    for other in &again {
        let what = other.header("authorization");
        for http2 in [false, true] {
            // HTTP/2 says the host elsewhere.
            let mut other = other.clone();
            let target = if http2 {
                other.headers.retain(|(name, _)| name != "host");
                format!("http://{HOST}{}", other.target)
            } else {
                other.target.clone()
            };
            let answer = other.send_to(api, &target, http2).await;
            match answer.status {
                403 => assert_eq!(
                    (id(&answer), answer.header("idempotency-replayed")),
                    (id(&first), "true"),
                    "{what}"
                ),
                401 => assert_eq!(answer.json()["code"], "unauthenticated", "{what}"),
                status => panic!("{what:?}: {status} {}", answer.text()),
            }
        }
    }
    assert_eq!(world.sent().await.len(), 1, "one attempt, and none for a repetition");
    assert!(world.applied().await.is_empty());
    world.end().await;
}

#[tokio::test]
async fn s50_a_signature_at_an_endpoint_counts_once_however_it_is_spelt() {
    let world = world(config().and(crate::compat::basics::DOORS)).await;
    let api = world.gateway.api();
    for source_api in ["cbr-v3", "vbs-v2", "cinder-v3"] {
        let (path, body) = native::request(source_api, "disk");
        refused_once(&world).await;
        let request = SignedRequest::new(Method::POST, HOST, &path, &[JSON], &body.to_string());
        let first = request.send(api).await;
        assert!((400..500).contains(&first.status), "{source_api}: {} {}", first.status, first.text());
        world.faults(json!([])).await;
        let sent = world.sent().await.len();
        for other in spellings(&request) {
            let answer = other.send(api).await;
            let what = other.header("authorization");
            assert!(
                (400..500).contains(&answer.status),
                "{source_api} {what}: {} {}",
                answer.status,
                answer.text()
            );
        }
        assert_eq!(world.sent().await.len(), sent, "{source_api}");
    }
    assert!(world.applied().await.is_empty());
    world.end().await;
}

/// Refused, and refused in the same words again, although the restore could be done now.
async fn assert_used_up(world: &World, request: &SignedRequest, refused: (u16, &str)) {
    let mut again = spellings(request);
    again.insert(0, request.clone());
    for other in &again {
        let answer = other.send(world.gateway.api()).await;
        let code = answer.json()["code"].clone();
        let what = other.header("authorization");
        if code != "unauthenticated" {
            assert_eq!(
                (answer.status, &code),
                (409, &json!("signature_replayed")),
                "{what} after {refused:?}"
            );
            assert_eq!(answer.json()["effect"], "none", "after {refused:?}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn s50_a_signed_request_that_was_refused_is_not_done_when_it_comes_again() {
    let world = world(config()).await;
    let api = world.gateway.api();
    world.behave(json!({"restore_seconds": 600, "extra_disks": 8})).await;
    let busy = SignedRequest::restore(HOST, &requests::extra_disk(0));
    let mut other = requests::extra_disk(0);
    other["source"]["backup_id"] = json!("00000000-0000-4000-8000-000000000000");
    let other = SignedRequest::restore(HOST, &other);
    // Another restore of the target, so that this one is refused; then the target is free.
    let holder = busy.send(api).await;
    assert_eq!(holder.status, 202, "{}", holder.text());
    let refused = other.send(api).await;
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("target_busy")), "{}", refused.text());
    world.advance(3600).await;
    world.behave(json!({"restore_seconds": 1})).await;
    let path = until_succeeded(&world, &holder).await;
    assert_used_up(&world, &other, (409, "target_busy")).await;
    // Refused for what it asks: an unknown member, a project that the caller may not use, a body of another kind.
    let mut odd = requests::extra_disk(1);
    odd["endpoint"] = json!("http://elsewhere");
    let odd = SignedRequest::restore(HOST, &odd);
    assert_eq!(odd.send(api).await.status, 422);
    assert_used_up(&world, &odd, (422, "invalid_request")).await;
    assert_eq!(world.applied().await.len(), 1);
    // Signed again, it is a new request.
    let fresh = SignedRequest::at(
        &signer::sdk_date(1),
        Method::POST,
        HOST,
        "/api/v1/restores",
        &[JSON],
        &requests::extra_disk(2).to_string(),
    );
    assert_eq!(fresh.send(api).await.status, 202);
    // Twice cancelled is once cancelled.
    let cancel = SignedRequest::new(Method::DELETE, HOST, &path, &[], "");
    assert_eq!(cancel.send(api).await.json()["code"], "not_cancellable");
    assert_used_up(&world, &cancel, (409, "not_cancellable")).await;
    world.end().await;
}

#[tokio::test]
async fn s50_a_signed_request_that_came_too_fast_is_not_done_later() {
    let slow = config().routes(VBS_ALONE).set("limits.rate_per_second", "1").set("limits.rate_burst", "2");
    let world = world(slow).await;
    let api = world.gateway.api();
    let all: Vec<_> =
        (0..8).map(|number| SignedRequest::restore(HOST, &requests::extra_disk(number))).collect();
    let first = join_all(all.iter().map(|request| request.send(api))).await;
    let refused: Vec<_> = all
        .iter()
        .zip(&first)
        .filter(|(_, answer)| answer.status == 429)
        .map(|(request, _)| request)
        .collect();
    assert!(!refused.is_empty(), "eight at once are too fast");
    let sent = world.sent().await.len();
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    for request in refused {
        loop {
            let answer = request.send(api).await;
            assert!(matches!(answer.status, 409 | 429), "{} {}", answer.status, answer.text());
            if answer.json()["code"] == "signature_replayed" {
                break;
            }
            assert!(tokio::time::Instant::now() < end, "{}", answer.text());
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
    assert_eq!(world.sent().await.len(), sent);
    world.end().await;
}

#[tokio::test]
async fn s50_equal_signed_requests_at_once_are_one_restore() {
    let world = world(config()).await;
    let api = world.gateway.api();
    let request = SignedRequest::restore(HOST, &requests::extra_disk(0));
    let all = spellings(&request);
    let answers = join_all(all.iter().map(|request| request.send(api))).await;
    for answer in &answers {
        assert!(matches!(answer.status, 200 | 202 | 401 | 409), "{} {}", answer.status, answer.text());
    }
    assert!(answers.iter().any(|answer| matches!(answer.status, 200 | 202)), "one of them is done");
    assert_eq!(world.sent().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn s50_what_changes_nothing_may_be_asked_again() {
    let world = world(config()).await;
    let api = world.gateway.api();
    for path in ["/api/v1/restore-previews", "/api/v1/restore-checks"] {
        let body = requests::extra_disk(0).to_string();
        let request = SignedRequest::new(Method::POST, HOST, path, &[JSON], &body);
        let answers: Vec<Value> = [request.send(api).await, request.send(api).await]
            .iter()
            .map(|answer| json!([answer.status, answer.json()["code"]]))
            .collect();
        assert_eq!(answers[0], answers[1], "{path}");
        assert_eq!(answers[0][0], 200, "{path}");
    }
    let list = SignedRequest::new(Method::GET, HOST, "/api/v1/restores", &[], "");
    assert_eq!((list.send(api).await.status, list.send(api).await.status), (200, 200));
    world.end().await;
}

/// Two restores that have ended, for a list to show.
async fn two_restores(world: &World) {
    for number in 0..2 {
        let request = SignedRequest::restore(HOST, &requests::extra_disk(number));
        let answer = request.send(world.gateway.api()).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        until_succeeded(world, &answer).await;
    }
}

#[tokio::test]
async fn s56_a_header_that_is_not_signed_gives_a_signed_request_no_other_meaning() {
    let world = world(config()).await;
    let api = world.gateway.api();
    let restore = SignedRequest::restore(HOST, &requests::extra_disk(0));
    let taken = restore.send(api).await;
    let one = until_succeeded(&world, &taken).await;
    let events = format!("{one}/events");
    let checks = ("/api/v1/restore-checks", requests::extra_disk(1).to_string());
    let captured = [
        SignedRequest::new(Method::GET, HOST, "/api/v1/restores", &[], ""),
        SignedRequest::new(Method::GET, HOST, &one, &[], ""),
        SignedRequest::new(Method::GET, HOST, &events, &[], ""),
        SignedRequest::new(Method::POST, HOST, checks.0, &[JSON], &checks.1),
        SignedRequest::restore(HOST, &requests::extra_disk(2)),
    ];
    let stranger = |request: &SignedRequest| {
        let other = request.header("authorization").replace(signer::ACCESS_KEY, "NOBODYHASTHISKEY0000");
        request.clone().with("authorization", &other)
    };
    for request in &captured {
        for (name, value) in [
            ("accept", "text/event-stream"),
            ("accept", "application/json, Text/Event-Stream;q=0.1"),
            ("last-event-id", "0"),
            ("prefer", "wait=60"),
            ("idempotency-key", "another"),
            ("if-none-match", "*"),
            ("range", "bytes=0-1"),
        ] {
            for http2 in [false, true] {
                let mut steered = request.clone().with(name, value);
                let mut target = steered.target.clone();
                if http2 {
                    steered.headers.retain(|(name, _)| name != "host");
                    target = format!("http://{HOST}{target}");
                }
                let what = format!("{} {} with {name}: {value}", request.method, request.target);
                let answer = steered.send_to(api, &target, http2).await;
                let problem = answer.json();
                assert_eq!(
                    (answer.status, &problem["code"]),
                    (401, &json!("unauthenticated")),
                    "{what}: {problem}"
                );
                assert_eq!(problem["effect"], "none", "{what}");
                let detail = problem["detail"].as_str().unwrap_or_default();
                assert!(
                    detail.contains(&format!("header {name} is not covered"))
                        && detail.contains("nothing was changed in the cloud"),
                    "{what}: {detail}"
                );
                // Nothing is told of the access key by that.
                let unknown = stranger(&steered).send_to(api, &target, http2).await;
                assert_eq!((unknown.status, &unknown.json()["detail"]), (401, &problem["detail"]), "{what}");
            }
        }
    }
    // What cannot steer, and what only others would obey, leaves each answer as it is.
    let plain = [
        ("accept", "application/json, text/plain, */*"),
        ("accept-encoding", "gzip, deflate, br"),
        ("accept-language", "de"),
        ("cookie", "a=b"),
        ("user-agent", "curl/8"),
        ("via", "1.1 proxy"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-host", "elsewhere"),
        ("x-http-method-override", "DELETE"),
        ("x-original-url", "/api/v1/capabilities"),
        ("x-project-id", "ffffffffffffffffffffffffffffffff"),
        ("openstack-api-version", "volume 3.60"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ];
    for request in &captured[..3] {
        let as_signed = request.send(api).await;
        assert_eq!(as_signed.status, 200, "{}", as_signed.text());
        for (name, value) in plain {
            let answer = request.clone().with(name, value).send(api).await;
            assert_eq!(
                (answer.status, answer.text()),
                (200, as_signed.text()),
                "{name} at {}",
                request.target
            );
        }
    }
    // What is signed counts as ever.
    let signed = |headers: &[(&str, &str)]| SignedRequest::new(Method::GET, HOST, &events, headers, "");
    let stream = signed(&[("accept", "text/event-stream"), ("last-event-id", "1")]).send(api).await;
    assert_eq!((stream.status, stream.header("content-type")), (200, "text/event-stream"));
    assert!(!stream.text().contains("id: 1\n") && stream.text().contains("id: 2\n"), "{}", stream.text());
    assert_eq!(world.applied().await.len(), 1, "nothing came of what was captured");
    world.end().await;
}

#[tokio::test]
async fn s56_parameters_in_another_order_are_those_that_were_signed() {
    let world = world(config()).await;
    let api = world.gateway.api();
    two_restores(&world).await;
    let request = SignedRequest::new(Method::GET, HOST, "/api/v1/restores?limit=1&limit=2", &[], "");
    let as_signed = request.send(api).await;
    assert_eq!(as_signed.json()["restores"].as_array().map(Vec::len), Some(2), "{}", as_signed.text());
    for target in ["/api/v1/restores?limit=2&limit=1", "/api/v1/restores?%6cimit=%32&&limit=1"] {
        let answer = request.send_to(api, target, false).await;
        assert_eq!((answer.status, answer.text()), (200, as_signed.text()), "{target}");
    }
    world.end().await;
}

#[tokio::test]
async fn s56_a_stream_ends_with_the_window_of_its_signature() {
    let world = world(config()).await;
    let api = world.gateway.api();
    world.behave(json!({"restore_seconds": 600})).await;
    let restore = SignedRequest::restore(HOST, &requests::extra_disk(0)).send(api).await;
    assert_eq!(restore.status, 202, "{}", restore.text());
    let events = format!("/api/v1/restores/{}/events", id(&restore));
    let stream = ("accept", "text/event-stream");
    for path in ["/api/v1/restores", &events] {
        // Signed so long ago that it is good for a few seconds more. A stream lives for an hour by default.
        let old = signer::sdk_date(-15 * 60 + 5);
        let request = SignedRequest::at(&old, Method::GET, HOST, path, &[stream], "");
        let answer = request.send(api).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "text/event-stream"), "{path}");
        assert!(!answer.text().contains("event: end"), "{path}: the restore goes on: {}", answer.text());
        // Over is over.
        assert_eq!(request.send(api).await.status, 401, "{path}");
    }
    world.end().await;
}
