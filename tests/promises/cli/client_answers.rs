//! What the command line makes of answers that are none of a gateway, of silence, and of what only a person ends: it never
//! says of a restore or a decision what nobody knows.

use std::process::{Output, Stdio};
use std::time::Duration;

use restore_tests::{TestConfig, World, binary, ids, requests};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::Instant;

use crate::cli::client::{client, file, lines, run, says, told};
use crate::operations::operator::{hasty, waiting};

const ID: &str = "0199a7c4-8d5e-7c21-9f0e-5b1f3a2d4c6e";
/// Where nobody listens.
const NOBODY: &str = "http://127.0.0.1:9";

const SUBMIT: [&str; 11] = [
    "restore",
    "submit",
    "--yes",
    "--key",
    "k",
    "--project",
    ids::PROJECT,
    "--backup",
    ids::FREE.0,
    "--volume",
    ids::FREE.1,
];
const RESOLVE: [&str; 9] = ["restore", "resolve", ID, "--as", "applied", "--by", "ada", "--reason", "looked"];
const CONFIRM: [&str; 6] = ["recovery", "confirm", "--by", "ada", "--reason", "compared"];

/// A command that asks this, wherever it asks.
async fn asking(url: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).env("RESTORE_CLIENT_URL", url).env("RESTORE_CLIENT_ADMIN_URL", url);
    run(&mut command).await
}

fn answer(status: u16, kind: &str, body: &str) -> &'static str {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .leak()
}

fn json_answer(status: u16, body: &Value) -> &'static str {
    answer(status, "application/json", &body.to_string())
}

async fn always(answer: &'static str) -> String {
    says(vec![answer].leak()).await
}

/// What takes connections and says nothing.
async fn silent() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            held.push(socket);
        }
    });
    url
}

#[tokio::test]
async fn any_page_with_200_is_not_an_answer() {
    let login = always(json_answer(200, &json!({"message": "please log in"}))).await;
    let page = always(answer(200, "text/html", "<html>please log in</html>")).await;
    let words = &SUBMIT[5..];
    let (check, preview) =
        ([&["restore", "check"], words].concat(), [&["restore", "preview"], words].concat());
    let no_wait = [&SUBMIT[..], &["--no-wait"]].concat();
    let in_time = [&SUBMIT[..], &["--timeout", "3"]].concat();
    for url in [&login, &page] {
        for arguments in [
            &no_wait[..],
            &in_time,
            &check,
            &preview,
            &["restore", "status", ID],
            &["restore", "wait", ID],
            &["restore", "list"],
            &["restore", "cancel", ID],
            &["restore", "export", ID],
            &RESOLVE,
            &CONFIRM,
            &["recovery", "status"],
            &["restore", "triage"],
            &["compat", "usage"],
            &["check-health"],
            &["check-health", "--ready"],
        ] {
            let output = asking(url, arguments).await;
            let said = told(&output);
            assert_eq!(output.status.code(), Some(4), "{arguments:?}: {said}");
            assert!(output.stdout.is_empty(), "{arguments:?}: {said}");
            assert!(said.contains("unexpected response with HTTP status 200"), "{arguments:?}: {said}");
            // A decision about a restore is sent only after the restore was read.
            let recorded = arguments.contains(&"cancel") || arguments.contains(&"confirm");
            assert_eq!(said.contains("may have recorded it"), recorded, "{arguments:?}: {said}");
            let key = arguments.contains(&"submit");
            assert_eq!(said.contains("submit it again with --key k"), key, "{arguments:?}: {said}");
        }
    }
    // Accepted, and the outcome is unknown: a script must not take that for a success.
    for (status, code) in [("unknown", 4), ("running", 0), ("succeeded", 0), ("failed", 1)] {
        let url = always(json_answer(202, &json!({"id": ID, "status": status}))).await;
        let output = asking(&url, &no_wait).await;
        assert_eq!(output.status.code(), Some(code), "{status}: {}", told(&output));
    }
    // A restore in a state that nobody knows, and another one than was asked for.
    let other = "0199a7c4-8d5e-7c21-9f0e-5b1f3a2d4c6f";
    for body in [json!({"id": ID, "status": "paused"}), json!({"id": other, "status": "cancelled"})] {
        let url = always(json_answer(200, &body)).await;
        for arguments in [["restore", "cancel", ID], ["restore", "status", ID]] {
            let output = asking(&url, &arguments).await;
            assert_eq!(output.status.code(), Some(4), "{arguments:?} {body}: {}", told(&output));
        }
    }
    let url = always(json_answer(200, &json!({"restores": [], "next_cursor": "abc"}))).await;
    let output = asking(&url, &["restore", "list"]).await;
    assert_eq!(output.status.code(), Some(4), "{}", told(&output));
    assert!(told(&output).contains("repeats a page"), "{}", told(&output));
}

#[tokio::test]
async fn a_decision_whose_answer_is_lost_may_stand() {
    let proxy = always(answer(504, "text/html", "<h1>504</h1>")).await;
    let cut = always("").await;
    for url in [&proxy, &cut] {
        for (arguments, look) in [
            (&["restore", "cancel", ID][..], format!("restore-gateway restore status {ID}")),
            (&CONFIRM, "restore-gateway recovery status".to_owned()),
        ] {
            let output = asking(url, arguments).await;
            assert_eq!(output.status.code(), Some(4), "{arguments:?}: {}", told(&output));
            let said = format!("the gateway may have recorded it; check with: {look}");
            assert!(told(&output).contains(&said), "{arguments:?}: {}", told(&output));
        }
    }
    // Where nobody is, nothing was sent.
    for arguments in [
        &RESOLVE[..],
        &CONFIRM,
        &["restore", "cancel", ID],
        &["restore", "status", ID],
        &["restore", "wait", ID],
        &["restore", "wait", ID, "--timeout", "1"],
        &["restore", "list"],
        &["restore", "triage"],
        &["compat", "usage"],
        &["check-health"],
        &["recovery", "status"],
    ] {
        let output = asking(NOBODY, arguments).await;
        assert_eq!(output.status.code(), Some(5), "{arguments:?}: {}", told(&output));
        assert!(!told(&output).contains("recorded"), "{arguments:?}: {}", told(&output));
    }
}

/// Answers one request after the other; the requests that came.
async fn answers_in_turn(answers: Vec<String>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let server = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut requests = Vec::new();
        for answer in answers {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            let mut buffer = vec![0; 8192];
            let read = socket.read(&mut buffer).await.unwrap_or(0);
            requests.push(String::from_utf8_lossy(&buffer[..read]).into_owned());
            let _ = socket.write_all(answer.as_bytes()).await;
        }
        requests
    });
    (url, server)
}

#[tokio::test]
async fn resolve_decides_about_the_state_that_it_showed() {
    let restore = |status: &str| json!({"id": ID, "status": status, "needs_operator": status == "unknown"});
    let shown = json_answer(200, &restore("unknown")).replacen("\r\n", "\r\netag: \"7\"\r\n", 1);
    let changed = json!({
        "title": "the restore has changed", "code": "restore_changed", "detail": "read it again",
        "effect": "none", "status": 412,
    });
    let now = json_answer(200, &restore("succeeded")).to_owned();
    let changed = json_answer(412, &changed).to_owned();
    let (url, server) = answers_in_turn(vec![shown.clone(), changed, now]).await;
    let output = asking(&url, &RESOLVE).await;
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    assert!(told(&output).contains("status    unknown"), "{}", told(&output));
    assert!(told(&output).contains("the restore changed after this command read it"), "{}", told(&output));
    assert!(told(&output).contains("\"status\": \"succeeded\""), "{}", told(&output));
    let requests = server.await.expect("three requests");
    assert!(requests[0].starts_with(&format!("GET /restores/{ID} ")), "{requests:?}");
    assert!(requests[1].starts_with(&format!("POST /restores/{ID}/resolution ")), "{requests:?}");
    assert!(requests[1].contains("if-match: \"7\""), "{requests:?}");

    // A decision without a response may be recorded.
    for lost in [answer(504, "text/html", "<h1>504</h1>"), ""] {
        let (url, server) = answers_in_turn(vec![shown.clone(), lost.to_owned()]).await;
        let output = asking(&url, &RESOLVE).await;
        assert_eq!(output.status.code(), Some(4), "{}", told(&output));
        let check =
            format!("the gateway may have recorded it; check with: restore-gateway restore status {ID}");
        assert!(told(&output).contains(&check), "{}", told(&output));
        server.await.expect("two requests");
    }
}

#[tokio::test]
async fn triage_prints_the_next_command_of_each_restore() {
    let restore = json!({
        "id": ID, "status": "unknown", "needs_operator": true, "submitted_at": "2026-11-22T10:00:00Z",
        "target": {"type": "volume", "volume_id": "v1"}, "error": {"detail": "HTTP status 504"},
    });
    let found = json!({"needs_operator": [restore], "overdue": [], "recovery": null});
    let url = always(json_answer(200, &found)).await;
    let output = asking(&url, &["restore", "triage"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let printed: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(printed, found);
    let output = asking(&url, &["restore", "triage", "--output", "text"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let next = format!("HTTP status 504  restore-gateway restore resolve {ID} --as ");
    assert!(told(&output).contains(&next), "{}", told(&output));
}

#[tokio::test]
async fn a_look_that_fails_says_nothing_of_what_was_changed() {
    let problem = json!({
        "title": "no restore has this id", "code": "restore_not_found", "detail": "nothing was sent",
        "effect": "none", "status": 404,
    });
    let url = always(json_answer(404, &problem)).await;
    for arguments in [["restore", "status", ID], ["restore", "wait", ID], ["restore", "export", ID]] {
        let output = asking(&url, &arguments).await;
        let said = told(&output);
        assert_eq!(output.status.code(), Some(4), "{arguments:?}: {said}");
        assert!(said.contains("error: no restore has this id"), "{said}");
        assert!(said.contains(&format!("the state of the restore is not known; its ID is {ID}")), "{said}");
        assert!(!said.contains("effect") && !said.contains("nothing was"), "{said}");
    }
}

#[tokio::test]
async fn a_time_that_is_given_is_kept() {
    let url = silent().await;
    for (arguments, code, word) in [
        (&["restore", "wait", ID, "--timeout", "2"][..], 5, "timeout waiting for a response"),
        (&[&SUBMIT[..], &["--timeout", "2"]].concat(), 4, "submit it again with --key k"),
    ] {
        let begin = Instant::now();
        let output = asking(&url, arguments).await;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", told(&output));
        assert!(told(&output).contains(word), "{arguments:?}: {}", told(&output));
        assert!(begin.elapsed() < Duration::from_secs(20), "{arguments:?}: {:?}", begin.elapsed());
    }
    // One that no clock reaches is none.
    let world = World::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let request = file(&folder, &requests::free_disk());
    let submit = ["submit", &request, "--yes", "--timeout", "18446744073709551615"];
    let output = run(&mut client(&world, &submit)).await;
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(world.applied().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn what_a_person_must_end_is_not_waited_for() {
    let world = World::with(hasty()).await;
    let stall = json!([{"match": {"method": "POST", "path": "*/restore"}, "stall": true, "applied": false}]);
    world.faults(stall).await;
    let folder = tempfile::tempdir().expect("a folder");
    let request = file(&folder, &requests::free_disk());
    let text = ["submit", &request, "--yes", "--key", "k", "--output", "text"];
    let output = run(&mut client(&world, &text)).await;
    assert_eq!(output.status.code(), Some(4), "{}", told(&output));
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains("status    unknown"), "{shown}");
    assert!(
        shown.contains("an operator must check the target, then run: restore-gateway restore resolve 0"),
        "{shown}"
    );
    assert!(!told(&output).contains("goes on"), "{}", told(&output));
    let id = shown.lines().find_map(|line| line.strip_prefix("restore   ")).expect("an id").to_owned();
    let output = run(&mut client(&world, &["wait", &id, "--output", "json"])).await;
    assert_eq!(output.status.code(), Some(4), "{}", told(&output));
    assert_eq!(lines(&output)[0]["needs_operator"], true);
    let told_to = format!("restore-gateway restore resolve {id}");
    assert!(String::from_utf8_lossy(&output.stderr).contains(&told_to), "{}", told(&output));
    world.end().await;
}

#[tokio::test]
async fn a_client_that_stops_waiting_learns_how_to_continue() {
    let world = World::with(TestConfig::default()).await;
    world.behave(json!({"restore_seconds": 600})).await;
    let folder = tempfile::tempdir().expect("a folder");
    let request = file(&folder, &requests::free_disk());
    let mut command = client(&world, &["submit", &request, "--yes", "--output", "text"]);
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().expect("it runs");
    let mut said = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let stopped = async {
        let mut id = None;
        let mut words = Vec::new();
        while let Some(line) = said.next_line().await.expect("its words") {
            if let Some(told) = line.strip_prefix("restore ") {
                id = Some(told.to_owned());
                let pid = child.id().expect("it runs").to_string();
                let killed = Command::new("kill").args(["-s", "INT", &pid]).status().await;
                assert!(killed.expect("kill").success());
            }
            words.push(line);
        }
        let id = id.expect("its ID as soon as it is accepted");
        let go_on = format!("restore-gateway restore wait {id}");
        assert!(words.iter().any(|line| line.contains(&go_on)), "{words:?}");
        assert_eq!(child.wait().await.expect("an end").code(), Some(4), "{words:?}");
    };
    tokio::time::timeout(Duration::from_secs(60), stopped).await.expect("it ends");
    world.end().await;
}

#[tokio::test]
async fn calling_off_says_what_became_of_it() {
    let refusal = |status: &str, effect: &str| {
        let detail = format!("restore {ID} is {status}");
        json!({"title": "t", "code": "not_cancellable", "detail": detail, "effect": effect, "status": 409})
    };
    let restore = |status: &str| json_answer(200, &json!({"id": ID, "status": status}));
    for (refused, stands, code) in [
        (refusal("cancelled", "none"), "cancelled", 0),
        (refusal("running", "possible"), "running", 4),
        (refusal("succeeded", "done"), "succeeded", 1),
        (refusal("expired", "none"), "expired", 3),
    ] {
        let url = says(vec![json_answer(409, &refused), restore(stands)].leak()).await;
        let output = asking(&url, &["restore", "cancel", ID]).await;
        assert_eq!(output.status.code(), Some(code), "{stands}: {}", told(&output));
        assert_eq!(told(&output).contains("cancelled before"), stands == "cancelled", "{}", told(&output));
    }
    let output = asking(&always(restore("cancelled")).await, &["restore", "cancel", ID]).await;
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));

    // And of a real one that is under way, also where a person's word is asked for too early.
    let world = World::with(TestConfig::default()).await;
    world.behave(json!({"restore_seconds": 600})).await;
    let id = world.submit(&requests::free_disk()).await.json()["id"].as_str().expect("an id").to_owned();
    world.until_status(&id, "running").await;
    // A short time is enough to be told that it goes on.
    for seconds in ["0", "1"] {
        let output = run(&mut client(&world, &["wait", &id, "--timeout", seconds])).await;
        assert_eq!(output.status.code(), Some(4), "{}", told(&output));
        assert_eq!(lines(&output)[0]["status"], "running", "{}", told(&output));
    }
    let output = run(&mut client(&world, &["cancel", &id])).await;
    assert_eq!(output.status.code(), Some(4), "{}", told(&output));
    let admin = format!("http://{}", world.gateway.admin());
    let decision = ["--as", "applied", "--by", "ada", "--reason", "hurry", "--admin-url", &admin];
    let resolve = [&["restore", "resolve", &id], &decision[..]].concat();
    let output = asking(&admin, &resolve).await;
    assert_eq!(output.status.code(), Some(4), "{}", told(&output));
    assert!(told(&output).contains("effect: possible"), "{}", told(&output));
    assert!(!told(&output).contains("may have recorded it"), "{}", told(&output));
    world.end().await;
}

/// A gateway that does not live, is not ready, or has gone away is told apart from one that has something to attend to.
#[tokio::test]
async fn a_watchdog_sees_the_reason() {
    let world = World::with(hasty()).await;
    let admin = format!("http://{}", world.gateway.admin());
    for arguments in [
        &["check-health"][..],
        &["check-health", "--ready"],
        &["restore", "triage"],
        &["compat", "usage"],
        &["recovery", "status"],
    ] {
        let output = asking(&admin, arguments).await;
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", told(&output));
    }
    waiting(&world).await;
    assert_eq!(asking(&admin, &["restore", "triage"]).await.status.code(), Some(1));
    world.end().await;
    assert_eq!(asking(&admin, &["restore", "triage"]).await.status.code(), Some(5));
    let stopping = json!({"ready": false, "reasons": ["the gateway is stopping"]});
    let output = asking(&always(json_answer(503, &stopping)).await, &["check-health", "--ready"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("the gateway is stopping"), "{}", told(&output));
}
