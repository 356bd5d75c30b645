//! A start on a ledger with very many unfinished restores: it does not wait until all of them are taken up, and no caller can
//! tell which are.

use std::path::Path;

use futures_util::future::join_all;
use http::Method;
use restore_ledger::{Accept, Entry, LedgerUrl, NewEntry, OpenOptions, Query, Unfinished};
use restore_model::{RestoreId, Target};
use restore_tests::{TestConfig, World, requests};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

/// So many that a start which took them all up first would be seen.
const MANY: i64 = 4_000;
/// Written together.
const GROUP: i64 = 250;
/// Longest wait for the last of them.
const DEADLINE: Duration = Duration::from_secs(120);

/// The disk of the restore with this number.
fn disk(number: i64) -> String {
    format!("d15c0000-0000-4000-8000-{number:012}")
}

fn url(folder: &Path) -> LedgerUrl {
    LedgerUrl::Sqlite(folder.join("ledger.db"))
}

/// Writes as many restores like this one, which differ in their disk and their key.
async fn fill(folder: &Path) -> Vec<RestoreId> {
    let ledger = restore_ledger::open(&url(folder), OpenOptions::default()).await.expect("the ledger");
    let known = ledger.list(Query { limit: 1, ..Query::default() }).await.expect("a list").remove(0);
    let events = ledger.events(known.intent.id).await.expect("its history");
    let mut written = Vec::new();
    for first in (0..MANY).step_by(usize::try_from(GROUP).expect("a few")) {
        let group = (first..first + GROUP).map(|number| {
            let at = known.intent.created_at.plus_micros(number * 1_000);
            let mut intent = (*known.intent).clone();
            intent.id = RestoreId::at(at);
            intent.key = Some(format!("k{number}"));
            intent.request.target = Target::Volume { volume_id: disk(number).parse().expect("an id") };
            intent.fingerprint = intent.own_fingerprint();
            let mut events = events.clone();
            for event in &mut events {
                // Of each its own task.
                let text = serde_json::to_string(event).expect("an event").replace(
                    &known.state.task.as_ref().expect("a task").id,
                    &format!("0000000000000000{number:016}"),
                );
                *event = serde_json::from_str(&text).expect("an event");
            }
            ledger.accept(NewEntry {
                intent,
                events,
                idempotency_key_ttl_seconds: 86_400,
                dedup_window_seconds: 900,
                may_keep_key: true,
                clock: None,
            })
        });
        for accepted in join_all(group).await {
            match accepted.expect("the ledger") {
                Accept::New(Entry { intent, .. }) => written.push(intent.id),
                other => panic!("it is new: {other:?}"),
            }
        }
    }
    ledger.close().await;
    written
}

/// What a second reader finds in the ledger, which takes up nothing.
async fn counted(folder: &Path) -> Unfinished {
    let ledger =
        restore_ledger::open_to_read(&url(folder), OpenOptions::default()).await.expect("the ledger");
    let unfinished = ledger.unfinished().await.expect("counts");
    ledger.close().await;
    unfinished
}

/// Looks at a restore without a token, which reads nothing from a cloud.
async fn stored(world: &World, id: RestoreId) -> Value {
    let url = world.url(&format!("/api/v1/restores/{id}"));
    world.http.send(Method::GET, &url, &[], "").await.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_requests_do_not_wait_for_the_takeover() {
    let mut world = World::serve(TestConfig::default()).await;
    world.behave(json!({"restore_seconds": 6_000})).await;
    let first = world.submit(&requests::free_disk()).await.json();
    assert_eq!(first["status"], "running", "{first}");
    let (_, _, folder) = world.ended_by("TERM").await;
    let written = fill(folder.path()).await;
    world.again_in(folder).await;
    let folder = world.process().folder().to_owned();
    let all = u64::try_from(MANY).expect("a count") + 1;

    assert_eq!(world.admin("/readyz").await.status, 200);
    let at_first = counted(&folder).await;
    assert_eq!(at_first.by_status.iter().map(|(_, count)| count).sum::<u64>(), all);
    assert!(at_first.awaiting_credential < all, "all were taken up before the first request");

    // The newest are the last to be taken up, unless somebody asks for them.
    let [.., resolved, repeated, looked_at] = written[..] else { panic!("there are many") };
    let look = stored(&world, looked_at).await;
    assert_eq!((&look["status"], &look["awaiting_credential"]), (&json!("running"), &json!(true)), "{look}");
    assert!(look["last_poll_failed_since"].is_string(), "{look}");
    let history = world.history(&looked_at.to_string()).await;
    assert_eq!(history.last().map(String::as_str), Some("stale"), "{history:?}");

    let request = |number: i64| {
        let mut request = requests::free_disk();
        request["target"]["volume_id"] = json!(disk(number));
        request
    };
    let key = format!("k{}", MANY - 2);
    let again = world.post_with("/api/v1/restores", &request(MANY - 2), &[("idempotency-key", &key)]).await;
    assert_eq!(again.header("idempotency-replayed"), "true", "{}", again.text());
    assert_eq!(again.json()["id"], json!(repeated), "{}", again.text());
    let history = world.history(&repeated.to_string()).await;
    assert!(history.contains(&"stale".to_owned()), "it was taken up before it was answered: {history:?}");
    let clash = world.post_with("/api/v1/restores", &request(MANY - 2), &[("idempotency-key", "new")]).await;
    assert_eq!((clash.status, clash.json()["code"].as_str()), (409, Some("target_busy")), "{}", clash.text());

    let word = json!({"as": "not_applied", "by": "ada", "reason": "no such job", "override": true});
    let decided = world.decide(&format!("/restores/{resolved}/resolution"), &word).await;
    assert_eq!(decided.status, 200, "{}", decided.text());
    let list = world.get("/api/v1/restores?status=running&limit=50").await.json();
    let listed = list["restores"].as_array().expect("a list");
    assert_eq!(listed.len(), 50, "{list}");
    assert!(
        listed
            .iter()
            .all(|restore| restore["last_poll_failed_since"].is_string() || restore["id"] == json!(repeated)),
        "{list}"
    );
    assert_eq!(world.sent().await.len(), 1, "nothing is sent again");

    // The rest follows, and the counts say so.
    let end = Instant::now() + DEADLINE;
    loop {
        let unfinished = counted(&folder).await;
        let running = unfinished.by_status.iter().map(|(_, count)| count).sum::<u64>();
        if unfinished.stale + 1 >= running {
            break;
        }
        assert!(Instant::now() < end, "never taken up: {unfinished:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(stored(&world, resolved).await["status"], "not_applied");
    assert_eq!(world.sent().await.len(), 1, "nothing is sent again");
    world.end().await;
}
