//! Callers that others vouch for: tokens of IAM, signatures of access keys; `issuers` has those of issuers.

use http::Method;
pub(crate) use restore_tests::signer::{ACCESS_KEY as AK, SECRET_KEY as SK};
use restore_tests::signer::{SignedRequest, sdk_date};
use restore_tests::{Answer, TestConfig, World, ids, requests};
use serde_json::{Value, json};

/// The clouds' other project.
pub(crate) const OTHER: &str = "1b2c3d4e5f60718293a4b5c6d7e8f90a";

pub(crate) const POLICY: &str = r#"
[[policies]]
callers = ["them"]
actions = ["restore", "read"]
"#;

pub(crate) async fn list(world: &World, headers: &[(&str, &str)]) -> Answer {
    world.http.send(Method::GET, &world.url("/api/v1/restores"), headers, "").await
}

/// Callers are known by their tokens for the cloud.
pub(crate) fn of_iam(more: &str) -> TestConfig {
    TestConfig::default().set("polling.interval_seconds", "1").and(&format!(
        r#"
[[callers]]
name = "them"
type = "iam-token"
iam_endpoint = "{{clouds}}"
{more}
{POLICY}"#
    ))
}

pub(crate) async fn login(world: &World, project: &str) -> String {
    let body = json!({"auth": {
        "identity": {"methods": ["password"], "password": {"user": {
            "name": "restore-bot", "password": "example-only", "domain": {"name": "OTC00000000001000012345"}}}},
        "scope": {"project": {"id": project}},
    }});
    let url = format!("{}/v3/auth/tokens", world.clouds.url());
    let headers = [("content-type", "application/json")];
    let answer = world.http.send(Method::POST, &url, &headers, body.to_string()).await;
    answer.header("x-subject-token").to_owned()
}

async fn submit_as(world: &World, token: &str, request: &Value) -> Answer {
    let headers = [("x-auth-token", token), ("content-type", "application/json")];
    world.http.send(Method::POST, &world.url("/api/v1/restores"), &headers, request.to_string()).await
}

async fn validations(world: &World) -> usize {
    let arrived = world.arrived().await;
    let is_one = |request: &&Value| {
        request["method"] == "GET"
            && request["path"].as_str().is_some_and(|path| path.contains("/v3/auth/tokens"))
    };
    arrived.iter().filter(is_one).count()
}

#[tokio::test]
async fn s32_a_token_of_iam_opens_its_own_project_and_no_other() {
    let world = World::with(of_iam("domains = [\"OTC00000000001000012345\"]")).await;
    let (ours, theirs) = (login(&world, ids::PROJECT).await, login(&world, OTHER).await);
    world.behave(json!({"restore_seconds": 20})).await;
    // The same user in both projects.
    let crossed = submit_as(&world, &theirs, &requests::free_disk()).await;
    assert_eq!((crossed.status, &crossed.json()["code"]), (403, &json!("forbidden")), "{}", crossed.text());
    assert!(world.sent().await.is_empty());
    let good = submit_as(&world, &ours, &requests::free_disk()).await;
    assert_eq!(good.status, 202, "{}", good.text());
    let path = format!("/api/v1/restores/{}", good.json()["id"].as_str().unwrap());
    let get = |token: &str| {
        let (url, http, token) = (world.url(&path), world.http.clone(), token.to_owned());
        async move { http.send(Method::GET, &url, &[("x-auth-token", token.as_str())], "").await.status }
    };
    // Neither is taken for the other, in whatever order they come.
    assert_eq!((get(&theirs).await, get(&ours).await, get(&theirs).await), (404, 200, 404));
    assert_eq!(list(&world, &[("x-auth-token", "made-up")]).await.status, 401);
    assert_eq!(list(&world, &[]).await.status, 401);
    world.end().await;
}

#[tokio::test]
async fn a_good_token_of_a_stranger_is_no_callers() {
    let world = World::with(of_iam("domains = [\"OTC-somebody-else\"]")).await;
    let token = login(&world, ids::PROJECT).await;
    assert_eq!(list(&world, &[("x-auth-token", &token)]).await.status, 401, "IAM knows it, and we do not");
    world.end().await;
    let world = World::with(of_iam(&format!("project_ids = [\"{OTHER}\"]"))).await;
    let (ours, theirs) = (login(&world, ids::PROJECT).await, login(&world, OTHER).await);
    assert_eq!(list(&world, &[("x-auth-token", &ours)]).await.status, 401);
    assert_eq!(list(&world, &[("x-auth-token", &theirs)]).await.status, 200);
    world.end().await;
}

#[tokio::test]
async fn s31_iams_word_is_asked_once_and_taken_back_when_the_cloud_refuses() {
    let world = World::with(of_iam("domains = [\"OTC00000000001000012345\"]")).await;
    let token = login(&world, ids::PROJECT).await;
    let one = || async { list(&world, &[("x-auth-token", &token)]).await };
    let all = futures_util::future::join_all((0..30).map(|_| one())).await;
    assert!(all.iter().all(|answer| answer.status == 200));
    assert_eq!(validations(&world).await, 1, "thirty callers are one question");

    // Revoked behind the gateway's back: the cloud's refusal is what tells.
    let url = format!("{}/v3/auth/tokens", world.clouds.url());
    let headers = [("x-auth-token", "demo-token"), ("x-subject-token", token.as_str())];
    let revoked = world.http.send(Method::DELETE, &url, &headers, "").await;
    assert_eq!(revoked.status, 204, "{}", revoked.text());
    let refused = submit_as(&world, &token, &requests::free_disk()).await;
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (401, &json!("upstream_unauthorized")),
        "{}",
        refused.text()
    );
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(5);
    while list(&world, &[("x-auth-token", &token)]).await.status != 401 {
        assert!(tokio::time::Instant::now() < end, "its word is forgotten at once, and not after a minute");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(world.applied().await.len(), 0);
    world.end().await;
}

#[tokio::test]
async fn who_makes_tokens_up_does_not_have_iam_flooded() {
    let world = World::with(of_iam("domains = [\"OTC00000000001000012345\"]")).await;
    let good = login(&world, ids::PROJECT).await;
    assert_eq!(list(&world, &[("x-auth-token", &good)]).await.status, 200);
    let begun = std::time::Instant::now();
    let tokens: Vec<String> = (0..300).map(|number| format!("made-up-{number}")).collect();
    let all =
        tokens.iter().map(|token| async { list(&world, &[("x-auth-token", token.as_str())]).await.status });
    let all = futures_util::future::join_all(all).await;
    let asked = validations(&world).await as f64;
    let bound = 51.0 + 10.0 * begun.elapsed().as_secs_f64() + 1.0;
    assert!(asked <= bound, "{asked} questions, and {bound} are allowed");
    assert!(all.iter().all(|status| matches!(status, 401 | 503)) && all.contains(&503));
    // Who is known goes on.
    assert_eq!(list(&world, &[("x-auth-token", &good)]).await.status, 200);
    world.end().await;
}

/// The one cloud of those who sign, which takes a credential of the gateway's own.
pub(crate) const VBS_ALONE: &str = r#"
[[upstreams]]
name = "vbs"
generation = "vbs-v2"
endpoint = "{clouds}/vbs"
credential = "robot"
[[routes]]
upstream = "vbs"
"#;

/// An access key of a caller, and a credential of the gateway's own for the cloud.
fn of_keys() -> TestConfig {
    TestConfig::default().robot().routes(VBS_ALONE).and(
        r#"
[[callers]]
name = "sdk"
type = "aksk"
rate_per_second = 1000
rate_burst = 2000
access_key = { file = "ak" }
secret_key = { file = "sk" }
project_ids = ["0a1b2c3d4e5f60718293a4b5c6d7e8f9"]
[[policies]]
callers = ["sdk"]
actions = ["restore", "read"]
"#,
    )
}

/// A request as an SDK would sign it.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) body: String,
    pub(crate) secret: &'a str,
    pub(crate) date: String,
    pub(crate) key: Option<&'a str>,
    pub(crate) sign_key: bool,
}

impl<'a> Request<'a> {
    pub(crate) fn submit(request: &Value) -> Self {
        Self {
            method: Method::POST,
            path: "/api/v1/restores",
            body: request.to_string(),
            secret: SK,
            date: sdk_date(0),
            key: None,
            sign_key: true,
        }
    }

    /// Signs, and sends `body` in the place of what was signed if there is one.
    pub(crate) async fn send(&self, world: &World, body: Option<&str>) -> Answer {
        let api = world.gateway.api();
        let mut signed = vec![("content-type", "application/json")];
        signed.extend(self.key.filter(|_| self.sign_key).map(|key| ("idempotency-key", key)));
        let (secret, method, host) = (self.secret, self.method.clone(), api.to_string());
        let mut request =
            SignedRequest::with_secret(secret, &self.date, method, &host, self.path, &signed, &self.body);
        if let Some(key) = self.key {
            request = request.with("idempotency-key", key);
        }
        if let Some(body) = body {
            body.clone_into(&mut request.body);
        }
        request.send(api).await
    }
}

#[tokio::test]
async fn s30_a_signed_request_counts_while_it_is_fresh_and_whole() {
    let secrets = [("password", "example-only"), ("ak", AK), ("sk", SK)];
    let world = World::serve_beside(of_keys(), &[], &secrets).await;
    world.behave(json!({"restore_seconds": 1, "extra_disks": 4})).await;
    let good = Request::submit(&requests::extra_disk(0));
    let first = good.send(&world, None).await;
    assert_eq!(first.status, 202, "{}", first.text());
    assert_eq!(first.header("ratelimit-policy"), "\"caller\";q=2000;w=2");
    // The very same request once more, within its quarter of an hour: the very same restore.
    let again = good.send(&world, None).await;
    assert_eq!(again.json()["id"], first.json()["id"], "{}", again.text());
    assert!(matches!(again.status, 200 | 202));

    // A repetition that wants to count as something new cannot be made without the key.
    let added =
        Request { key: Some("another"), sign_key: false, ..Request::submit(&requests::extra_disk(0)) };
    let mut refused = vec![added.send(&world, None).await];
    let other = requests::extra_disk(1);
    refused.push(Request::submit(&requests::extra_disk(0)).send(&world, Some(&other.to_string())).await);
    refused.push(Request { secret: "wrong", ..Request::submit(&other) }.send(&world, None).await);
    for offset in [-16 * 60, 16 * 60] {
        refused.push(Request { date: sdk_date(offset), ..Request::submit(&other) }.send(&world, None).await);
    }
    for answer in &refused {
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (401, &json!("unauthenticated")),
            "{}",
            answer.text()
        );
        // Nobody uses up somebody's rate with the name of its key.
        assert!(answer.header("ratelimit").is_empty());
    }
    // Another project than the key's.
    let mut foreign = requests::extra_disk(1);
    foreign["project_id"] = json!(OTHER);
    assert_eq!(Request::submit(&foreign).send(&world, None).await.status, 403);
    // One that is signed whole, key and all.
    let keyed = Request { key: Some("mine"), ..Request::submit(&other) };
    let keyed = keyed.send(&world, None).await;
    assert_eq!(keyed.status, 202, "{}", keyed.text());
    assert_eq!(world.applied().await.len(), 2);
    // What the cloud refused is not done by who sends the same bytes when it no longer would.
    let busy =
        json!({"match": {"method": "POST"}, "answer": {"status": 403, "body": {"error_code": "X.403"}}});
    world.faults(json!([busy])).await;
    let third = Request::submit(&requests::extra_disk(2));
    let refused = third.send(&world, None).await;
    let again = third.send(&world, None).await;
    assert_eq!((refused.status, again.status), (403, 403), "{}", again.text());
    assert_eq!(
        (refused.header("location"), again.header("idempotency-replayed")),
        (again.header("location"), "true")
    );
    assert_eq!(world.applied().await.len(), 2);
    world.end().await;
}

/// A caller's token goes where the caller may send it: not to another upstream, to look after somebody else's restore that
/// stands in its way.
#[tokio::test]
async fn a_token_is_not_used_for_what_its_caller_may_not_see() {
    let keys = [
        "rgk_ann-0123456789abcdef0123456789abcdef01234567",
        "rgk_bob-0123456789abcdef0123456789abcdef01234567",
    ];
    let [ann, bob] = keys.map(crate::auth::callers::hash);
    let routes = format!(
        "[[upstreams]]\nname = \"cbr\"\ngeneration = \"cbr-v3\"\nendpoint = \"{{clouds}}\"\n\
         [[upstreams]]\nname = \"vbs\"\ngeneration = \"vbs-v2\"\nendpoint = \"{{clouds}}/vbs\"\n\
         [[routes]]\nupstream = \"vbs\"\nmatch = {{ backup_ids = [{:?}] }}\n[[routes]]\nupstream = \"cbr\"\n",
        ids::FREE.0
    );
    let callers = format!(
        "[[callers]]\nname = \"ann\"\ntype = \"api-key\"\nkey_hash = \"{ann}\"\n\
         [[callers]]\nname = \"bob\"\ntype = \"api-key\"\nkey_hash = \"{bob}\"\n\
         [[policies]]\ncallers = [\"ann\"]\nactions = [\"restore\", \"read\"]\nupstreams = [\"vbs\"]\n\
         [[policies]]\ncallers = [\"bob\"]\nactions = [\"restore\", \"read\"]\nupstreams = [\"cbr\"]\n"
    );
    let mut world = World::serve(TestConfig::default().routes(&routes).and(&callers)).await;
    world.behave(json!({"restore_seconds": 600})).await;
    let theirs = requests::free_disk();
    let first = world.post_with("/api/v1/restores", &theirs, &[("x-api-key", keys[0])]).await;
    assert_eq!(first.status, 202, "{}", first.text());
    // Nobody has a token for it any more.
    let (_, _, folder) = world.ended_by("TERM").await;
    world.again_in(folder).await;
    let at_vbs = async || {
        let arrived = world.arrived().await;
        arrived.iter().filter(|seen| seen["path"].to_string().contains("/vbs/")).count()
    };
    let before = at_vbs().await;
    let mut ours = theirs.clone();
    ours["source"]["backup_id"] = json!("00000000-0000-4000-8000-000000000000");
    let busy = world.post_with("/api/v1/restores", &ours, &[("x-api-key", keys[1])]).await;
    assert_eq!((busy.status, &busy.json()["code"]), (409, &json!("target_busy")), "{}", busy.text());
    assert_eq!(at_vbs().await, before, "the token was shown to the other upstream");
    world.end().await;
}

/// S57: an access key that nobody has is refused as, and where, a known one with a wrong signature is.
#[tokio::test]
async fn s57_whether_an_access_key_exists_shows_in_no_refusal() {
    let secrets = [("password", "example-only"), ("ak", AK), ("sk", SK)];
    let world = World::serve_beside(of_keys(), &[], &secrets).await;
    let api = world.gateway.api();
    let target = format!("http://{api}/api/v1/restores");
    let large = "x".repeat(100_000);
    for (body, status) in [(requests::free_disk().to_string(), 401), (large, 413)] {
        let signed = SignedRequest::new(
            Method::POST,
            &api.to_string(),
            "/api/v1/restores",
            &[("content-type", "application/json")],
            &body,
        );
        let authorization = signed.header("authorization").to_owned();
        let (start, _) = authorization.rsplit_once('=').expect("a signature");
        let wrong = format!("{start}={}", "0".repeat(64));
        let unknown = wrong.replace(AK, "RGTESTACCESSKEY99999");
        assert_ne!(wrong, unknown);
        let mut answers = Vec::new();
        for value in [&wrong, &unknown] {
            let answer = signed.clone().with("authorization", value).send_to(api, &target, false).await;
            assert_eq!(answer.status, status, "{value}: {}", answer.text());
            answers.push(answer.text());
        }
        assert_eq!(answers[0], answers[1]);
    }
    world.end().await;
}
