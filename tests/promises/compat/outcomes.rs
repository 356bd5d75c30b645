//! What compatibility endpoints tell of restores that went wrong, or that nobody reads: a program that waits by any read of its
//! source API comes to the end of it, and to no other end than the true one.

use std::time::{Duration, Instant};

use http::Method;
use restore_tests::{Answer, TestConfig, World, ids};
use serde_json::{Value, json};

use crate::auth::tokens::login;
use crate::compat::basics::{DOORS, native};
use crate::operations::operator::hasty;

/// CBR does everything; the clouds of the compatibility endpoints are asked for the rest.
const MOVED: &str = "[[routes]]\nupstream = \"cbr\"\n";

async fn read_as(world: &World, token: &str, path: &str) -> Answer {
    let path = path.replace("{project}", ids::PROJECT);
    world.http.send(Method::GET, &world.url(&path), &[("x-auth-token", token)], "").await
}

/// Reads until what is said is what is wanted.
async fn until(world: &World, token: &str, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    let end = Instant::now() + Duration::from_secs(15);
    loop {
        let answer = read_as(world, token, path).await;
        if wanted(&answer) {
            return answer;
        }
        assert!(Instant::now() < end, "{path}: {} {}", answer.status, answer.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The one backup that a read tells of, alone or in a list.
fn told(answer: &Answer, id: &str) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    let alone = ["checkpoint_item", "backup", "volume"].iter().find_map(|one| body.get(one));
    let list = ["checkpoint_items", "backups", "volumes"].iter().find_map(|list| body[list].as_array());
    let found = alone.into_iter().chain(list.into_iter().flatten()).find(|item| item["id"] == id);
    found.cloned().unwrap_or_else(|| panic!("no {id} in {body}"))
}

/// What programs wait by: status, and the mark of a failure where there is one.
fn mark(told: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&told["status"]), text(&told["extend_info"]["fail_op"]))
}

/// The compatibility endpoint's own cloud did not say what it has done with the request, and in truth has done nothing.
#[tokio::test]
async fn what_the_endpoints_own_cloud_has_not_done_is_never_shown_as_done() {
    let item = |path: &str| path.replace("{item}", ids::CSBS_ITEM);
    let free = |path: &str| path.replace("{free}", ids::FREE.0).replace("{disk}", ids::FREE.1);
    for (source_api, target, reads, id, during, after) in [
        (
            "csbs-v1",
            "server",
            vec![
                item("/csbs/v1/{project}/checkpoint_items/{item}"),
                item("/csbs/v1/{project}/checkpoint_items"),
            ],
            ids::CSBS_ITEM,
            ("restoring", ""),
            ("available", "restore"),
        ),
        (
            "cinder-v3",
            "volume",
            vec![free("/cinder/v3/{project}/backups/{free}"), free("/cinder/v3/{project}/backups/detail")],
            ids::FREE.0,
            ("restoring", ""),
            ("error_restoring", ""),
        ),
        (
            "cinder-v3",
            "volume",
            vec![free("/cinder/v3/{project}/volumes/{disk}"), free("/cinder/v3/{project}/volumes/detail")],
            ids::FREE.1,
            ("restoring-backup", ""),
            ("error_restoring", ""),
        ),
    ] {
        let world = World::with(hasty().and(DOORS)).await;
        let before = mark(&told(&read_as(&world, ids::TOKEN, &reads[0]).await, id));
        let unclear = json!({"status": 504, "body": {"error_msg": "timed out"}});
        world
            .faults(json!([
                {"match": {"method": "POST", "path": "*/restores"}, "answer": unclear},
                {"match": {"method": "POST", "path": "*/restore"}, "answer": unclear},
            ]))
            .await;
        let (path, body) = native::request(source_api, target);
        let answer = world.post(&path, &body).await;
        assert!(matches!(answer.status, 200 | 202), "{source_api}: {} {}", answer.status, answer.text());
        let list = world.get("/api/v1/restores").await.json();
        let restore = list["restores"][0]["id"].as_str().expect("an id").to_owned();
        let shown = |(status, fail): (&str, &str)| (status.to_owned(), fail.to_owned());
        world.until_status(&restore, "unknown").await;
        for read in &reads {
            let now = mark(&told(&read_as(&world, ids::TOKEN, read).await, id));
            assert_eq!(now, shown(during), "{read} while nobody knows");
        }
        world.until(&restore, |restore| restore["needs_operator"] == true).await;
        for read in &reads {
            let now = mark(&told(&read_as(&world, ids::TOKEN, read).await, id));
            assert_eq!(now, shown(during), "{read} while a person is asked");
        }
        let said = json!({"as": "not_applied", "by": "ada", "reason": "looked at the disk"});
        let ended = world.decide(&format!("/restores/{restore}/resolution"), &said).await;
        assert_eq!(ended.status, 200, "{}", ended.text());
        for read in &reads {
            let now = mark(&told(&read_as(&world, ids::TOKEN, read).await, id));
            assert_eq!(now, shown(after), "{read} after all");
        }
        assert!(world.applied().await.is_empty());

        // The next one ends well, and no mark of the earlier one stays.
        let answer = world.post(&path, &body).await;
        assert!(matches!(answer.status, 200 | 202), "{source_api}: {} {}", answer.status, answer.text());
        world.advance(5).await;
        for read in &reads {
            until(&world, ids::TOKEN, read, |answer| mark(&told(answer, id)) == before).await;
        }
        assert_eq!(world.applied().await.len(), 1, "{source_api}");
        world.end().await;
    }
}

/// A refusal that came when the request had been answered as taken has nowhere to show but in what programs wait by.
#[tokio::test]
async fn a_refusal_that_comes_late_is_shown_as_a_failure() {
    let late = TestConfig::default().set("submit.sync_wait_seconds", "0.2").and(DOORS);
    let world = World::with(late).await;
    let busy =
        json!({"status": 400, "body": {"error_code": "CSBS.6015", "error_msg": "it is being restored"}});
    let refusal = |delay| json!([{"match": {"method": "POST", "path": "*/restores"}, "answer": busy, "delay_ms": delay}]);
    let (path, body) = native::request("csbs-v1", "server");
    let item = format!("/csbs/v1/{{project}}/checkpoint_items/{}", ids::CSBS_ITEM);
    let before = mark(&told(&read_as(&world, ids::TOKEN, &item).await, ids::CSBS_ITEM));

    // At once: who was told needs no mark.
    world.faults(refusal(0)).await;
    let answer = world.post(&path, &body).await;
    assert!(answer.status >= 400, "{}", answer.text());
    assert_eq!(mark(&told(&read_as(&world, ids::TOKEN, &item).await, ids::CSBS_ITEM)), before);

    world.faults(refusal(1_000)).await;
    let answer = world.post(&path, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let during = mark(&told(&read_as(&world, ids::TOKEN, &item).await, ids::CSBS_ITEM));
    assert_eq!(during, ("restoring".to_owned(), String::new()));
    let after = ("available".to_owned(), "restore".to_owned());
    until(&world, ids::TOKEN, &item, |answer| mark(&told(answer, ids::CSBS_ITEM)) == after).await;
    world.end().await;
}

/// The cloud's own mark of a failure is told as it is.
#[tokio::test]
async fn a_failure_of_the_cloud_keeps_its_words() {
    let world = World::with(TestConfig::default().and(DOORS)).await;
    let fails = json!({"status": "failed", "error_code": "CSBS.9999", "error_msg": "no"});
    world.behave(json!({"next_restore": fails})).await;
    let (path, body) = native::request("csbs-v1", "server");
    assert_eq!(world.post(&path, &body).await.status, 200);
    world.advance(5).await;
    let list = world.get("/api/v1/restores").await.json();
    world.until_status(list["restores"][0]["id"].as_str().expect("an id"), "failed").await;
    let read = format!("/v1/{}/checkpoint_items/{}", ids::PROJECT, ids::CSBS_ITEM);
    let at_endpoint = told(&world.get(&format!("/csbs{read}")).await, ids::CSBS_ITEM);
    let headers = [("x-auth-token", ids::TOKEN)];
    let native = world.http.send(Method::GET, &format!("{}{read}", world.clouds.url()), &headers, "").await;
    assert_eq!(mark(&at_endpoint).1, "restore", "{at_endpoint}");
    assert_eq!(at_endpoint, told(&native, ids::CSBS_ITEM));
    world.end().await;
}

/// The gateway has forgotten the token and nobody asks by id: whatever else is read comes to the end as well.
#[tokio::test]
async fn after_a_restart_each_read_learns_how_a_restore_has_ended() {
    let item = format!("/csbs/v1/{{project}}/checkpoint_items/{}", ids::CSBS_ITEM);
    let backup = format!("/cinder/v3/{{project}}/backups/{}", ids::FREE.0);
    let disk = format!("/cinder/v3/{{project}}/volumes/{}", ids::FREE.1);
    let status_of = |id: &'static str| move |answer: &Answer| mark(&told(answer, id)).0;
    let at = |place: &'static str| {
        move |answer: &Answer| {
            answer.json().pointer(place).and_then(Value::as_str).unwrap_or_default().to_owned()
        }
    };
    type Said = Box<dyn Fn(&Answer) -> String>;
    let cases: Vec<(&str, &str, &str, Said, &str)> = vec![
        ("csbs-v1", "server", "/csbs/v1/{project}/restores", Box::new(at("/restores/0/status")), "success"),
        ("csbs-v1", "server", &item, Box::new(status_of(ids::CSBS_ITEM)), "available"),
        (
            "csbs-v1",
            "server",
            "/csbs/v1/{project}/checkpoint_items",
            Box::new(status_of(ids::CSBS_ITEM)),
            "available",
        ),
        (
            "cbr-v3",
            "volume",
            "/cbr/v3/{project}/operation-logs",
            Box::new(at("/operation_logs/0/status")),
            "success",
        ),
        ("cinder-v3", "volume", &backup, Box::new(status_of(ids::FREE.0)), "available"),
        (
            "cinder-v3",
            "volume",
            "/cinder/v3/{project}/backups/detail",
            Box::new(status_of(ids::FREE.0)),
            "available",
        ),
        ("cinder-v3", "volume", &disk, Box::new(status_of(ids::FREE.1)), "available"),
        (
            "cinder-v3",
            "volume",
            "/cinder/v3/{project}/volumes/detail",
            Box::new(status_of(ids::FREE.1)),
            "available",
        ),
    ];
    for (source_api, target, read, said, end) in cases {
        let mut world = World::serve(TestConfig::default().ways(MOVED).and(DOORS)).await;
        world.behave(json!({"restore_seconds": 600})).await;
        let (path, body) = native::request(source_api, target);
        let answer = world.post(&path, &body).await;
        assert!(matches!(answer.status, 200 | 202), "{source_api}: {}", answer.text());
        let during = said(&until(&world, ids::TOKEN, read, |answer| answer.status == 200).await);
        assert_ne!(during, end, "{read}");
        let (_, _, folder) = world.ended_by("KILL").await;
        world.advance(700).await;
        world.again_in(folder).await;
        until(&world, ids::TOKEN, read, |answer| said(answer) == end).await;
        world.end().await;
    }
}

/// A long list costs a cloud a few reads at a time.
#[tokio::test]
async fn one_list_has_no_more_than_a_few_restores_read() {
    // None is read twice while the test looks.
    let slow = TestConfig::default().set("polling.interval_seconds", "60");
    let mut world = World::serve(slow.ways(MOVED).and(DOORS)).await;
    world.behave(json!({"extra_disks": 24, "restore_seconds": 600, "cbr_202": "job_id"})).await;
    for number in 0..24 {
        let disk = restore_tests::requests::extra_disk(number);
        let answer = world.submit(&disk).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        let id = answer.json()["id"].as_str().expect("an id").to_owned();
        world.until(&id, |restore| restore["upstream"]["task"]["id"].is_string()).await;
    }
    let (_, _, folder) = world.ended_by("KILL").await;
    let before = world.arrived().await.len();
    world.again_in(folder).await;
    let read = async || {
        let arrived = world.arrived().await.into_iter().skip(before);
        let logs = arrived.filter_map(|seen| seen["path"].as_str().map(str::to_owned));
        logs.filter(|path| path.contains("/operation-logs/")).collect::<std::collections::BTreeSet<_>>().len()
    };
    let list = format!("/cbr/v3/{}/operation-logs", ids::PROJECT);
    assert_eq!(world.get(&list).await.status, 200);
    let at_once = read().await;
    assert!((1..=16).contains(&at_once), "{at_once} are read for one list");
    let end = Instant::now() + Duration::from_secs(20);
    while read().await < 24 {
        assert!(Instant::now() < end, "{} of 24 are read for many lists", read().await);
        assert_eq!(world.get(&list).await.status, 200);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.end().await;
}

/// Programs get themselves a new token when they are told 401, and at nothing else.
#[tokio::test]
async fn a_program_with_an_expired_token_gets_the_401_of_its_api() {
    let item = format!("/csbs/v1/{{project}}/checkpoint_items/{}", ids::CSBS_ITEM);
    let disk = format!("/cinder/v3/{{project}}/volumes/{}", ids::FREE.1);
    for (source_api, target, reads) in [
        ("csbs-v1", "server", vec!["/csbs/v1/{project}/restores/{id}", &item, "/csbs/v1/{project}/restores"]),
        (
            "cbr-v3",
            "volume",
            vec!["/cbr/v3/{project}/operation-logs/{id}", "/cbr/v3/{project}/operation-logs"],
        ),
        ("vbs-v2", "volume", vec!["/vbs/v1/{project}/jobs/{id}", &disk]),
    ] {
        let world = World::with(TestConfig::default().ways(MOVED).and(DOORS)).await;
        world.behave(json!({"restore_seconds": 600})).await;
        let token = login(&world, ids::PROJECT).await;
        let (path, body) = native::request(source_api, target);
        let headers = [("x-auth-token", token.as_str()), ("content-type", "application/json")];
        let url = world.url(&path);
        let post = || world.http.send(Method::POST, &url, &headers, body.to_string());
        let answer = post().await;
        assert!(matches!(answer.status, 200 | 202), "{source_api}: {}", answer.text());
        let list = world.get("/api/v1/restores").await.json();
        let id = list["restores"][0]["id"].as_str().expect("an id").to_owned();
        world.until_status(&id, "running").await;

        let tokens = format!("{}/v3/auth/tokens", world.clouds.url());
        let mine = [("x-auth-token", ids::TOKEN), ("x-subject-token", token.as_str())];
        assert_eq!(world.http.send(Method::DELETE, &tokens, &mine, "").await.status, 204);
        for read in &reads {
            let read = read.replace("{id}", &id);
            let answer = until(&world, &token, &read, |answer| answer.status != 200).await;
            assert_eq!(answer.status, 401, "{read}: {}", answer.text());
            let code = &answer.json()["error"]["code"];
            assert!(
                code.is_string() || answer.json()["upstream_unauthorized"].is_object(),
                "{}",
                answer.text()
            );
        }
        // What may have been sent is never sent again for it.
        let again = post().await;
        assert!(matches!(again.status, 200 | 202), "{source_api}: {} {}", again.status, again.text());
        assert_eq!(world.sent().await.len(), 1, "{source_api}");
        // A token that is good reads on.
        for read in &reads {
            let read = read.replace("{id}", &id);
            let answer = read_as(&world, ids::TOKEN, &read).await;
            assert_eq!(answer.status, 200, "{read}: {}", answer.text());
        }
        let shown = world.until(&id, |restore| restore["last_poll_failed_since"].is_null()).await;
        assert_eq!(shown["status"], "running");
        world.end().await;
    }
}
