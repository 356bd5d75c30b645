//! Traces: what a caller's own tracing sees of a restore, over OTLP, and that a collector which
//! does not answer costs nothing but its spans.

use std::net::SocketAddr;

use http::Method;
use restore_tests::{Receiver, SpanSeen, TestConfig, World, ids, requests};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(30);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn traced(collector: SocketAddr) -> TestConfig {
    TestConfig::default()
        .set("telemetry.otlp_endpoint", &format!("\"http://{collector}\""))
        .set("telemetry.sample_ratio", "0.0")
        .set("telemetry.trust_remote_sampling", "true")
}

fn parent(sampled: bool) -> String {
    format!("00-{TRACE}-{CALLER}-0{}", u8::from(sampled))
}

/// Waits until the spans that have arrived are as wanted.
async fn until(receiver: &Receiver, wanted: impl Fn(&[SpanSeen]) -> bool) -> Vec<SpanSeen> {
    let end = Instant::now() + DEADLINE;
    loop {
        let spans = receiver.spans();
        if wanted(&spans) {
            return spans;
        }
        assert!(Instant::now() < end, "{spans:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What an upstream saw of the trace.
fn traceparent(request: &Value) -> (String, String, String) {
    let text = request["headers"]["traceparent"].as_str().unwrap_or_default();
    let parts: Vec<&str> = text.split('-').collect();
    assert_eq!((parts.len(), parts[0]), (4, "00"), "{text}");
    (parts[1].to_owned(), parts[2].to_owned(), parts[3].to_owned())
}

#[tokio::test]
async fn a_restore_is_one_trace_from_the_callers_span_to_each_attempt() {
    let receiver = Receiver::start().await;
    let world = World::serve(traced(receiver.addr)).await;
    world
        .faults(json!([{"match": {"method": "POST", "path": "/v3/*/backups/*/restore"}, "answer": {"status": 429,
            "headers": {"retry-after": "0"}, "body": {"error_code": "APIGW.0308", "error_msg": "upstream_throttled"}}}]))
        .await;
    let lines = [("traceparent", parent(true)), ("tracestate", "vendor=value".to_owned())];
    let lines = lines.each_ref().map(|(name, value)| (*name, value.as_str()));
    let answer = world.post_with("/api/v1/restores?x=1", &requests::cbr_server(), &lines).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let id = answer.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(answer.json()["attempts"], 2);

    let is_send = |span: &SpanSeen| span.kind == 3 && span.attribute("http.request.method") == "POST";
    let spans = until(&receiver, |spans| {
        spans.iter().any(|span| span.kind == 2) && spans.iter().filter(|span| is_send(span)).count() == 2
    })
    .await;
    let server = spans.iter().find(|span| span.kind == 2).expect("a server span");
    assert_eq!((server.trace_id.as_str(), server.parent_id.as_str()), (TRACE, CALLER));
    assert_eq!(server.name, "POST /api/v1/restores");
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/api/v1/restores"),
        ("url.path", "/api/v1/restores"),
        ("url.scheme", "http"),
        ("http.response.status_code", "202"),
        ("network.protocol.version", "1.1"),
        ("server.address", "127.0.0.1"),
        ("server.port", &world.gateway.api().port().to_string()),
        ("restore_gateway.restore.id", &id),
    ] {
        assert_eq!(server.attribute(name), value, "{name}: {server:?}");
    }
    for name in ["server.port", "http.response.status_code"] {
        assert!(server.integers.iter().any(|integer| integer == name), "{name} is a number: {server:?}");
    }
    assert!(server.links.is_empty(), "a submit does not link to itself: {server:?}");

    let sends: Vec<&SpanSeen> = spans.iter().filter(|span| is_send(span)).collect();
    for send in &sends {
        assert_eq!(
            (send.trace_id.as_str(), send.parent_id.as_str()),
            (TRACE, server.span_id.as_str()),
            "{send:?}"
        );
        let template = send.attribute("url.template");
        assert!(template.starts_with("/v3/{") && template.ends_with("/restore"), "{template}");
        assert_eq!(send.name, format!("POST {template}"));
        assert_eq!(send.attribute("server.address"), "127.0.0.1");
        assert!(send.attribute("url.full").starts_with(&world.clouds.url()), "{send:?}");
        assert_eq!(send.attribute("restore_gateway.upstream"), "cbr");
    }
    let attempt =
        |status: &str| sends.iter().find(|span| span.attribute("http.response.status_code") == status);
    let first = attempt("429").expect("the refused attempt");
    assert_eq!((first.attribute("http.request.resend_count"), first.attribute("error.type")), ("", "429"));
    let second = attempt("202").expect("the good attempt");
    assert_eq!((second.attribute("http.request.resend_count"), second.attribute("error.type")), ("1", ""));

    // The upstream's own spans will hang below the attempt that they belong to.
    let sent = world.sent().await;
    for (request, span) in sent.iter().zip([first, second]) {
        assert_eq!(traceparent(request), (TRACE.to_owned(), span.span_id.clone(), "01".to_owned()));
        assert_eq!(request["headers"]["tracestate"], "vendor=value");
    }

    // A later look is a trace of its own, which points to where the restore began.
    let other = "a".repeat(32);
    let look = format!("00-{other}-{CALLER}-01");
    let path = format!("/api/v1/restores/{id}");
    world
        .http
        .send(Method::GET, &world.url(&path), &[("x-auth-token", ids::TOKEN), ("traceparent", &look)], "")
        .await;
    let spans = until(&receiver, |spans| spans.iter().any(|span| span.trace_id == other)).await;
    let look = spans.iter().find(|span| span.trace_id == other && span.kind == 2).expect("a span");
    assert_eq!((look.name.as_str(), &look.links), ("GET /api/v1/restores/{id}", &vec![TRACE.to_owned()]));
    assert_eq!(look.attribute("restore_gateway.restore.id"), id);
    // So does the answer to a repetition.
    let third = "c".repeat(32);
    let again = format!("00-{third}-{CALLER}-01");
    world.post_with("/api/v1/restores", &requests::cbr_server(), &[("traceparent", &again)]).await;
    let spans = until(&receiver, |spans| spans.iter().any(|span| span.trace_id == third)).await;
    let again = spans.iter().find(|span| span.trace_id == third && span.kind == 2).expect("a span");
    assert_eq!(again.links, [TRACE.to_owned()]);

    let told = format!("{:?}", receiver.spans());
    assert!(!told.contains(ids::TOKEN), "a token in a span");
    world.end().await;
}

#[tokio::test]
async fn what_is_not_sampled_leaves_no_span_and_still_keeps_its_trace_id() {
    let receiver = Receiver::start().await;
    let world = World::serve(traced(receiver.addr)).await;
    let answer =
        world.post_with("/api/v1/restores", &requests::free_disk(), &[("traceparent", &parent(false))]).await;
    assert_eq!(answer.status, 202);
    for request in
        world.arrived().await.iter().filter(|request| request["headers"]["traceparent"].is_string())
    {
        let (trace, _, flags) = traceparent(request);
        assert_eq!((trace.as_str(), flags.as_str()), (TRACE, "00"));
    }
    assert_eq!(traceparent(&world.sent().await[0]).0, TRACE);
    // Whoever sends no context, or a broken one, gets a trace of its own.
    for (n, broken) in [
        "",
        "00-0-0-0",
        "ff-x",
        &format!("00-{}-{CALLER}-01", "0".repeat(32)),
        &format!("00-{TRACE}-{}-01", "0".repeat(16)),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("k{n}");
        let path = "/api/v1/restore-checks";
        let before = world.arrived().await.len();
        world
            .post_with(path, &requests::cbr_server(), &[("traceparent", broken), ("idempotency-key", &key)])
            .await;
        // The disk that is restored meanwhile is followed at VBS.
        let arrived = world.arrived().await;
        let of_cbr = |request: &&Value| request["path"].as_str().is_some_and(|path| path.starts_with("/v3/"));
        let asked: Vec<&Value> = arrived[before..].iter().filter(of_cbr).collect();
        assert!(!asked.is_empty(), "{broken}: CBR was asked");
        for request in asked {
            let (trace, span, _) = traceparent(request);
            assert!(
                trace != "0".repeat(32) && span != "0".repeat(16) && trace != TRACE,
                "{broken}: {request}"
            );
        }
    }
    // The proof that nothing was recorded: a later span arrives, alone.
    world.http.send(Method::GET, &world.url("/docs"), &[("traceparent", &parent(true))], "").await;
    let spans = until(&receiver, |spans| !spans.is_empty()).await;
    let docs = &spans[0];
    assert_eq!((docs.trace_id.as_str(), docs.parent_id.as_str()), (TRACE, CALLER));
    assert_eq!(spans.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), ["GET /docs"]);
    world.end().await;
}

#[tokio::test]
async fn a_gateway_without_a_collector_does_not_break_a_callers_trace() {
    // W3C: the sampled flag may be changed only together with the id of the parent.
    let world = World::with(TestConfig::default().set("telemetry.sample_ratio", "0.0")).await;
    let answer =
        world.post_with("/api/v1/restores", &requests::free_disk(), &[("traceparent", &parent(true))]).await;
    assert_eq!(answer.status, 202);
    let (trace, span, flags) = traceparent(&world.sent().await[0]);
    assert_eq!(trace, TRACE);
    assert!(flags == "01" || span != CALLER, "{trace} {span} {flags}");
    world.end().await;
}

#[tokio::test]
async fn a_broken_parent_is_no_parent() {
    let receiver = Receiver::start().await;
    let world = World::serve(traced(receiver.addr).set("telemetry.sample_ratio", "1.0")).await;
    for broken in ["nonsense", "00-0-0-0", ""] {
        world.http.send(Method::GET, &world.url("/docs"), &[("traceparent", broken)], "").await;
    }
    let spans = until(&receiver, |spans| spans.len() == 3).await;
    assert!(spans.iter().all(|span| span.parent_id.is_empty()), "{spans:?}");
    world.end().await;
}

#[tokio::test]
async fn f39_a_collector_that_never_answers_costs_nothing_but_its_spans() {
    // It accepts, and that is all it ever does.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let accepting = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            held.push(socket);
        }
    });
    let config = traced(addr)
        .set("telemetry.sample_ratio", "1.0")
        .set("telemetry.max_queued_spans", "16")
        .set("telemetry.export_timeout_seconds", "1");
    let mut world = World::serve(config).await;
    for _ in 0..400 {
        assert_eq!(world.get("/api/v1/capabilities").await.status, 200);
    }
    let restore = world.submit(&requests::free_disk()).await;
    assert_eq!(restore.status, 202);
    world.until_status(restore.json()["id"].as_str().expect("an id"), "succeeded").await;
    let end = Instant::now() + DEADLINE;
    loop {
        let page = world.admin("/metrics").await.text();
        let count = |outcome: &str| {
            let line = format!("restore_gateway_telemetry_spans_total{{outcome=\"{outcome}\"}} ");
            page.lines().find_map(|text| text.strip_prefix(&line)?.parse::<u64>().ok())
        };
        let (exported, dropped, failed) = (count("exported"), count("dropped"), count("failed"));
        if dropped > Some(0) && failed > Some(0) {
            assert_eq!(exported, Some(0));
            break;
        }
        assert!(Instant::now() < end, "{page}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (status, log, _folder) = world.ended_by("TERM").await;
    assert_eq!(status.code(), Some(0), "{log}");
    accepting.abort();
    world.end().await;
}

#[tokio::test]
async fn a_line_of_the_access_log_carries_the_request_id_of_its_answer() {
    let mut world = World::serve(TestConfig::default().set("telemetry.access_log", "true")).await;
    let evil = [("x-request-id", "evil"), ("user-agent", "a\" b"), ("traceparent", "00-evil")];
    let answer =
        world.http.send(Method::GET, &world.url("/api/v1/restores/0%0a%0d%22?a=evil"), &evil, "").await;
    assert_eq!(answer.status, 404);
    let (_, log, _folder) = world.ended_by("TERM").await;
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    let line = lines.iter().find(|line| line["target"] == "restore_gateway::access").expect("a line");
    assert_eq!(line["request_id"], answer.header("x-request-id"), "{line}");
    assert_eq!(
        (&line["http.route"], &line["http.response.status_code"]),
        (&json!("/api/v1/restores/{id}"), &json!(404))
    );
    assert!(line["trace_id"].as_str().is_some_and(|trace| trace.len() == 32));
    assert!(!log.contains("evil"), "{log}");
    world.end().await;
}

/// S58: on a listener with callers a `traceparent` counts once it is known whose it is.
#[tokio::test]
async fn s58_a_strangers_trace_reaches_no_span_and_no_line() {
    let receiver = Receiver::start().await;
    let key = "rgk_known-0123456789abcdef0123456789abcdef01";
    let known = format!(
        "[[callers]]\nname = \"known\"\ntype = \"api-key\"\nkey_hash = \"{}\"\n[[policies]]\ncallers = [\"known\"]\nactions = \
         [\"restore\", \"read\"]\n",
        crate::auth::callers::hash(key)
    );
    let mut world = World::serve(traced(receiver.addr).and(&known)).await;
    let parent = parent(true);
    for _ in 0..200 {
        let headers = [("x-api-key", "rgk_nobody"), ("traceparent", parent.as_str())];
        let answer = world.http.send(Method::GET, &world.url("/api/v1/restores"), &headers, "").await;
        assert_eq!(answer.status, 401);
    }
    let headers = [
        ("x-api-key", key),
        ("traceparent", parent.as_str()),
        ("x-auth-token", ids::TOKEN),
        ("content-type", "application/json"),
    ];
    let body = requests::free_disk().to_string();
    let answer = world.http.send(Method::POST, &world.url("/api/v1/restores"), &headers, body).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let spans = until(&receiver, |spans| spans.iter().any(|span| span.name == "POST /api/v1/restores")).await;
    let served: Vec<_> = spans.iter().filter(|span| span.parent_id == CALLER).collect();
    assert_eq!(served.len(), 1, "the caller's own request alone: {spans:#?}");
    assert_eq!((served[0].name.as_str(), served[0].trace_id.as_str()), ("POST /api/v1/restores", TRACE));
    assert_eq!(traceparent(&world.sent().await[0]).0, TRACE);
    let (_, log, _) = world.ended_by("TERM").await;
    let refused: Vec<&str> = log.lines().filter(|line| line.contains("unauthenticated")).collect();
    assert!(!refused.is_empty() && !refused.iter().any(|line| line.contains(TRACE)), "{refused:#?}");
    let own =
        log.lines().filter(|line| line.contains("restore_gateway::audit") && line.contains(TRACE)).count();
    assert!(own > 0, "the audit of the caller names its trace: {log}");
    world.end().await;
}
