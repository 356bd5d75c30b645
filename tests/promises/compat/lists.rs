//! Lists, questions and paths of compatibility endpoints: each restore once and in its own compatibility endpoint, a question that could not be asked
//! is not answered, and what is nowhere is nowhere.

use std::time::{Duration, Instant};

use restore_tests::{TestConfig, World, ids, requests};
use serde_json::{Value, json};

use crate::compat::basics::{DOORS, native};

/// The provider of backups of disks.
const DISKS: &str = "d1603440-187d-4516-af25-121250c7cc97";

async fn logs(world: &World, query: &str) -> (u64, Vec<Value>) {
    let answer = world.get(&format!("/cbr/v3/{}/operation-logs{query}", ids::PROJECT)).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    let body = answer.json();
    (body["count"].as_u64().expect("a count"), body["operation_logs"].as_array().cloned().expect("a list"))
}

/// Begins a restore at a compatibility endpoint and waits for its good end; its id.
async fn done(world: &World, source_api: &str, target: &str) -> String {
    let (path, body) = native::request(source_api, target);
    let answer = world.post(&path, &body).await;
    assert!(matches!(answer.status, 200 | 202), "{source_api}: {}", answer.text());
    let list = world.get("/api/v1/restores").await.json();
    let id = list["restores"][0]["id"].as_str().expect("an id").to_owned();
    world.until_status(&id, "succeeded").await;
    id
}

#[tokio::test]
async fn a_filter_finds_each_restore_once_whoever_can_judge_it() {
    for upstream in ["cbr", "vbs"] {
        let routes = format!("[[routes]]\nupstream = \"{upstream}\"\n");
        let world = World::with(TestConfig::default().ways(&routes).and(DOORS)).await;
        let id = done(&world, "cbr-v3", "volume").await;
        let mut queries = vec![
            String::new(),
            format!("?provider_id={DISKS}"),
            "?operation_type=restore&status=success".to_owned(),
            format!("?resource_id={}", ids::FREE.1),
        ];
        if upstream == "cbr" {
            // What a disk and its vault are called is the cloud's to know.
            let url = format!("{}/v3/{}/operation-logs", world.clouds.url(), ids::PROJECT);
            let headers = [("x-auth-token", ids::TOKEN)];
            let native = world.http.send(http::Method::GET, &url, &headers, "").await.json();
            let log = &native["operation_logs"][0];
            let text = |value: &Value| value.as_str().expect("a text").to_owned();
            queries.push(format!("?resource_name={}", text(&log["extra_info"]["resource"]["name"])));
            queries.push(format!("?vault_id={}", text(&log["vault_id"])));
        }
        for query in queries {
            let (count, rows) = logs(&world, &query).await;
            let found: Vec<&Value> = rows.iter().map(|row| &row["id"]).collect();
            assert_eq!((count, found), (1, vec![&json!(id)]), "{upstream} {query}");
            let and = if query.is_empty() { "?" } else { "&" };
            let (count, rows) = logs(&world, &format!("{query}{and}limit=1&offset=1")).await;
            assert_eq!((count, rows.len()), (1, 0), "{upstream} {query}: the second page");
        }
        for nothing in [
            "?resource_name=nobody",
            "?provider_id=0daac4c5-6707-4851-97ba-169e36266b66",
            "?operation_type=backup",
        ] {
            assert_eq!(logs(&world, nothing).await, (0, Vec::new()), "{upstream} {nothing}");
        }
        world.end().await;
    }
}

/// Ids of another generation are no ids at this compatibility endpoint.
#[tokio::test]
async fn a_restore_is_listed_where_its_names_are_known() {
    let world = World::with(TestConfig::default().ways("[[routes]]\nupstream = \"cbr\"\n").and(DOORS)).await;
    let of_csbs = done(&world, "csbs-v1", "server").await;
    let (count, rows) = logs(&world, "").await;
    assert_eq!((count, rows.len()), (1, 1), "{rows:?}");
    // As the cloud tells of it.
    assert_ne!(rows[0]["id"], json!(of_csbs));
    assert_eq!(rows[0]["extra_info"]["restore"]["backup_id"], ids::CBR_BACKUP);
    let one = world.get(&format!("/cbr/v3/{}/operation-logs/{of_csbs}", ids::PROJECT)).await;
    assert_eq!(one.status, 404, "{}", one.text());
    let restores = format!("/csbs/v1/{}/restores", ids::PROJECT);
    let own = world.get(&restores).await.json();
    assert_eq!(own["restores"][0]["id"], json!(of_csbs));
    // The API names things as the upstream does.
    let canonical =
        world.submit(&requests::cbr_server()).await.json()["id"].as_str().expect("an id").to_owned();
    world.until_status(&canonical, "succeeded").await;
    let (count, rows) = logs(&world, "").await;
    assert_eq!((count, rows.len()), (2, 2), "{rows:?}");
    assert!(rows.iter().any(|row| row["id"] == json!(canonical)), "{rows:?}");
    let own = world.get(&restores).await.json();
    assert_eq!(own["restores"].as_array().map(Vec::len), Some(1), "{own}");
    world.end().await;
}

fn asked(item: &str) -> Value {
    json!({"checkpoint_item_id": item, "target": {"resource_id": ids::SERVER, "resource_type": "OS::Nova::Server",
    "volumes": [
        {"backup_id": ids::SYSTEM.0, "volume_id": ids::SYSTEM.1},
        {"backup_id": ids::DATA.0, "volume_id": ids::DATA.1},
    ]}})
}

fn action() -> String {
    format!("/v1/{}/providers/fc4d5750-22e7-4798-8a46-f48f62c4c1da/resources/action", ids::PROJECT)
}

/// No is an answer to a question that was asked.
#[tokio::test]
async fn a_question_that_could_not_be_asked_is_not_answered_no() {
    let path = format!("/csbs{}", action());
    let body = json!({"check_restorable": [asked(ids::CSBS_ITEM)]});
    for (status, wanted) in [(503, 503), (500, 503), (429, 429), (403, 403)] {
        // A cloud that has said 429 is left alone for a while.
        let world = World::with(TestConfig::default().and(DOORS)).await;
        let answer = json!({"status": status, "body": {"error_msg": "not now"}});
        world
            .faults(json!([{"match": {"method": "POST", "path": action()}, "times": 0, "answer": answer}]))
            .await;
        let answer = world.post(&path, &body).await;
        assert_eq!(answer.status, wanted, "{status}: {}", answer.text());
        assert!(answer.json()["error"]["code"].is_string(), "{}", answer.text());
        world.end().await;
    }
    let world = World::with(TestConfig::default().and(DOORS)).await;
    world
        .faults(json!([{"match": {"method": "POST", "path": action()}, "times": 0, "reset": "before"}]))
        .await;
    let answer = world.post(&path, &body).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    world.end().await;
}

#[tokio::test]
async fn equal_questions_are_asked_once_and_a_few_at_a_time() {
    let world = World::with(TestConfig::default().and(DOORS)).await;
    let path = format!("/csbs{}", action());
    let arrived = async || {
        let arrived = world.arrived().await;
        arrived
            .iter()
            .filter(|seen| seen["path"].as_str().is_some_and(|path| path.contains("/action")))
            .count()
    };
    let body = json!({"check_restorable": vec![asked(ids::CSBS_ITEM); 50]});
    let answer = world.post(&path, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let verdicts = answer.json()["restorable"].as_array().cloned().expect("a list");
    assert!(verdicts.len() == 50 && verdicts.iter().all(|verdict| verdict["result"] == true), "{verdicts:?}");
    assert_eq!(arrived().await, 1, "fifty equal questions are one");

    world.faults(json!([{"match": {"method": "POST", "path": action()}, "times": 0, "stall": true}])).await;
    // Another order of the disks is another question.
    let different: Vec<Value> = (0..8)
        .map(|number| {
            let mut question = asked(ids::CSBS_ITEM);
            question["target"]["volumes"][0]["volume_id"] =
                json!(format!("d15c0000-0000-4000-8000-00000000000{number}"));
            question
        })
        .collect();
    let body = json!({"check_restorable": different});
    let asks = world.post(&path, &body);
    let counted = async {
        let end = Instant::now() + Duration::from_secs(10);
        while arrived().await < 5 {
            assert!(Instant::now() < end, "they wait for each other");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        answer = asks => panic!("nobody answered, and yet: {}", answer.text()),
        () = counted => {}
    }
    assert_eq!(arrived().await, 5, "four at a time");
    world.end().await;
}

#[tokio::test]
async fn what_is_nowhere_at_an_endpoint_is_not_found_in_its_words() {
    let world = World::with(TestConfig::default().and(DOORS)).await;
    let project = ids::PROJECT;
    for path in [
        "/csbs/v2".to_owned(),
        "/csbs/nothing".to_owned(),
        "/cbr/v1".to_owned(),
        "/cbr/v1/".to_owned(),
        "/vbs/v3/none".to_owned(),
        format!("/cbr/v3/{project}"),
        format!("/cbr/v3/{project}/"),
        format!("/cbr/v3/{project}/operation-logs/"),
        format!("/cinder/v3/{project}/backups/"),
        format!("/csbs/{project}/restores"),
        format!("/cbr/evs/{project}/volumes"),
    ] {
        let answer = world.get(&path).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        let body = answer.json();
        assert!(body["error"]["code"].is_string() || body["itemNotFound"].is_object(), "{path}: {body}");
    }
    let answer = world.post("/cbr/v1", &json!({})).await;
    assert_eq!(answer.status, 404, "{}", answer.text());
    assert!(world.arrived().await.is_empty(), "nothing was asked");
    world.end().await;
}
