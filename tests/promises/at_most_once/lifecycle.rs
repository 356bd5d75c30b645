//! The life of a process and of a restore in it: stops, kills, restarts, waits, and what a caller
//! can still do when.

use std::process::Stdio;
use std::time::Duration;

use http::Method;
use restore_tests::raw::{Raw, post};
use restore_tests::{Answer, TestConfig, World, binary, ids, requests};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

/// Longest wait for something that must happen.
const DEADLINE: Duration = Duration::from_secs(30);
const CBR: &str = "/v3/*/backups/*/restore";

fn id(restore: &Value) -> String {
    restore["id"].as_str().unwrap_or_else(|| panic!("no id in {restore}")).to_owned()
}

/// Waits until the clouds have got so many restore calls.
async fn until_sent(world: &World, count: usize) {
    let end = Instant::now() + DEADLINE;
    while world.sent().await.len() < count {
        assert!(Instant::now() < end, "{count} sends did not arrive");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Submits in a task of its own, for a restore that is not answered soon.
fn submit_apart(world: &World, request: &Value) -> tokio::task::JoinHandle<Result<Answer, String>> {
    let (http, url, body) = (world.http.clone(), world.url("/api/v1/restores"), request.to_string());
    tokio::spawn(async move {
        let headers = [("x-auth-token", ids::TOKEN), ("content-type", "application/json")];
        http.try_send(Method::POST, &url, &headers, body).await
    })
}

fn quick() -> TestConfig {
    TestConfig::default()
        .set("polling.absence_confirmation_seconds", "1")
        .set("polling.operator_escalation_seconds", "20")
        .set("limits.shutdown_timeout_seconds", "20")
}

/// A ledger that accepts the connection and says nothing keeps the gateway at its start.
#[tokio::test]
async fn f35_a_stop_is_heard_before_the_gateway_is_up() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let ledger = format!("\"postgres://gateway@{}/ledger\"", silent.local_addr().expect("an address"));
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("gateway.toml");
    std::fs::write(&config, TestConfig::default().set("ledger.url", &ledger).toml("http://127.0.0.1:9"))
        .expect("settings are written");
    let mut gateway = tokio::process::Command::new(binary())
        .args(["serve", "--config"])
        .arg(&config)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the gateway runs");
    let _held =
        tokio::time::timeout(DEADLINE, silent.accept()).await.expect("it starts").expect("a connection");
    let id = gateway.id().expect("a running process").to_string();
    let told = tokio::process::Command::new("kill").args(["-s", "TERM", &id]).status().await;
    assert!(told.expect("kill runs").success());
    let status = tokio::time::timeout(DEADLINE, gateway.wait()).await.expect("it ends").expect("a status");
    let mut said = String::new();
    gateway.stderr.take().expect("a pipe").read_to_string(&mut said).await.expect("text");
    assert!(status.success(), "{status}: {said}");
    assert!(said.contains("stop signal received during the start"), "{said}");
}

#[tokio::test]
async fn f35_a_stop_lets_a_send_finish_and_be_written_down() {
    let mut world = World::serve(quick()).await;
    world
        .faults(json!([{"match": {"method": "POST", "path": CBR}, "delay_ms": 1500, "applied": true}]))
        .await;
    let running = world.submit(&requests::free_disk()).await.json();
    // A connection that is open already, and one whose request has begun.
    let mut idle = Raw::open(world.gateway.api()).await;
    idle.send("GET /api/v1/capabilities HTTP/1.1\r\nHost: gateway\r\n\r\n").await;
    assert_eq!(idle.answer().await.expect("an answer").status, 200);
    let submitted = submit_apart(&world, &requests::cbr_server());
    until_sent(&world, 2).await;
    let api = world.gateway.api();

    world.process().signal("TERM").await;
    // Nothing new is taken: the compatibility endpoint closes, and open connections with it.
    let end = Instant::now() + DEADLINE;
    while tokio::net::TcpStream::connect(api).await.is_ok() {
        assert!(Instant::now() < end, "connections are still accepted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let late = requests::csbs_server().to_string();
    idle.send(post(&format!("Content-Length: {}\r\n", late.len()), &late)).await;
    assert!(idle.answer().await.is_none_or(|answer| answer.status == 503), "a restore was taken in");

    // Who waits for the send is answered by its outcome.
    let answer = submitted.await.expect("a task").expect("an answer");
    assert_eq!(
        (answer.status, answer.json()["status"].as_str()),
        (202, Some("running")),
        "{}",
        answer.text()
    );
    let (status, log, folder) = world.ended_by("TERM").await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("stopped"), "{log}");

    // It is in the ledger, and goes on.
    world.again_in(folder).await;
    for restore in [answer.json(), running] {
        let history = world.history(&id(&restore)).await;
        assert!(history.contains(&"started".to_owned()), "{history:?}");
        world.until_status(&id(&restore), "succeeded").await;
    }
    assert_eq!(world.sent().await.len(), 2);
    assert_eq!(world.applied().await.len(), 2);
    world.end().await;
}

#[tokio::test]
async fn a_stop_answers_those_who_wait_and_does_not_wait_for_restores() {
    let mut world = World::serve(quick().set("limits.shutdown_timeout_seconds", "10")).await;
    world.behave(json!({"restore_seconds": 600})).await;
    let restore = world.submit(&requests::free_disk()).await.json();
    let path = format!("/api/v1/restores/{}", id(&restore));
    let (http, url) = (world.http.clone(), world.url(&path));
    let waiting = tokio::spawn(async move {
        http.try_send(Method::GET, &url, &[("x-auth-token", ids::TOKEN), ("prefer", "wait=60")], "").await
    });
    // It waits once the gateway has it: the page of metrics counts connections.
    let mut probe = Raw::open(world.gateway.api()).await;
    probe.send("GET /api/v1/capabilities HTTP/1.1\r\nHost: gateway\r\n\r\n").await;
    assert_eq!(probe.answer().await.expect("an answer").status, 200);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished());
    let stopped = Instant::now();
    let (status, log, _folder) = world.ended_by("TERM").await;
    let answer = waiting.await.expect("a task").expect("an answer, not a broken connection");
    assert_eq!((answer.status, answer.json()["status"].as_str()), (200, Some("running")), "{log}");
    assert_eq!(status.code(), Some(0));
    println!("stopped {:?} after the signal", stopped.elapsed());
    assert!(log.contains("\"in_time\":true") && !log.contains("still open"), "{log}");
    world.end().await;
}

#[tokio::test]
async fn f4_i6_a_kill_while_it_is_being_sent_ends_nothing_and_reads_find_it() {
    let mut world = World::serve(quick()).await;
    world.faults(json!([{"match": {"method": "POST", "path": CBR}, "stall": true, "applied": true}])).await;
    let submitted = submit_apart(&world, &requests::cbr_server());
    until_sent(&world, 1).await;
    let (status, _, folder) = world.ended_by("KILL").await;
    assert_eq!(status.code(), None, "killed");
    assert!(submitted.await.expect("a task").is_err(), "the caller sees a broken connection");

    world.again_in(folder).await;
    let list = world.http.send(Method::GET, &world.url("/api/v1/restores"), &[], "").await.json();
    let restore = list["restores"][0].clone();
    assert_eq!(
        (restore["status"].as_str(), &restore["finished_at"]),
        (Some("unknown"), &Value::Null),
        "{restore}"
    );
    assert_eq!(
        (&restore["awaiting_credential"], restore["last_poll_failed_since"].is_string()),
        (&json!(true), true)
    );
    // The target is still held, and the same request is the same restore.
    let again = world.submit(&requests::cbr_server()).await;
    assert_eq!((again.header("idempotency-replayed"), &again.json()["id"]), ("true", &restore["id"]));
    let key = [("idempotency-key", "new")];
    let other = world.post_with("/api/v1/restores", &requests::cbr_server(), &key).await;
    assert_eq!((other.status, other.json()["code"].as_str()), (409, Some("target_busy")));

    let restore = world.until_status(&id(&restore), "succeeded").await;
    assert_eq!(restore["upstream"]["task"]["kind"], "operation_log", "{restore}");
    let history = world.history(&id(&restore)).await;
    assert_eq!(history.iter().filter(|word| *word == "submitting").count(), 1, "{history:?}");
    assert_eq!(world.sent().await.len(), 1);
    assert_eq!(world.applied().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn f3_a_kill_before_anything_was_applied_ends_as_not_applied_and_is_not_sent_again() {
    // The window of absence counts from the longest send, which is 30 s unless told otherwise.
    let routes = "[[upstreams]]\nname = \"cbr\"\ngeneration = \"cbr-v3\"\nendpoint = \"{clouds}\"\nsend_timeout_seconds = 1\n[[routes]]\nupstream = \"cbr\"\n";
    let mut world = World::serve(quick().routes(routes)).await;
    world.faults(json!([{"match": {"method": "POST", "path": CBR}, "stall": true, "applied": false}])).await;
    let submitted = submit_apart(&world, &requests::cbr_server());
    until_sent(&world, 1).await;
    let (_, _, folder) = world.ended_by("KILL").await;
    drop(submitted);
    world.again_in(folder).await;
    let id = id(&world.get("/api/v1/restores").await.json()["restores"][0]);
    world.until_status(&id, "not_applied").await;
    assert_eq!(world.sent().await.len(), 1);
    assert!(world.applied().await.is_empty());
    world.end().await;
}

#[tokio::test]
async fn a_running_restore_survives_the_process_and_continues_with_the_next_token() {
    for request in [requests::cbr_server(), requests::free_disk()] {
        let mut world = World::serve(quick()).await;
        let restore = world.submit(&request).await.json();
        assert_eq!(restore["status"], "running");
        let path = format!("/api/v1/restores/{}", id(&restore));
        let (_, _, folder) = world.ended_by("KILL").await;
        world.again_in(folder).await;
        let stored = world.http.send(Method::GET, &world.url(&path), &[], "").await.json();
        assert_eq!(
            (stored["status"].as_str(), &stored["awaiting_credential"]),
            (Some("running"), &json!(true))
        );
        assert!(stored["last_poll_failed_since"].is_string());
        let done = world.until_status(&id(&restore), "succeeded").await;
        assert!(done["last_poll_failed_since"].is_null(), "{done}");
        assert_eq!(world.applied().await.len(), 1);
        // And what is final stays so over a further start.
        let (_, _, folder) = world.ended_by("KILL").await;
        world.again_in(folder).await;
        let stored = world.http.send(Method::GET, &world.url(&path), &[], "").await.json();
        assert_eq!((&stored["status"], &stored["finished_at"]), (&done["status"], &done["finished_at"]));
        world.end().await;
    }
}

#[tokio::test]
async fn memory_of_an_idle_process_is_reported() {
    let world = World::serve(TestConfig::default()).await;
    assert_eq!(world.admin("/readyz").await.status, 200);
    // A figure, not a promise of a debug build.
    println!("idle: {} KiB resident", world.process().resident_kib());
    world.end().await;
}

#[tokio::test]
async fn prefer_wait_answers_with_the_end() {
    let world = World::new().await;
    let wait = [("prefer", "wait=60")];
    let done = world.post_with("/api/v1/restores", &requests::free_disk(), &wait).await;
    assert_eq!((done.status, done.json()["status"].as_str()), (200, Some("succeeded")), "{}", done.text());
    // Waiting for what goes on longer than that ends with what is known.
    world.behave(json!({"restore_seconds": 600})).await;
    let short = world.post_with("/api/v1/restores", &requests::cbr_server(), &[("prefer", "wait=1")]).await;
    assert_eq!((short.status, short.json()["status"].as_str()), (202, Some("running")));
    assert!(!short.header("retry-after").is_empty());
    // A waiting GET is answered when the end comes.
    let path = format!("/api/v1/restores/{}", id(&short.json()));
    let (http, url) = (world.http.clone(), world.url(&path));
    let waiting = tokio::spawn(async move {
        http.send(
            Method::GET,
            &url,
            &[("x-auth-token", ids::TOKEN), ("prefer", "respond-async, wait=60")],
            "",
        )
        .await
    });
    world.advance(601).await;
    let answer = waiting.await.expect("an answer");
    assert_eq!((answer.status, answer.json()["status"].as_str()), (200, Some("succeeded")));
    world.end().await;
}

#[tokio::test]
async fn a_restore_can_be_cancelled_until_it_is_sent() {
    let world = World::new().await;
    // The read before it takes its time.
    world.faults(json!([{"match": {"method": "GET"}, "delay_ms": 3000}])).await;
    let submitted = submit_apart(&world, &requests::csbs_server());
    let end = Instant::now() + DEADLINE;
    let restore = loop {
        let list = world.get("/api/v1/restores").await.json();
        if let Some(restore) = list["restores"].as_array().and_then(|restores| restores.first()) {
            break restore.clone();
        }
        assert!(Instant::now() < end, "nothing was taken in");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(restore["status"], "checking");
    let path = format!("/api/v1/restores/{}", id(&restore));
    let delete = async || {
        world.http.send(Method::DELETE, &world.url(&path), &[("x-auth-token", ids::TOKEN)], "").await
    };
    let cancelled = delete().await;
    assert_eq!((cancelled.status, cancelled.json()["status"].as_str()), (200, Some("cancelled")));
    let answer = submitted.await.expect("a task").expect("an answer");
    assert_eq!((answer.status, answer.json()["status"].as_str()), (200, Some("cancelled")));
    // The read comes back, and nothing follows from it: the target is free for another.
    assert_eq!(delete().await.status, 409);
    let again = world.post_with("/api/v1/restores", &requests::csbs_server(), &[("prefer", "wait=30")]).await;
    assert_eq!(again.json()["status"], "succeeded", "{}", again.text());
    assert_eq!(world.sent().await.len(), 1, "only the second was sent");
    assert_eq!(world.get(&path).await.json()["status"], "cancelled");
    world.end().await;
}

#[tokio::test]
async fn a_sent_restore_cannot_be_cancelled_and_reports_its_effect() {
    let world = World::new().await;
    let delete = async |id: &str| {
        let url = world.url(&format!("/api/v1/restores/{id}"));
        let answer = world.http.send(Method::DELETE, &url, &[("x-auth-token", ids::TOKEN)], "").await;
        let problem = answer.json();
        assert_eq!((answer.status, problem["code"].as_str()), (409, Some("not_cancellable")), "{problem}");
        assert_eq!(problem["restore"], format!("/api/v1/restores/{id}"));
        problem["effect"].as_str().unwrap_or_default().to_owned()
    };
    let running = id(&world.submit(&requests::free_disk()).await.json());
    assert_eq!(delete(&running).await, "possible");
    world.until_status(&running, "succeeded").await;
    assert_eq!(delete(&running).await, "done");

    world.behave(json!({"next_restore": {"status": "failed", "error_code": "BackupService.9910", "error_msg": "m"}})).await;
    let failed = id(&world.submit(&requests::cbr_server()).await.json());
    let restore = world.until_status(&failed, "failed").await;
    assert_eq!(restore["error"]["effect"], "possible");
    assert_eq!(delete(&failed).await, "possible", "a failed restore may have overwritten disks");

    world
        .faults(json!([{"match": {"method": "POST", "path": CBR}, "answer": {"status": 400,
        "body": {"error_code": "BackupService.2010", "error_msg": "busy"}}}]))
        .await;
    let key = [("idempotency-key", "another-intent")];
    let refused = world.post_with("/api/v1/restores", &requests::cbr_server(), &key).await.json();
    let refused = refused["restore"]
        .as_str()
        .and_then(|path| path.rsplit('/').next())
        .unwrap_or_else(|| panic!("no link in {refused}"))
        .to_owned();
    assert_eq!(delete(&refused).await, "none");
    let unknown = world
        .http
        .send(Method::DELETE, &world.url("/api/v1/restores/0199a7c4-8d5e-7c21-9f0e-5b1f3a2d4c6e"), &[], "")
        .await;
    assert_eq!(unknown.status, 404);
    world.end().await;
}

#[tokio::test]
async fn s38_a_list_comes_in_pages_that_miss_and_repeat_nothing() {
    let world = World::with(TestConfig::default().set("limits.max_page_size", "3")).await;
    world.behave(json!({"extra_disks": 8})).await;
    let mut all = Vec::new();
    for n in 0..8 {
        all.push(id(&world.submit(&requests::extra_disk(n)).await.json()));
    }
    all.reverse();
    for limit in ["", "&limit=2", "&limit=1000000000"] {
        let mut seen: Vec<String> = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = world
                .get(&format!("/api/v1/restores?project_id={}{limit}{cursor}", ids::PROJECT))
                .await
                .json();
            let restores = page["restores"].as_array().expect("restores");
            assert!(restores.len() <= 3, "{}", restores.len());
            seen.extend(restores.iter().map(id));
            let Some(next) = page["next_cursor"].as_str() else { break };
            assert!(seen.len() <= all.len(), "it never ends");
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen, all, "newest first, each once {limit}");
    }
    let of = async |filter: String| {
        world.get(&format!("/api/v1/restores?{filter}")).await.json()["restores"].clone()
    };
    let target = of("target=D15C0000-0000-4000-8000-000000000003".to_owned()).await;
    assert_eq!(restore_tests::world::words(&target, "id"), [all[4].clone()]);
    assert_eq!(of(format!("project_id={}", "0".repeat(32))).await, json!([]));
    assert_eq!(of("status=failed,not_applied".to_owned()).await, json!([]));
    world.end().await;
}

#[tokio::test]
async fn what_has_not_changed_is_not_sent_again() {
    let world = World::new().await;
    let done = world.post_with("/api/v1/restores", &requests::free_disk(), &[("prefer", "wait=60")]).await;
    let path = format!("/api/v1/restores/{}", id(&done.json()));
    let shown = world.get(&path).await;
    let tag = shown.header("etag").to_owned();
    assert!(!tag.is_empty() && tag == done.header("etag"), "{tag}");
    let with = async |known: &str| {
        let headers = [("x-auth-token", ids::TOKEN), ("if-none-match", known)];
        world.http.send(Method::GET, &world.url(&path), &headers, "").await
    };
    for known in [tag.clone(), format!("W/{tag}"), format!("\"0\", {tag}"), "*".to_owned()] {
        let answer = with(&known).await;
        assert_eq!(
            (answer.status, answer.body.len(), answer.header("etag")),
            (304, 0, tag.as_str()),
            "{known}"
        );
    }
    assert_eq!(with("\"0\"").await.status, 200);
    world.end().await;
}

#[tokio::test]
async fn i12_every_event_has_its_cause_its_evidence_and_a_trace() {
    let world = World::new().await;
    for request in [requests::cbr_server(), requests::csbs_server(), requests::free_disk()] {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let parent = format!("00-{trace}-00f067aa0ba902b7-00");
        let restore = world.post_with("/api/v1/restores", &request, &[("traceparent", &parent)]).await.json();
        world.until_status(&id(&restore), "succeeded").await;
        let events = world.get(&format!("/api/v1/restores/{}/events", id(&restore))).await.json();
        let events = events["events"].as_array().expect("events").clone();
        assert!(events.len() >= 4, "{events:?}");
        for (event, seq) in events.iter().zip(1..) {
            assert_eq!(
                (event["seq"].as_u64(), event["trace_id"].as_str()),
                (Some(seq), Some(trace)),
                "{event}"
            );
            for member in ["event", "cause", "at"] {
                assert!(event[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {event}");
            }
            for member in ["kind", "strength", "observed_at"] {
                assert!(event["evidence"][member].is_string(), "{member}: {event}");
            }
        }
    }
    world.end().await;
}
