//! Replicas replaced one after the other while requests come steadily: none fails, no restore is lost, none is done
//! twice (F35). In front of them stands a balancer of the kind that orchestrators have: it knows of a replica what its
//! `/readyz` says, hands it whole connections, and leaves those alone that are open.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use restore_test_postgres::Postgres;
use restore_tests::{Answer, Http, Process, TestConfig, World, ids, requests};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

const DEADLINE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);
/// Between two questions of the balancer whether a replica is ready.
const PROBE: Duration = Duration::from_millis(100);
/// Callers at once, and the pause of each between two requests.
const CALLERS: usize = 8;
const PAUSE: Duration = Duration::from_millis(50);
/// Disks, and so restores at most.
const DISKS: usize = 8_192;

struct Replica {
    api: SocketAddr,
    admin: SocketAddr,
    ready: Arc<AtomicBool>,
    probe: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
struct Balancer {
    addr: SocketAddr,
    replicas: Arc<Mutex<Vec<Replica>>>,
}

impl Balancer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let replicas: Arc<Mutex<Vec<Replica>>> = Arc::default();
        let known = Arc::clone(&replicas);
        tokio::spawn(async move {
            let mut turn = 0;
            while let Ok((mut caller, _)) = listener.accept().await {
                turn += 1;
                let next = {
                    let known = known.lock().expect("replicas");
                    let ready: Vec<SocketAddr> = known
                        .iter()
                        .filter(|replica| replica.ready.load(Ordering::Relaxed))
                        .map(|replica| replica.api)
                        .collect();
                    ready.get(turn % ready.len().max(1)).copied()
                };
                tokio::spawn(async move {
                    // Nobody ready, or nobody there: the caller's connection ends.
                    let Some(api) = next else { return };
                    let Ok(mut replica) = TcpStream::connect(api).await else { return };
                    let _ended = tokio::io::copy_bidirectional(&mut caller, &mut replica).await;
                });
            }
        });
        Self { addr, replicas }
    }

    /// Knows one more replica, and returns once it gets connections.
    async fn add(&self, process: &Process) {
        let (api, admin) = (process.api, process.admin);
        let ready = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ready);
        let probe = tokio::spawn(async move {
            let http = Http::default();
            loop {
                let url = format!("http://{admin}/readyz");
                let answer = http.try_send(Method::GET, &url, &[], "").await;
                told.store(answer.is_ok_and(|answer| answer.status == 200), Ordering::Relaxed);
                tokio::time::sleep(PROBE).await;
            }
        });
        self.replicas.lock().expect("replicas").push(Replica {
            api,
            admin,
            ready: Arc::clone(&ready),
            probe,
        });
        let end = Instant::now() + DEADLINE;
        while !ready.load(Ordering::Relaxed) {
            assert!(Instant::now() < end, "it never gets ready");
            tokio::time::sleep(LOOK).await;
        }
    }

    fn remove(&self, admin: SocketAddr) {
        let mut replicas = self.replicas.lock().expect("replicas");
        let at = replicas.iter().position(|replica| replica.admin == admin).expect("a replica");
        replicas.remove(at).probe.abort();
    }
}

fn config(postgres: &Postgres) -> TestConfig {
    postgres.create_database("ledger");
    TestConfig::default()
        .set("ledger.url", &format!("{:?}", postgres.url("ledger")))
        .set("ledger.lease_seconds", "5")
        .set("limits.shutdown_delay_seconds", "1.5")
        .set("limits.shutdown_timeout_seconds", "20")
        // Those of a replica that is gone are read by whoever asks.
        .each_upstream("polls_per_minute = 0")
}

/// Submits one restore after the other over a connection that is kept, and looks at the last one again.
async fn calls(url: &str, numbers: &AtomicUsize, enough: &AtomicBool) -> Vec<(String, usize)> {
    let http = Http::default();
    let mut submitted = Vec::new();
    while !enough.load(Ordering::Relaxed) {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        assert!(number < DISKS, "there are more disks than that");
        let body = requests::extra_disk(number).to_string();
        let headers = [("x-auth-token", ids::TOKEN), ("content-type", "application/json")];
        let answer = http.try_send(Method::POST, url, &headers, body).await;
        let answer: Answer = answer.unwrap_or_else(|why| panic!("a request failed: {why}"));
        assert_eq!(answer.status, 202, "{}", answer.text());
        let id = answer.json()["id"].as_str().expect("an id").to_owned();
        let again = http.try_send(Method::GET, &format!("{url}/{id}"), &headers, "").await;
        let again = again.unwrap_or_else(|why| panic!("a request failed: {why}"));
        assert_eq!((again.status, again.json()["id"].as_str()), (200, Some(&*id)), "{}", again.text());
        submitted.push((id, number));
        tokio::time::sleep(PAUSE).await;
    }
    submitted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f35_replicas_are_replaced_under_load_and_no_request_fails() {
    let postgres = Postgres::start();
    let mut world = World::serve(config(&postgres)).await;
    world.behave(serde_json::json!({"extra_disks": DISKS})).await;
    let balancer = Balancer::start().await;
    let mut old = vec![world.another().await];
    balancer.add(world.process()).await;
    balancer.add(&old[0]).await;

    let url = format!("http://{}/api/v1/restores", balancer.addr);
    let (numbers, enough) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (url, numbers, enough) = (url.clone(), Arc::clone(&numbers), Arc::clone(&enough));
            tokio::spawn(async move { calls(&url, &numbers, &enough).await })
        })
        .collect();
    let until = async |count: usize| {
        let end = Instant::now() + DEADLINE;
        while numbers.load(Ordering::Relaxed) < count
            && !callers.iter().any(tokio::task::JoinHandle::is_finished)
        {
            assert!(Instant::now() < end, "the load does not go on");
            tokio::time::sleep(LOOK).await;
        }
    };
    until(50).await;
    for _ in 0..2 {
        // As a rolling update does it: the new one first, and then one of the old ones goes.
        let new = world.another().await;
        balancer.add(&new).await;
        let gone = match old.pop() {
            Some(other) => {
                let before = world.turn_to(new);
                old.push(before);
                other
            }
            None => world.turn_to(new),
        };
        let admin = gone.admin;
        gone.signal("TERM").await;
        let (status, log, _) = gone.ended().await;
        assert!(status.success(), "{log}");
        balancer.remove(admin);
        until(numbers.load(Ordering::Relaxed) + 50).await;
    }
    enough.store(true, Ordering::Relaxed);
    let mut submitted = Vec::new();
    for caller in callers {
        submitted.extend(caller.await.expect("no request failed"));
    }
    assert!(submitted.len() >= 150, "{} restores", submitted.len());

    // Not one is lost, and the clouds did each of them once.
    world.advance(60).await;
    let ends = submitted.iter().map(|(id, _)| world.until_status(id, "succeeded"));
    futures_util::future::join_all(ends).await;
    let mut disks: Vec<String> = Vec::new();
    for applied in world.applied().await {
        disks.push(applied.to_string());
    }
    assert_eq!(disks.len(), submitted.len());
    for (_, number) in &submitted {
        let disk = requests::extra_disk(*number)["target"]["volume_id"].to_string();
        assert_eq!(
            disks.iter().filter(|applied| applied.contains(disk.trim_matches('"'))).count(),
            1,
            "{disk}"
        );
    }
    for other in old {
        other.signal("TERM").await;
        assert!(other.ended().await.0.success());
    }
    world.end().await;
}

#[tokio::test]
async fn f35_it_says_that_it_is_not_ready_before_it_stops_to_serve() {
    let config = TestConfig::default().set("limits.shutdown_delay_seconds", "2");
    let mut world = World::serve(config).await;
    assert_eq!(world.submit(&requests::free_disk()).await.header("connection"), "");
    world.process().signal("TERM").await;
    let end = Instant::now() + DEADLINE;
    loop {
        let ready = world.admin("/readyz").await;
        if ready.status == 503 {
            assert!(ready.text().contains("stopping"), "{}", ready.text());
            break;
        }
        assert!(Instant::now() < end, "it is ready for ever");
    }
    // What still comes is taken in, and told to go elsewhere next time.
    let taken = world.submit(&requests::cbr_server()).await;
    assert_eq!((taken.status, taken.header("connection")), (202, "close"), "{}", taken.text());
    assert_eq!(world.admin("/livez").await.status, 200);
    let (status, log, folder) = world.ended_by("CONT").await;
    assert!(status.success(), "{log}");
    world.again_in(folder).await;
    let id = taken.json()["id"].as_str().expect("an id").to_owned();
    world.until_status(&id, "succeeded").await;
    assert_eq!(world.applied().await.len(), 2);
    world.end().await;
}
