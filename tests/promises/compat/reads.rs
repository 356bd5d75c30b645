//! What compatibility endpoints tell while another cloud than theirs carries a restore out: never that it has ended well while it
//! has not, in no read that a program could wait by.

use restore_tests::{TestConfig, World, ids, raw};
use serde_json::{Value, json};

use crate::compat::basics::{DOORS, native};

/// CBR does everything; the clouds of the compatibility endpoints are asked for the rest.
const MOVED: &str = "[[routes]]\nupstream = \"cbr\"\n";

async fn moved() -> World {
    World::with(TestConfig::default().ways(MOVED).and(DOORS)).await
}

async fn begun(world: &World, source_api: &str, target: &str) {
    let (path, body) = native::request(source_api, target);
    let answer = world.post(&path, &body).await;
    assert!(matches!(answer.status, 200 | 202), "{}", answer.text());
}

async fn read(world: &World, path: &str, place: &str) -> Value {
    let answer = world.get(&path.replace("{project}", ids::PROJECT)).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json().pointer(place).cloned().unwrap_or_else(|| panic!("no {place} in {}", answer.text()))
}

/// The one item of a list that has this id.
fn one(list: &Value, id: &str) -> Value {
    let items = list.as_array().expect("a list");
    items.iter().find(|item| item["id"] == id).cloned().unwrap_or_else(|| panic!("no {id} in {list}"))
}

#[tokio::test]
async fn lists_show_a_restore_as_the_single_reads_do() {
    let world = moved().await;
    world.behave(json!({"restore_seconds": 600})).await;
    begun(&world, "csbs-v1", "server").await;
    let items = read(&world, "/csbs/v1/{project}/checkpoint_items", "/checkpoint_items").await;
    assert_eq!(one(&items, ids::CSBS_ITEM)["status"], "restoring");
    begun(&world, "cinder-v3", "volume").await;
    for list in ["/vbs/v2/{project}/backups/detail", "/cinder/v3/{project}/backups/detail"] {
        let backups = read(&world, list, "/backups").await;
        assert_eq!(one(&backups, ids::FREE.0)["status"], "restoring", "{list}");
    }
    let disks = read(&world, "/cinder/v3/{project}/volumes/detail", "/volumes").await;
    for disk in [ids::FREE.1, ids::SYSTEM.1, ids::DATA.1] {
        assert_eq!(one(&disks, disk)["status"], "restoring-backup", "{disk}");
    }
    world.end().await;
}

/// Home and worker speak the same; the home knows nothing of the worker's restores all the same.
#[tokio::test]
async fn another_upstream_of_the_same_generation_is_another_cloud() {
    let routes = r#"
[[upstreams]]
name = "home"
generation = "csbs-v1"
endpoint = "{clouds}"
[[upstreams]]
name = "worker"
generation = "csbs-v1"
endpoint = "{clouds}"
[[routes]]
upstream = "worker"
"#;
    let endpoints = "[[compat_endpoints]]\napi = \"csbs-v1\"\nprefix = \"/csbs\"\nupstream = \"home\"\n";
    let world = World::with(TestConfig::default().routes(routes).and(endpoints)).await;
    world.behave(json!({"restore_seconds": 600})).await;
    let path = format!("/csbs/v1/{}/checkpoint_items/{}", ids::PROJECT, ids::CSBS_ITEM);
    let idle = world.get(&path).await.json();
    begun(&world, "csbs-v1", "server").await;
    let native = path.strip_prefix("/csbs").expect("a prefix");
    let answer = json!({"status": 200, "body": idle});
    world.faults(json!([{"match": {"method": "GET", "path": native}, "times": 0, "answer": answer}])).await;
    assert_eq!(read(&world, &path, "/checkpoint_item/status").await, "restoring");
    world.end().await;
}

/// The cloud of the compatibility endpoint restores, and is too busy to say so: the same id in another cloud is no answer to that.
#[tokio::test]
async fn a_cloud_that_restores_is_not_answered_for_by_another_one() {
    let routes = "[[routes]]\nmatch = { target_types = [\"server\"] }\nupstream = \"csbs\"\n[[routes]]\nupstream = \"cbr\"\n";
    let world = World::with(TestConfig::default().ways(routes).and(DOORS)).await;
    world.behave(json!({"restore_seconds": 600})).await;
    begun(&world, "csbs-v1", "server").await;
    let native = format!("/v1/{}/checkpoint_items/{}", ids::PROJECT, ids::CSBS_ITEM);
    let namesake = json!({"backup": {"id": ids::CSBS_ITEM, "status": "available", "resource_id": ids::SERVER,
        "resource_type": "OS::Nova::Server", "image_type": "backup", "children": []}});
    let other = format!("/v3/{}/backups/{}", ids::PROJECT, ids::CSBS_ITEM);
    for status in [429, 403, 500, 503] {
        let answer = json!({"status": status, "body": {"error_code": "CSBS.9999", "error_msg": "not now"}});
        world
            .faults(json!([
                {"match": {"method": "GET", "path": native}, "times": 0, "answer": answer},
                {"match": {"method": "GET", "path": other}, "times": 0, "answer": {"status": 200, "body": namesake}},
            ]))
            .await;
        let answer = world.get(&format!("/csbs{native}")).await;
        assert_ne!(answer.status, 200, "{status}: {}", answer.text());
    }
    world.end().await;
}

/// What was read before a restore was accepted is not told again after it.
#[tokio::test]
async fn a_read_after_the_request_shows_the_request() {
    let world = World::with(TestConfig::default().and(DOORS)).await;
    world.behave(json!({"restore_seconds": 600})).await;
    let list = "/vbs/v2/{project}/backups/detail";
    assert_eq!(one(&read(&world, list, "/backups").await, ids::FREE.0)["status"], "available");
    begun(&world, "vbs-v2", "volume").await;
    assert_eq!(one(&read(&world, list, "/backups").await, ids::FREE.0)["status"], "restoring");
    world.end().await;
}

/// Once it has ended well, the cloud knows best what a disk is.
#[tokio::test]
async fn a_disk_is_what_its_cloud_says_once_it_is_restored() {
    let world = moved().await;
    let disk = format!("/cinder/v3/{}/volumes/{}", ids::PROJECT, ids::FREE.1);
    let before = read(&world, &disk, "/volume").await;
    world.behave(json!({"restore_seconds": 2})).await;
    begun(&world, "cinder-v3", "volume").await;
    let during = read(&world, &disk, "/volume").await;
    assert_eq!((&during["status"], &during["size"]), (&json!("restoring-backup"), &before["size"]));
    world.advance(3).await;
    let list = world.get("/api/v1/restores").await.json();
    world.until_status(list["restores"][0]["id"].as_str().expect("an id"), "succeeded").await;
    let after = read(&world, &disk, "/volume").await;
    assert_eq!((&after["status"], &after["size"]), (&before["status"], &before["size"]), "{after}");
    world.end().await;
}

/// The old service is switched off; its programs still learn how their restores stand.
#[tokio::test]
async fn a_home_that_is_gone_leaves_nobody_in_the_dark() {
    let world = moved().await;
    world.behave(json!({"restore_seconds": 600})).await;
    begun(&world, "csbs-v1", "server").await;
    begun(&world, "vbs-v2", "volume").await;
    world
        .faults(json!([
            {"match": {"method": "GET", "path": "/v1/*"}, "times": 0, "reset": "before"},
            {"match": {"method": "GET", "path": "/vbs/*"}, "times": 0, "reset": "before"},
        ]))
        .await;
    let item = format!("/csbs/v1/{}/checkpoint_items/{}", ids::PROJECT, ids::CSBS_ITEM);
    assert_eq!(read(&world, &item, "/checkpoint_item/status").await, "restoring");
    let backup = format!("/vbs/v2/{}/backups/{}", ids::PROJECT, ids::FREE.0);
    assert_eq!(read(&world, &backup, "/backup/status").await, "restoring");
    world.end().await;
}

/// However many restores were begun after it.
#[tokio::test]
async fn a_backup_is_being_restored_however_many_others_are() {
    let world = moved().await;
    world.behave(json!({"extra_disks": 205, "restore_seconds": 900})).await;
    let id = |number: usize| format!("bac0bac0-0000-4000-8000-{number:012x}");
    // VBS knows nothing of what CBR does.
    let at_home = json!({"backup": {"id": id(0), "status": "available", "size": 10, "name": "x",
        "volume_id": "d15c0000-0000-4000-8000-000000000000", "created_at": "2026-11-21T01:20:37.277880"}});
    let native = format!("/vbs/v3/{}/backups/{}", ids::PROJECT, id(0));
    let answer = json!({"status": 200, "body": at_home});
    world.faults(json!([{"match": {"method": "GET", "path": native}, "times": 0, "answer": answer}])).await;
    for number in 0..=203 {
        let disk = restore_tests::requests::extra_disk(number);
        let answer = world.submit(&disk).await;
        assert_eq!(answer.status, 202, "{number}: {}", answer.text());
    }
    let backup = format!("/cinder/v3/{}/backups/{}", ids::PROJECT, id(0));
    assert_eq!(read(&world, &backup, "/backup/status").await, "restoring");
    world.end().await;
}

/// The gateway's own come first, and none of either is left out, whatever the size of a page.
#[tokio::test]
async fn pages_of_operation_logs_leave_nothing_out() {
    // Done by a cloud that the compatibility endpoint's own one knows nothing of.
    let world = World::with(TestConfig::default().ways("[[routes]]\nupstream = \"vbs\"\n").and(DOORS)).await;
    world.behave(json!({"extra_disks": 4})).await;
    let log = |id: &str| json!({"id": id, "operation_type": "restore", "status": "success", "created_at": "2026-11-20T00:00:00.000000"});
    for number in 0..2 {
        let disk = restore_tests::requests::extra_disk(number);
        let backup = disk["source"]["backup_id"].as_str().expect("an id");
        let path = format!("/cbr/v3/{}/backups/{backup}/restore", ids::PROJECT);
        let body = json!({"restore": {"volume_id": disk["target"]["volume_id"]}});
        let restore = world.post(&path, &body).await.json();
        world.until_status(restore["job_id"].as_str().expect("an id"), "succeeded").await;
    }
    let all = |from: usize, size: usize| {
        let logs: Vec<Value> =
            (from..(from + size).min(5)).map(|number| log(&format!("theirs-{number}"))).collect();
        json!({"count": 5, "limit": size, "offset": from, "operation_logs": logs})
    };
    // The cloud pages for itself: each page that can be asked for is answered by what is on it.
    let pages: Vec<Value> = (0..5)
        .flat_map(|from| (1..=3).map(move |size| (from, size)))
        .map(|(from, size)| {
            // The first page is asked for without an offset.
            let offset = if from > 0 { format!("&offset={from}") } else { String::new() };
            let path = format!("/v3/{}/operation-logs?limit={size}{offset}", ids::PROJECT);
            json!({"match": {"method": "GET", "path": path}, "times": 0,
                "answer": {"status": 200, "body": all(from, size)}})
        })
        .collect();
    world.faults(json!(pages)).await;
    for size in [1, 2, 3] {
        let mut seen = Vec::new();
        for page in 0.. {
            let path = format!("/cbr/v3/{{project}}/operation-logs?limit={size}&offset={}", page * size);
            let body = read(&world, &path, "").await;
            assert_eq!(body["count"], 7, "{body}");
            let logs = body["operation_logs"].as_array().expect("a list");
            seen.extend(logs.iter().map(|log| log["id"].to_string()));
            if (page + 1) * size >= 7 {
                break;
            }
        }
        let theirs = seen.iter().filter(|id| id.contains("theirs")).count();
        seen.sort();
        seen.dedup();
        assert_eq!((seen.len(), theirs), (7, 5), "pages of {size}: {seen:?}");
    }
    world.end().await;
}

/// Whoever reads the path behind the gateway must read the project that the caller was asked about.
#[tokio::test]
async fn no_path_and_no_query_leads_out_of_the_project() {
    let world = World::with(TestConfig::default().and(DOORS)).await;
    let other = "ffffffffffffffffffffffffffffffff";
    let odd = [
        "..",
        "%2e%2e",
        ".%2E",
        "x/../..",
        "..%2f",
        "..;",
        "%2e%2e%2f",
        "%5c..",
        "\\..",
        "%00",
        "",
        "x//y",
        "a;b",
    ];
    let mut paths: Vec<String> =
        odd.iter().map(|way| format!("/cbr/v3/{}/{way}/{other}/backups", ids::PROJECT)).collect();
    paths.push(format!("/cbr/_sim/{}/restores", ids::PROJECT));
    paths.push(format!("/cbr/evs/{}/volumes", ids::PROJECT));
    for query in ["all_tenants=1", "project_id=ffffffffffffffffffffffffffffffff", "all_tenants=True"] {
        paths.push(format!("/cbr/v3/{}/vaults?{query}", ids::PROJECT));
    }
    for path in paths {
        // The client of the tests tidies paths up.
        let mut raw = raw::Raw::open(world.gateway.api()).await;
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nx-auth-token: {}\r\nconnection: close\r\n\r\n",
            world.gateway.api(),
            ids::TOKEN
        );
        raw.send(head).await;
        let answer = raw.answer().await.expect("an answer");
        assert!(matches!(answer.status, 400 | 404), "{path}: {}", answer.status);
    }
    let passed: Vec<Value> = world.arrived().await.into_iter().map(|seen| seen["path"].clone()).collect();
    assert!(passed.is_empty(), "{passed:?}");
    // And what is as it should be goes through.
    assert_eq!(
        world.get(&format!("/cbr/v3/{}/vaults?limit=1&all_tenants=false", ids::PROJECT)).await.status,
        200
    );
    world.end().await;
}

/// A pause that a cloud asks for is the program's to make.
#[tokio::test]
async fn a_cloud_that_asks_for_a_pause_is_heard() {
    let world = World::with(TestConfig::default().and(DOORS)).await;
    let answer = json!({"status": 429, "headers": {"retry-after": "7"}, "body": {"error_msg": "slow down"}});
    let path = format!("/v3/{}/vaults", ids::PROJECT);
    world.faults(json!([{"match": {"method": "GET", "path": path}, "answer": answer}])).await;
    let answer = world.get(&format!("/cbr/v3/{}/vaults", ids::PROJECT)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "7"), "{}", answer.text());
    assert!(answer.json()["error"]["code"].is_string(), "{}", answer.text());
    world.end().await;
}

/// Each backup that is asked about gets its own answer.
#[tokio::test]
async fn one_backup_that_nobody_knows_leaves_the_answers_on_the_others() {
    let world = moved().await;
    let asked = |item: &str| {
        json!({"checkpoint_item_id": item, "target": {"resource_id": ids::SERVER, "resource_type": "OS::Nova::Server",
        "volumes": [
            {"backup_id": ids::SYSTEM.0, "volume_id": ids::SYSTEM.1},
            {"backup_id": ids::DATA.0, "volume_id": ids::DATA.1},
        ]}})
    };
    let body =
        json!({"check_restorable": [asked("99999999-0000-4000-8000-000000000000"), asked(ids::CSBS_ITEM)]});
    let path =
        format!("/csbs/v1/{}/providers/fc4d5750-22e7-4798-8a46-f48f62c4c1da/resources/action", ids::PROJECT);
    let answer = world.post(&path, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let verdicts = &answer.json()["restorable"];
    assert_eq!((&verdicts[0]["result"], &verdicts[1]["result"]), (&json!(false), &json!(true)), "{verdicts}");
    world.end().await;
}
