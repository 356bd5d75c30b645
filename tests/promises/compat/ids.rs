//! What a backup is called by the generation that carries its restore out: on proof, or not at all. A wrong id would
//! overwrite disks with something else.

use restore_tests::{TestConfig, World, ids};
use serde_json::{Value, json};

use crate::compat::basics::{DOORS, native};

/// CSBS is what programs speak, and CBR restores.
pub(crate) const MOVED: &str = r#"
[[upstreams]]
name = "cbr"
generation = "cbr-v3"
endpoint = "{clouds}"
evs_endpoint = "{clouds}/evs"
[[upstreams]]
name = "csbs"
generation = "csbs-v1"
endpoint = "{clouds}"
[[routes]]
upstream = "cbr"
"#;

/// VBS is what programs speak, and CBR restores.
const HOME_OF_DISKS: &str = r#"
[[upstreams]]
name = "cbr"
generation = "cbr-v3"
endpoint = "{clouds}"
evs_endpoint = "{clouds}/evs"
[[upstreams]]
name = "vbs"
generation = "vbs-v2"
endpoint = "{clouds}"
[[routes]]
upstream = "cbr"
"#;

/// When CSBS says that it made the server's backup.
const MADE: &str = "2026-11-21T01:20:37.277880";

pub(crate) fn config() -> TestConfig {
    config_of(MOVED)
}

pub(crate) fn config_of(upstreams: &str) -> TestConfig {
    TestConfig::default().routes(upstreams).and(DOORS)
}

/// The backup that CBR shows under the id that VBS has for the disk's.
fn of_disk(of: &str, created_at: &str) -> Value {
    json!({"backup": {
        "id": ids::FREE.0, "status": "available", "resource_id": of, "resource_type": "OS::Cinder::Volume",
        "image_type": "backup", "created_at": created_at, "children": [],
    }})
}

fn at_vbs() -> String {
    format!("/v2/{}/backups/{}", ids::PROJECT, ids::FREE.0)
}

fn at_cbr() -> String {
    format!("/v3/{}/backups/{}", ids::PROJECT, ids::FREE.0)
}

/// The backup that CBR shows under the id that CSBS has for the server's, in the manner of CBR.
fn namesake(of: &str, created_at: &str) -> Value {
    json!({"backup": {
        "id": ids::CSBS_ITEM, "status": "available", "resource_id": of, "resource_type": "OS::Nova::Server",
        "image_type": "backup", "created_at": created_at, "protected_at": created_at, "children": [],
    }})
}

fn answered(method: &str, path: &str, status: u16, body: &Value) -> Value {
    json!({"match": {"method": method, "path": path}, "times": 0, "answer": {"status": status, "body": body}})
}

fn namesake_path() -> String {
    format!("/v3/{}/backups/{}", ids::PROJECT, ids::CSBS_ITEM)
}

fn item_path() -> String {
    format!("/v1/{}/checkpoint_items/{}", ids::PROJECT, ids::CSBS_ITEM)
}

#[tokio::test]
async fn how_an_id_was_found_stands_in_the_history() {
    let world = World::with(config()).await;
    let (path, body) = native::request("csbs-v1", "server");
    let answer = world.post(&path, &body).await;
    crate::compat::basics::follow(&world, "csbs-v1", &path, &answer).await;
    let id = answer.json()["restore"]["id"].as_str().unwrap_or_default().to_owned();
    let events = world.get(&format!("/api/v1/restores/{id}/events")).await.json();
    let checked = events["events"].as_array().into_iter().flatten().find(|event| event["event"] == "checked");
    let said = checked.map(|event| event["evidence"]["detail"].as_str().unwrap_or_default().to_owned());
    let said = said.unwrap_or_else(|| panic!("{events}"));
    for step in [
        "ids: source_lookup:",
        "id_map: no row",
        "same_id: there is no backup",
        "match:",
        ids::CBR_BACKUP,
        "disks: ",
    ] {
        assert!(said.contains(step), "{step} in {said}");
    }
    world.end().await;
}

/// CSBS refuses a protection run that is not the item's; so does its compatibility endpoint, whoever restores.
#[tokio::test]
async fn a_checkpoint_that_is_not_the_items_is_refused_as_csbs_does() {
    let world = World::with(config()).await;
    let (path, mut body) = native::request("csbs-v1", "server");
    let right = body["restore"]["checkpoint_id"].clone();
    body["restore"]["checkpoint_id"] = json!("99aa22bb-33cc-44dd-95ee-66ff77008811");
    let answer = world.post(&path, &body).await;
    assert_eq!(answer.status, 404, "{}", answer.text());
    assert!(answer.text().contains("is not the one of backup"), "{}", answer.text());
    assert!(world.sent().await.is_empty());
    body["restore"]["checkpoint_id"] = right;
    assert_eq!(world.post(&path, &body).await.status, 200);
    world.end().await;
}

/// What a policy closes to a caller is not read for it either, with the gateway's own credential.
#[tokio::test]
async fn a_home_that_a_caller_may_not_know_is_not_asked_for_it() {
    let held = MOVED.replace("\nendpoint", "\ncredential = \"robot\"\nendpoint");
    for (policy, may) in
        [("upstreams = [\"cbr\"]", false), ("upstreams = [\"cbr\", \"csbs\"]", true), ("", true)]
    {
        let key = "rgk_program-0123456789abcdef0123456789abcdef";
        let callers = format!(
            "[[callers]]\nname = \"program\"\ntype = \"api-key\"\nkey_hash = \"{}\"\n\
             [[policies]]\ncallers = [\"program\"]\nactions = [\"restore\", \"check\", \"read\"]\n{policy}\n",
            crate::auth::callers::hash(key)
        );
        let config = config_of(&held).and(&callers).robot();
        let world = World::serve_beside(config, &[], &[("password", "example-only")]).await;
        let (path, body) = native::request("csbs-v1", "server");
        let headers = [("content-type", "application/json"), ("x-api-key", key)];
        let answer = world.http.send(http::Method::POST, &world.url(&path), &headers, body.to_string()).await;
        let arrived = world.arrived().await;
        let read = arrived
            .iter()
            .any(|seen| seen["path"].as_str().is_some_and(|path| path.contains("/checkpoint_items/")));
        assert_eq!((answer.status, read), (if may { 200 } else { 400 }, may), "{policy}: {}", answer.text());
        assert_eq!(world.sent().await.len(), usize::from(may), "{policy}");
        if !may {
            for word in ["backup_id_unmapped", "may not know what upstream csbs has", "nothing was sent"] {
                assert!(answer.text().contains(word), "{word} in {}", answer.text());
            }
            assert!(!answer.text().contains(ids::SERVER), "{}", answer.text());
        }
        world.end().await;
    }
}

/// The same id for another server, and for the same one at another time: neither is restored, and what is restored is the
/// backup that is proven to be the same.
#[tokio::test]
async fn a_namesake_that_is_another_backup_is_never_restored() {
    let other = "ffffffff-3b0a-4c55-9a51-0f6c2b9e8d14";
    for (of, time) in [(other, MADE), (ids::SERVER, "2026-11-21T01:20:40.500000")] {
        let world = World::with(config()).await;
        world.faults(json!([answered("GET", &namesake_path(), 200, &namesake(of, time))])).await;
        let (path, body) = native::request("csbs-v1", "server");
        let answer = world.post(&path, &body).await;
        crate::compat::basics::follow(&world, "csbs-v1", &path, &answer).await;
        let sent = world.sent().await;
        let proven = format!("/v3/{}/backups/{}/restore", ids::PROJECT, ids::CBR_BACKUP);
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0]["path"], *proven);
        world.end().await;
    }
}

/// What both generations tell the same of is taken for the same, and then it must have the disks.
#[tokio::test]
async fn a_proven_namesake_counts_and_must_have_the_disks() {
    let world = World::with(config()).await;
    world.faults(json!([answered("GET", &namesake_path(), 200, &namesake(ids::SERVER, MADE))])).await;
    let (path, body) = native::request("csbs-v1", "server");
    let answer = world.post(&path, &body).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    for word in ["both generations tell the same", "is no part of backup"] {
        assert!(answer.text().contains(word), "{word} in {}", answer.text());
    }
    assert!(world.sent().await.is_empty());
    world.end().await;
}

/// CSBS tells nothing any more, and CBR has a namesake without the disks that are asked for.
#[tokio::test]
async fn where_home_is_silent_a_namesake_without_the_disks_is_refused() {
    let world = World::with(config()).await;
    let namesake = namesake(ids::SERVER, MADE);
    let gone = json!({"code": "CSBS.3001", "message": "gone"});
    world
        .faults(json!([
            answered("GET", &namesake_path(), 200, &namesake),
            answered("GET", &item_path(), 404, &gone)
        ]))
        .await;
    let (path, body) = native::request("csbs-v1", "server");
    let answer = world.post(&path, &body).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    for word in ["backup_id_unmapped", "is no part of it", "nothing was sent"] {
        assert!(answer.text().contains(word), "{word} in {}", answer.text());
    }
    assert!(world.sent().await.is_empty());
    world.end().await;
}

/// A namesake in CBR of a disk's backup of VBS, made of another disk a year before. VBS would tell them apart; that it cannot
/// be asked just now must not make the one the other.
#[tokio::test]
async fn trouble_at_home_does_not_make_a_namesake_the_backup() {
    let other = "ffffffff-3b0a-4c55-9a51-0f6c2b9e8d14";
    let namesake = of_disk(other, "2025-01-01T00:00:00.0");
    let cut_off = json!({"match": {"method": "GET", "path": at_vbs()}, "times": 0, "reset": "before"});
    let answered = |status: u16, body: &Value| answered("GET", &at_vbs(), status, body);
    let said = json!({"message": "try again"});
    // What VBS answers, and how the compatibility endpoint refuses.
    let rows: [(&str, Option<Value>, u16, &str); 9] = [
        ("200", None, 400, "backup_id_unmapped"),
        ("401", Some(answered(401, &said)), 401, "upstream_unauthorized"),
        ("403", Some(answered(403, &said)), 403, "upstream_forbidden"),
        ("404, of nobody", Some(answered(404, &json!([]))), 503, "backup_lookup_failed"),
        ("429", Some(answered(429, &said)), 503, "backup_lookup_failed"),
        ("500", Some(answered(500, &said)), 503, "backup_lookup_failed"),
        ("503", Some(answered(503, &said)), 503, "backup_lookup_failed"),
        ("200, not to be read", Some(answered(200, &json!({"backup": "?"}))), 503, "backup_lookup_failed"),
        ("nothing", Some(cut_off), 503, "backup_lookup_failed"),
    ];
    for (name, trouble, status, code) in rows {
        let world = World::with(config_of(HOME_OF_DISKS)).await;
        let mut plan = vec![self::answered("GET", &at_cbr(), 200, &namesake)];
        plan.extend(trouble);
        world.faults(json!(plan)).await;
        let (path, body) = native::request("vbs-v2", "volume");
        let answer = world.post(&path, &body).await;
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        for word in [code, "nothing was sent"] {
            assert!(answer.text().contains(word), "{name}: {word} in {}", answer.text());
        }
        assert_eq!(status == 503, !answer.header("retry-after").is_empty(), "{name}");
        assert!(world.sent().await.is_empty(), "{name}");
        world.end().await;
    }
}

/// VBS has nothing to tell for good: its id alone makes no backup of CBR the same one, that it is of the very disk does.
#[tokio::test]
async fn where_home_is_silent_a_disks_backup_must_be_of_that_disk() {
    let closed = json!({"error_code": "BackupService.4003", "error_msg": "migrated"});
    let no_api = json!({"error_code": "APIGW.0101", "error_msg": "not published"});
    let gone = json!({"itemNotFound": {"code": 404, "message": "gone"}});
    let without_vbs = MOVED;
    let rows = [
        ("closed", HOME_OF_DISKS, Some((400, &closed))),
        ("no API", HOME_OF_DISKS, Some((404, &no_api))),
        ("no such backup", HOME_OF_DISKS, Some((404, &gone))),
        ("no upstream", without_vbs, None),
    ];
    for (name, upstreams, silence) in rows {
        for (of, sent) in [("ffffffff-3b0a-4c55-9a51-0f6c2b9e8d14", 0), (ids::FREE.1, 1)] {
            let world = World::with(config_of(upstreams)).await;
            let mut plan = vec![answered("GET", &at_cbr(), 200, &of_disk(of, "2025-01-01T00:00:00.0"))];
            plan.extend(silence.map(|(status, body)| answered("GET", &at_vbs(), status, body)));
            world.faults(json!(plan)).await;
            let (path, body) = native::request("vbs-v2", "volume");
            let answer = world.post(&path, &body).await;
            if sent == 0 {
                assert_eq!(answer.status, 400, "{name}: {}", answer.text());
                assert!(answer.text().contains("its id alone is no proof"), "{name}: {}", answer.text());
            } else {
                assert_eq!(answer.status, 200, "{name}: {}", answer.text());
            }
            assert_eq!(world.sent().await.len(), sent, "{name}");
            world.end().await;
        }
    }
}

/// The operator's word needs nobody else's.
#[tokio::test]
async fn a_row_of_the_table_counts_also_in_trouble() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ids.csv");
    let row = format!("from,from_id,to,to_id\nvbs-v2,{0},cbr-v3,{0}\n", ids::FREE.0);
    std::fs::write(&file, row).expect("a file");
    let map = format!("[id_mapping]\nfile = {:?}\n", file.display().to_string());
    let world = World::with(config_of(HOME_OF_DISKS).and(&map)).await;
    world.faults(json!([answered("GET", &at_vbs(), 503, &json!({"message": "try again"}))])).await;
    let (path, body) = native::request("vbs-v2", "volume");
    let answer = world.post(&path, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(world.sent().await.len(), 1);
    world.end().await;
}

/// VBS X is CBR Y by the table, and CBR X is another backup: asked for in the names of CBR, at its compatibility endpoint or at the API, it is
/// not "done already".
#[tokio::test]
async fn one_id_in_the_names_of_two_generations_is_two_backups() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ids.csv");
    let x = "99999999-1111-4222-8333-444455556666";
    std::fs::write(&file, format!("from,from_id,to,to_id\nvbs-v2,{x},cbr-v3,{}\n", ids::FREE.0))
        .expect("a file");
    let map = format!("[id_mapping]\nfile = {:?}\n", file.display().to_string());
    let world = World::with(config_of(HOME_OF_DISKS).and(&map)).await;
    let body = json!({"restore": {"volume_id": ids::FREE.1}});
    let at_endpoint = |endpoint: &str| format!("{endpoint}/{}/", ids::PROJECT);
    let vbs = format!("{}cloudbackups/{x}/restore", at_endpoint("/vbs/v2"));
    let first = world.post(&vbs, &body).await;
    assert_eq!(first.status, 200, "{}", first.text());
    // The same names at another compatibility endpoint of VBS: the same backup, and the same restore.
    let again = world.post(&format!("{}backups/{x}/restore", at_endpoint("/cinder/v3")), &body).await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (202, "true"), "{}", again.text());
    let end = world.get("/api/v1/restores").await.json()["restores"][0]["id"].clone();
    for ended in [false, true] {
        if ended {
            world.until_status(end.as_str().unwrap_or_default(), "succeeded").await;
        }
        let other = world.post(&format!("{}backups/{x}/restore", at_endpoint("/cbr/v3")), &body).await;
        assert_eq!(other.header("idempotency-replayed"), "", "{}", other.text());
        // The disk is being restored, or there is no backup X in CBR.
        assert!((400..500).contains(&other.status), "{} {}", other.status, other.text());
        let canonical = json!({
            "project_id": ids::PROJECT, "source": {"backup_id": x},
            "target": {"type": "volume", "volume_id": ids::FREE.1},
        });
        let other = world.submit(&canonical).await;
        assert_eq!(other.header("idempotency-replayed"), "", "{}", other.text());
        assert!((400..500).contains(&other.status), "{} {}", other.status, other.text());
    }
    assert_eq!(world.applied().await.len(), 1);
    world.end().await;
}

/// The compatibility endpoint and the API call a backup alike where the names are those of one generation: what came through the one and
/// comes again through the other is the same restore.
#[tokio::test]
async fn what_came_through_an_endpoint_and_comes_again_at_the_api_is_the_same_restore() {
    let world = World::with(config_of(HOME_OF_DISKS)).await;
    let (path, body) = native::request("cbr-v3", "volume");
    let first = world.post(&path, &body).await;
    assert_eq!(first.status, 202, "{}", first.text());
    let again = world.submit(&restore_tests::requests::free_disk()).await;
    assert_eq!(again.header("idempotency-replayed"), "true", "{}", again.text());
    assert_eq!(world.sent().await.len(), 1);
    world.end().await;
}

/// Two backups of the same server and time are listed. While one of them cannot be read, or is not told in full, it is not
/// known which is the one; what is gone by then is none.
#[tokio::test]
async fn a_candidate_that_cannot_be_read_is_still_a_candidate() {
    let twin = "77777777-6b5a-4948-8372-615049382716";
    let one = |id: &str| {
        json!({
            "id": id, "status": "available", "resource_id": ids::SERVER, "resource_type": "OS::Nova::Server",
            "image_type": "backup", "created_at": MADE, "children": [],
        })
    };
    let said = |code: &str| json!({"error_code": code, "error_msg": "m"});
    let rows = [
        (400, said("BackupService.9996"), 0),
        (403, said("IAM.0003"), 0),
        (500, said("BackupService.9910"), 0),
        // Its disks are not told.
        (200, json!({"backup": one(twin)}), 0),
        (404, said("BackupService.6200"), 1),
    ];
    for (status, body, sent) in rows {
        let world = World::with(config()).await;
        let list = json!({"backups": [one(twin), one(ids::CBR_BACKUP)], "count": 2});
        let of_twin = format!("/v3/{}/backups/{twin}", ids::PROJECT);
        world
            .faults(json!([
                answered("GET", &format!("/v3/{}/backups", ids::PROJECT), 200, &list),
                answered("GET", &of_twin, status, &body),
            ]))
            .await;
        let (path, body) = native::request("csbs-v1", "server");
        let answer = world.post(&path, &body).await;
        assert!(
            world.arrived().await.iter().any(|read| read["path"] == *of_twin),
            "{status}: it is looked at"
        );
        assert_eq!(world.sent().await.len(), sent, "{status}: {}", answer.text());
        assert_eq!(answer.status == 200, sent == 1, "{status}: {}", answer.text());
        assert!(sent == 1 || answer.text().contains("nothing was sent"), "{status}: {}", answer.text());
        world.end().await;
    }
}

/// A list that is not told in full makes nothing the only one.
#[tokio::test]
async fn half_a_list_makes_no_backup_the_only_one() {
    let one = json!({
        "id": ids::CBR_BACKUP, "status": "available", "resource_id": ids::SERVER, "resource_type": "OS::Nova::Server",
        "image_type": "backup", "created_at": MADE, "children": [],
    });
    for list in
        [json!({"backups": [one.clone()], "count": 2}), json!({"backups": [one.clone(), {"id": "x"}]})]
    {
        let world = World::with(config()).await;
        world.faults(json!([answered("GET", &format!("/v3/{}/backups", ids::PROJECT), 200, &list)])).await;
        let (path, body) = native::request("csbs-v1", "server");
        let answer = world.post(&path, &body).await;
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.text().contains("backup_lookup_failed"), "{}", answer.text());
        assert!(world.sent().await.is_empty());
        world.end().await;
    }
}

/// A table that says something wrong refuses the restore, and is mended without a restart.
#[tokio::test]
async fn the_table_of_ids_counts_and_is_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ids.csv");
    let table = |to: &str| {
        let row = format!("from,from_id,to,to_id\ncsbs-v1,{},cbr-v3,{to}\n", ids::CSBS_ITEM);
        let part = folder.path().join("part");
        std::fs::write(&part, row).expect("a file");
        std::fs::rename(part, &file).expect("a file in its place");
    };
    table("0f9e8d7c-6b5a-4948-8372-61504938271f");
    let map = format!("[id_mapping]\nfile = {:?}\n", file.display().to_string());
    let world = World::with(config().and(&map)).await;
    let (path, body) = native::request("csbs-v1", "server");
    let answer = world.post(&path, &body).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.text().contains("which is not there"), "{}", answer.text());
    assert!(world.sent().await.is_empty());

    // A backup, and of a disk.
    table(ids::FREE.0);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let answer = world.post(&path, &body).await;
        assert!(answer.status == 400 && std::time::Instant::now() < end, "{}", answer.text());
        if answer.text().contains("which is a backup of another kind") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    table(ids::CBR_BACKUP);
    let answer = loop {
        let answer = world.post(&path, &body).await;
        if answer.status == 200 {
            break answer;
        }
        assert!(std::time::Instant::now() < end, "{}", answer.text());
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    };
    crate::compat::basics::follow(&world, "csbs-v1", &path, &answer).await;
    assert_eq!(world.sent().await.len(), 1);
    world.end().await;
}
