//! Configuration that is loaded while the gateway runs: taken whole or not at all, and never to the harm of what is under
//! way (F34).

use std::os::unix::fs::symlink;
use std::time::Duration;

use http::Method;
use restore_tests::{Http, Process, TestConfig, World, binary, ids, requests};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::streams::{LIST, Reader};

/// Everything goes to CBR, wherever that is.
fn all_to(cbr: &str) -> TestConfig {
    let routes = format!(
        r#"
[[upstreams]]
name = "{cbr}"
generation = "cbr-v3"
endpoint = "{{clouds}}"
evs_endpoint = "{{clouds}}/evs"
[[routes]]
upstream = "{cbr}"
"#
    );
    TestConfig::default().routes(&routes)
}

/// Which upstream a restore would go to.
async fn way(world: &World) -> Value {
    world.post("/api/v1/restore-previews", &requests::cbr_server()).await.json()["route"]["upstream"].clone()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn stands(world: &World) -> Value {
    world.admin("/readyz").await.json()["config"].clone()
}

#[tokio::test]
async fn a_changed_file_is_used_and_one_with_errors_is_not() {
    let world = World::with(all_to("one")).await;
    assert_eq!(way(&world).await, "one");
    let first = stands(&world).await["digest"].clone();
    world.rewrite(all_to("two"));
    until("the new file is in effect", async || way(&world).await == "two").await;
    until("replicas can be told apart", async || stands(&world).await["digest"] != first).await;

    world.rewrite_text("[[upstreams]]\nname = \"three\"\nnonsense = 1\n");
    until("the faults are told", async || !stands(&world).await["rejected"].is_null()).await;
    let ready = world.admin("/readyz").await;
    assert_eq!(ready.status, 200, "the settings in effect are good: {}", ready.text());
    // Told to everybody; the lines of the file are for operators.
    assert!(!ready.text().contains("nonsense"), "{}", ready.text());
    let why = world.admin("/config/rejected").await.json()["rejected"]["why"].to_string();
    assert!(why.contains("nonsense") && why.contains("generation"), "all faults at once: {why}");
    assert_eq!(way(&world).await, "two");
    let metrics = world.admin("/metrics").await.text();
    assert!(metrics.contains("\nrestore_gateway_config_last_reload_successful 0\n"), "{metrics}");
    assert!(metrics.contains("restore_gateway_config_reloads_total{outcome=\"rejected\"} 1"), "{metrics}");

    world.rewrite(all_to("two"));
    until("what is in effect is there again", async || stands(&world).await["rejected"].is_null()).await;
    let metrics = world.admin("/metrics").await.text();
    assert!(metrics.contains("\nrestore_gateway_config_last_reload_successful 1\n"), "{metrics}");
    world.end().await;
}

/// As Kubernetes does with a `ConfigMap`: the file is a link through a folder whose link is swapped.
#[tokio::test]
async fn a_mounted_folder_that_is_swapped_is_a_new_file() {
    let world = World::with(all_to("one")).await;
    let folder = world.process().folder().to_owned();
    let texts = [world.toml.clone(), world.toml.replace("\"one\"", "\"two\"")];
    for (version, text) in ["..v1", "..v2"].into_iter().zip(&texts) {
        std::fs::create_dir(folder.join(version)).unwrap();
        std::fs::write(folder.join(version).join("gateway.toml"), text).unwrap();
    }
    symlink("..v1", folder.join("..data")).unwrap();
    symlink("..data/gateway.toml", folder.join("link")).unwrap();
    std::fs::rename(folder.join("link"), world.process().config()).unwrap();
    assert_eq!(way(&world).await, "one");
    symlink("..v2", folder.join("..next")).unwrap();
    std::fs::rename(folder.join("..next"), folder.join("..data")).unwrap();
    until("the swapped folder is in effect", async || way(&world).await == "two").await;
    world.end().await;
}

#[tokio::test]
async fn a_signal_loads_the_configuration_and_ends_nothing() {
    let mut world = World::with(all_to("one")).await;
    world.rewrite(all_to("two"));
    world.process().signal("HUP").await;
    until("the signal was heard", async || way(&world).await == "two").await;
    let (status, log, _) = world.ended_by("TERM").await;
    assert!(status.success(), "{log}");
}

/// F34: the route and the upstream are gone; what was accepted for them is followed to its end, where it was accepted
/// for, and what comes later is refused.
#[tokio::test]
async fn f34_a_restore_keeps_the_route_that_it_was_accepted_under() {
    let world = World::with(all_to("old")).await;
    world.behave(json!({"restore_seconds": 600})).await;
    let restore = world.submit(&requests::cbr_server()).await.json();
    let id = restore["id"].as_str().expect("an id");
    world.until_status(id, "running").await;

    // The name stays, and is somewhere else now, where nobody is.
    world.rewrite_text(&world.toml.replace(&world.clouds.url(), "http://127.0.0.1:9"));
    let reloaded = world.reload().await;
    assert_eq!(reloaded.status, 200);
    assert_eq!(
        reloaded.json()["removed_upstreams"],
        json!({"old": 1}),
        "it would be lost to the next process"
    );
    let answer = world.submit(&requests::free_disk()).await;
    assert_eq!(answer.json()["code"], "upstream_unreachable", "{}", answer.text());
    // And then nothing is called that any more.
    world.rewrite(all_to("new"));
    assert_eq!(world.reload().await.status, 200);

    world.advance(601).await;
    let restore = world.until_status(id, "succeeded").await;
    assert_eq!(restore["upstream"]["name"], "old");
    assert_eq!(world.applied().await.len(), 1);
    world.end().await;
}

/// A process that is started with the upstream somewhere else does not take the silence of that place for an answer. The
/// old place under another name is the old place.
#[tokio::test]
async fn f34_another_place_of_the_same_name_is_never_asked_about_a_restore() {
    // With a credential of its own: nobody has to bring a token after a start.
    let routes = "[[upstreams]]\nname = \"here\"\ngeneration = \"cbr-v3\"\nendpoint = \"{clouds}\"\n\
                  credential = \"robot\"\n[[routes]]\nupstream = \"here\"\n";
    let held = TestConfig::default().routes(routes).robot();
    let mut world = World::serve_beside(held, &[], &[("password", "example-only")]).await;
    world.behave(json!({"restore_seconds": 600})).await;
    let restore = world.submit(&requests::cbr_server()).await.json();
    let id = restore["id"].as_str().expect("an id").to_owned();
    world.until_status(&id, "running").await;
    let asked = async |world: &World| {
        let arrived = world.arrived().await;
        arrived.iter().filter(|seen| seen["path"].to_string().contains("operation-logs")).count()
    };
    let (_, _, folder) = world.ended_by("TERM").await;
    let before = asked(&world).await;
    let toml = std::mem::take(&mut world.toml);
    // The same cloud by another address: for all that can be known, another one.
    world.toml = toml.replace("http://127.0.0.1", "http://localhost");
    world.again_in(folder).await;
    world.advance(601).await;
    world.until(&id, |restore| restore["last_poll_failed_since"].is_string()).await;
    assert_eq!(asked(&world).await, before, "nobody was asked");
    assert_eq!(world.get(&format!("/api/v1/restores/{id}")).await.json()["status"], "running");
    let (_, _, folder) = world.ended_by("TERM").await;
    world.toml = toml.replace("\"here\"", "\"renamed\"");
    world.again_in(folder).await;
    world.until_status(&id, "succeeded").await;
    assert_eq!(world.applied().await.len(), 1);
    world.end().await;
}

/// No token would help where the configuration does not name the place: nobody is told to bring one.
#[tokio::test]
async fn f34_a_restore_of_a_place_that_is_gone_waits_for_no_token() {
    let routes = "[[upstreams]]\nname = \"here\"\ngeneration = \"cbr-v3\"\nendpoint = \"{clouds}\"\n\
                  [[routes]]\nupstream = \"here\"\noverdue_seconds = 2\n";
    let mut world = World::serve(TestConfig::default().routes(routes)).await;
    world.behave(json!({"restore_seconds": 600})).await;
    let restore = world.submit(&requests::cbr_server()).await.json();
    let id = restore["id"].as_str().expect("an id").to_owned();
    world.until_status(&id, "running").await;
    let (_, _, folder) = world.ended_by("TERM").await;
    world.toml = world.toml.replace("http://127.0.0.1", "http://localhost");
    world.again_in(folder).await;
    let overdue = world.until(&id, |restore| restore["overdue"] == true).await;
    assert_ne!(overdue["awaiting_credential"], true, "{overdue}");
    assert!(overdue["last_poll_failed_since"].is_string(), "{overdue}");
    let events = world.get(&format!("/api/v1/restores/{id}/events")).await.text();
    assert!(!events.contains("no token to read it with"), "{events}");
    world.end().await;
}

/// The file of a secret that is read at the start: another file is noticed.
#[tokio::test]
async fn another_place_of_a_secret_of_the_start_is_not_taken_for_granted() {
    let hook = |file: &str| {
        let hook = "[[webhooks]]\nname = \"told\"\nurl = \"http://127.0.0.1:9/hook\"\nallow_private_addresses = true\n";
        all_to("one").and(&format!("{hook}secret = {{ file = \"{file}\" }}\n"))
    };
    let secret = "whsec_cmVzdG9yZS1nYXRld2F5LWJlbmNoLTAwMDAwMDAw";
    let world = World::serve_beside(hook("one"), &[], &[("one", secret), ("two", secret)]).await;
    let text = world.toml.replace("file = \"one\"", "file = \"two\"");
    world.rewrite_text(&text);
    let answer = world.reload().await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(answer.json()["detail"].to_string().contains("webhooks"), "{}", answer.text());
    world.end().await;
}

#[tokio::test]
async fn what_is_read_at_the_start_alone_is_refused_by_its_name_and_nothing_else_changes() {
    let world = World::with(all_to("one")).await;
    world.rewrite(all_to("two").set("limits.max_connections", "17").set("ledger.lease_seconds", "11"));
    let answer = world.reload().await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (422, &json!("invalid_configuration")),
        "{}",
        answer.text()
    );
    let detail = answer.json()["detail"].to_string();
    assert!(detail.contains("limits.max_connections, ledger.lease_seconds"), "{detail}");
    assert_eq!(answer.json()["effect"], "none");
    assert_eq!(way(&world).await, "one", "taken whole or not at all");
    // The look at the file may come first, now and then.
    let mut names = ["two", "three"].into_iter().cycle();
    until("it is said that something has changed", async || {
        world.rewrite(all_to(names.next().expect("a name")));
        world.reload().await.json()["changed"] == true
    })
    .await;
    let before = stands(&world).await["digest"].clone();
    assert_eq!(world.reload().await.json()["changed"], false);
    assert_eq!(stands(&world).await["digest"], before);
    world.rewrite(all_to("two"));
    assert_eq!(world.reload().await.status, 200);
    assert_eq!(way(&world).await, "two");
    world.end().await;
}

/// A connection that is open goes by the new configuration from its next request on.
#[tokio::test]
async fn callers_policies_and_limits_change_on_open_connections_too() {
    const KEY: &str = "rgk_reload_0123456789abcdef0123456789abcdef";
    let hash = crate::auth::callers::hash(KEY);
    let caller = |allow: &str| {
        format!(
            "[[callers]]\nname = \"job\"\ntype = \"api-key\"\nkey_hash = \"{hash}\"\n[[policies]]\ncallers = [\"job\"]\nactions = [{allow}]\n"
        )
    };
    let world = World::with(all_to("one").and(&caller("\"read\", \"preview\""))).await;
    let headers = [("x-auth-token", ids::TOKEN), ("x-api-key", KEY), ("content-type", "application/json")];
    let preview = async || {
        let url = world.url("/api/v1/restore-previews");
        world.http.send(Method::POST, &url, &headers, requests::cbr_server().to_string()).await.status
    };
    assert_eq!(preview().await, 200);
    world.rewrite(all_to("one").and(&caller("\"read\"")));
    assert_eq!(world.reload().await.status, 200);
    assert_eq!(preview().await, 403);
    world.rewrite(all_to("one").and(&caller("\"read\", \"preview\"")).set("limits.max_json_depth", "8"));
    assert_eq!(world.reload().await.status, 200);
    assert_eq!(preview().await, 200);
    let deep = format!("{}{}", "[".repeat(9), "]".repeat(9));
    let url = world.url("/api/v1/restore-previews");
    let answer = world.http.send(Method::POST, &url, &headers, deep).await;
    assert_eq!(answer.json()["code"], "invalid_json");
    world.end().await;
}

/// Who may no longer look does not go on looking; other changes leave streams alone.
#[tokio::test]
async fn streams_end_when_the_callers_are_others() {
    let world = World::with(all_to("one")).await;
    let mut reader = Reader::open(&world, LIST, None).await;
    world.rewrite(all_to("two"));
    assert_eq!(world.reload().await.status, 200);
    let restore = world.submit(&requests::cbr_server()).await.json();
    let told = reader.next().await.expect("it goes on");
    assert_eq!(told.data["restore"]["id"], restore["id"]);
    world.until_status(restore["id"].as_str().expect("an id"), "succeeded").await;

    let hash = crate::auth::callers::hash("rgk_reload_0123456789abcdef0123456789abcdef");
    let caller = format!(
        "[[callers]]\nname = \"job\"\ntype = \"api-key\"\nkey_hash = \"{hash}\"\n[[policies]]\ncallers = [\"job\"]\nactions = [\"read\"]\n"
    );
    world.rewrite(all_to("two").and(&caller));
    assert_eq!(world.reload().await.status, 200);
    while reader.next().await.is_some() {}
    assert_eq!(world.get(LIST).await.status, 401);
    world.end().await;
}

#[tokio::test]
async fn lines_are_logged_from_another_level_for_a_while() {
    let mut world = World::with(all_to("one")).await;
    let usual = json!({"level": "info", "usual": "info", "until": null});
    assert_eq!(world.admin("/log-level").await.json(), usual);
    for bad in [json!({"level": "loud", "minutes": 1}), json!({"level": "debug", "minutes": 0})] {
        let answer = world.decide("/log-level", &bad).await;
        assert_eq!(answer.status, 422, "{}", answer.text());
    }
    let restore = async |request: Value| {
        let restore = world.submit(&request).await.json();
        world.until_status(restore["id"].as_str().expect("an id"), "succeeded").await;
    };
    restore(requests::cbr_server()).await;
    let answer = world.decide("/log-level", &json!({"level": "debug", "minutes": 5})).await.json();
    assert_eq!((&answer["level"], &answer["usual"]), (&json!("debug"), &json!("info")));
    assert!(answer["until"].is_string());
    restore(requests::free_disk()).await;
    let (_, log, _) = world.ended_by("TERM").await;
    let turned = log.find("log level changed temporarily").expect("the change is logged");
    assert!(!log[..turned].contains("\"level\":\"DEBUG\""), "{log}");
    assert!(log[turned..].contains("\"level\":\"DEBUG\""), "{log}");
}

/// Configuration that come through a pipe are read once: what is left of it is no new version of them.
#[tokio::test]
async fn a_configuration_from_a_pipe_is_kept_at_a_reload() {
    use tokio::io::AsyncWriteExt;
    let mut child = tokio::process::Command::new(binary())
        .args(["serve", "--config", "/dev/stdin"])
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the gateway runs");
    let told = all_to("one").set("telemetry.log_level", "\"info\"").set("telemetry.log_format", "\"json\"");
    let text = told.toml("http://127.0.0.1:9");
    let mut pipe = child.stdin.take().expect("a pipe");
    pipe.write_all(text.as_bytes()).await.expect("it reads");
    drop(pipe);
    let folder = tempfile::tempdir().expect("a folder");
    let process = Process::of(child, folder).await.unwrap_or_else(|(_, log)| panic!("{log}"));
    let url = format!("http://{}/config/reload", process.admin);
    let headers = [("content-type", "application/json")];
    let answer = Http::default().send(Method::POST, &url, &headers, "{}").await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(answer.text().contains("does not come from a file"), "{}", answer.text());
    let ready = format!("http://{}/readyz", process.admin);
    let ready = Http::default().send(Method::GET, &ready, &[], "").await.json();
    assert!(ready["config"]["rejected"].is_null(), "{ready}");
    process.signal("TERM").await;
    let (status, log, _) = process.ended().await;
    assert!(status.success(), "{log}");
}

/// A file that a pipe has taken the place of is not waited for.
#[tokio::test]
async fn a_pipe_in_the_place_of_the_file_is_refused() {
    let mut world = World::with(all_to("one")).await;
    let file = world.process().config();
    std::fs::remove_file(&file).unwrap();
    let made = tokio::process::Command::new("mkfifo").arg(&file).status().await.expect("mkfifo runs");
    assert!(made.success());
    let answer = world.reload().await;
    assert!(answer.status == 422 && answer.text().contains("is not a file"), "{}", answer.text());
    let (status, log, _) = world.ended_by("TERM").await;
    assert!(status.success(), "{log}");
}
