//! A server disk by disk, where a route allows it and the upstream restores disks alone: one restore for each disk, one
//! status for all, and never called succeeded unless all are.

use http::Method;
use restore_tests::{Settings, World, ids, requests};
use serde_json::{Value, json};
use sqlx::Connection;

use crate::doors::{DOORS, native};

const VBS: &str = r#"
[[upstreams]]
name = "vbs"
generation = "vbs-v2"
endpoint = "{clouds}/vbs"
volumes_endpoint = "{clouds}/evs"
[[routes]]
upstream = "vbs"
fan_out = true
"#;

/// A server that is off, its disks detached: what VBS asks for.
async fn detached(settings: Settings) -> World {
    let world = World::with(settings.routes(VBS).and(DOORS)).await;
    detach(&world).await;
    world
}

pub(crate) async fn detach(world: &World) {
    let free = json!({"detached": true});
    world.behave(json!({"volumes": {ids::SYSTEM.1: free, ids::DATA.1: free}})).await;
}

/// The server, in the names that VBS has for its disks' backups.
fn server() -> Value {
    requests::cbr_server()
}

fn statuses(restore: &Value) -> Vec<String> {
    let parts = restore["parts"].as_array().cloned().unwrap_or_default();
    parts.iter().map(|part| part["status"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn every_disk_is_restored_once_and_then_the_server_is() {
    for dialect in ["csbs-v1", "cbr-v3"] {
        let world = detached(Settings::default()).await;
        let (path, body) = native::request(dialect, "server");
        let answer = world.post(&path, &body).await;
        crate::doors::follow(&world, dialect, &path, &answer).await;

        let sent = world.sent().await;
        let calls: Vec<_> = sent.iter().map(|call| (call["path"].clone(), call["body"].clone())).collect();
        let call = |(backup, volume): (&str, &str)| {
            let path = format!("/vbs/v2/{}/cloudbackups/{backup}/restore", ids::PROJECT);
            (json!(path), json!({"restore": {"volume_id": volume}}))
        };
        assert_eq!(calls, [call(ids::SYSTEM), call(ids::DATA)], "{dialect}");
        assert_eq!(world.applied().await.len(), 2, "{dialect}");
        world.end().await;
    }
}

/// CSBS, which can be asked, knows servers' backups alone: that a disk's backup is the same one follows from the disk that it
/// is restored onto.
#[tokio::test]
async fn disks_are_known_by_what_they_are_where_home_knows_servers_alone() {
    let csbs = "[[upstreams]]\nname = \"csbs\"\ngeneration = \"csbs-v1\"\nendpoint = \"{clouds}\"\n";
    let world = World::with(Settings::default().routes(&format!("{csbs}{VBS}")).and(DOORS)).await;
    detach(&world).await;
    let (path, mut body) = native::request("csbs-v1", "server");
    let answer = world.post(&path, &body).await;
    crate::doors::follow(&world, "csbs-v1", &path, &answer).await;
    assert_eq!(world.sent().await.len(), 2);
    // Each onto the disk of the other: nothing but the ids would speak for that.
    let volumes = &mut body["restore"]["parameters"]["targets"]["volumes"];
    volumes[0]["volume_id"] = json!(ids::DATA.1);
    volumes[1]["volume_id"] = json!(ids::SYSTEM.1);
    let answer = world.post(&path, &body).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.text().contains("its id alone is no proof"), "{}", answer.text());
    assert_eq!(world.sent().await.len(), 2);
    world.end().await;
}

#[tokio::test]
async fn a_disk_that_would_be_refused_keeps_the_others_from_being_overwritten() {
    let world = World::with(Settings::default().routes(VBS).and(DOORS)).await;
    // The data disk is still attached.
    world.behave(json!({"volumes": {ids::SYSTEM.1: {"detached": true}}})).await;
    let (path, body) = native::request("csbs-v1", "server");
    let answer = world.post(&path, &body).await;
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert!(answer.text().contains(ids::DATA.1), "{}", answer.text());
    assert!(world.sent().await.is_empty());
    world.end().await;
}

#[tokio::test]
async fn some_disks_are_not_a_server() {
    let world = detached(Settings::default()).await;
    // The second of them fails in the cloud.
    let answer = world.submit(&server()).await;
    let id = answer.json()["id"].as_str().unwrap_or_default().to_owned();
    world.until(&id, |restore| statuses(restore).len() == 2).await;
    let restore = world.until_status(&id, "succeeded").await;
    assert_eq!(statuses(&restore), ["succeeded", "succeeded"]);

    world.behave(json!({"next_restore": {"status": "failed", "error_code": "VolumeBackup.0200", "error_msg": "no"}})).await;
    let mut other = server();
    other["target"]["power_on"] = json!(false);
    let answer = world.submit(&other).await;
    let id = answer.json()["id"].as_str().unwrap_or_default().to_owned();
    let restore = world.until_status(&id, "failed").await;
    assert_eq!(statuses(&restore), ["failed", "succeeded"], "{restore}");
    assert_eq!(restore["error"]["effect"], "done");
    assert_eq!(restore["upstream"]["status"], "1 of 2 disks restored");
    // Each disk is a restore of its own, with evidence of its own, and the server's lock is free again.
    let part = restore["parts"][0]["id"].as_str().unwrap_or_default().to_owned();
    let part = world.get(&format!("/api/v1/restores/{part}")).await.json();
    assert_eq!((&part["part_of"], &part["status"]), (&json!(id), &json!("failed")));
    assert_eq!(world.submit(&other).await.status, 200, "an equal one is the same for a while");
    world.end().await;
}

#[tokio::test]
async fn what_nobody_knows_of_one_disk_nobody_knows_of_the_server() {
    let world = detached(Settings::default()).await;
    world.faults(json!([{"match": {"method": "POST", "path": format!("*{}/restore", ids::DATA.0)}, "answer": {"status": 504, "body_raw": ""}}])).await;
    let answer = world.submit(&server()).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let id = answer.json()["id"].as_str().unwrap_or_default().to_owned();
    let restore = world.until(&id, |restore| statuses(restore).contains(&"unknown".to_owned())).await;
    assert_eq!(restore["status"], "unknown", "{restore}");
    assert_eq!(world.sent().await.len(), 2);
    world.end().await;
}

#[tokio::test]
async fn without_the_routes_word_a_server_is_not_taken_apart() {
    let routes = VBS.replace("fan_out = true", "");
    let world = World::with(Settings::default().routes(&routes).and(DOORS)).await;
    detach(&world).await;
    let answer = world.submit(&server()).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (422, Some("not_expressible")));
    world.end().await;
}

/// Killed between two disks, with a credential of the gateway's own: the rest is sent by the next process, and nothing
/// twice.
#[tokio::test]
async fn a_crash_between_two_disks_costs_neither() {
    // The point, and how many disks are overwritten in the end: what was written down and may have been sent is not sent
    // by another process, whatever the first one came to.
    let points = [
        ("accepted", 2),
        ("submitting", 1),
        ("answered", 2),
        ("recorded", 2),
        ("submitting:2", 1),
        ("answered:2", 2),
        ("recorded:2", 2),
    ];
    for (point, overwritten) in points {
        let routes =
            VBS.replace("endpoint = \"{clouds}/vbs\"", "endpoint = \"{clouds}/vbs\"\ncredential = \"robot\"");
        let settings = Settings::default().routes(&routes).and(DOORS).robot();
        let mut world = World::serve_beside(
            settings,
            &[("RESTORE_GATEWAY_CRASH_AT", point)],
            &[("password", "example-only")],
        )
        .await;
        detach(&world).await;
        let request = server();
        let url = world.url("/api/v1/restores");
        let headers = [("x-auth-token", ids::TOKEN), ("content-type", "application/json")];
        let _ = world.http.try_send(Method::POST, &url, &headers, request.to_string()).await;
        let folder = world.crashed().await;
        world.again_in(folder).await;
        let list = world.get("/api/v1/restores").await.json();
        let whole =
            list["restores"].as_array().into_iter().flatten().find(|restore| restore["part_of"].is_null());
        let id = whole.expect("a restore")["id"].as_str().unwrap_or_default().to_owned();
        // A part whose answer was lost has no list to be looked up in, and waits for a person.
        let settled = |restore: &Value| {
            let parts = statuses(restore);
            let settled =
                |status: &String| !["waiting", "accepted", "checking", "submitting"].contains(&&**status);
            restore["finished_at"].is_string() || (!parts.is_empty() && parts.iter().all(settled))
        };
        let restore = world.until(&id, settled).await;
        let applied = world.applied().await;
        let mut disks: Vec<_> = applied.iter().map(|restore| restore["target"].to_string()).collect();
        disks.sort();
        disks.dedup();
        assert_eq!(disks.len(), applied.len(), "{point}: a disk was overwritten twice: {applied:?}");
        assert_eq!(applied.len(), overwritten, "{point}: {restore}");
        world.end().await;
    }
}

/// Killed between two disks, and the caller's token gone with the process: the rest is not sent by anybody, the server is
/// free again, and it is told which disk was restored and which was not.
#[tokio::test]
async fn without_a_token_the_rest_is_not_sent_and_told() {
    let settings = Settings::default().routes(VBS).and(DOORS);
    let mut world = World::serve_with(settings, &[("RESTORE_GATEWAY_CRASH_AT", "recorded")]).await;
    detach(&world).await;
    let url = world.url("/api/v1/restores");
    let headers = [("x-auth-token", ids::TOKEN), ("content-type", "application/json")];
    let _ = world.http.try_send(Method::POST, &url, &headers, server().to_string()).await;
    let folder = world.crashed().await;
    world.again_in(folder).await;
    let list = world.get("/api/v1/restores").await.json();
    let whole =
        list["restores"].as_array().into_iter().flatten().find(|restore| restore["part_of"].is_null());
    let id = whole.expect("a restore")["id"].as_str().unwrap_or_default().to_owned();
    let restore = world.until_status(&id, "failed").await;
    assert_eq!(statuses(&restore), ["succeeded", "not_sent"], "{restore}");
    assert_eq!(restore["error"]["effect"], "done");
    assert_eq!(world.applied().await.len(), 1);
    world.end().await;
}

/// F41: the whole is in an older copy of the ledger, its disks are not. They may have been restored since; a person's word
/// that all was looked at, and a restart, send none of them again.
#[tokio::test]
async fn f41_an_old_copy_of_the_ledger_sends_no_disk_again() {
    let routes =
        VBS.replace("endpoint = \"{clouds}/vbs\"", "endpoint = \"{clouds}/vbs\"\ncredential = \"robot\"");
    let settings = Settings::default().routes(&routes).set("follow.unknown_seconds", "3").robot();
    let crash = [("RESTORE_GATEWAY_CRASH_AT", "submitting")];
    let mut world = World::serve_beside(settings, &crash, &[("password", "example-only")]).await;
    detach(&world).await;
    let url = world.url("/api/v1/restores");
    let headers = [("x-auth-token", ids::TOKEN), ("content-type", "application/json")];
    let _ = world.http.try_send(Method::POST, &url, &headers, server().to_string()).await;
    let folder = world.crashed().await;
    // The whole is in it, and what came to the disks is not.
    let ledger = folder.path().join("ledger.db");
    let mut file =
        sqlx::SqliteConnection::connect(&format!("sqlite:{}", ledger.display())).await.expect("a file");
    sqlx::raw_sql("pragma wal_checkpoint(truncate)").execute(&mut file).await.expect("one file");
    file.close().await.expect("closed");
    let copy = std::fs::read(&ledger).expect("the ledger");
    world.again_in(folder).await;
    let restores = world.get("/api/v1/restores").await.json()["restores"].clone();
    let whole = restores.as_array().into_iter().flatten().find(|restore| restore["part_of"].is_null());
    let id = whole.expect("a restore")["id"].as_str().unwrap_or_default().to_owned();
    world.until_sent(1).await;
    let (_, _, folder) = world.ended_by("TERM").await;
    let applied = world.applied().await.len();
    // By then the clouds would take it again.
    world.advance(3_600).await;
    std::fs::write(folder.path().join("ledger.db"), copy).expect("the copy is put back");
    for rest in ["ledger.db-wal", "ledger.db-shm"] {
        let _gone_already = std::fs::remove_file(folder.path().join(rest));
    }
    world.again_in(folder).await;
    assert_eq!(world.admin("/recovery").await.json()["recovery"], true);
    world.until_status(&id, "unknown").await;
    let said = json!({"by": "ada", "reason": "looked at the disks"});
    assert_eq!(world.decide("/recovery/confirmation", &said).await.status, 200);
    let (_, _, folder) = world.ended_by("TERM").await;
    world.again_in(folder).await;
    let restore = world.until(&id, |restore| restore["needs_operator"] == true).await;
    assert_eq!(restore["status"], "unknown", "{restore}");
    assert_eq!(world.applied().await.len(), applied, "nothing was sent");
    let said = json!({"as": "not_applied", "by": "ada", "reason": "the disks are as they were"});
    let resolved = world.decide(&format!("/restores/{id}/resolution"), &said).await;
    assert_eq!((resolved.status, &resolved.json()["status"]), (200, &json!("not_applied")));
    world.end().await;
}

/// Nothing that happened is no failure, and blocks nobody who asks again.
#[tokio::test]
async fn a_server_of_which_no_disk_was_restored_is_not_applied() {
    let settings = Settings::default().set("follow.unknown_seconds", "1").set("follow.settle_seconds", "1");
    let world = detached(settings.set("follow.grace_seconds", "1")).await;
    let lost = json!({"match": {"method": "POST", "path": "*/restore"}, "times": 2,
        "answer": {"status": 502, "body_raw": ""}});
    world.faults(json!([lost])).await;
    let id = world.submit(&server()).await.json()["id"].as_str().unwrap_or_default().to_owned();
    let restore = world.until(&id, |restore| statuses(restore) == ["unknown", "unknown"]).await;
    for part in restore["parts"].as_array().expect("its disks") {
        let part = part["id"].as_str().unwrap_or_default();
        world.until(part, |part| part["needs_operator"] == true).await;
        let said = json!({"as": "not_applied", "by": "ada", "reason": "the disk is as it was"});
        assert_eq!(world.decide(&format!("/restores/{part}/resolution"), &said).await.status, 200);
    }
    let restore = world.until_status(&id, "not_applied").await;
    assert_eq!(restore["error"]["effect"], "none", "{restore}");
    let again = world.submit(&server()).await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (202, ""), "{}", again.text());
    world.end().await;
}

/// What is carried out disk by disk names no server and no server's backup to any cloud: a policy for certain ones says
/// nothing of the disks.
#[tokio::test]
async fn a_policy_for_a_server_or_a_backup_is_none_for_any_disk() {
    let key = "rgk_bob-0123456789abcdef0123456789abcdef01234567";
    let disks = json!([ids::SYSTEM.1, ids::DATA.1]);
    let backups = json!([ids::CBR_BACKUP, ids::SYSTEM.0, ids::DATA.0]);
    let limits = [
        (format!("server_id = [{:?}]", ids::SERVER), false),
        (format!("backup_id = [{:?}]", ids::CBR_BACKUP), false),
        (format!("server_id = [{:?}], volume_id = {disks}", ids::SERVER), true),
        (format!("backup_id = {backups}"), true),
        ("target = [\"server\"]".to_owned(), true),
    ];
    for (limit, allowed) in limits {
        let policy = format!(
            "[[callers]]\nname = \"bob\"\nkind = \"api-key\"\nhash = \"{}\"\n\
             [[policies]]\ncallers = [\"bob\"]\nallow = [\"restore\"]\nmatch = {{ {limit} }}\n",
            crate::callers::hash(key)
        );
        let world = detached(Settings::default().and(&policy)).await;
        let answer = world.post_with("/api/v1/restores", &server(), &[("x-api-key", key)]).await;
        let expected = if allowed { 202 } else { 403 };
        assert_eq!(answer.status, expected, "{limit}: {}", answer.text());
        if !allowed {
            assert!(answer.text().contains("disk by disk"), "{}", answer.text());
            assert!(world.arrived().await.is_empty(), "nobody was asked");
        }
        world.end().await;
    }
}
