//! How requests are framed on the wire: what two readers could read differently is read by nobody,
//! and no header of a caller travels on.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use restore_tests::raw::{Raw, RawAnswer, post};
use restore_tests::{World, ids, requests};
use serde_json::Value;
use tokio::net::TcpStream;

pub(crate) fn body() -> String {
    requests::free_disk().to_string()
}

pub(crate) fn length(body: &str) -> String {
    format!("Content-Length: {}\r\n", body.len())
}

fn chunked(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
}

/// Sends bytes on a connection of their own and expects one 400, then the end.
async fn refused(world: &World, what: &str, bytes: impl AsRef<[u8]>) {
    let mut raw = Raw::open(world.gateway.api()).await;
    raw.send(bytes).await;
    let answer = raw.answer().await.unwrap_or_else(|| panic!("{what}: closed without an answer"));
    assert_eq!(answer.status, 400, "{what}: {answer:?}");
    assert!(raw.closed().await, "{what}: the connection is closed");
    assert!(world.arrived().await.is_empty(), "{what}: the cloud heard of it");
}

#[tokio::test]
async fn s9_a_request_that_is_framed_in_two_ways_is_refused() {
    let world = World::new().await;
    let body = body();
    let (length, chunks) = (length(&body), chunked(&body));
    let te = "Transfer-Encoding: chunked\r\n";
    for (what, bytes) in [
        ("length and chunked", post(&format!("{length}{te}"), &chunks)),
        ("chunked and length", post(&format!("{te}{length}"), &chunks)),
        ("length 0 and chunked", post(&format!("Content-Length: 0\r\n{te}"), &chunks)),
        ("two equal lengths", post(&length.repeat(2), &body)),
        ("two lengths", post(&format!("{length}Content-Length: 1\r\n"), &body)),
        ("two lengths in one line", post(&format!("Content-Length: {0}, {0}\r\n", body.len()), &body)),
        ("+length", post(&format!("Content-Length: +{}\r\n", body.len()), &body)),
        ("-length", post("Content-Length: -1\r\n", &body)),
        ("hexadecimal length", post(&format!("Content-Length: 0x{:x}\r\n", body.len()), &body)),
        ("no length", post("Content-Length: \r\n", &body)),
        ("a length beyond 64 bits", post("Content-Length: 99999999999999999999\r\n", &body)),
        ("chunked, identity", post("Transfer-Encoding: chunked, identity\r\n", &chunks)),
        ("identity, chunked", post("Transfer-Encoding: identity, chunked\r\n", &chunks)),
        ("gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", &chunks)),
        ("two encodings", post(&te.repeat(2), &chunks)),
        ("xchunked", post("Transfer-Encoding: xchunked\r\n", &chunks)),
        ("chunked in quotes", post("Transfer-Encoding: \"chunked\"\r\n", &chunks)),
        ("a space before the colon", post("Transfer-Encoding : chunked\r\n", &chunks)),
        ("a folded header", post(&format!("{length}X-Note: a\r\n b\r\n"), &body)),
        ("a folded encoding", post(&format!("{length}Transfer-Encoding:\r\n chunked\r\n"), &chunks)),
        ("a bare line feed", post(&format!("{length}X-Note: a\nX-Other: b\r\n"), &body)),
        ("an encoding after a bare line feed", post(&format!("{length}X: a\n{te}"), &chunks)),
        ("a bare carriage return", post(&format!("{length}X-Note: a\rX-Other: b\r\n"), &body)),
        ("a NUL", post(&format!("{length}X-Note: a\0b\r\n"), &body)),
        ("no colon", post(&format!("{length}X-Note\r\n"), &body)),
        ("two hosts", post(&format!("{length}Host: other\r\n"), &body)),
        // What stands before the request line is skipped by the parser, and must not hide the head.
        ("empty lines, then both", [b"\r\n\r\n" as &[u8], &post(&format!("{length}{te}"), &chunks)].concat()),
        (
            "empty bare lines, then both",
            [b"\n\n" as &[u8], &post(&format!("{length}{te}"), &chunks)].concat(),
        ),
    ] {
        refused(&world, what, bytes).await;
    }
    // HTTP/1.0 has no chunks; HTTP/1.1 has a host.
    for head in ["POST /api/v1/restores HTTP/1.0\r\nHost: gateway\r\n", "POST /api/v1/restores HTTP/1.0\r\n"]
    {
        let token = format!("X-Auth-Token: {}\r\nContent-Type: application/json\r\n", ids::TOKEN);
        refused(&world, head, format!("{head}{token}{te}\r\n{chunks}")).await;
    }
    refused(
        &world,
        "no host",
        format!("GET /api/v1/restores HTTP/1.1\r\nX-Auth-Token: {}\r\n\r\n", ids::TOKEN),
    )
    .await;
    refused(&world, "HTTP/0.9", "GET /\r\n\r\n").await;
    refused(&world, "HTTP/3.0", "GET / HTTP/3.0\r\nHost: gateway\r\n\r\n").await;
    world.end().await;
}

#[tokio::test]
async fn s9_a_second_request_in_the_body_of_the_first_is_not_obeyed() {
    let world = World::new().await;
    let body = body();
    let second = requests::cbr_server().to_string();
    let smuggled = post(&length(&second), &second);
    let smuggled = String::from_utf8(smuggled).expect("text");

    // Sent at once, without waiting for the first answer: the first is answered, the second refused.
    let mut raw = Raw::open(world.gateway.api()).await;
    raw.send(post(&length(&body), &format!("{body}{smuggled}"))).await;
    assert_eq!(raw.answer().await.expect("an answer").status, 202);
    let after = raw.answer().await;
    assert!(after.is_none_or(|answer| answer.status == 400), "the second one was answered");
    assert!(raw.closed().await);
    assert_eq!(world.sent().await.len(), 1);

    // Behind the end of a chunked body.
    let mut raw = Raw::open(world.gateway.api()).await;
    raw.send(post("Transfer-Encoding: chunked\r\n", &format!("{}{smuggled}", chunked(&body)))).await;
    assert_eq!(raw.answer().await.expect("an answer").status, 202);
    let after = raw.answer().await;
    assert!(after.is_none_or(|answer| answer.status == 400), "the second one was answered");
    assert_eq!(world.sent().await.len(), 1);

    // Behind a request that is refused before its body is read.
    let mut raw = Raw::open(world.gateway.api()).await;
    raw.send(format!(
        "POST /api/v1/restores HTTP/1.1\r\nHost: gateway\r\nContent-Type: text/plain\r\n{}\r\n{smuggled}",
        length(&smuggled)
    ))
    .await;
    assert_eq!(raw.answer().await.expect("an answer").status, 415);
    assert!(raw.closed().await);
    assert_eq!(world.sent().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn s9_half_a_head_sent_early_hides_nothing() {
    let world = World::new().await;
    let second = body();
    let get =
        format!("GET /api/v1/capabilities HTTP/1.1\r\nHost: gateway\r\nX-Auth-Token: {}\r\n\r\n", ids::TOKEN);
    // The first part arrives together with the first request, the rest after its answer: a guard
    // that looks at the rest alone would see nothing wrong.
    let (length, chunks) = (length(&second), chunked(&second));
    let head = String::from_utf8(post("", "")).expect("text");
    let head = head.trim_end();
    for (early, late) in [
        (format!("{head}\r\n{length}"), format!("Transfer-Encoding: chunked\r\n\r\n{chunks}")),
        (
            format!("{head}\r\n{length}X-Note: "),
            format!("POST /api/v1/restores HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"),
        ),
        (
            format!("{head}\r\n{length}X-Note: "),
            format!(
                "POST /api/v1/restores HTTP/1.1\r\nHost: gateway\r\nX-Auth-Token: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
            ),
        ),
    ] {
        let mut raw = Raw::open(world.gateway.api()).await;
        raw.send(format!("{get}{early}")).await;
        assert_eq!(raw.answer().await.expect("an answer").status, 200);
        raw.send(late).await;
        let answer = raw.answer().await.expect("an answer");
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(raw.closed().await);
        assert!(world.arrived().await.is_empty());
    }
    world.end().await;
}

#[tokio::test]
async fn s10_no_header_of_a_caller_travels_on() {
    let world = World::new().await;
    let body = body();
    let lines = format!(
        "{}Connection: X-Auth-Token, keep-alive\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\nUpgrade: h2c\r\n\
         HTTP2-TestConfig: AAMAAABkAAQAAP__\r\nProxy-Authorization: Basic c2VjcmV0\r\nProxy: http://evil.example\r\n\
         Proxy-Connection: keep-alive\r\nAuthorization: Bearer other\r\nCookie: a=b\r\nX-Security-Token: other\r\n\
         X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: https\r\nForwarded: for=10.0.0.1\r\n\
         X-HTTP-Method-Override: DELETE\r\nX-Original-URL: /api/v1/capabilities\r\nX-Project-Id: other\r\n\
         User-Agent: evil\r\nAccept: text/html\r\nRange: bytes=0-1\r\nX-Anything: at all\r\n",
        length(&body)
    );
    let mut raw = Raw::open(world.gateway.api()).await;
    raw.send(post(&lines, &body)).await;
    let answer = raw.answer().await.expect("an answer");
    assert_eq!(answer.status, 202, "{answer:?}");

    let sent = world.sent().await;
    assert_eq!(sent.len(), 1);
    for request in world.arrived().await {
        let headers = request["headers"].as_object().expect("headers");
        let allowed = [
            "host",
            "accept",
            "accept-encoding",
            "user-agent",
            "content-type",
            "content-length",
            "x-auth-token",
            "traceparent",
        ];
        let strange: Vec<_> = headers.keys().filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(strange.is_empty(), "{strange:?}");
        assert_eq!(headers["x-auth-token"], ids::TOKEN);
        assert_eq!(headers["accept"], "application/json");
        assert_eq!(headers["accept-encoding"], "identity");
        assert!(headers["user-agent"].as_str().is_some_and(|agent| agent.starts_with("restore-gateway/")));
        assert_eq!(headers["host"], world.clouds.url().trim_start_matches("http://"));
    }

    // And what is hop by hop does not make the token unneeded.
    let other = requests::cbr_server().to_string();
    let anonymous = format!(
        "POST /api/v1/restores HTTP/1.1\r\nHost: gateway\r\nConnection: X-Auth-Token\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\n{}\r\n{other}",
        ids::TOKEN,
        length(&other)
    );
    let mut raw = Raw::open(world.gateway.api()).await;
    raw.send(anonymous).await;
    let answer = raw.answer().await.expect("an answer");
    assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some("credential_missing")));
    assert_eq!(world.sent().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn s11_a_caller_does_not_choose_the_request_id_and_hosts_mean_nothing() {
    let world = World::new().await;
    let get = |lines: &str| format!("GET /api/v1/capabilities HTTP/1.1\r\n{lines}\r\n");
    let mut seen = std::collections::HashSet::new();
    for id in ["mine", &"x".repeat(8 * 1024), "a b\tc", "%0d%0aevil: 1", "\u{e9}", ""] {
        let mut raw = Raw::open(world.gateway.api()).await;
        raw.send(get(&format!("Host: gateway\r\nX-Request-Id: {id}\r\n"))).await;
        let answer = raw.answer().await.expect("an answer");
        assert_eq!(answer.status, 200, "{id:?}");
        let ours = answer.head.split("\r\nx-request-id: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let ours = ours.expect("an id").to_owned();
        assert!(ours.len() == 32 && ours.bytes().all(|byte| byte.is_ascii_hexdigit()), "{ours:?}");
        assert!(seen.insert(ours), "each request has an id of its own");
    }
    // A line break in a header is another header, never a part of this one.
    let mut raw = Raw::open(world.gateway.api()).await;
    raw.send(get("Host: gateway\r\nX-Request-Id: a\r\nX-Evil: 1\r\n")).await;
    let answer = raw.answer().await.expect("an answer");
    assert!(answer.status == 200 && !answer.head.contains("evil"), "{answer:?}");

    for (host, line) in [
        ("a foreign one", "Host: evil.example"),
        ("a port", "Host: 127.0.0.1:1"),
        ("userinfo", "Host: a@b"),
        ("none", "Host:"),
    ] {
        let mut raw = Raw::open(world.gateway.api()).await;
        let forwarded = "X-Forwarded-Host: evil.example\r\nX-Forwarded-Prefix: /evil\r\n";
        let body = body();
        raw.send(format!(
            "POST /api/v1/restores HTTP/1.1\r\n{line}\r\n{forwarded}X-Auth-Token: {}\r\nContent-Type: application/json\r\n{}\r\n{body}",
            ids::TOKEN, length(&body)
        )).await;
        let answer = raw.answer().await.expect("an answer");
        assert!(!answer.head.contains("evil") && !answer.body.contains("evil"), "{host}: {answer:?}");
        if answer.status == 202 {
            assert!(answer.head.contains("\r\nlocation: /api/v1/restores/"), "{host}: {answer:?}");
        }
    }
    assert!(world.sent().await.len() <= 1);
    // A head that is larger than is read.
    let mut raw = Raw::open(world.gateway.api()).await;
    raw.send(get(&format!("Host: gateway\r\nX-Request-Id: {}\r\n", "x".repeat(80 * 1024)))).await;
    assert!(raw.answer().await.is_none_or(|answer| matches!(answer.status, 400 | 431)));
    let many: String = (0..2_000).map(|n| format!("X-{n}: 1\r\n")).collect();
    let mut raw = Raw::open(world.gateway.api()).await;
    raw.send(get(&format!("Host: gateway\r\n{many}"))).await;
    assert!(raw.answer().await.is_none_or(|answer| matches!(answer.status, 400 | 431)));
    world.end().await;
}

#[tokio::test]
async fn s12_headers_that_could_mean_two_things_are_refused() {
    let world = World::new().await;
    let body = body();
    let length = length(&body);
    for lines in [
        "X_Auth_Token: other",
        "Content_Length: 1",
        "X-Auth-Token: other",
        "X-AUTH-TOKEN: demo-token",
        "Content-Type: text/plain",
        "Idempotency-Key: a\r\nIdempotency-Key: b",
        "Authorization: a\r\nAuthorization: b",
        "Content-Encoding: identity\r\nContent-Encoding: gzip",
        "traceparent: a\r\ntraceparent: b",
    ] {
        refused(&world, lines, post(&format!("{length}{lines}\r\n"), &body)).await;
    }
    world.end().await;
}

/// Sends a head, and the body only when the gateway has not answered before.
async fn head_only(world: &World, lines: &str) -> RawAnswer {
    let mut raw = Raw::open(world.gateway.api()).await;
    raw.send(post(lines, "")).await;
    let answer = raw.answer().await.expect("an answer without the body");
    assert!(answer.closes(), "{answer:?}");
    answer
}

#[tokio::test]
async fn s13_what_is_too_large_or_packed_is_refused_before_it_is_read() {
    let world = World::new().await;
    let too_large = "Content-Length: 65537\r\n";
    assert_eq!(head_only(&world, too_large).await.status, 413);
    assert_eq!(head_only(&world, &format!("{too_large}Expect: 100-continue\r\n")).await.status, 413);
    assert_eq!(head_only(&world, "Content-Length: 99999999999999\r\n").await.status, 413);
    for coding in ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x-gzip", "identity, gzip"] {
        let lines = format!("Content-Length: 20\r\nContent-Encoding: {coding}\r\n");
        assert_eq!(head_only(&world, &lines).await.status, 415, "{coding}");
    }
    // A gzip bomb without the header is bytes that are no JSON: nothing here unpacks anything.
    let bomb = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03".repeat(1_000);
    let headers = [("x-auth-token", ids::TOKEN), ("content-type", "application/json")];
    let answer = world.http.send(Method::POST, &world.url("/api/v1/restores"), &headers, bomb).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("invalid_json")));

    // Chunks without end: refused at the bound, wherever the sender has got to.
    let mut raw = Raw::open(world.gateway.api()).await;
    raw.send(post("Transfer-Encoding: chunked\r\n", "")).await;
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let mut chunks = 0;
    while chunks < 10_000 && raw.send(&chunk).await {
        chunks += 1;
    }
    assert!(chunks < 10_000, "it was read on and on");
    // The answer may be lost with the reset that follows unread bytes.
    if let Some(answer) = raw.answer().await {
        assert_eq!(answer.status, 413);
    }
    // A sender that stops at the bound and listens gets it.
    let mut raw = Raw::open(world.gateway.api()).await;
    raw.send(post("Transfer-Encoding: chunked\r\n", &chunk.repeat(16))).await;
    raw.send("1\r\n \r\n").await;
    let answer = raw.answer().await.expect("an answer");
    assert_eq!((answer.status, answer.closes()), (413, true));

    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
        let headers = [("x-auth-token", ids::TOKEN), ("content-type", kind)];
        let answer = world.http.send(Method::POST, &world.url("/api/v1/restores"), &headers, body()).await;
        assert_eq!(answer.status, 415, "{kind:?}");
    }
    assert!(world.arrived().await.is_empty());
    world.end().await;
}

#[tokio::test]
async fn good_clients_keep_their_connection_after_an_error() {
    let world = World::new().await;
    let mut raw = Raw::open(world.gateway.api()).await;
    let bad = "{\"project_id\": 1}";
    let broken = "{";
    let second = body();
    for (bytes, status) in [
        (post(&length(bad), bad), 422),
        (post(&length(broken), broken), 400),
        (b"GET /nowhere HTTP/1.1\r\nHost: gateway\r\n\r\n".to_vec(), 404),
        (b"PUT /api/v1/restores HTTP/1.1\r\nHost: gateway\r\n\r\n".to_vec(), 405),
        (
            b"HEAD /api/v1/capabilities HTTP/1.1\r\nHost: gateway\r\nConnection: keep-alive\r\n\r\n".to_vec(),
            200,
        ),
    ] {
        raw.send(&bytes).await;
        if bytes.starts_with(b"HEAD") {
            // No body follows, whatever its length.
            break;
        }
        let answer = raw.answer().await.expect("an answer");
        assert_eq!((answer.status, answer.closes()), (status, false), "{answer:?}");
    }
    let mut raw = Raw::open(world.gateway.api()).await;
    for bytes in [post(&length(bad), bad), post("Transfer-Encoding: chunked\r\n", &chunked(bad))] {
        raw.send(bytes).await;
        assert_eq!(raw.answer().await.expect("an answer").status, 422);
    }
    raw.send(post(&length(&second), &second)).await;
    assert_eq!(raw.answer().await.expect("an answer").status, 202);
    world.end().await;
}

#[tokio::test]
async fn http_2_with_prior_knowledge_carries_a_restore() {
    let world = World::new().await;
    let socket = TcpStream::connect(world.gateway.api()).await.expect("a connection");
    let (mut client, connection) = hyper::client::conn::http2::handshake::<_, _, Full<Bytes>>(
        TokioExecutor::new(),
        TokioIo::new(socket),
    )
    .await
    .expect("HTTP/2");
    let driver = tokio::spawn(connection);
    let request = |uri: &str, lines: &[(&str, &str)], body: String| {
        let mut request = Request::builder().method(Method::POST).uri(uri.to_owned());
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        request.body(Full::new(Bytes::from(body))).expect("a request")
    };
    let uri = world.url("/api/v1/restores");
    let json = [("x-auth-token", ids::TOKEN), ("content-type", "application/json")];
    let answer = client.send_request(request(&uri, &json, body())).await.expect("an answer");
    assert_eq!(answer.status(), 202);
    let restore: Value =
        serde_json::from_slice(&answer.into_body().collect().await.expect("a body").to_bytes())
            .expect("JSON");
    world.until_status(restore["id"].as_str().expect("an id"), "succeeded").await;

    // The rules are the same.
    let twice = [json[0], json[0], json[1]];
    let answer = client.send_request(request(&uri, &twice, body())).await.expect("an answer");
    assert_eq!(answer.status(), 400);
    let answer = client
        .send_request(request(&uri, &[json[0], json[1], ("x_y", "1")], body()))
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 400);
    let answer = client.send_request(request(&uri, &json, " ".repeat(65_537))).await.expect("an answer");
    assert_eq!(answer.status(), 413);
    let answer = client.send_request(request(&uri, &json, body())).await.expect("the connection lives");
    assert_eq!(answer.headers()["idempotency-replayed"], "true");
    assert_eq!(world.sent().await.len(), 1);
    driver.abort();
    world.end().await;
}
