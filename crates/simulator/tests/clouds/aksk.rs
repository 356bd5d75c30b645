//! Signed requests: the vectors that official signers made are taken as they are, and nothing else is.

use http::{HeaderValue, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::client::{Clouds, PROJECT, Reply};

/// V1 of docs/reference/cloud-apis.md, at 10:15:00, which is when these clouds begin.
const V1: &str = "SDK-HMAC-SHA256 Access=RGTESTACCESSKEY00001, SignedHeaders=content-type;host;x-sdk-date, \
     Signature=febe9ab189f8516ee2a5f3f0bbedb124e712a2941eb7f2afc6f96c86377a2cc4";

type Change = fn(&mut Request<Full<bytes::Bytes>>);

/// V1 with a change.
async fn v1(clouds: &Clouds, change: Change) -> Reply {
    let path = format!(
        "/v3/{PROJECT}/operation-logs?operation_type=restore&resource_id=7d2f6c1e-3b0a-4c55-9a51-0f6c2b9e8d14\
         &limit=50&start_time=2026-11-22T10:00:00Z"
    );
    let mut request = Clouds::request("GET", &path, "");
    let headers = request.headers_mut();
    headers.remove("x-auth-token");
    for (name, value) in [
        ("host", "cbr.eu-test-1.cloud.example"),
        ("content-type", "application/json"),
        ("x-sdk-date", "20261122T101500Z"),
        ("authorization", V1),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    change(&mut request);
    clouds.send(request).await.unwrap()
}

fn set(request: &mut Request<Full<bytes::Bytes>>, name: &'static str, value: &str) {
    request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
}

#[tokio::test]
async fn official_signatures_are_taken() {
    let clouds = Clouds::start().await;
    let reply = v1(&clouds, |_| ()).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    // V2: a body, signed
    let path = format!("/v3/{PROJECT}/backups/0f9e8d7c-6b5a-4948-8372-615049382716/restore");
    let body = concat!(
        r#"{"restore":{"mappings":[{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b01","#,
        r#""volume_id":"c0ffee00-1111-4222-8333-444455556666"}],"power_on":true,"#,
        r#""server_id":"7d2f6c1e-3b0a-4c55-9a51-0f6c2b9e8d14"}}"#
    );
    for (body, status) in [(body.to_owned(), 400), (body.replace("true", "false"), 401)] {
        let mut request = Clouds::request("POST", &path, &body);
        request.headers_mut().remove("x-auth-token");
        set(&mut request, "host", "cbr.eu-test-1.cloud.example");
        set(&mut request, "x-project-id", PROJECT);
        set(&mut request, "x-sdk-date", "20261122T101501Z");
        let signature = "SDK-HMAC-SHA256 Access=RGTESTACCESSKEY00001, \
            SignedHeaders=content-type;host;x-project-id;x-sdk-date, \
            Signature=1e9cb21e250ab1558962dc17f0ef5c57678281104ff2cdeeeed2406be97eab22";
        set(&mut request, "authorization", signature);
        let reply = clouds.send(request).await.unwrap();
        // It is understood, and refused for what it asks: one disk of two.
        assert_eq!(reply.status, status, "{}", reply.text);
    }
    assert!(clouds.applied().await.is_empty());
}

#[tokio::test]
async fn whatever_else_is_refused() {
    let changes: [(&str, Change); 7] = [
        ("host", |request| set(request, "host", "cbr.eu-test-2.cloud.example")),
        ("query", |request| {
            let changed = request.uri().to_string().replace("limit=50", "limit=51");
            *request.uri_mut() = changed.parse().unwrap();
        }),
        ("method", |request| *request.method_mut() = http::Method::POST),
        ("unsigned", |request| drop(request.headers_mut().remove("authorization"))),
        ("other key", |request| set(request, "authorization", &V1.replace("00001", "00002"))),
        ("token of no key", |request| set(request, "x-security-token", "gQpl")),
        ("project", |request| set(request, "x-project-id", "1b2c3d4e5f60718293a4b5c6d7e8f90a")),
    ];
    for (what, change) in changes {
        // Clouds of its own each: five would block the key.
        let clouds = Clouds::start().await;
        let (status, code) = v1(&clouds, change).await.code();
        assert!(
            (status, code.as_str()) == (401, "APIGW.0301") || (what, status) == ("method", 404),
            "{what} {status}"
        );
    }
}

#[tokio::test]
async fn a_signature_holds_for_a_quarter_of_an_hour() {
    let clouds = Clouds::start().await;
    clouds.advance(900).await;
    assert_eq!(v1(&clouds, |_| ()).await.status, 200);
    clouds.advance(1).await;
    let late = v1(&clouds, |_| ()).await;
    assert_eq!(late.code(), (401, "APIGW.0301".to_owned()));
    assert!(late.text.contains("expired"), "{}", late.text);
}

#[tokio::test]
async fn five_bad_signatures_block_a_key_for_five_minutes() {
    let clouds = Clouds::start().await;
    for _ in 0..5 {
        assert_eq!(v1(&clouds, |request| set(request, "host", "other")).await.status, 401);
    }
    let blocked = v1(&clouds, |_| ()).await;
    assert!(blocked.status == 401 && blocked.text.contains("forbidden"), "{}", blocked.text);
    clouds.advance(299).await;
    assert_eq!(v1(&clouds, |_| ()).await.status, 401);
    clouds.advance(1).await;
    assert_eq!(v1(&clouds, |_| ()).await.status, 200);
}

#[tokio::test]
async fn temporary_keys_are_each_their_own() {
    let clouds = Clouds::start().await;
    let ask = json!({"auth": {"identity": {"methods": ["token"], "token": {"duration_seconds": 900}}}});
    let issue =
        async || clouds.post("/v3.0/OS-CREDENTIAL/securitytokens", &ask).await.json()["credential"].take();
    let (first, second) = (issue().await, issue().await);
    assert_eq!(
        [&first["access"], &first["secret"], &first["securitytoken"]],
        [
            "RGTESTTEMPACCESS0001",
            "rgTestTempSecret/0000000000000000000000002",
            "gQpldS10ZXN0LTGIREDACTEDTOKEN=="
        ]
    );
    for part in ["access", "secret", "securitytoken"] {
        assert_ne!(first[part], second[part], "{part}");
    }
}

#[tokio::test]
async fn the_demo_token_shows_itself() {
    let clouds = Clouds::start().await;
    for method in ["GET", "HEAD"] {
        let mut request = Clouds::request(method, "/v3/auth/tokens", "");
        set(&mut request, "x-subject-token", "demo-token");
        let reply = clouds.send(request).await.unwrap();
        assert_eq!((reply.status, reply.header("x-subject-token")), (200, Some("demo-token")), "{method}");
        if method == "GET" {
            let token: Value = reply.json()["token"].take();
            assert_eq!(
                (&token["project"]["id"], &token["user"]["name"]),
                (&json!(PROJECT), &json!("restore-bot"))
            );
            assert!(token["expires_at"].as_str() > token["issued_at"].as_str());
        }
    }
}
