//! Several gateways over one PostgreSQL: at most once holds over all of them, one that dies or is
//! held up harms nobody, and the database may go away at any time.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::Method;
use restore_test_postgres::Postgres;
use restore_tests::{Answer, Http, Process, TestConfig, World, ids, requests};
use serde_json::{Value, json};
use tokio::time::Instant;

const DEADLINE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// Windows that a test can wait for, over a new database.
fn shared(postgres: &Postgres) -> TestConfig {
    static DATABASES: AtomicU32 = AtomicU32::new(0);
    let name = format!("ledger_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    postgres.create_database(&name);
    TestConfig::default()
        .set("ledger.url", &format!("{:?}", postgres.url(&name)))
        .set("ledger.lease_seconds", "3")
        .set("polling.absence_confirmation_seconds", "1")
        .set("polling.visibility_grace_seconds", "1")
        .set("polling.operator_escalation_seconds", "30")
        .each_upstream("send_timeout_seconds = 2")
}

async fn ask(world: &World, api: SocketAddr, method: Method, path: &str, more: &[(&str, &str)]) -> Answer {
    let mut headers = vec![("x-auth-token", ids::TOKEN)];
    headers.extend_from_slice(more);
    world.http.send(method, &format!("http://{api}{path}"), &headers, "").await
}

async fn submit(world: &World, api: SocketAddr, request: &Value, more: &[(&str, &str)]) -> Answer {
    try_submit(&world.http, api, request, more).await.unwrap_or_else(|why| panic!("{why}"))
}

async fn try_submit(
    http: &Http,
    api: SocketAddr,
    request: &Value,
    more: &[(&str, &str)],
) -> Result<Answer, String> {
    let mut headers = vec![("x-auth-token", ids::TOKEN), ("content-type", "application/json")];
    headers.extend_from_slice(more);
    let url = format!("http://{api}/api/v1/restores");
    http.try_send(Method::POST, &url, &headers, request.to_string()).await
}

/// Asks one gateway for a restore until `wanted` holds.
async fn until(world: &World, api: SocketAddr, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + DEADLINE;
    loop {
        let answer = ask(world, api, Method::GET, &format!("/api/v1/restores/{id}"), &[]).await;
        if answer.status == 200 && wanted(&answer.json()) {
            return answer.json();
        }
        assert!(Instant::now() < end, "never: {}", answer.text());
        tokio::time::sleep(LOOK).await;
    }
}

/// Looks at a restore without a token, which reads nothing from a cloud.
async fn glance(world: &World, api: SocketAddr, id: &str) -> Value {
    let url = format!("http://{api}/api/v1/restores/{id}");
    world.http.send(Method::GET, &url, &[], "").await.json()
}

fn id(restore: &Value) -> String {
    restore["id"].as_str().expect("an id").to_owned()
}

async fn stop(process: Process) {
    process.signal("TERM").await;
    let (status, log, _) = process.ended().await;
    assert!(status.success(), "{log}");
}

#[tokio::test]
async fn f9_one_key_at_two_replicas_at_once_is_one_restore() {
    let postgres = Postgres::start();
    let world = World::serve(shared(&postgres)).await;
    let other = world.another().await;
    let key = [("idempotency-key", "k")];
    let request = requests::cbr_server();
    let asked = (0..8).map(|turn| {
        let api = if turn % 2 == 0 { world.gateway.api() } else { other.api };
        let (world, request) = (&world, &request);
        async move { submit(world, api, request, &key).await }
    });
    let answers = futures_util::future::join_all(asked).await;
    let first = answers[0].json()["id"].clone();
    for answer in &answers {
        assert_eq!((answer.status, &answer.json()["id"]), (202, &first), "{}", answer.text());
    }
    let replayed = answers.iter().filter(|answer| answer.header("idempotency-replayed") == "true").count();
    assert_eq!(replayed, 7);
    assert_eq!((world.sent().await.len(), world.applied().await.len()), (1, 1));
    // Whoever waits at the other replica learns of the end as well.
    let path = format!("/api/v1/restores/{}", first.as_str().expect("an id"));
    let (a, b) = tokio::join!(
        ask(&world, world.gateway.api(), Method::GET, &path, &[("prefer", "wait=60")]),
        ask(&world, other.api, Method::GET, &path, &[("prefer", "wait=60")]),
    );
    assert_eq!(
        (a.json()["status"].as_str(), b.json()["status"].as_str()),
        (Some("succeeded"), Some("succeeded"))
    );
    stop(other).await;
    world.end().await;
}

#[tokio::test]
async fn f10_f11_targets_exclude_each_other_over_replicas_and_generations() {
    let postgres = Postgres::start();
    let world = World::serve(shared(&postgres)).await;
    world.behave(json!({"restore_seconds": 60})).await;
    let other = world.another().await;
    let server = submit(&world, world.gateway.api(), &requests::csbs_server(), &[]).await;
    assert_eq!(server.status, 202, "{}", server.text());
    let disk = json!({
        "project_id": ids::PROJECT,
        "source": {"backup_id": ids::DATA.0},
        "target": {"type": "volume", "volume_id": ids::DATA.1},
    });
    let refused = submit(&world, other.api, &disk, &[]).await;
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("target_busy")));
    let holder = format!("/api/v1/restores/{}", id(&server.json()));
    assert_eq!(refused.json()["restore"], holder.as_str());

    // Two different backups for one disk, at two replicas at once.
    world.behave(json!({"restore_seconds": 60, "extra_disks": 2})).await;
    let one = requests::extra_disk(0);
    let mut another = requests::extra_disk(0);
    another["source"] = requests::extra_disk(1)["source"].clone();
    let (a, b) = tokio::join!(
        submit(&world, world.gateway.api(), &one, &[]),
        submit(&world, other.api, &another, &[]),
    );
    let mut codes = [a.status, b.status];
    codes.sort_unstable();
    assert_eq!(codes, [202, 409], "{} {}", a.text(), b.text());
    assert_eq!(world.sent().await.len(), 2);
    stop(other).await;
    world.end().await;
}

#[tokio::test]
async fn f12_a_replica_that_was_held_up_past_its_lease_sends_nothing() {
    let postgres = Postgres::start();
    let pause = [("RESTORE_GATEWAY_CRASH_AT", "first_byte/STOP")];
    for request in [requests::cbr_server(), requests::free_disk()] {
        let world = World::serve_with(shared(&postgres), &pause).await;
        let other = world.another().await;
        let key = [("idempotency-key", "k")];
        // Between the record of the send and its first byte it stops.
        let held_up = submit(&world, world.gateway.api(), &request, &key);
        let watched = async {
            let id = loop {
                let url = format!("http://{}/api/v1/restores", other.api);
                let list = world.http.send(Method::GET, &url, &[], "").await;
                if let Some(restore) = list.json()["restores"].as_array().and_then(|all| all.first()) {
                    break id(restore);
                }
                tokio::time::sleep(LOOK).await;
            };
            // Its lease lapses, and the other one takes over: nobody can say whether it was sent.
            let end = Instant::now() + DEADLINE;
            while glance(&world, other.api, &id).await["status"] != "unknown" {
                assert!(Instant::now() < end, "it is never taken over");
                tokio::time::sleep(LOOK).await;
            }
            let again = submit(&world, other.api, &request, &key).await;
            assert_eq!((again.status, again.json()["id"].as_str()), (202, Some(&*id)), "{}", again.text());
            world.process().signal("CONT").await;
            id
        };
        let (answer, id) = tokio::join!(held_up, watched);
        // It knows that it sent nothing, and that settles what the other one could not know.
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (503, &json!("send_window_missed")),
            "{}",
            answer.text()
        );
        let ended = glance(&world, other.api, &id).await;
        assert_eq!((&ended["status"], &ended["error"]["effect"]), (&json!("rejected"), &json!("none")));
        assert!(world.sent().await.is_empty() && world.applied().await.is_empty());
        // The target is free.
        let next = submit(&world, other.api, &request, &[("idempotency-key", "k2")]).await;
        assert_eq!(next.status, 202, "{}", next.text());
        assert_eq!(world.applied().await.len(), 1);
        stop(other).await;
        world.end().await;
    }
}

#[tokio::test]
async fn f7_without_a_database_nothing_is_sent_and_it_comes_back_by_itself() {
    let postgres = Postgres::start();
    let world = World::serve(shared(&postgres)).await;
    postgres.kill();
    for _ in 0..3 {
        let refused = world.submit(&requests::free_disk()).await;
        assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("ledger_unavailable")));
        assert_eq!(refused.json()["effect"], "none");
        assert!(!refused.header("retry-after").is_empty());
    }
    assert_eq!(world.admin("/readyz").await.status, 503);
    assert_eq!(world.admin("/livez").await.status, 200);
    assert!(world.sent().await.is_empty());

    postgres.start_again();
    let end = Instant::now() + DEADLINE;
    let accepted = loop {
        let answer = world.submit(&requests::free_disk()).await;
        if answer.status == 202 {
            break answer.json();
        }
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(Instant::now() < end, "it does not come back: {}", answer.text());
        tokio::time::sleep(LOOK).await;
    };
    world.until_status(&id(&accepted), "succeeded").await;
    assert_eq!(world.applied().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn f8_an_outcome_outlives_the_absence_of_the_database() {
    let postgres = Postgres::start();
    let world = World::serve(shared(&postgres)).await;
    let other = world.another().await;
    world.faults(json!([{"match": {"method": "POST", "path": "*/restore"}, "delay_ms": 1500}])).await;
    let request = requests::cbr_server();
    let submitted = world.submit(&request);
    let away = async {
        world.until_sent(1).await;
        postgres.kill();
        // Longer than the lease: after that another replica may take the restore over.
        tokio::time::sleep(Duration::from_secs(4)).await;
        postgres.start_again();
    };
    let (answer, ()) = tokio::join!(submitted, away);
    assert!([202, 503].contains(&answer.status), "{}", answer.text());
    let restore = match answer.status {
        202 => answer.json(),
        _ => json!({"id": answer.json()["restore"].as_str().and_then(|path| path.rsplit('/').next())}),
    };
    let done = until(&world, other.api, &id(&restore), |restore| restore["status"] == "succeeded").await;
    assert_eq!(done["attempts"], 1);
    assert_eq!((world.sent().await.len(), world.applied().await.len()), (1, 1));
    stop(other).await;
    world.end().await;
}

#[tokio::test]
async fn f8_killed_while_the_database_is_away_it_is_unknown_until_reads_tell() {
    let postgres = Postgres::start();
    let mut world = World::serve(shared(&postgres)).await;
    let other = world.another().await;
    world.faults(json!([{"match": {"method": "POST", "path": "*/restore"}, "delay_ms": 1000}])).await;
    world.behave(json!({"restore_seconds": 30})).await;
    let url = world.url("/api/v1/restores");
    let http = world.http.clone();
    let submitted = tokio::spawn(async move {
        let headers = [("x-auth-token", ids::TOKEN), ("content-type", "application/json")];
        http.try_send(Method::POST, &url, &headers, requests::cbr_server().to_string()).await
    });
    world.until_sent(1).await;
    postgres.kill();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    world.ended_by("KILL").await;
    assert!(submitted.await.expect("a task").is_err());
    postgres.start_again();

    let end = Instant::now() + DEADLINE;
    let found = loop {
        let url = format!("http://{}/api/v1/restores", other.api);
        let list = world.http.send(Method::GET, &url, &[], "").await;
        let restore = (list.status == 200).then(|| list.json()["restores"][0].clone());
        if let Some(restore) = restore.filter(|restore| restore["status"] == "unknown") {
            break restore;
        }
        assert!(Instant::now() < end, "it is never taken over: {}", list.text());
        tokio::time::sleep(LOOK).await;
    };
    until(&world, other.api, &id(&found), |restore| restore["status"] == "running").await;
    world.advance(60).await;
    until(&world, other.api, &id(&found), |restore| restore["status"] == "succeeded").await;
    assert_eq!((world.sent().await.len(), world.applied().await.len()), (1, 1));
    stop(other).await;
    world.end().await;
}

#[tokio::test]
async fn an_answer_that_contradicts_a_persons_word_is_kept_in_the_history() {
    let postgres = Postgres::start();
    let pause = [("RESTORE_GATEWAY_CRASH_AT", "answered/STOP")];
    let config = shared(&postgres).set("polling.operator_escalation_seconds", "1");
    let world = World::serve_with(config, &pause).await;
    let other = world.another().await;
    let request = requests::free_disk();
    // It stops with the cloud's acceptance in hand.
    let held_up = submit(&world, world.gateway.api(), &request, &[]);
    let resolved = async {
        world.until_sent(1).await;
        let list = format!("http://{}/api/v1/restores", other.api);
        let list = world.http.send(Method::GET, &list, &[], "").await.json();
        let id = id(&list["restores"][0]);
        let end = Instant::now() + DEADLINE;
        while glance(&world, other.api, &id).await["needs_operator"] != true {
            assert!(Instant::now() < end, "it never needs anybody");
            tokio::time::sleep(LOOK).await;
        }
        let url = format!("http://{}/restores/{id}/resolution", other.admin);
        let said = json!({"as": "not_applied", "by": "ada", "reason": "saw nothing"}).to_string();
        let headers = [("content-type", "application/json")];
        let ended = world.http.send(Method::POST, &url, &headers, said).await;
        assert_eq!(ended.status, 200, "{}", ended.text());
        world.process().signal("CONT").await;
        id
    };
    let (_, id) = tokio::join!(held_up, resolved);
    let path = format!("/api/v1/restores/{id}/events");
    let end = Instant::now() + DEADLINE;
    loop {
        let events = ask(&world, other.api, Method::GET, &path, &[]).await.json();
        let last = events["events"].as_array().and_then(|events| events.last()).cloned().unwrap_or_default();
        if last["event"] == "anomaly" {
            assert!(last["what"].as_str().is_some_and(|what| what.contains("job")), "{last}");
            break;
        }
        assert!(Instant::now() < end, "the contradiction is lost: {events}");
        tokio::time::sleep(LOOK).await;
    }
    // What is final stays so.
    assert_eq!(glance(&world, other.api, &id).await["status"], "not_applied");
    assert_eq!(world.applied().await.len(), 1);
    stop(other).await;
    world.end().await;
}

#[tokio::test]
async fn f35_a_stop_finishes_its_attempts_and_another_replica_continues_the_rest() {
    const RUNNING: usize = 50;
    const SENDING: usize = 3;
    let postgres = Postgres::start();
    let mut world = World::serve(shared(&postgres)).await;
    world.behave(json!({"restore_seconds": 20, "extra_disks": RUNNING + SENDING})).await;
    let other = world.another().await;
    let api = world.gateway.api();
    let mut all = Vec::new();
    for number in 0..RUNNING {
        let answer = submit(&world, api, &requests::extra_disk(number), &[]).await;
        assert_eq!(answer.json()["status"], "running", "{}", answer.text());
        all.push(id(&answer.json()));
    }
    world
        .faults(
            json!([{"match": {"method": "POST", "path": "*/restore"}, "times": SENDING, "delay_ms": 1200}]),
        )
        .await;
    let sending = (RUNNING..RUNNING + SENDING).map(|number| {
        let (http, request) = (world.http.clone(), requests::extra_disk(number));
        tokio::spawn(async move {
            let headers = [("x-auth-token", ids::TOKEN), ("content-type", "application/json")];
            http.try_send(
                Method::POST,
                &format!("http://{api}/api/v1/restores"),
                &headers,
                request.to_string(),
            )
            .await
        })
    });
    let sending: Vec<_> = sending.collect();
    world.until_sent(RUNNING + SENDING).await;
    let (status, log, _) = world.ended_by("TERM").await;
    assert!(status.success() && log.contains("\"in_time\":true"), "{log}");
    for task in sending {
        let answer = task.await.expect("a task").expect("an answer, not a broken connection");
        assert_eq!(
            (answer.status, answer.json()["status"].as_str()),
            (202, Some("running")),
            "{}",
            answer.text()
        );
        all.push(id(&answer.json()));
    }
    world.advance(30).await;
    for id in &all {
        until(&world, other.api, id, |restore| restore["status"] == "succeeded").await;
    }
    assert_eq!(world.applied().await.len(), RUNNING + SENDING);
    stop(other).await;
    world.end().await;
}

/// Two and four replicas under load, one of them killed: everything that was accepted ends right,
/// and what the dead one held can be restored again.
#[tokio::test]
async fn a_replica_that_dies_under_load_takes_nothing_with_it() {
    const DISKS: usize = 24;
    for replicas in [2, 4] {
        let postgres = Postgres::start();
        // CBR has a list, so that what the dead one had sent is found without a person.
        let routes = "[[upstreams]]\nname = \"cbr\"\ngeneration = \"cbr-v3\"\nendpoint = \"{clouds}\"\nsend_timeout_seconds = 2\n[[routes]]\nupstream = \"cbr\"\n";
        let mut world = World::serve(shared(&postgres).routes(routes)).await;
        world.behave(json!({"restore_seconds": 1, "extra_disks": DISKS})).await;
        let mut others = Vec::new();
        for _ in 1..replicas {
            others.push(world.another().await);
        }
        let mut apis: Vec<SocketAddr> = others.iter().map(|other| other.api).collect();
        apis.push(world.gateway.api());
        let http = world.http.clone();
        let asked = async |apis: &[SocketAddr], round: usize| {
            let asked = (0..DISKS).map(|disk| {
                let api = apis[disk % apis.len()];
                let http = &http;
                async move {
                    let key = format!("{disk}-{round}");
                    let headers = [("idempotency-key", key.as_str()), ("prefer", "wait=30")];
                    try_submit(http, api, &requests::extra_disk(disk), &headers).await
                }
            });
            futures_util::future::join_all(asked).await
        };
        let before = Instant::now();
        for answer in asked(&apis, 0).await {
            let answer = answer.expect("an answer");
            assert_eq!(answer.json()["status"], "succeeded", "{}", answer.text());
        }
        let healthy = before.elapsed();

        // Killed while it sends.
        world
            .faults(
                json!([{"match": {"method": "POST", "path": "*/restore"}, "times": 100, "delay_ms": 400}]),
            )
            .await;
        let (answers, ()) = tokio::join!(asked(&apis, 1), async {
            world.until_sent(DISKS + DISKS / 2).await;
            world.process().signal("KILL").await;
        });
        let lost = answers.iter().filter(|answer| answer.is_err()).count();
        assert!(lost > 0, "nobody was asking the one that was killed");
        world.faults(json!([])).await;
        world.crashed().await;
        apis.pop();
        // Their callers ask the others with the same keys, and are told the same restores.
        let end = Instant::now() + DEADLINE;
        loop {
            let answers = asked(&apis, 1).await;
            let done = |answer: &Result<Answer, String>| {
                answer.as_ref().is_ok_and(|answer| answer.json()["finished_at"].is_string())
            };
            if answers.iter().all(done) {
                break;
            }
            let open = answers.iter().filter(|answer| !done(answer));
            let open: Vec<_> = open.map(|answer| answer.as_ref().map(Answer::text)).collect();
            assert!(Instant::now() < end, "{open:?}");
        }
        let after = Instant::now();
        for answer in asked(&apis, 2).await {
            let answer = answer.expect("an answer");
            assert_eq!(answer.json()["status"], "succeeded", "{}", answer.text());
        }
        println!("{replicas} replicas: a round took {healthy:?}, with one dead {:?}", after.elapsed());
        // The truth: what the ledger says took place did, once each.
        let mut ended = 0;
        let mut path = "/api/v1/restores?limit=100".to_owned();
        loop {
            let page = ask(&world, apis[0], Method::GET, &path, &[]).await.json();
            let restores = page["restores"].as_array().expect("a list");
            ended += restores.iter().filter(|restore| restore["status"] == "succeeded").count();
            assert!(restores.iter().all(|restore| restore["finished_at"].is_string()), "{page}");
            let Some(next) = page["next_cursor"].as_str() else { break };
            path = format!("/api/v1/restores?limit=100&cursor={next}");
        }
        assert_eq!(world.applied().await.len(), ended);
        for other in others {
            stop(other).await;
        }
        world.end().await;
    }
}

/// F44: a replica stops while the first disk of a server is on the wire, another one takes the restore over, an operator
/// ends it, and somebody restores the second disk by hand. The first replica wakes and sends nothing more.
#[tokio::test]
async fn f44_a_replica_that_wakes_after_the_end_sends_no_further_disk() {
    const VBS: &str = r#"
[[upstreams]]
name = "vbs"
generation = "vbs-v2"
endpoint = "{clouds}/vbs"
evs_endpoint = "{clouds}/evs"
send_timeout_seconds = 8
[[routes]]
upstream = "vbs"
per_disk_restore = true
"#;
    let postgres = Postgres::start();
    let world = World::serve(shared(&postgres).routes(VBS)).await;
    crate::compat::per_disk::detach(&world).await;
    let other = world.another().await;
    world.faults(json!([{"match": {"method": "POST", "path": "*/restore"}, "delay_ms": 1500}])).await;
    let request = requests::cbr_server();
    let (api, http) = (world.gateway.api(), world.http.clone());
    let submitted = tokio::spawn(async move { try_submit(&http, api, &request, &[]).await });
    world.until_sent(1).await;
    world.process().signal("STOP").await;
    let url = format!("http://{}/api/v1/restores", other.api);
    let end = Instant::now() + DEADLINE;
    let id = loop {
        let list = world.http.send(Method::GET, &url, &[], "").await.json();
        if list["restores"][0]["status"] == "unknown" {
            break id(&list["restores"][0]);
        }
        assert!(Instant::now() < end, "it is never taken over: {list}");
        tokio::time::sleep(LOOK).await;
    };
    let said = json!({"as": "applied", "by": "ada", "reason": "looked at the first disk", "override": true});
    let path = format!("http://{}/restores/{id}/resolution", other.admin);
    let headers = [("content-type", "application/json")];
    let ended = world.http.send(Method::POST, &path, &headers, said.to_string()).await;
    assert_eq!((ended.status, &ended.json()["status"]), (200, &json!("failed")), "{}", ended.text());
    let by_hand = json!({
        "project_id": ids::PROJECT,
        "source": {"backup_id": ids::DATA.0},
        "target": {"type": "volume", "volume_id": ids::DATA.1},
    });
    let second = submit(&world, other.api, &by_hand, &[]).await;
    assert_eq!(second.status, 202, "{}", second.text());
    until(&world, other.api, &self::id(&second.json()), |restore| restore["status"] == "succeeded").await;

    world.process().signal("CONT").await;
    let _answer = submitted.await.expect("a task");
    // It is awake, and hears that the restore has ended.
    until(&world, world.gateway.api(), &id, |restore| restore["status"] == "failed").await;
    let kept = ask(&world, other.api, Method::GET, &format!("/api/v1/restores/{id}"), &[]).await.json();
    assert_eq!(restore_tests::words(&kept["steps"], "status"), ["succeeded", "not_sent"]);
    let applied = world.applied().await;
    let onto = |disk: &str| applied.iter().filter(|restore| restore["target"]["id"] == disk).count();
    assert_eq!((onto(ids::SYSTEM.1), onto(ids::DATA.1)), (1, 1), "{applied:?}");
    assert_eq!(world.sent().await.len(), 2);
    stop(other).await;
    world.end().await;
}

/// F45: recovery mode begins at another replica between two disks: nothing is sent until an operator confirms, and then
/// the restore goes on.
#[tokio::test]
async fn f45_recovery_mode_between_two_disks_keeps_the_second_for_a_person() {
    let postgres = Postgres::start();
    let config = shared(&postgres).routes(crate::compat::per_disk::VBS);
    let world = World::serve(config).await;
    crate::compat::per_disk::detach(&world).await;
    world.behave(json!({"restore_seconds": 4})).await;
    let submitted = world.submit(&requests::cbr_server()).await.json();
    let id = id(&submitted);
    world.until_sent(1).await;
    let folder = tempfile::tempdir().expect("a folder");
    let recovery = [("RESTORE_GATEWAY_RECOVERY", "true")];
    let other = Process::try_serve_in(folder, &world.toml, &recovery).await.map_err(|(_, log)| log);
    let other = other.expect("it comes up");
    let waits =
        |restore: &Value| restore_tests::words(&restore["steps"], "status") == ["succeeded", "waiting"];
    until(&world, other.api, &id, waits).await;
    assert_eq!(world.sent().await.len(), 1);
    let said = json!({"by": "ada", "reason": "looked at the disks"});
    assert_eq!(world.decide("/recovery/confirmation", &said).await.status, 200);
    // The ledger may have been an older copy, which would not know of the second disk: it is for a person.
    until(&world, other.api, &id, |restore| restore["needs_operator"] == true).await;
    assert_eq!(world.applied().await.len(), 1);
    stop(other).await;
    world.end().await;
}
