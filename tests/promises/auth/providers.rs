//! Those who vouch for callers: what is not understood is not believed, and what cannot be asked is said to be so.

use http::Method;
use restore_tests::issuer::Issuer;
use restore_tests::{Answer, TestConfig, World, ids};
use serde_json::json;

const POLICY: &str = "[[policies]]\ncallers = [\"them\"]\nactions = [\"read\"]\n";

async fn list(world: &World, header: (&str, &str)) -> Answer {
    world.http.send(Method::GET, &world.url("/api/v1/restores"), &[header], "").await
}

#[tokio::test]
async fn s29_a_token_that_names_what_must_be_understood_is_refused() {
    let issuer = Issuer::start().await;
    let config = TestConfig::default().and(&format!(
        "[[callers]]\nname = \"them\"\ntype = \"jwt\"\nissuer = \"https://login.example\"\n\
         audience = \"restore-gateway\"\njwks_file = \"keys.json\"\n{POLICY}"
    ));
    let world = World::serve_beside(config, &[], &[("keys.json", &issuer.published())]).await;
    let ask = async |token: String| list(&world, ("authorization", &format!("Bearer {token}"))).await.status;
    assert_eq!(ask(issuer.token("one", &issuer.claims())).await, 200);
    for critical in [json!(["exp-of-mine"]), json!(["b64"]), json!([]), json!("exp")] {
        let header = json!({"crit": critical, "exp-of-mine": 1, "b64": true});
        assert_eq!(ask(issuer.token_with("one", &issuer.claims(), &header)).await, 401, "{critical}");
    }
    world.end().await;
}

/// Whether the one that is away would have known the token nobody can say.
#[tokio::test]
async fn s31_an_iam_that_is_away_is_not_hidden_by_one_that_does_not_know_the_token() {
    let away = "http://127.0.0.1:1";
    for order in [[away, "{clouds}"], ["{clouds}", away]] {
        let callers: String = ["them", "others"]
            .into_iter()
            .zip(order)
            .map(|(name, iam)| {
                format!(
                    "[[callers]]\nname = \"{name}\"\ntype = \"iam-token\"\niam_endpoint = \"{iam}\"\n\
                     project_ids = [\"{}\"]\n",
                    ids::PROJECT
                )
            })
            .collect();
        let policy = POLICY.replace("[\"them\"]", "[\"them\", \"others\"]");
        let world = World::with(TestConfig::default().and(&(callers + &policy))).await;
        let answer = list(&world, ("x-auth-token", "of-nobody-here")).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (503, &json!("identity_unavailable")),
            "{order:?}"
        );
        world.end().await;
    }
}
