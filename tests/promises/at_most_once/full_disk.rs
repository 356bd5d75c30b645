//! F6: the disk under the ledger is full. Nothing is sent that could not be written down first, the
//! gateway says so, and it goes on by itself when there is room again.

use restore_tests::{TestConfig, World, requests};
use serde_json::json;

/// Extra disks of the clouds' world: as many restores fit side by side.
const DISKS: usize = 400;
/// So many rejections one after the other.
const REFUSED: usize = 8;

#[tokio::test]
async fn f6_on_a_full_disk_nothing_is_sent_and_room_again_is_enough() {
    let world = World::serve(TestConfig::default()).await;
    world.behave(json!({"restore_seconds": 1, "extra_disks": DISKS})).await;
    let first = world.submit(&requests::extra_disk(0)).await.json();
    world.until_status(first["id"].as_str().expect("an id"), "succeeded").await;

    // The log beside the file may still take a few restores.
    let log = world.process().folder().join("ledger.db-wal");
    let size = std::fs::metadata(&log).expect("the ledger's log").len();
    world.process().limit_files(Some(size + 64 * 1024)).await;
    let (mut accepted, mut refused, mut sent) = (1, Vec::new(), 0);
    // A commit that needs fewer pages may still fit where another did not; soon none does.
    for number in 1.. {
        assert!(number < DISKS - 1, "the disk is never full");
        let answer = world.submit(&requests::extra_disk(number)).await;
        if answer.status == 202 {
            accepted += 1;
            refused.clear();
            continue;
        }
        assert_eq!(answer.status, 503, "{}", answer.text());
        if refused.is_empty() {
            sent = world.sent().await.len();
        }
        refused.push(answer);
        if refused.len() > REFUSED {
            break;
        }
    }
    for refused in &refused {
        let problem = refused.json();
        assert_eq!((&problem["code"], &problem["effect"]), (&json!("ledger_unavailable"), &json!("none")));
        assert!(!refused.header("retry-after").is_empty());
    }
    assert_eq!(world.sent().await.len(), sent, "nothing more was sent");
    assert!(sent <= accepted, "{sent} sent, {accepted} accepted");
    let ready = world.admin("/readyz").await;
    assert!(ready.status == 503 && ready.text().contains("ledger"), "{}", ready.text());

    // What the last one sent is not lost, and what was accepted comes to its end.
    world.process().limit_files(None).await;
    let mut path = "/api/v1/restores?limit=100".to_owned();
    let mut succeeded = 0;
    loop {
        let page = world.get(&path).await.json();
        for restore in page["restores"].as_array().expect("a list") {
            let id = restore["id"].as_str().expect("an id");
            let ended = world.until(id, |restore| restore["finished_at"].is_string()).await;
            succeeded += usize::from(ended["status"] == "succeeded");
        }
        let Some(next) = page["next_cursor"].as_str() else { break };
        path = format!("/api/v1/restores?limit=100&cursor={next}");
    }
    assert_eq!(succeeded, world.applied().await.len(), "what took place is what was applied");
    let again = world.submit(&requests::extra_disk(DISKS - 1)).await;
    assert_eq!(again.status, 202, "{}", again.text());
    assert_eq!(world.admin("/readyz").await.status, 200);
    world.end().await;
}
