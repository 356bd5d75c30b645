//! What a fresh pair of eyes found; each fails as long as it is so.

use restore_tests::{Settings, World, ids};
use serde_json::{Value, json};

use crate::doors::DOORS;

const MOVED: &str = r#"
[[upstreams]]
name = "cbr"
generation = "cbr-v3"
endpoint = "{clouds}"
volumes_endpoint = "{clouds}/evs"
[[upstreams]]
name = "csbs"
generation = "csbs-v1"
endpoint = "{clouds}"
[[upstreams]]
name = "vbs"
generation = "vbs-v2"
endpoint = "{clouds}"
[[routes]]
upstream = "cbr"
"#;

fn answered(method: &str, path: &str, status: u16, body: &Value) -> Value {
    json!({"match": {"method": method, "path": path}, "times": 0, "answer": {"status": status, "body": body}})
}

/// A backup whose restore by another generation is under way says so, however many restores were begun after it.
#[tokio::test]
async fn a_backup_is_being_restored_however_many_others_are() {
    let home = MOVED.replace(
        "generation = \"vbs-v2\"\nendpoint = \"{clouds}\"",
        "generation = \"vbs-v2\"\nendpoint = \"{clouds}/vbs\"",
    );
    let world = World::with(Settings::default().routes(&home).and(DOORS)).await;
    world.behave(json!({"extra_disks": 210, "restore_seconds": 900})).await;
    let id = |number: usize| format!("bac0bac0-0000-4000-8000-{number:012x}");
    // VBS knows nothing of what CBR does.
    let at_home = json!({"backup": {"id": id(0), "status": "available", "volume_id": "d15c0000-0000-4000-8000-000000000000",
        "created_at": "2026-11-21T01:20:37.277880", "size": 10, "name": "x"}});
    world
        .faults(json!([answered(
            "GET",
            &format!("/vbs/v3/{}/backups/{}", ids::PROJECT, id(0)),
            200,
            &at_home
        )]))
        .await;
    let told = |world| async move {
        let world: &World = world;
        // Reads of the cloud may have to wait for their turn after so many restores.
        for _ in 0..30 {
            let told = world.get(&format!("/cinder/v3/{}/backups/{}", ids::PROJECT, id(0))).await;
            if told.status == 200 {
                return told.json()["backup"]["status"].clone();
            }
            println!("{} {}", told.status, told.text());
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        Value::Null
    };
    for number in 0..=200 {
        let body = json!({"restore": {"volume_id": format!("d15c0000-0000-4000-8000-{number:012x}")}});
        let path = format!("/cinder/v3/{}/backups/{}/restore", ids::PROJECT, id(number));
        let answer = world.post(&path, &body).await;
        assert_eq!(answer.status, 202, "{number}: {}", answer.text());
        if number == 0 {
            assert_eq!(told(&world).await, "restoring");
        }
    }
    assert_eq!(told(&world).await, "restoring");
    world.end().await;
}
