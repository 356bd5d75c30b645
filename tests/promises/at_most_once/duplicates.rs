//! At most once: keys, duplicates, locks.

use restore_tests::{TestConfig, World, WrongClock, ids, requests};
use serde_json::{Value, json};

#[tokio::test]
async fn f33_one_key_is_one_restore_whatever_the_white_space() {
    let world = World::new().await;
    let key = [("idempotency-key", "\"one\"")];
    let first = world.post_with("/api/v1/restores", &requests::free_disk(), &key).await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (202, ""));
    let id = first.json()["id"].clone();

    // The same meaning in another spelling, and the key bare.
    let spelled = format!(
        "{{ \"target\": {{\"volume_id\":\"{}\",  \"type\":\"volume\"}},\n \"source\":{{\"backup_id\":\"{}\"}}, \"project_id\":\"{}\"}}",
        ids::FREE.1,
        ids::FREE.0,
        ids::PROJECT
    );
    let again = world
        .http
        .send(
            http::Method::POST,
            &world.url("/api/v1/restores"),
            &[("x-auth-token", ids::TOKEN), ("content-type", "application/json"), ("idempotency-key", "one")],
            spelled,
        )
        .await;
    assert_eq!(again.json()["id"], id, "{}", again.text());
    assert_eq!(again.header("idempotency-replayed"), "true");

    // Other content under the same key.
    let other = world.post_with("/api/v1/restores", &requests::cbr_server(), &key).await;
    assert_eq!((other.status, other.json()["code"].as_str()), (422, Some("idempotency_key_conflict")));
    assert_eq!(world.applied().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn f31_f32_a_duplicate_without_a_key_gets_the_first_one_and_a_new_key_a_new_one() {
    let world = World::new().await;
    let first = world.submit(&requests::free_disk()).await.json();
    let id = first["id"].as_str().unwrap().to_owned();
    // A client that resends while the first runs, and one that resends after its end.
    let during = world.submit(&requests::free_disk()).await;
    assert_eq!((during.json()["id"].as_str(), during.header("idempotency-replayed")), (Some(&*id), "true"));
    world.until_status(&id, "succeeded").await;
    let after = world.submit(&requests::free_disk()).await;
    assert_eq!((after.status, after.json()["id"].as_str()), (200, Some(&*id)));
    assert_eq!(world.applied().await.len(), 1);

    let intent =
        world.post_with("/api/v1/restores", &requests::free_disk(), &[("idempotency-key", "new")]).await;
    assert_eq!(intent.status, 202, "{}", intent.text());
    assert_ne!(intent.json()["id"].as_str(), Some(&*id));
    world.until_status(intent.json()["id"].as_str().unwrap(), "succeeded").await;
    assert_eq!(world.applied().await.len(), 2);
    world.end().await;
}

#[tokio::test]
async fn many_equal_requests_at_once_are_one_restore() {
    let world = World::new().await;
    let request = requests::free_disk();
    let (a, b, c, d, e) = tokio::join!(
        world.submit(&request),
        world.submit(&request),
        world.submit(&request),
        world.submit(&request),
        world.submit(&request),
    );
    let ids: Vec<_> = [a, b, c, d, e].iter().map(|answer| answer.json()["id"].clone()).collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
    assert_eq!(world.sent().await.len(), 1);
    world.end().await;
}

/// Ids in capitals, or without their dashes: the same restore while it runs and after its end, at a compatibility endpoint and at the API.
#[tokio::test]
async fn another_spelling_of_an_id_is_the_same_request() {
    let world = World::with(TestConfig::default().and(crate::compat::basics::DOORS)).await;
    let asked = |backup: String, volume: String| {
        let path = format!("/cinder/v3/{}/backups/{backup}/restore", ids::PROJECT);
        let canonical = json!({
            "project_id": ids::PROJECT, "source": {"backup_id": backup},
            "target": {"type": "volume", "volume_id": volume},
        });
        (path, json!({"restore": {"volume_id": volume}}), canonical)
    };
    let (path, body, _) = asked(ids::FREE.0.to_owned(), ids::FREE.1.to_owned());
    let first = world.post(&path, &body).await;
    assert_eq!(first.status, 202, "{}", first.text());
    let list = world.get("/api/v1/restores").await.json();
    let id = list["restores"][0]["id"].as_str().unwrap_or_default().to_owned();
    for ended in [false, true] {
        if ended {
            world.until_status(&id, "succeeded").await;
        }
        for spelled in [str::to_uppercase, |id: &str| id.replace('-', "")] {
            let (path, body, canonical) = asked(spelled(ids::FREE.0), spelled(ids::FREE.1));
            for again in [world.post(&path, &body).await, world.submit(&canonical).await] {
                assert_eq!(again.header("idempotency-replayed"), "true", "{}", again.text());
            }
        }
    }
    assert_eq!(world.sent().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn f11_a_server_and_one_of_its_disks_exclude_each_other_over_generations() {
    let world = World::new().await;
    world.behave(json!({"restore_seconds": 60})).await;
    let server = world.submit(&requests::csbs_server()).await;
    assert_eq!(server.status, 202, "{}", server.text());
    let disk = json!({
        "project_id": ids::PROJECT,
        "source": {"backup_id": ids::DATA.0},
        "target": {"type": "volume", "volume_id": ids::DATA.1.to_uppercase()},
    });
    let refused = world.submit(&disk).await;
    let problem = refused.json();
    assert_eq!(
        (refused.status, problem["code"].as_str(), problem["effect"].as_str()),
        (409, Some("target_busy"), Some("none"))
    );
    let holder = format!("/api/v1/restores/{}", server.json()["id"].as_str().unwrap());
    assert_eq!(problem["restore"], holder, "the holder is linked");
    assert_eq!(world.sent().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn a_restore_that_was_refused_may_be_asked_for_again() {
    let world = World::new().await;
    world
        .faults(json!([{"match": {"method": "POST", "path": "*/restore"},
            "answer": {"status": 400, "body": {"error_code": "BackupService.2010", "error_msg": "being restored"}}}]))
        .await;
    let refused = world.submit(&requests::cbr_server()).await;
    let problem = refused.json();
    assert_eq!((refused.status, problem["code"].as_str()), (409, Some("upstream_busy")), "{problem}");
    assert_eq!((problem["effect"].as_str(), problem["retry"].as_str()), (Some("none"), Some("later")));
    assert_eq!(problem["upstream"]["code"], "BackupService.2010");
    let kept = world.get(problem["restore"].as_str().unwrap()).await.json();
    assert_eq!(
        (kept["status"].as_str(), kept["error"]["code"].as_str()),
        (Some("rejected"), Some("upstream_busy"))
    );

    let again = world.submit(&requests::cbr_server()).await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (202, ""), "{}", again.text());
    assert_eq!(world.applied().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn a_route_may_demand_a_key() {
    let routes = r#"
[[upstreams]]
name = "cbr"
generation = "cbr-v3"
endpoint = "{clouds}"
[[routes]]
upstream = "cbr"
idempotency_key = "required"
"#;
    let world = World::with(TestConfig::default().routes(routes)).await;
    let without = world.submit(&requests::cbr_server()).await;
    assert_eq!((without.status, without.json()["code"].as_str()), (400, Some("idempotency_key_required")));
    let with =
        world.post_with("/api/v1/restores", &requests::cbr_server(), &[("idempotency-key", "k")]).await;
    assert_eq!(with.status, 202);
    assert_eq!(world.sent().await.len(), 1);
    world.end().await;
}

/// A program at a compatibility endpoint that sends a key gets what a key promises, also where a route demands one.
#[tokio::test]
async fn a_key_counts_at_an_endpoint() {
    let routes = "[[upstreams]]\nname = \"cbr\"\ngeneration = \"cbr-v3\"\nendpoint = \"{clouds}\"\n\
                  evs_endpoint = \"{clouds}/evs\"\n\
                  [[routes]]\nupstream = \"cbr\"\nidempotency_key = \"required\"\n";
    let world = World::with(TestConfig::default().routes(routes).and(crate::compat::basics::DOORS)).await;
    let path = format!("/cbr/v3/{}/backups/{}/restore", ids::PROJECT, ids::FREE.0);
    let body = |volume: &str| json!({"restore": {"volume_id": volume}});
    let without = world.post(&path, &body(ids::FREE.1)).await;
    assert_eq!(without.status, 400, "{}", without.text());
    assert!(without.text().contains("idempotency_key_required"), "{}", without.text());
    let key = [("idempotency-key", "\"one\"")];
    let first = world.post_with(&path, &body(ids::FREE.1), &key).await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (202, ""), "{}", first.text());
    let again = world.post_with(&path, &body(ids::FREE.1), &key).await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (202, "true"), "{}", again.text());
    assert_eq!(again.json()["job_id"], first.json()["job_id"]);
    let other = world.post_with(&path, &body(ids::SYSTEM.1), &key).await;
    assert!(other.text().contains("idempotency_key_conflict"), "{}", other.text());
    let faulty = world.post_with(&path, &body(ids::FREE.1), &[("idempotency-key", "a key")]).await;
    assert_eq!(faulty.status, 400, "{}", faulty.text());
    assert_eq!(world.sent().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn a_caller_that_hangs_up_leaves_no_restore_behind_half_sent() {
    use tokio::io::AsyncWriteExt;
    let folder = tempfile::tempdir().unwrap();
    let ledger = format!("\"sqlite:{}\"", folder.path().join("ledger.db").display());
    let world = World::with(TestConfig::default().set("ledger.url", &ledger)).await;
    let body = requests::free_disk().to_string();
    let request = format!(
        "POST /api/v1/restores HTTP/1.1\r\nHost: gateway\r\nX-Auth-Token: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        ids::TOKEN,
        body.len(),
    );
    let mut socket = tokio::net::TcpStream::connect(world.gateway.api()).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    drop(socket);
    // Whether the request was read before the caller was gone is for the kernel to say; if it was,
    // the restore goes on to its end.
    let again = world.submit(&requests::free_disk()).await.json();
    world.until_status(again["id"].as_str().unwrap(), "succeeded").await;
    assert_eq!(world.sent().await.len(), 1);
    assert_eq!(world.applied().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn a_resource_and_a_disk_of_one_id_exclude_each_other() {
    let world = World::new().await;
    world
        .faults(json!([{"match": {"method": "POST", "path": "*/restore"}, "stall": true, "applied": true}]))
        .await;
    let disk = requests::free_disk();
    let mut resource = disk.clone();
    resource["target"] = json!({"type": "resource", "resource_id": ids::FREE.1});
    let (first, second) = tokio::join!(world.submit(&disk), async {
        world.until_sent(1).await;
        world.submit(&resource).await
    });
    drop(first);
    assert_eq!(
        (second.status, second.json()["code"].as_str()),
        (409, Some("target_busy")),
        "{}",
        second.text()
    );
    assert_eq!(world.sent().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn a_key_whose_restore_was_refused_says_to_take_a_new_one() {
    let world = World::new().await;
    world
        .faults(json!([{"match": {"method": "POST", "path": "*/restore"},
            "answer": {"status": 400, "body": {"error_code": "BackupService.2010", "error_msg": "being restored"}}}]))
        .await;
    let key = [("idempotency-key", "k1")];
    let first = world.post_with("/api/v1/restores", &requests::cbr_server(), &key).await.json();
    assert_eq!(first["retry"], "later");
    assert!(first["detail"].as_str().unwrap().contains("new Idempotency-Key"), "{first}");
    let again = world.post_with("/api/v1/restores", &requests::cbr_server(), &key).await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (409, "true"));
    assert_eq!(again.json()["retry"], "never");
    assert_eq!(world.sent().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn s37_a_caller_has_so_many_keys_and_no_more_and_those_it_has_go_on_working() {
    let world = World::with(TestConfig::default().set("submit.max_keys_per_caller", "2")).await;
    world.behave(json!({"extra_disks": 4})).await;
    let submit = async |number: usize, key: &str| {
        world.post_with("/api/v1/restores", &requests::extra_disk(number), &[("idempotency-key", key)]).await
    };
    let first = submit(0, "k0").await;
    assert_eq!((first.status, submit(1, "k1").await.status), (202, 202));
    let refused = submit(2, "k2").await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (429, Some("too_many_idempotency_keys")));
    assert_eq!(refused.json()["effect"], "none");
    assert!(!refused.header("retry-after").is_empty());
    // A key that is known is answered as ever, and without one nothing is counted.
    let again = submit(0, "k0").await;
    assert_eq!((&again.json()["id"], again.header("idempotency-replayed")), (&first.json()["id"], "true"));
    assert_eq!(submit(3, "k0").await.json()["code"], "idempotency_key_conflict");
    assert_eq!(world.submit(&requests::extra_disk(3)).await.status, 202);
    assert_eq!(world.sent().await.len(), 3);
    world.end().await;
}

#[tokio::test]
async fn f32_each_route_has_windows_of_its_own_and_after_them_the_same_request_is_a_new_restore() {
    let routes = format!(
        r#"
[[upstreams]]
name = "vbs"
generation = "vbs-v2"
endpoint = "{{clouds}}/vbs"
[[routes]]
match = {{ backup_ids = ["{}"] }}
upstream = "vbs"
idempotency_key_ttl_seconds = 60
dedup_window_seconds = 10
[[routes]]
upstream = "vbs"
"#,
        requests::extra_disk(0)["source"]["backup_id"].as_str().unwrap_or_default()
    );
    let clock = WrongClock::default();
    let config = TestConfig::default().set("submit.dedup_window_seconds", "100").routes(&routes);
    let world = World::by_clock(config, &clock).await;
    world.behave(json!({"extra_disks": 2, "restore_seconds": 0})).await;
    // Whether it is a new restore; if so, it is let go to its end.
    let is_new = async |number: usize, key: Option<&str>| {
        let headers: Vec<_> = key.map(|key| ("idempotency-key", key)).into_iter().collect();
        let answer = world.post_with("/api/v1/restores", &requests::extra_disk(number), &headers).await;
        assert!(answer.status < 300, "{}", answer.text());
        world.until_status(answer.json()["id"].as_str().unwrap_or_default(), "succeeded").await;
        answer.header("idempotency-replayed").is_empty()
    };
    for (number, key) in [(0, "k0"), (1, "k1")] {
        assert!(is_new(number, None).await && !is_new(number, None).await, "{number}");
        assert!(is_new(number, Some(key)).await && !is_new(number, Some(key)).await, "{number}");
    }
    clock.pass(11);
    assert!(is_new(0, None).await && !is_new(1, None).await, "10 s against 100 s");
    assert!(!is_new(0, Some("k0")).await && !is_new(1, Some("k1")).await);
    clock.pass(61);
    assert!(is_new(0, Some("k0")).await && !is_new(1, Some("k1")).await, "60 s against a day");
    assert!(!is_new(1, None).await);
    clock.pass(30);
    assert!(is_new(1, None).await, "102 s after the end");
    clock.pass(24 * 60 * 60);
    assert!(is_new(1, Some("k1")).await, "more than a day after the end");
    assert_eq!((world.sent().await.len(), world.applied().await.len()), (8, 8));
    world.end().await;
}

/// A wall clock that is set forward is not time that has passed.
#[tokio::test]
async fn a_clock_that_jumps_forward_ends_no_window_early() {
    let clock = WrongClock::default();
    let world = World::by_clock(TestConfig::default(), &clock).await;
    world.behave(json!({"restore_seconds": 0})).await;
    let ask = async |key: Option<&str>| {
        let headers: Vec<_> = key.map(|key| ("idempotency-key", key)).into_iter().collect();
        let answer = world.post_with("/api/v1/restores", &requests::free_disk(), &headers).await;
        assert!(answer.status < 300, "{}", answer.text());
        let id = answer.json()["id"].as_str().unwrap_or_default().to_owned();
        world.until_status(&id, "succeeded").await;
        id
    };
    let keyed = ask(Some("k")).await;
    let first = ask(None).await;
    assert_eq!(first, keyed, "an equal request");
    for seconds in [901, -5000, 8000] {
        clock.set_on_by(seconds);
        assert_eq!(ask(None).await, first, "set by {seconds} s");
    }
    clock.set_on_by(3 * 24 * 60 * 60);
    assert_eq!(ask(Some("k")).await, keyed);
    assert_eq!(world.sent().await.len(), 1);
    clock.pass(901);
    assert_ne!(ask(None).await, first, "this much has passed");
    world.end().await;
}

#[tokio::test]
async fn a_target_whose_holder_ended_unseen_is_free_for_the_next_who_asks_with_a_token() {
    for (request, other) in [
        (requests::free_disk as fn() -> Value, None),
        // Another restore of one of the server's disks.
        (requests::cbr_server, Some(ids::DATA)),
    ] {
        let mut world = World::serve(TestConfig::default()).await;
        world.behave(json!({"restore_seconds": 60})).await;
        let holder = world.submit(&request()).await.json();
        assert_eq!(holder["status"], "running", "{holder}");
        let path = format!("/api/v1/restores/{}", holder["id"].as_str().unwrap_or_default());
        // The token that it was followed with is gone with the process; it ends, and nobody looks.
        let (_, _, folder) = world.ended_by("KILL").await;
        world.advance(61).await;
        world.again_in(folder).await;
        let stored = world.http.send(http::Method::GET, &world.url(&path), &[], "").await.json();
        assert_eq!(
            (&stored["status"], &stored["awaiting_credential"]),
            (&json!("running"), &json!(true)),
            "{stored}"
        );

        let mut next = request();
        if let Some((backup, disk)) = other {
            next["source"]["backup_id"] = json!(backup);
            next["target"] = json!({"type": "volume", "volume_id": disk});
            // A disk is detached before it is restored by itself.
            world.behave(json!({"volumes": {disk: {"detached": true, "status": "available"}}})).await;
        }
        let next = world.post_with("/api/v1/restores", &next, &[("idempotency-key", "next")]).await;
        assert_eq!((next.status, next.json()["status"].as_str()), (202, Some("running")), "{}", next.text());
        assert_ne!(next.json()["id"], holder["id"]);
        let ended = world.http.send(http::Method::GET, &world.url(&path), &[], "").await.json();
        assert_eq!(ended["status"], "succeeded", "{ended}");
        assert_eq!((world.sent().await.len(), world.applied().await.len()), (2, 2));
        world.end().await;
    }
}
