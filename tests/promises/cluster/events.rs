//! What several gateways over one PostgreSQL tell: webhooks each once, and streams of all that happened at any of
//! them, in order.

use restore_test_postgres::Postgres;
use restore_tests::{Process, TestConfig, World, requests};
use serde_json::{Value, json};

use crate::api::streams::{LIST, Reader};
use crate::api::webhooks::{Receiver, Seen, hooked};

const RESTORES: usize = 12;

/// A gateway over a new database, its lease short enough for a test to wait for.
fn shared(config: TestConfig, postgres: &Postgres) -> TestConfig {
    postgres.create_database("ledger");
    let routes = r#"
[[upstreams]]
name = "vbs"
generation = "vbs-v2"
endpoint = "{clouds}/vbs"
[[routes]]
upstream = "vbs"
"#;
    let url = format!("{:?}", postgres.url("ledger"));
    config.set("ledger.url", &url).set("ledger.lease_seconds", "3").routes(routes)
}

/// Two gateways of the same configuration, and a world with disks to restore.
async fn two(config: TestConfig) -> (World, Process) {
    let world = World::serve(config).await;
    world.behave(json!({"extra_disks": RESTORES})).await;
    let other = world.another().await;
    (world, other)
}

fn id(restore: &Value) -> String {
    restore["id"].as_str().unwrap_or_else(|| panic!("no id in {restore}")).to_owned()
}

/// Submits to the one and the other in turns; the ids in the order of the submits.
async fn submit_in_turns(
    mut world: World,
    mut other: Process,
    range: std::ops::Range<usize>,
) -> (World, Process, Vec<String>) {
    let mut restores = Vec::new();
    for number in range {
        let answer = world.submit(&requests::extra_disk(number)).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        restores.push(id(&answer.json()));
        other = world.turn_to(other);
    }
    (world, other, restores)
}

async fn stop(process: Process) {
    process.signal("TERM").await;
    let (status, log, _) = process.ended().await;
    assert!(status.success(), "{log}");
}

#[tokio::test]
async fn over_two_replicas_each_message_is_delivered_once_and_none_is_lost_with_a_replica() {
    let postgres = Postgres::start();
    let receiver = Receiver::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let more = ", events = [\"accepted\", \"succeeded\"]";
    let (world, other) = two(shared(hooked(&receiver.url(), folder.path(), more), &postgres)).await;
    let half = RESTORES / 2;
    let (mut world, other, first) = submit_in_turns(world, other, 0..half).await;
    let seen = receiver.until(2 * half).await;
    let mut names: Vec<_> = seen.iter().map(Seen::name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 2 * half, "each once: {names:?}");
    for restore in &first {
        let words: Vec<_> = seen.iter().filter(|m| m.name().starts_with(restore)).map(Seen::word).collect();
        assert_eq!(words, ["accepted", "succeeded"], "each restore's in order");
    }

    // One of them dies with messages in hand: those may come twice, under one name, and all of them come.
    let (back, other, second) = submit_in_turns(world, other, half..RESTORES).await;
    world = back;
    let dead = world.turn_to(other);
    dead.signal("KILL").await;
    for restore in &second {
        world.until_status(restore, "succeeded").await;
    }
    let mut all: Vec<_> = Vec::new();
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    while all.len() < 2 * RESTORES {
        assert!(tokio::time::Instant::now() < end, "{} of {}", all.len(), 2 * RESTORES);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        all = receiver.seen().iter().map(Seen::name).collect();
        all.sort();
        all.dedup();
    }
    for restore in first.iter().chain(&second) {
        assert_eq!(all.iter().filter(|name| name.starts_with(restore.as_str())).count(), 2, "{all:?}");
    }
    // Of those that were over before it died, none came again.
    let again = receiver.seen().iter().filter(|m| first.iter().any(|id| m.name().starts_with(id))).count();
    assert_eq!(again, 2 * half);
    assert_eq!(world.applied().await.len(), RESTORES);
    world.end().await;
}

#[tokio::test]
async fn a_stream_at_one_replica_has_the_events_of_the_other_in_order_and_resumes() {
    let postgres = Postgres::start();
    let (mut world, other) = two(shared(TestConfig::default(), &postgres)).await;
    // A reader at the one; all restores at the other.
    let mut all = Reader::open(&world, LIST, None).await;
    let reading_at = world.turn_to(other);
    let mut restores = Vec::new();
    for number in 0..3 {
        restores.push(id(&world.submit(&requests::extra_disk(number)).await.json()));
    }
    let mut told = Vec::new();
    for _ in 0..4 {
        told.push(all.next().await.expect("an event"));
    }
    all.cut();
    for restore in &restores {
        world.until_status(restore, "succeeded").await;
    }
    let mut histories = Vec::new();
    for restore in &restores {
        histories.push(world.history(restore).await);
    }
    let total: usize = histories.iter().map(Vec::len).sum();

    // It goes on where it was cut off, at a third as well, that was not there before.
    let third = world.another().await;
    let submitted_at = world.turn_to(reading_at);
    let mut here = Reader::open(&world, LIST, Some(&told[3].id)).await;
    let reading_at = world.turn_to(third);
    let mut there = Reader::open(&world, LIST, Some(&told[3].id)).await;
    while told.len() < total {
        let (one, same) = (here.next().await.expect("an event"), there.next().await.expect("an event"));
        assert_eq!((&one.id, &one.word, &one.data), (&same.id, &same.word, &same.data));
        told.push(one);
    }
    for (restore, history) in restores.iter().zip(&histories) {
        let of_it = told.iter().filter(|told| told.data["restore"]["id"] == restore.as_str());
        let (words, numbers): (Vec<_>, Vec<_>) =
            of_it.map(|told| (told.word.clone(), told.data["event"]["seq"].as_u64().unwrap_or(0))).unzip();
        assert_eq!(&words, history);
        assert!(numbers.is_sorted(), "{numbers:?}");
    }
    let mut places: Vec<_> = told.iter().map(|told| told.id.clone()).collect();
    places.sort();
    places.dedup();
    assert_eq!(places.len(), total, "each once");
    here.cut();
    there.cut();
    stop(reading_at).await;
    stop(submitted_at).await;
    world.end().await;
}
