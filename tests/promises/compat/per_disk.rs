//! A server disk by disk, where a route allows it and the upstream restores disks alone: one restore with one step for each
//! disk, sent one after the other, and never called succeeded unless all are.

use http::Method;
use restore_tests::{TestConfig, World, ids, requests};
use serde_json::{Value, json};
use sqlx::Connection;

use crate::compat::basics::{DOORS, native};

/// Restores of servers go to VBS disk by disk.
pub(crate) const VBS: &str = r#"
[[upstreams]]
name = "vbs"
generation = "vbs-v2"
endpoint = "{clouds}/vbs"
evs_endpoint = "{clouds}/evs"
[[routes]]
upstream = "vbs"
per_disk_restore = true
"#;

/// A server that is off, its disks detached: what VBS asks for.
async fn detached(config: TestConfig) -> World {
    let world = World::with(config.routes(VBS).and(DOORS)).await;
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
    restore_tests::words(&restore["steps"], "status")
}

#[tokio::test]
async fn every_disk_is_restored_once_and_then_the_server_is() {
    for source_api in ["csbs-v1", "cbr-v3"] {
        let world = detached(TestConfig::default()).await;
        let (path, body) = native::request(source_api, "server");
        let answer = world.post(&path, &body).await;
        crate::compat::basics::follow(&world, source_api, &path, &answer).await;

        let sent = world.sent().await;
        let calls: Vec<_> = sent.iter().map(|call| (call["path"].clone(), call["body"].clone())).collect();
        let call = |(backup, volume): (&str, &str)| {
            let path = format!("/vbs/v2/{}/cloudbackups/{backup}/restore", ids::PROJECT);
            (json!(path), json!({"restore": {"volume_id": volume}}))
        };
        assert_eq!(calls, [call(ids::SYSTEM), call(ids::DATA)], "{source_api}");
        assert_eq!(world.applied().await.len(), 2, "{source_api}");
        world.end().await;
    }
}

/// CSBS, which can be asked, knows servers' backups alone: that a disk's backup is the same one follows from the disk that it
/// is restored onto.
#[tokio::test]
async fn disks_are_known_by_what_they_are_where_home_knows_servers_alone() {
    let csbs = "[[upstreams]]\nname = \"csbs\"\ngeneration = \"csbs-v1\"\nendpoint = \"{clouds}\"\n";
    let world = World::with(TestConfig::default().routes(&format!("{csbs}{VBS}")).and(DOORS)).await;
    detach(&world).await;
    let (path, mut body) = native::request("csbs-v1", "server");
    let answer = world.post(&path, &body).await;
    crate::compat::basics::follow(&world, "csbs-v1", &path, &answer).await;
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
    let world = World::with(TestConfig::default().routes(VBS).and(DOORS)).await;
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
    let world = detached(TestConfig::default()).await;
    let answer = world.submit(&server()).await;
    let id = answer.json()["id"].as_str().unwrap_or_default().to_owned();
    let restore = world.until_status(&id, "succeeded").await;
    assert_eq!(statuses(&restore), ["succeeded", "succeeded"]);
    assert_eq!(restore["progress"], 100);
    // One restore is one row, whatever it takes.
    let list = world.get("/api/v1/restores").await.json();
    assert_eq!(list["restores"].as_array().map(Vec::len), Some(1), "{list}");

    // The first disk fails in the cloud, and the second is not sent.
    let fails =
        json!({"next_restore": {"status": "failed", "error_code": "VolumeBackup.0200", "error_msg": "no"}});
    world.behave(fails).await;
    let mut other = server();
    other["target"]["power_on"] = json!(false);
    let answer = world.submit(&other).await;
    let id = answer.json()["id"].as_str().unwrap_or_default().to_owned();
    let restore = world.until_status(&id, "failed").await;
    assert_eq!(statuses(&restore), ["failed", "not_sent"], "{restore}");
    assert_eq!(restore["error"]["effect"], "possible");
    assert_eq!(restore["steps"][0]["error"]["upstream"]["code"], "VolumeBackup.0200", "{restore}");
    assert_eq!(world.submit(&other).await.status, 200, "an equal one is the same for a while");
    assert_eq!(world.applied().await.len(), 3);
    world.end().await;
}

/// The second disk is refused after the first was overwritten: the server is not as the backup has it, and says so.
#[tokio::test]
async fn a_disk_that_is_refused_later_leaves_a_server_in_part() {
    let world = detached(TestConfig::default()).await;
    let refused =
        json!({"status": 400, "body": {"error": {"code": "VolumeBackup.0205", "message": "attached"}}});
    let post = json!({"method": "POST", "path": format!("*{}/restore", ids::DATA.0)});
    world.faults(json!([{"match": post, "answer": refused}])).await;
    let answer = world.submit(&server()).await;
    let id = answer.json()["id"].as_str().unwrap_or_default().to_owned();
    let restore = world.until_status(&id, "failed").await;
    assert_eq!(statuses(&restore), ["succeeded", "rejected"], "{restore}");
    assert_eq!(restore["error"]["effect"], "done", "{restore}");
    assert!(restore["error"]["detail"].as_str().is_some_and(|said| said.contains("1 of 2 disks restored")));
    assert_eq!(world.applied().await.len(), 1);
    world.end().await;
}

/// Of the first disk nobody knows: nothing more is sent, and the restore is unknown.
#[tokio::test]
async fn what_nobody_knows_of_one_disk_nobody_knows_of_the_server() {
    let world = detached(TestConfig::default()).await;
    let post = json!({"method": "POST", "path": format!("*{}/restore", ids::SYSTEM.0)});
    world.faults(json!([{"match": post, "answer": {"status": 504, "body_raw": ""}}])).await;
    let answer = world.submit(&server()).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let id = answer.json()["id"].as_str().unwrap_or_default().to_owned();
    let restore = world.until(&id, |restore| statuses(restore).contains(&"unknown".to_owned())).await;
    assert_eq!(
        (&restore["status"], statuses(&restore)),
        (&json!("unknown"), vec!["unknown".into(), "waiting".into()])
    );
    assert_eq!(world.sent().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn without_the_routes_word_a_server_is_not_taken_apart() {
    let routes = VBS.replace("per_disk_restore = true", "");
    let world = World::with(TestConfig::default().routes(&routes).and(DOORS)).await;
    detach(&world).await;
    let answer = world.submit(&server()).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (422, Some("unsupported_by_generation")));
    world.end().await;
}

/// Submits the server to a gateway that dies of it; returns the folder of its ledger.
async fn dies(world: &mut World) -> tempfile::TempDir {
    detach(world).await;
    let url = world.url("/api/v1/restores");
    let headers = [("x-auth-token", ids::TOKEN), ("content-type", "application/json")];
    let _ = world.http.try_send(Method::POST, &url, &headers, server().to_string()).await;
    world.crashed().await
}

/// Starts a gateway over the ledger of the one that died; returns the id of its restore.
async fn started_again(world: &mut World, folder: tempfile::TempDir) -> String {
    world.again_in(folder).await;
    let list = world.get("/api/v1/restores").await.json();
    list["restores"][0]["id"].as_str().expect("a restore").to_owned()
}

/// A gateway with a credential of its own that dies at a point while it restores a server disk by disk, and the one that
/// is started after it.
async fn crashed_at(point: &str, config: TestConfig) -> (World, String) {
    let routes =
        VBS.replace("endpoint = \"{clouds}/vbs\"", "endpoint = \"{clouds}/vbs\"\ncredential = \"robot\"");
    let config = config.routes(&routes).and(DOORS).robot();
    let crash = [("RESTORE_GATEWAY_CRASH_AT", point)];
    let mut world = World::serve_beside(config, &crash, &[("password", "example-only")]).await;
    let folder = dies(&mut world).await;
    let id = started_again(&mut world, folder).await;
    (world, id)
}

/// F45: killed anywhere: what was not sent is sent by the next process, and nothing twice. What was written down and may
/// have been sent is not sent by another process, whatever the first one came to.
#[tokio::test]
async fn f45_a_crash_between_two_disks_costs_neither() {
    // The point, and how the steps stand in the end.
    let points = [
        ("accepted", ["succeeded", "succeeded"]),
        ("submitting", ["unknown", "waiting"]),
        ("recorded", ["succeeded", "succeeded"]),
        ("submitting:2", ["succeeded", "unknown"]),
        ("recorded:2", ["succeeded", "succeeded"]),
    ];
    for (point, steps) in points {
        let (world, id) = crashed_at(point, TestConfig::default()).await;
        world.until(&id, |restore| statuses(restore) == steps).await;
        let applied = world.applied().await;
        let mut disks: Vec<_> = applied.iter().map(|restore| restore["target"].to_string()).collect();
        disks.sort();
        disks.dedup();
        assert_eq!(disks.len(), applied.len(), "{point}: a disk was overwritten twice: {applied:?}");
        let done = steps.iter().filter(|status| **status == "succeeded").count();
        assert_eq!(applied.len(), done, "{point}");
        world.end().await;
    }
}

/// F45: a person ends a restore of which one disk may have been sent: the other is never sent, by no later process.
#[tokio::test]
async fn f45_what_a_person_has_ended_sends_no_further_disk() {
    let windows = TestConfig::default()
        .set("polling.operator_escalation_seconds", "1")
        .set("polling.visibility_grace_seconds", "1");
    for (said, ends, steps) in [
        ("not_applied", "not_applied", ["not_applied", "not_sent"]),
        ("applied", "failed", ["succeeded", "not_sent"]),
        ("failed", "failed", ["failed", "not_sent"]),
    ] {
        let (mut world, id) = crashed_at("submitting", windows.clone()).await;
        world.until(&id, |restore| restore["needs_operator"] == true).await;
        let word = json!({"as": said, "by": "ada", "reason": "looked at the disk"});
        let resolved = world.decide(&format!("/restores/{id}/resolution"), &word).await;
        assert_eq!((resolved.status, &resolved.json()["status"]), (200, &json!(ends)), "{}", resolved.text());
        assert_eq!(statuses(&resolved.json()), steps);
        let (_, _, folder) = world.ended_by("TERM").await;
        world.again_in(folder).await;
        assert_eq!(statuses(&world.until_status(&id, ends).await), steps);
        assert!(world.applied().await.is_empty(), "{said}");
        world.end().await;
    }
}

/// Killed between two disks, and the caller's token gone with the process: the next disk waits for its caller. A read of
/// somebody with a token settles the first and sends nothing; the caller's own repetition goes on.
#[tokio::test]
async fn f45_without_a_token_the_next_disk_waits_for_its_caller() {
    let config = TestConfig::default().routes(VBS).and(DOORS);
    let mut world = World::serve_with(config, &[("RESTORE_GATEWAY_CRASH_AT", "recorded")]).await;
    let folder = dies(&mut world).await;
    let id = started_again(&mut world, folder).await;
    let restore = world
        .until(&id, |restore| {
            statuses(restore) == ["succeeded", "waiting"] && restore["awaiting_credential"] == true
        })
        .await;
    assert_eq!(restore["status"], "running", "{restore}");
    assert_eq!(world.applied().await.len(), 1);
    let again = world.submit(&server()).await;
    assert_eq!((again.header("idempotency-replayed"), &again.json()["id"]), ("true", &json!(id)));
    world.until_status(&id, "succeeded").await;
    assert_eq!(world.applied().await.len(), 2);
    world.end().await;
}

/// F45, F47: with nobody to bring a token a server that waits for its next disk becomes overdue, and then an operator's.
#[tokio::test]
async fn f47_a_disk_that_waits_for_nobody_is_an_operators_in_the_end() {
    let windows = TestConfig::default().set("polling.operator_escalation_seconds", "1");
    let routes = VBS.replace("per_disk_restore = true", "per_disk_restore = true\noverdue_seconds = 1");
    let crash = [("RESTORE_GATEWAY_CRASH_AT", "recorded")];
    let mut world = World::serve_with(windows.routes(&routes), &crash).await;
    let folder = dies(&mut world).await;
    let id = started_again(&mut world, folder).await;
    let restore = world.until(&id, |restore| restore["needs_operator"] == true).await;
    assert_eq!(restore["overdue"], true, "{restore}");
    let word = json!({"as": "not_applied", "by": "ada", "reason": "the second disk is as it was"});
    let resolved = world.decide(&format!("/restores/{id}/resolution"), &word).await;
    assert_eq!((resolved.status, &resolved.json()["status"]), (200, &json!("failed")), "{}", resolved.text());
    assert_eq!(statuses(&resolved.json()), ["succeeded", "not_sent"]);
    assert_eq!(resolved.json()["error"]["effect"], "done");
    // The target is free.
    let mut other = server();
    other["target"]["power_on"] = json!(false);
    assert_eq!(world.submit(&other).await.status, 202);
    world.end().await;
}

/// F41: a restore is in an older copy of the ledger, and what became of it is not. Its disks may have been restored since;
/// a person's word that all was looked at, and a restart, send none of them again.
#[tokio::test]
async fn f41_an_old_copy_of_the_ledger_sends_no_disk_again() {
    let routes =
        VBS.replace("endpoint = \"{clouds}/vbs\"", "endpoint = \"{clouds}/vbs\"\ncredential = \"robot\"");
    let config =
        TestConfig::default().routes(&routes).set("polling.operator_escalation_seconds", "3").robot();
    let crash = [("RESTORE_GATEWAY_CRASH_AT", "submitting")];
    let mut world = World::serve_beside(config, &crash, &[("password", "example-only")]).await;
    let folder = dies(&mut world).await;
    // The restore is in it, and what came to its disks is not.
    let ledger = folder.path().join("ledger.db");
    let mut file =
        sqlx::SqliteConnection::connect(&format!("sqlite:{}", ledger.display())).await.expect("a file");
    sqlx::raw_sql("pragma wal_checkpoint(truncate)").execute(&mut file).await.expect("one file");
    file.close().await.expect("closed");
    let copy = std::fs::read(&ledger).expect("the ledger");
    let id = started_again(&mut world, folder).await;
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

/// What is carried out disk by disk names no server and no server's backup to any cloud: a policy for certain ones says
/// nothing of the disks.
#[tokio::test]
async fn s46_a_policy_for_servers_is_none_for_a_disk_that_it_does_not_list() {
    let key = "rgk_bob-0123456789abcdef0123456789abcdef01234567";
    let disks = json!([ids::SYSTEM.1, ids::DATA.1]);
    let backups = json!([ids::CBR_BACKUP, ids::SYSTEM.0, ids::DATA.0]);
    let limits = [
        (format!("server_ids = [{:?}]", ids::SERVER), false),
        (format!("backup_ids = [{:?}]", ids::CBR_BACKUP), false),
        (format!("server_ids = [{:?}], volume_ids = {disks}", ids::SERVER), true),
        (format!("backup_ids = {backups}"), true),
        ("target_types = [\"server\"]".to_owned(), false),
        (format!("target_types = [\"server\"], volume_ids = {disks}"), true),
        ("target_types = [\"server\", \"volume\"]".to_owned(), true),
    ];
    for (limit, allowed) in limits {
        let policy = format!(
            "[[callers]]\nname = \"bob\"\ntype = \"api-key\"\nkey_hash = \"{}\"\n\
             [[policies]]\ncallers = [\"bob\"]\nactions = [\"restore\"]\nmatch = {{ {limit} }}\n",
            crate::auth::callers::hash(key)
        );
        let world = detached(TestConfig::default().and(&policy)).await;
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

/// S46: the words of a request are verified: a disk is restored as a part of a server only where the cloud says that it
/// is a disk of that server, and its backup one of that disk.
#[tokio::test]
async fn s46_a_disk_that_the_cloud_does_not_confirm_is_not_restored() {
    let swapped = || {
        let mut swapped = server();
        let volumes = &mut swapped["target"]["volumes"];
        volumes[0]["volume_id"] = json!(ids::DATA.1);
        volumes[1]["volume_id"] = json!(ids::SYSTEM.1);
        swapped
    };
    let mut nobodys = server();
    nobodys["target"]["server_id"] = json!("no-such-server");
    nobodys["source"]["backup_id"] = json!("any-name-at-all");
    // A disk backup that is none of a server's.
    let mut alone = server();
    alone["target"]["volumes"] = json!([{"backup_id": ids::FREE.0, "volume_id": ids::FREE.1}]);
    for request in [nobodys, swapped(), alone] {
        let world = detached(TestConfig::default()).await;
        let answer = world.submit(&request).await;
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (422, Some("target_incompatible")),
            "{}",
            answer.text()
        );
        assert_eq!(answer.json()["effect"], "none");
        assert!(world.sent().await.is_empty() && world.applied().await.is_empty());
        let check = world.post("/api/v1/restore-checks", &request).await.json();
        assert_ne!(check["restorable"], json!(true), "{check}");
        world.end().await;
    }
}

/// F45: the ledger is locked by somebody else between two disks, for longer than a write waits: the restore neither hangs
/// nor sends a disk twice.
#[tokio::test]
async fn f45_a_ledger_that_is_locked_between_two_disks_only_delays_the_second() {
    let world = World::serve(TestConfig::default().routes(VBS).and(DOORS)).await;
    detach(&world).await;
    world.behave(json!({"restore_seconds": 1})).await;
    let id = world.submit(&server()).await.json()["id"].as_str().expect("an id").to_owned();
    world.until_sent(1).await;
    let ledger = world.process().config().with_file_name("ledger.db");
    let mut file =
        sqlx::SqliteConnection::connect(&format!("sqlite:{}", ledger.display())).await.expect("a file");
    sqlx::raw_sql("begin immediate").execute(&mut file).await.expect("it is locked");
    tokio::time::sleep(std::time::Duration::from_millis(6_500)).await;
    sqlx::raw_sql("rollback").execute(&mut file).await.expect("it is free");
    file.close().await.expect("closed");
    let restore = world.until_status(&id, "succeeded").await;
    assert_eq!(statuses(&restore), ["succeeded", "succeeded"]);
    assert_eq!(world.applied().await.len(), 2);
    world.end().await;
}
