//! One place decides to which host a request goes: a request that names two is refused before anything else is decided (S52).

use http::Method;
use restore_tests::raw::Raw;
use restore_tests::signer::{self, SignedRequest};
use restore_tests::{TestConfig, World, ids};
use serde_json::{Value, json};

/// Two endpoints with names of their own, of source APIs that share a path and name backups differently, beside the API.
const ENDPOINTS: &str = r#"
[[compat_endpoints]]
api = "cbr-v3"
host = "cbr.internal"
[[compat_endpoints]]
api = "cinder-v3"
host = "cinder.internal"
"#;

/// The one path, and a body that both source APIs take.
fn shared() -> (String, String) {
    let path = format!("/v3/{}/backups/{}/restore", ids::PROJECT, ids::FREE.0);
    (path, json!({"restore": {"volume_id": ids::FREE.1}}).to_string())
}

const JSON: (&str, &str) = ("content-type", "application/json");

fn config() -> TestConfig {
    let credentials = TestConfig::default().robot().each_upstream("credential = \"robot\"");
    credentials.and(ENDPOINTS).and(signer::CALLER)
}

async fn world() -> World {
    World::serve_beside(config(), &[], &signer::FILES).await
}

/// Refused as malformed, and nothing was decided: no cloud was asked.
async fn assert_refused(world: &World, what: &str, status: u16, body: &str) {
    assert_eq!(status, 400, "{what}: {body}");
    assert!(body.contains("malformed_request") || body.contains("host"), "{what}: {body}");
    assert!(world.arrived().await.is_empty(), "{what}: a cloud was asked");
}

#[tokio::test]
async fn s52_a_request_signed_for_one_endpoint_is_not_applied_by_another() {
    let world = world().await;
    let (path, body) = shared();
    let api = world.gateway.api();
    for (signed_for, sent_to) in [
        ("cbr.internal", "cinder.internal"),
        ("cinder.internal", "cbr.internal"),
        ("gateway", "cbr.internal"),
    ] {
        let request = SignedRequest::new(Method::POST, signed_for, &path, &[JSON], &body);
        for http2 in [false, true] {
            let target = format!("http://{sent_to}{path}");
            let answer = request.send_to(api, &target, http2).await;
            assert_refused(&world, &format!("{signed_for} at {sent_to}"), answer.status, &answer.text())
                .await;
            // Nor with the other name in the place of the one that is signed.
            let renamed = request.clone().with("host", sent_to).send_to(api, &target, http2).await;
            assert_eq!(renamed.status, 401, "{}", renamed.text());
        }
    }
    // What agrees is done, once, whichever way it is said.
    let request = SignedRequest::new(Method::POST, "cbr.internal", &path, &[JSON], &body);
    let taken = request.send_to(api, &format!("http://CBR.internal:80{path}"), true).await;
    assert_eq!(taken.status, 202, "{}", taken.text());
    assert_eq!(world.sent().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn s52_two_authorities_in_one_request_are_refused() {
    let world = World::with(TestConfig::default().and(ENDPOINTS)).await;
    let (path, body) = shared();
    let api = world.gateway.api();
    let token = ("x-auth-token", ids::TOKEN);
    for (authority, host) in [
        ("cbr.internal", "cinder.internal"),
        ("gateway", "cbr.internal"),
        ("cbr.internal", "cbr.internal:8080"),
        ("cbr.internal:8080", "cbr.internal"),
        ("cbr.internal", ""),
        ("localhost", "127.0.0.1"),
        ("[::1]", "127.0.0.1"),
        ("user@cbr.internal", "cbr.internal"),
        ("cbr.internal", "cbr.internal@cinder.internal"),
        ("cbr.internal", "cbr.internal,cinder.internal"),
    ] {
        for (target, method) in [(path.as_str(), Method::POST), ("/api/v1/restores", Method::GET)] {
            let sent = if method == Method::POST { body.as_str() } else { "" };
            let headers = [("host", host), token, JSON];
            let target = format!("http://{authority}{target}");
            for http2 in [false, true] {
                let answer = signer::exchange(api, http2, &method, &target, &headers, sent).await;
                let what = format!("{target} beside {host}, HTTP/2: {http2}");
                assert_refused(&world, &what, answer.status, &answer.text()).await;
            }
        }
        // The admin listener takes its destination from the same place.
        let target = format!("http://{authority}/readyz");
        let headers = [("host", host)];
        let answer =
            signer::exchange(world.gateway.admin(), false, &Method::GET, &target, &headers, "").await;
        assert_eq!(answer.status, 400, "{target} beside {host}: {}", answer.text());
    }
    // Two Host headers, over HTTP/2 too; and what no client library would send.
    let headers = [("host", "gateway"), ("host", "gateway"), token];
    let twice =
        signer::exchange(api, true, &Method::GET, "http://gateway/api/v1/restores", &headers, "").await;
    assert_eq!(twice.status, 400, "{}", twice.text());
    for head in [
        "GET http://cbr.internal/v3 HTTP/1.1\r\nHost: cinder.internal\r\n",
        "GET http://cbr.internal/v3 HTTP/1.1\r\n",
        "GET http://cbr.internal/v3 HTTP/1.0\r\nHost: cinder.internal\r\n",
        "GET ftp://cbr.internal/v3 HTTP/1.1\r\nHost: cbr.internal\r\n",
        "GET /v3 HTTP/1.1\r\nHost: cbr.internal\r\nHost: cbr.internal\r\n",
        "GET /v3 HTTP/1.1\r\nHost: cbr.internal:\r\n",
        "GET /v3 HTTP/1.1\r\nHost: a@cbr.internal\r\n",
        "GET /v3 HTTP/1.1\r\nHost: cbr..internal\r\n",
        "GET /v3 HTTP/1.1\r\nHost: [::1\r\n",
        "CONNECT cbr.internal:443 HTTP/1.1\r\nHost: cinder.internal:443\r\n",
    ] {
        let mut raw = Raw::open(api).await;
        raw.send(format!("{head}X-Auth-Token: {}\r\n\r\n", ids::TOKEN)).await;
        let answer = raw.answer().await;
        assert!(answer.is_none_or(|answer| answer.status == 400 && answer.closes()), "{head}");
        assert!(world.arrived().await.is_empty(), "{head}");
    }
    world.end().await;
}

/// The same name in another spelling is the same endpoint, for routes, links, same-site checks and signatures alike.
#[tokio::test]
async fn s52_an_endpoint_is_known_by_every_spelling_of_its_name() {
    let world = World::with(TestConfig::default().and(ENDPOINTS)).await;
    let versions = async |target: &str, host: &str| {
        let mut raw = Raw::open(world.gateway.api()).await;
        raw.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
        let answer = raw.answer().await.expect("an answer");
        assert!(matches!(answer.status, 200 | 300), "{target} {host}: {answer:?}");
        answer.json()
    };
    let link = |body: &Value| body.to_string().to_lowercase();
    for (target, host) in [
        ("/", "cinder.internal"),
        ("/", "Cinder.INTERNAL"),
        ("/", "cinder.internal."),
        ("/", "cinder.internal.:80"),
        ("http://cinder.internal/", "CINDER.internal:80"),
        ("http://CINDER.internal.:80/", "cinder.internal"),
    ] {
        let body = versions(target, host).await;
        assert!(link(&body).contains("http://cinder.internal"), "{target} {host}: {body}");
        assert!(!link(&body).contains("internal."), "one form: {body}");
    }
    world.end().await;
}

#[tokio::test]
async fn s52_a_signature_for_an_endpoints_own_host_counts() {
    let world = world().await;
    let path = format!("/v3/{}/backups/{}", ids::PROJECT, ids::FREE.0);
    for (host, status) in [
        ("cbr.internal", 200),
        ("Cinder.Internal", 200),
        ("cbr.internal.", 200),
        ("gateway", 404),
        ("elsewhere.internal", 401),
    ] {
        let answer = SignedRequest::new(Method::GET, host, &path, &[], "").send(world.gateway.api()).await;
        assert_eq!(answer.status, status, "{host}: {}", answer.text());
    }
    world.end().await;
}

/// Endpoints with listeners of their own have one host name between them, and ports that tell them apart.
#[tokio::test]
async fn s52_a_request_signed_for_one_listener_is_not_applied_by_another() {
    let apart = "[[compat_endpoints]]\napi = \"cbr-v3\"\nlisten = \"127.0.0.1:0\"\n\
                 [[compat_endpoints]]\napi = \"cinder-v3\"\nlisten = \"127.0.0.1:0\"\n";
    let credentials = TestConfig::default().robot().each_upstream("credential = \"robot\"");
    let world = World::serve_beside(credentials.and(apart).and(signer::CALLER), &[], &signer::FILES).await;
    let endpoints = world.process().endpoints.clone();
    let [(_, cbr), (_, cinder)] = endpoints.as_slice() else { panic!("two endpoints: {endpoints:?}") };
    let (path, body) = shared();
    for (signed_for, sent_to) in [(cbr, cinder), (cinder, cbr), (&world.gateway.api(), cbr)] {
        let host = format!("gateway:{}", signed_for.port());
        let request = SignedRequest::new(Method::POST, &host, &path, &[JSON], &body);
        let answer = request.send(*sent_to).await;
        assert_eq!(answer.status, 401, "{}", answer.text());
    }
    assert!(world.arrived().await.iter().all(|seen| seen["method"] != "POST" || seen["path"] != json!(path)));
    let request = SignedRequest::new(Method::POST, &format!("gateway:{}", cbr.port()), &path, &[JSON], &body);
    let taken = request.send(*cbr).await;
    assert_eq!(taken.status, 202, "{}", taken.text());
    assert_eq!(world.applied().await.len(), 1);
    world.end().await;
}

/// A signature covers the decoded path; routes go by the path as it is written.
#[tokio::test]
async fn s52_a_signed_path_that_is_divided_in_two_ways_is_refused() {
    let world = world().await;
    let signed = format!("/v3/{}/backups/{}/restore", ids::PROJECT, ids::FREE.0);
    let request = SignedRequest::new(Method::POST, "cbr.internal", &signed, &[JSON], &shared().1);
    for escaped in ["%2F", "%2f"] {
        let sent = format!("/v3/{}/backups/{}{escaped}restore", ids::PROJECT, ids::FREE.0);
        let answer = request.send_to(world.gateway.api(), &sent, false).await;
        assert_eq!(answer.status, 401, "{}", answer.text());
    }
    assert!(world.applied().await.is_empty());
    world.end().await;
}
