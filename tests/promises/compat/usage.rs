//! Moving programs off old source APIs: what an old compatibility endpoint tells them, and who still uses it.

use restore_tests::{TestConfig, World, ids};
use serde_json::{Value, json};

use crate::compat::basics::native;

const DOORS: &str = r#"
[[compat_endpoints]]
api = "csbs-v1"
prefix = "/csbs"
sunset = "2027-06-30"
link = "https://wiki.example.com/moving"
[[compat_endpoints]]
api = "cbr-v3"
prefix = "/cbr"
"#;

async fn world() -> World {
    World::with(TestConfig::default().and(DOORS)).await
}

#[tokio::test]
async fn every_answer_of_an_old_endpoint_says_so_and_no_other() {
    let world = world().await;
    let (path, body) = native::request("csbs-v1", "server");
    let answers = [
        world.get("/csbs/").await,
        world.post(&path, &body).await,
        world.post(&path, &json!({"restore": 1})).await,
        world.get(&format!("{path}/0199a7c4-8d5e-7c21-9f0e-5b1f3a2d4c6e")).await,
        world.get("/csbs/nothing/here").await,
    ];
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses[..3], [300, 200, 400]);
    assert!(statuses[3..].iter().all(|status| *status >= 400), "{statuses:?}");
    for answer in &answers {
        assert_eq!(answer.header("deprecation"), "@1753660800");
        assert_eq!(answer.header("sunset"), "Wed, 30 Jun 2027 00:00:00 GMT");
        assert!(answer.header("link").contains("<https://wiki.example.com/moving>; rel=\"deprecation\""));
    }
    for path in ["/cbr/", "/cbr/nothing/here", "/api/v1/restores"] {
        let answer = world.get(path).await;
        for header in ["deprecation", "sunset", "link"] {
            assert_eq!(answer.header(header), "", "{path} {header}");
        }
    }
    world.end().await;
}

#[tokio::test]
async fn users_of_each_source_api_are_reported() {
    let world = world().await;
    let (path, body) = native::request("csbs-v1", "server");
    let answer = world.post(&path, &body).await;
    crate::compat::basics::follow(&world, "csbs-v1", &path, &answer).await;
    // What came through no compatibility endpoint is not among them.
    world.submit(&restore_tests::requests::free_disk()).await;

    let usage = world.admin("/compat-usage").await.json();
    let users = |source_api: &str| -> Vec<Value> {
        let all = usage["source_apis"].as_array().cloned().unwrap_or_default();
        let own = all.iter().find(|row| row["source_api"] == source_api).cloned().unwrap_or_default();
        own["users"].as_array().cloned().unwrap_or_default()
    };
    let csbs = users("csbs-v1");
    assert_eq!(csbs.len(), 1, "{usage}");
    let user = &csbs[0];
    assert_eq!((&user["caller"], &user["restores"]), (&json!(ids::PROJECT), &json!(1)));
    assert_eq!(user["targets"], json!(["server"]));
    assert_eq!(user["served_by"].as_array().map(Vec::len), Some(1));
    assert_eq!(user["first_restore"], user["last_restore"]);
    assert!(user["requests"].as_u64().is_some_and(|count| count >= 3), "{user}");
    assert!(users("cbr-v3").is_empty() && usage["restores_cut"] == false, "{usage}");

    let metrics = world.admin("/metrics").await.text();
    let line = metrics.lines().find(|line| {
        line.starts_with("restore_gateway_compat_requests_total{")
            && line.contains("api=\"csbs-v1\"")
            && line.contains("http_route=\"/v1/{project_id}/restores\"")
            && line.contains("outcome=\"answered\"")
    });
    assert!(line.is_some_and(|line| line.ends_with(" 1")), "{metrics}");
    world.end().await;
}
