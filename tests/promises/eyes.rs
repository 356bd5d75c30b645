//! What a fresh pair of eyes found; each fails as long as it is so.

use restore_tests::{Settings, World, ids};
use serde_json::{Value, json};

use crate::doors::{DOORS, native};

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

fn settings() -> Settings {
    Settings::default().routes(MOVED).and(DOORS)
}

fn answered(method: &str, path: &str, status: u16, body: &Value) -> Value {
    json!({"match": {"method": method, "path": path}, "times": 0, "answer": {"status": status, "body": body}})
}

/// A disk's backup that has the same id in CBR and is of another disk: refused while VBS tells so; a moment of trouble at VBS
/// (503, 500, 429, 403) must not make it the right one.
#[tokio::test]
async fn trouble_at_home_does_not_turn_a_namesake_into_the_backup() {
    let other = "ffffffff-3b0a-4c55-9a51-0f6c2b9e8d14";
    let namesake = json!({"backup": {
        "id": ids::FREE.0, "status": "available", "resource_id": other, "resource_type": "OS::Cinder::Volume",
        "image_type": "backup", "created_at": "2025-01-01T00:00:00.0", "children": [],
        "project_id": ids::PROJECT, "resource_size": 100,
    }});
    let ours = format!("/v3/{}/backups/{}", ids::PROJECT, ids::FREE.0);
    let theirs = format!("/v2/{}/backups/{}", ids::PROJECT, ids::FREE.0);
    let mut wrong = Vec::new();
    for trouble in [200, 500, 503, 429, 403] {
        let world = World::with(settings()).await;
        let mut plan = vec![answered("GET", &ours, 200, &namesake)];
        if trouble != 200 {
            plan.push(answered("GET", &theirs, trouble, &json!({"message": "try again"})));
        }
        world.faults(json!(plan)).await;
        let (path, body) = native::request("vbs-v2", "volume");
        let answer = world.post(&path, &body).await;
        println!("home {trouble}: {} {}", answer.status, answer.text());
        for sent in world.sent().await {
            println!("   sent {}", sent["path"]);
            wrong.push((trouble, sent["path"].clone()));
        }
        world.end().await;
    }
    assert!(wrong.is_empty() || wrong.iter().all(|(at, _)| *at == 200), "{wrong:?}");
}

/// VBS X is CBR Y by the table. CBR X is another backup; asked for at the CBR door it is not "done already".
#[tokio::test]
async fn the_same_id_at_two_doors_is_not_the_same_restore() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ids.csv");
    let x = "99999999-1111-4222-8333-444455556666";
    std::fs::write(&file, format!("from,from_id,to,to_id\nvbs-v2,{x},cbr-v3,{}\n", ids::FREE.0)).expect("a file");
    let map = format!("[ids]\nmap_file = {:?}\n", file.display().to_string());
    let world = World::with(settings().and(&map)).await;
    let body = json!({"restore": {"volume_id": ids::FREE.1}});
    let first = world.post(&format!("/vbs/v2/{}/cloudbackups/{x}/restore", ids::PROJECT), &body).await;
    assert_eq!(first.status, 200, "{}", first.text());
    // There is no backup X in CBR.
    let second = world.post(&format!("/cbr/v3/{}/backups/{x}/restore", ids::PROJECT), &body).await;
    println!("{} {} {}", second.status, second.header("idempotency-replayed"), second.text());
    assert_ne!(second.status, 202, "{}", second.text());
    world.end().await;
}

/// Other spellings of the ids of a restore that has just ended: the same restore, for the locks as for the answer.
#[tokio::test]
async fn other_spellings_of_the_ids_are_the_same_request() {
    let world = World::with(settings()).await;
    let path = format!("/cinder/v3/{}/backups/{}/restore", ids::PROJECT, ids::FREE.0);
    let first = world.post(&path, &json!({"restore": {"volume_id": ids::FREE.1}})).await;
    assert_eq!(first.status, 202, "{}", first.text());
    let list = world.get("/api/v1/restores").await.json();
    world.until_status(list["restores"][0]["id"].as_str().unwrap_or_default(), "succeeded").await;
    for volume in [ids::FREE.1.to_uppercase(), ids::FREE.1.replace('-', "")] {
        let again = world.post(&path, &json!({"restore": {"volume_id": volume}})).await;
        println!("{} {} {}", again.status, again.header("idempotency-replayed"), again.text());
    }
    assert_eq!(world.sent().await.len(), 1);
    world.end().await;
}

/// A backup whose restore by another generation is under way says so, however many restores were begun after it.
#[tokio::test]
async fn a_backup_is_being_restored_however_many_others_are() {
    let home = MOVED.replace("generation = \"vbs-v2\"\nendpoint = \"{clouds}\"", "generation = \"vbs-v2\"\nendpoint = \"{clouds}/vbs\"");
    let world = World::with(Settings::default().routes(&home).and(DOORS)).await;
    world.behave(json!({"extra_disks": 210, "restore_seconds": 900})).await;
    let id = |number: usize| format!("bac0bac0-0000-4000-8000-{number:012x}");
    // VBS knows nothing of what CBR does.
    let at_home = json!({"backup": {"id": id(0), "status": "available", "volume_id": "d15c0000-0000-4000-8000-000000000000",
        "created_at": "2026-11-21T01:20:37.277880", "size": 10, "name": "x"}});
    world.faults(json!([answered("GET", &format!("/vbs/v3/{}/backups/{}", ids::PROJECT, id(0)), 200, &at_home)])).await;
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

/// Two backups of the same resource and time are listed, and one of them cannot be read just now: which one it is cannot be told.
#[tokio::test]
async fn a_candidate_that_cannot_be_read_is_still_a_candidate() {
    let twin = "77777777-6b5a-4948-8372-615049382716";
    for status in [400, 404, 200] {
        let world = World::with(settings()).await;
        let one = |id: &str| json!({
            "id": id, "status": "available", "resource_id": ids::SERVER, "resource_type": "OS::Nova::Server",
            "image_type": "backup", "created_at": "2026-11-21T01:20:37.277880", "children": [],
        });
        let list = json!({"backups": [one(twin), one(ids::CBR_BACKUP)], "count": 2});
        let twin_path = format!("/v3/{}/backups/{twin}", ids::PROJECT);
        // 200: readable, but its children are not told in full.
        let body = if status == 200 { json!({"backup": one(twin)}) } else { json!({"error_code": "BackupService.9996", "error_msg": "later"}) };
        world.faults(json!([
            answered("GET", &format!("/v3/{}/backups", ids::PROJECT), 200, &list),
            answered("GET", &twin_path, status, &body),
        ])).await;
        let (path, body) = native::request("csbs-v1", "server");
        let answer = world.post(&path, &body).await;
        let read = world.arrived().await.iter().any(|one| one["path"] == *twin_path);
        assert!(read, "the twin was looked at");
        assert!(status != 400 || world.sent().await.is_empty(), "restored, though its twin could not be read");
        println!("twin answers {status}: {} sent {:?} {}", answer.status,
            world.sent().await.iter().map(|sent| sent["path"].clone()).collect::<Vec<_>>(), &answer.text()[..150.min(answer.text().len())]);
        world.end().await;
    }
}
