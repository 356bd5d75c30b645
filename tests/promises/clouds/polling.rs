//! How often the clouds are asked (F40): no more than the configuration allows however many restores run, in turns
//! between projects, and never in the way of a send. Times are the clouds' own, of when a request arrived; a
//! request that is held up on its way makes every bound here easier, not harder, to keep.

use std::time::Duration;

use http::Method;
use restore_model::{Clock, SystemClock, Timestamp};
use restore_tests::world::is_restore_call;
use restore_tests::{TestConfig, World, ids, requests};
use serde_json::{Value, json};
use tokio::time::Instant;

const DEADLINE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);
/// A project of few restores, whose cloud is played by a fault plan: the clouds' world has one project.
const SMALL: &str = "1b2c3d4e5f60718293a4b5c6d7e8f90a";

/// One upstream that may be asked so often, and no reads before a send.
fn asked(polls_per_minute: u32) -> TestConfig {
    TestConfig::default().routes(&format!(
        r#"
[[upstreams]]
name = "vbs"
generation = "vbs-v2"
endpoint = "{{clouds}}/vbs"
polls_per_minute = {polls_per_minute}
[[routes]]
upstream = "vbs"
baseline_read = false
"#
    ))
}

fn disk(project: &str, number: usize) -> Value {
    let mut request = requests::extra_disk(number);
    request["project_id"] = json!(project);
    request
}

fn id(restore: &Value) -> String {
    restore["id"].as_str().unwrap_or_else(|| panic!("no id in {restore}")).to_owned()
}

fn path(request: &Value) -> &str {
    request["path"].as_str().unwrap_or_default()
}

fn is_read(request: &Value) -> bool {
    request["method"] == "GET"
}

/// When a request reached the clouds.
fn at(request: &Value) -> Timestamp {
    request["at"].as_str().and_then(|at| at.parse().ok()).expect("a time")
}

fn seconds(later: Timestamp, earlier: Timestamp) -> f64 {
    Duration::from_micros(u64::try_from(later.micros_since(earlier)).unwrap_or(0)).as_secs_f64()
}

/// Waits until what has reached the clouds is as wanted.
async fn until(world: &World, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let end = Instant::now() + DEADLINE;
    loop {
        let arrived = world.arrived().await;
        if wanted(&arrived) {
            return arrived;
        }
        assert!(Instant::now() < end, "it does not come to that: {} requests", arrived.len());
        tokio::time::sleep(LOOK).await;
    }
}

/// How the cloud of the small project answers: it accepts as many restores as wanted, and all of them run.
async fn small_project(world: &World, restores: usize) {
    let job = |number: usize| format!("4010a7c9528b1f3e01528cc0d9e2{number:04x}");
    let accepted = (0..restores).map(|number| {
        json!({"match": {"method": "POST", "path": format!("/v2/{SMALL}/*")},
               "answer": {"status": 200, "body": {"job_id": job(number)}}})
    });
    let running = json!({"match": {"method": "GET", "path": format!("/v1/{SMALL}/*")}, "times": 0,
        "answer": {"status": 200, "body": {"job_id": job(0), "job_type": "bksRestoreBackup", "status": "RUNNING"}}});
    world.faults(accepted.chain([running]).collect()).await;
}

#[tokio::test]
async fn f40_a_thousand_running_restores_are_read_within_the_limit_in_turns_and_sends_go_first() {
    const MANY: usize = 1_000;
    const FEW: usize = 3;
    const ROUNDS: usize = 5;
    // As many calls in a second.
    const LIMIT: f64 = 100.0;
    let begun = SystemClock.now();
    let world = World::with(asked(6_000)).await;
    world.behave(json!({"extra_disks": MANY + 1, "restore_seconds": 86_400})).await;
    small_project(&world, FEW).await;
    for number in 0..FEW {
        let taken = world.submit(&disk(SMALL, number)).await;
        assert_eq!(taken.json()["status"], "running", "{}", taken.text());
    }
    for some in (0..MANY).collect::<Vec<_>>().chunks(50) {
        let requests: Vec<_> = some.iter().map(|number| disk(ids::PROJECT, *number)).collect();
        let taken =
            futures_util::future::join_all(requests.iter().map(|request| world.submit(request))).await;
        assert!(taken.iter().all(|answer| answer.status == 202), "{}", taken[0].text());
    }
    until(&world, |arrived| arrived.iter().any(is_read)).await;

    // One more in the middle of it does not queue with the reads.
    let late = disk(ids::PROJECT, MANY);
    let before = world.arrived().await.len();
    assert_eq!(world.submit(&late).await.status, 202);
    let of_late = |request: &Value| {
        is_restore_call(request)
            && path(request).contains(late["source"]["backup_id"].as_str().unwrap_or("?"))
    };
    let arrived = world.arrived().await;
    let place = arrived.iter().position(of_late).expect("it was sent");
    assert!(place - before < MANY / 2, "{} reads went before a send", place - before);

    // The few are read again and again while the many wait for their turns.
    let reads_of = |arrived: &[Value], project: &str| {
        arrived.iter().filter(|request| is_read(request) && path(request).contains(project)).count()
    };
    let known = reads_of(&arrived, SMALL);
    let many = reads_of(&arrived, ids::PROJECT);
    let arrived = until(&world, |arrived| reads_of(arrived, SMALL) >= known + FEW * ROUNDS).await;
    let meanwhile = reads_of(&arrived, ids::PROJECT) - many;
    assert!(meanwhile < MANY * (ROUNDS - 1), "{meanwhile} reads of the many for {ROUNDS} rounds of the few");
    assert!(meanwhile > FEW, "the many have their turns as well");

    // At every read: no more calls since the beginning than so much time allows, and one second's worth that may
    // be made at once after a quiet time.
    let mut reads = 0;
    for (count, request) in arrived.iter().enumerate().filter(|(_, request)| is_read(request)) {
        let allowed = LIMIT * (seconds(at(request), begun) + 1.0);
        assert!((count as f64) < allowed, "{count} calls where {allowed} are allowed");
        reads += 1;
    }
    assert!(reads > FEW * ROUNDS);
    world.end().await;
}

#[tokio::test]
async fn f40_an_upstream_that_asks_for_time_is_not_read_within_it() {
    for (status, wait) in [(429, 3), (503, 2)] {
        let world = World::with(asked(0)).await;
        world.behave(json!({"restore_seconds": 86_400})).await;
        let running = id(&world.submit(&requests::free_disk()).await.json());
        until(&world, |arrived| arrived.iter().filter(|r| is_read(r)).count() >= 2).await;
        world
            .faults(json!([{"match": {"method": "GET"}, "answer": {"status": status,
                "headers": {"retry-after": wait.to_string()},
                "body": {"error_code": "APIGW.0308", "error_msg": "upstream_throttled"}}}]))
            .await;
        let is_throttled = |request: &&Value| request["status"] == status;
        until(&world, |arrived| arrived.iter().any(|request| is_throttled(&request))).await;
        // Neither for those who ask, nor by itself.
        let arrived = loop {
            assert_eq!(world.get(&format!("/api/v1/restores/{running}")).await.json()["status"], "running");
            let arrived = world.arrived().await;
            if arrived.last().is_some_and(|last| is_read(last) && !is_throttled(&last)) {
                break arrived;
            }
            tokio::time::sleep(LOOK).await;
        };
        let throttled = arrived.iter().position(|request| is_throttled(&request)).expect("it was throttled");
        let passed = seconds(at(&arrived[throttled + 1]), at(&arrived[throttled]));
        assert!(passed >= f64::from(wait), "asked again after {passed} s of {wait}");
        // It is no fault of the restore's.
        let end = Instant::now() + DEADLINE;
        while world.get(&format!("/api/v1/restores/{running}")).await.json()["last_poll_failed_since"]
            .is_string()
        {
            assert!(Instant::now() < end, "it stays stale");
            tokio::time::sleep(LOOK).await;
        }
        world.end().await;
    }
}

#[tokio::test]
async fn f40_a_thousand_who_wait_for_one_restore_cost_one_read_an_interval() {
    const WAITING: usize = 1_000;
    const INTERVAL: f64 = 0.5;
    let world = World::with(asked(0)).await;
    world.behave(json!({"restore_seconds": 600})).await;
    let begun = SystemClock.now();
    let running = id(&world.submit(&requests::free_disk()).await.json());
    let url = world.url(&format!("/api/v1/restores/{running}"));
    let headers = [("x-auth-token", ids::TOKEN), ("prefer", "wait=60")];
    let waiting: Vec<_> = (0..WAITING)
        .map(|_| {
            let (http, url) = (world.http.clone(), url.clone());
            tokio::spawn(async move { http.try_send(Method::GET, &url, &headers, "").await })
        })
        .collect();
    // All of them are in, and several rounds were read.
    let end = Instant::now() + DEADLINE;
    while waiters(&world).await < WAITING {
        assert!(Instant::now() < end, "{} wait", waiters(&world).await);
        tokio::time::sleep(LOOK).await;
    }
    let read = |arrived: &[Value]| arrived.iter().filter(|request| is_read(request)).count();
    let by_then = read(&world.arrived().await);
    until(&world, |arrived| read(arrived) >= by_then + 4).await;
    world.advance(601).await;
    for answer in waiting {
        let answer = answer.await.expect("a task").expect("an answer");
        assert_eq!((answer.status, answer.json()["status"].as_str()), (200, Some("succeeded")));
    }
    let arrived = world.arrived().await;
    for (number, request) in arrived.iter().filter(|request| is_read(request)).enumerate() {
        let allowed = seconds(at(request), begun) / INTERVAL + 1.0;
        assert!((number as f64) < allowed, "read {} times where {allowed} are allowed", number + 1);
    }
    world.end().await;
}

/// Connections that are open at the gateway, by its own count; each of those who wait has one.
async fn waiters(world: &World) -> usize {
    let page = world.admin("/metrics").await.text();
    let line = page.lines().find(|line| line.starts_with("restore_gateway_connections{listener=\"api\"}"));
    let value = line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse::<f64>().ok());
    value.map_or(0, |value| value as usize)
}
