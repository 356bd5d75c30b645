//! Questions and paths of native doors: a question that could not be asked is not answered, and what is nowhere is
//! nowhere.

use std::time::{Duration, Instant};

use restore_tests::{Settings, World, ids};
use serde_json::{Value, json};

use crate::doors::DOORS;

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
    let world = World::with(Settings::default().and(DOORS)).await;
    let path = format!("/csbs{}", action());
    let body = json!({"check_restorable": [asked(ids::CSBS_ITEM)]});
    for (status, wanted) in [(503, 503), (500, 503), (429, 503), (403, 403)] {
        let answer = json!({"status": status, "body": {"error_msg": "not now"}});
        world
            .faults(json!([{"match": {"method": "POST", "path": action()}, "times": 0, "answer": answer}]))
            .await;
        let answer = world.post(&path, &body).await;
        assert_eq!(answer.status, wanted, "{status}: {}", answer.text());
        assert!(answer.json()["error"]["code"].is_string(), "{}", answer.text());
    }
    world
        .faults(json!([{"match": {"method": "POST", "path": action()}, "times": 0, "reset": "before"}]))
        .await;
    let answer = world.post(&path, &body).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    world.end().await;
}

#[tokio::test]
async fn equal_questions_are_asked_once_and_a_few_at_a_time() {
    let world = World::with(Settings::default().and(DOORS)).await;
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
async fn what_is_nowhere_at_a_door_is_not_found_in_its_words() {
    let world = World::with(Settings::default().and(DOORS)).await;
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
