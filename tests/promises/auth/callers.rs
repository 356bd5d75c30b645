//! Who may do what: keys, policies, what others' restores look like, rates, operators.

use http::Method;
use restore_tests::{Answer, TestConfig, World, ids, requests};
use serde_json::{Value, json};

use crate::auth::tokens::OTHER;

/// Keys and their hashes.
const NIGHTLY: &str = "rgk_nightly-0123456789abcdef0123456789abcdef";
const OLD: &str = "rgk_old-0123456789abcdef0123456789abcdef0123";
const AUDIT: &str = "rgk_audit-0123456789abcdef0123456789abcdef01";
const FOREIGN: &str = "rgk_foreign-0123456789abcdef0123456789abcdef";
const OPERATOR: &str = "rgk_operator-0123456789abcdef0123456789abcde";

pub(crate) fn hash(key: &str) -> String {
    use sha2::{Digest, Sha256};
    let hash = Sha256::digest(key.as_bytes());
    format!("sha256:{}", hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// One who restores, one who watches, one of another project, and an operator.
fn config() -> TestConfig {
    let [nightly, old, audit, foreign, operator] = [NIGHTLY, OLD, AUDIT, FOREIGN, OPERATOR].map(hash);
    let (ours, theirs) = (ids::PROJECT, OTHER);
    let hasty = TestConfig::default()
        .set("polling.absence_confirmation_seconds", "1")
        .set("polling.operator_escalation_seconds", "1");
    let hasty = hasty.set("polling.visibility_grace_seconds", "1").each_upstream("send_timeout_seconds = 1");
    hasty.and(&format!(
        r#"
[[callers]]
name = "nightly"
type = "api-key"
key_hash = "{nightly}"
previous_key_hash = "{old}"
[[callers]]
name = "audit"
type = "api-key"
key_hash = "{audit}"
[[callers]]
name = "foreign"
type = "api-key"
key_hash = "{foreign}"
[[callers]]
name = "operator"
type = "api-key"
listeners = ["admin"]
key_hash = "{operator}"
[[policies]]
callers = ["nightly"]
actions = ["restore", "read", "preview", "check"]
match = {{ project_ids = ["{ours}"] }}
[[policies]]
callers = ["audit"]
actions = ["read-any"]
match = {{ project_ids = ["{ours}"] }}
[[policies]]
callers = ["audit"]
actions = ["restore"]
upstreams = ["vbs"]
match = {{ project_ids = ["{ours}"] }}
[[policies]]
callers = ["foreign"]
actions = ["restore", "read", "preview", "check"]
match = {{ project_ids = ["{theirs}"] }}
[[policies]]
callers = ["operator"]
actions = ["resolve", "read-any"]
"#
    ))
}

/// One exchange with a key, and the token that the upstream takes.
async fn ask(world: &World, key: &str, method: Method, path: &str, body: &Value) -> Answer {
    ask_with(world, &[("x-api-key", key), ("x-auth-token", ids::TOKEN)], method, path, body).await
}

async fn ask_with(
    world: &World,
    headers: &[(&str, &str)],
    method: Method,
    path: &str,
    body: &Value,
) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut all = vec![("content-type", "application/json")];
    all.extend_from_slice(headers);
    world.http.send(method, &world.url(path), &all, body).await
}

async fn submit(world: &World, key: &str, request: &Value) -> Answer {
    ask(world, key, Method::POST, "/api/v1/restores", request).await
}

fn of_project(project: &str, request: Value) -> Value {
    let mut request = request;
    request["project_id"] = json!(project);
    request
}

fn id(answer: &Answer) -> String {
    answer.json()["id"].as_str().unwrap_or_else(|| panic!("{}", answer.text())).to_owned()
}

/// What a refusal says, apart from where and when.
fn shape(answer: &Answer) -> (u16, Value) {
    let mut body = answer.json();
    body.as_object_mut().expect("a problem").remove("instance");
    (answer.status, body)
}

#[tokio::test]
async fn s23_a_key_is_known_or_refused_in_the_same_words() {
    let world = World::with(config()).await;
    let list = |headers: Vec<(&'static str, &'static str)>| {
        let world = &world;
        async move { ask_with(world, &headers, Method::GET, "/api/v1/restores", &Value::Null).await }
    };
    for good in [
        vec![("x-api-key", NIGHTLY)],
        vec![("authorization", "Bearer rgk_nightly-0123456789abcdef0123456789abcdef")],
        vec![("authorization", "bearer rgk_nightly-0123456789abcdef0123456789abcdef")],
        vec![("x-api-key", OLD)],
    ] {
        assert_eq!(list(good).await.status, 200);
    }
    let nothing = list(vec![]).await;
    assert_eq!((nothing.status, nothing.header("www-authenticate")), (401, "Bearer"));
    assert_eq!(nothing.json()["code"], "unauthenticated");
    for bad in [
        vec![("x-api-key", "rgk_nightly-0123456789abcdef0123456789abcdee")],
        vec![("x-api-key", "")],
        vec![("x-api-key", "sha256:0000000000000000000000000000000000000000000000000000000000000000")],
        // A key of the other listener.
        vec![("x-api-key", OPERATOR)],
        vec![("authorization", "Basic bmlnaHRseTpuaWdodGx5")],
        vec![("authorization", "Bearer")],
        vec![("authorization", "Bearer a.b.c")],
        vec![("authorization", NIGHTLY)],
        // The token is for the cloud, and no caller of this gateway's.
        vec![("x-auth-token", ids::TOKEN)],
        // One thing is shown, not two.
        vec![
            ("x-api-key", NIGHTLY),
            ("authorization", "Bearer rgk_nightly-0123456789abcdef0123456789abcdef"),
        ],
    ] {
        assert_eq!(shape(&list(bad.clone()).await), shape(&nothing), "{bad:?}");
    }
    let twice = list(vec![("x-api-key", NIGHTLY), ("x-api-key", NIGHTLY)]).await;
    assert_eq!(twice.status, 400, "{}", twice.text());
    // What says nothing of anybody's restores is for everybody.
    for path in ["/openapi.json", "/docs", "/schemas/restore-request", "/problems/unauthenticated"] {
        assert_eq!(ask_with(&world, &[], Method::GET, path, &Value::Null).await.status, 200, "{path}");
    }
    let url = format!("http://{}/metrics", world.gateway.admin());
    let metrics = world.http.send(Method::GET, &url, &[("x-api-key", OPERATOR)], "").await.text();
    assert!(
        metrics.contains("restore_gateway_authentication_failures_total{method=\"api-key\"}"),
        "{metrics}"
    );
    world.end().await;
}

#[tokio::test]
async fn s24_a_credential_in_the_query_is_refused_even_a_good_one() {
    let world = World::with(config()).await;
    for name in ["api_key", "API-Key", "x-api-key", "token", "access_token", "x-auth-token", "%74oken"] {
        let path = format!("/api/v1/restores?limit=1&{name}={NIGHTLY}");
        let answer = ask(&world, NIGHTLY, Method::GET, &path, &Value::Null).await;
        assert_eq!(answer.status, 400, "{name}");
        assert!(answer.text().contains("a credential in the query") && !answer.text().contains("rgk_"));
    }
    world.end().await;
}

/// One more caller, who may restore and see nothing.
fn config_of_a_blind_one() -> TestConfig {
    config().and(&format!(
        "[[callers]]\nname = \"blind\"\ntype = \"api-key\"\nkey_hash = \"{}\"\n\
         [[policies]]\ncallers = [\"blind\"]\nactions = [\"restore\"]\n",
        hash("rgk_blind")
    ))
}

#[tokio::test]
async fn s3_s35_what_no_policy_allows_is_denied_before_anything_is_asked() {
    let mut world = World::serve(config()).await;
    let ours = requests::cbr_server();
    let theirs = of_project(OTHER, requests::cbr_server());
    let denied = submit(&world, NIGHTLY, &theirs).await;
    assert_eq!(denied.status, 403, "{}", denied.text());
    let body = denied.json();
    assert_eq!((&body["code"], &body["effect"]), (&json!("forbidden"), &json!("none")));
    // Not even what would become of it is told: no route, no upstream.
    assert!(!denied.text().contains("cbr"), "{}", denied.text());
    for (key, path, request) in [
        (NIGHTLY, "/api/v1/restore-previews", &theirs),
        (NIGHTLY, "/api/v1/restore-checks", &theirs),
        (FOREIGN, "/api/v1/restores", &ours),
        (FOREIGN, "/api/v1/restore-previews", &ours),
        (FOREIGN, "/api/v1/restore-checks", &ours),
        // Read and nothing else, but through the one upstream that its policy names.
        (AUDIT, "/api/v1/restores", &ours),
        (AUDIT, "/api/v1/restore-previews", &ours),
    ] {
        let answer = ask(&world, key, Method::POST, path, request).await;
        assert_eq!((answer.status, &answer.json()["code"]), (403, &json!("forbidden")), "{path} {key}");
    }
    assert!(world.arrived().await.is_empty(), "no cloud was asked");
    // Who may see nothing is told that, and not that there is nothing.
    let blind = config_of_a_blind_one();
    let other = World::with(blind).await;
    let list = ask(&other, "rgk_blind", Method::GET, "/api/v1/restores", &Value::Null).await;
    assert_eq!((list.status, &list.json()["code"]), (403, &json!("forbidden")), "{}", list.text());
    let stream = [("x-api-key", "rgk_blind"), ("accept", "text/event-stream")];
    let stream = ask_with(&other, &stream, Method::GET, "/api/v1/restores", &Value::Null).await;
    assert_eq!(stream.status, 403);
    other.end().await;
    // What is wrong with a request is told before who may make it: nothing is learnt from that.
    let broken = ask(&world, FOREIGN, Method::POST, "/api/v1/restores", &json!({})).await;
    assert_eq!(broken.status, 422);
    let allowed = submit(&world, AUDIT, &requests::free_disk()).await;
    assert_eq!(allowed.status, 202, "{}", allowed.text());
    let path = format!("/api/v1/restores/{}", id(&allowed));
    assert_eq!(ask(&world, AUDIT, Method::GET, &path, &Value::Null).await.status, 200);

    let (_, log, _) = world.ended_by("TERM").await;
    let audit: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &Value| line["target"] == "restore_gateway::audit")
        .collect();
    let denied = audit.iter().find(|line| line["decision"] == "deny").expect("the refusal is audited");
    assert_eq!(
        (&denied["caller"], &denied["action"], &denied["project"], &denied["target.id"]),
        (&json!("nightly"), &json!("restore"), &json!(OTHER), &json!(ids::SERVER)),
        "{denied}"
    );
    let disks = denied["disks"].as_str().expect("the disks that a server is mapped to");
    assert_eq!(disks.split(' ').count(), 2, "{denied}");
    assert_eq!(audit.iter().filter(|line| line["decision"] == "deny").count(), 8);
    for line in &audit {
        let long = |name: &str| line[name].as_str().is_some_and(|id| id.len() == 32);
        assert!(long("request_id") && long("trace_id"), "it is found again elsewhere: {line}");
        assert!(line["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{line}");
    }
    let shown = audit.iter().find(|line| line["decision"] == "allow" && line["action"] == "read");
    let shown = shown.expect("a restore was looked at");
    assert_eq!((&shown["restore.id"], &shown["upstream"]), (&json!(id(&allowed)), &json!("vbs")), "{shown}");
    assert!(audit.iter().any(|line| line["decision"] == "allow" && line["caller"] == "audit"), "{audit:?}");
    world.end().await;
}

#[tokio::test]
async fn s3_a_policy_that_names_disks_holds_for_those_that_a_server_is_mapped_to() {
    let request = requests::cbr_server();
    let mapped = |index: usize| {
        let disk = &request["target"]["volumes"][index]["volume_id"];
        disk.as_str().unwrap_or_else(|| panic!("{request}")).to_owned()
    };
    let callers: String = [("all", json!([mapped(0), mapped(1)])), ("some", json!([mapped(0)]))]
        .into_iter()
        .map(|(name, disks)| {
            format!(
                "[[callers]]\nname = \"{name}\"\ntype = \"api-key\"\nkey_hash = \"{}\"\n\
                 [[policies]]\ncallers = [\"{name}\"]\nactions = [\"restore\", \"preview\"]\n\
                 match = {{ target_types = [\"server\", \"volume\"], volume_ids = {disks} }}\n",
                hash(&format!("rgk_{name}"))
            )
        })
        .collect();
    let world = World::with(TestConfig::default().and(&callers)).await;
    for path in ["/api/v1/restore-previews", "/api/v1/restores"] {
        let denied = ask(&world, "rgk_some", Method::POST, path, &request).await;
        assert_eq!((denied.status, &denied.json()["code"]), (403, &json!("forbidden")), "{path}");
        let allowed = ask(&world, "rgk_all", Method::POST, path, &request).await;
        assert!(matches!(allowed.status, 200 | 202), "{path}: {}", allowed.text());
    }
    assert_eq!(world.sent().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn s4_s5_what_belongs_to_another_caller_looks_like_nothing() {
    let world = World::with(config()).await;
    world.behave(json!({"restore_seconds": 20})).await;
    let mine = submit(&world, NIGHTLY, &requests::free_disk()).await;
    assert_eq!(mine.status, 202, "{}", mine.text());
    let path = format!("/api/v1/restores/{}", id(&mine));
    let nowhere = "/api/v1/restores/0199a7c4-0000-7000-8000-000000000000";
    for (method, more) in
        [(Method::GET, ""), (Method::GET, "/events"), (Method::DELETE, ""), (Method::GET, "?x=1")]
    {
        let there = ask(&world, FOREIGN, method.clone(), &format!("{path}{more}"), &Value::Null).await;
        let none = ask(&world, FOREIGN, method.clone(), &format!("{nowhere}{more}"), &Value::Null).await;
        let named = |answer: &Answer, id: &str| answer.text().replace(id, "ID");
        assert_eq!(
            (there.status, named(&there, &id(&mine))),
            (none.status, named(&none, nowhere.rsplit('/').next().unwrap())),
            "{method} {more}"
        );
        assert!(there.status == 404 || more == "?x=1", "{}", there.text());
    }
    let list = |key: &'static str| {
        let world = &world;
        async move { ask(world, key, Method::GET, "/api/v1/restores", &Value::Null).await.json() }
    };
    assert_eq!(list(FOREIGN).await["restores"], json!([]));
    // Who may see the restores of all sees it, and may still not call it off.
    assert_eq!(list(AUDIT).await["restores"][0]["id"], json!(id(&mine)));
    let cancel = ask(&world, AUDIT, Method::DELETE, &path, &Value::Null).await;
    assert_eq!(cancel.status, 403, "{}", cancel.text());
    assert_eq!(list(NIGHTLY).await["restores"].as_array().unwrap().len(), 1);

    // The target is busy, and by whom is told to who may see it.
    let busy = submit(&world, AUDIT, &requests::free_disk()).await;
    assert_eq!((busy.status, &busy.json()["code"]), (409, &json!("target_busy")));
    assert!(busy.text().contains(&id(&mine)), "{}", busy.text());
    world.end().await;
}

#[tokio::test]
async fn s5_a_lock_of_another_caller_reveals_no_ids() {
    let world = World::with(config_of_a_blind_one()).await;
    world.behave(json!({"restore_seconds": 20})).await;
    let mine = submit(&world, NIGHTLY, &requests::free_disk()).await;
    let busy = submit(&world, "rgk_blind", &requests::free_disk()).await;
    assert_eq!((busy.status, &busy.json()["code"]), (409, &json!("target_busy")), "{}", busy.text());
    assert!(!busy.text().contains(&id(&mine)) && busy.json().get("restore").is_none(), "{}", busy.text());
    assert!(busy.header("location").is_empty());
    world.end().await;
}

#[tokio::test]
async fn a_caller_may_cancel_its_restore_without_read_permission() {
    let world = World::with(config_of_a_blind_one()).await;
    world.faults(json!([{"match": {"method": "GET"}, "delay_ms": 3000, "times": 0}])).await;
    let headers = [("x-api-key", "rgk_blind"), ("x-auth-token", ids::TOKEN)];
    let request = requests::csbs_server();
    let asked = ask_with(&world, &headers, Method::POST, "/api/v1/restores", &request);
    let called_off = async {
        let end = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            let all = ask(&world, AUDIT, Method::GET, "/api/v1/restores", &Value::Null).await.json();
            if let Some(id) = all["restores"][0]["id"].as_str() {
                let path = format!("/api/v1/restores/{id}");
                return ask(&world, "rgk_blind", Method::DELETE, &path, &Value::Null).await;
            }
            assert!(tokio::time::Instant::now() < end, "it is never written down");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let (_, called_off) = tokio::join!(asked, called_off);
    assert_eq!(
        (called_off.status, &called_off.json()["status"]),
        (200, &json!("cancelled")),
        "{}",
        called_off.text()
    );
    assert!(world.sent().await.is_empty());
    world.end().await;
}

#[tokio::test]
async fn s36_keys_and_duplicates_are_each_callers_own() {
    let both = config().and(&format!(
        "[[callers]]\nname = \"twin\"\ntype = \"api-key\"\nkey_hash = \"{}\"\n\
         [[policies]]\ncallers = [\"twin\"]\nactions = [\"restore\", \"read\"]\n",
        hash("rgk_twin")
    ));
    let world = World::with(both).await;
    world.behave(json!({"extra_disks": 4})).await;
    let keyed = |api_key: &'static str, request: Value| {
        let world = &world;
        async move {
            let headers = [
                ("x-api-key", api_key),
                ("x-auth-token", ids::TOKEN),
                ("idempotency-key", "the-same"),
                ("prefer", "wait=30"),
            ];
            ask_with(world, &headers, Method::POST, "/api/v1/restores", &request).await
        }
    };
    let first = keyed(NIGHTLY, requests::extra_disk(0)).await;
    let second = keyed("rgk_twin", requests::extra_disk(1)).await;
    assert_eq!((first.status, second.status), (200, 200), "{}", second.text());
    assert_ne!(id(&first), id(&second));
    // The same request of another caller is another intent; of the same one it is a repetition.
    let third = keyed("rgk_twin", requests::extra_disk(1)).await;
    assert_eq!((id(&third), third.header("idempotency-replayed")), (id(&second), "true"));
    assert_eq!(world.applied().await.len(), 2);
    world.end().await;
}

#[tokio::test]
async fn a_caller_has_its_own_rate_and_sees_the_rest_of_it() {
    let slow = config().set("limits.rate_per_second", "1000").set("limits.rate_burst", "1000").and(&format!(
        "[[callers]]\nname = \"slow\"\ntype = \"api-key\"\nrate_per_second = 1\nrate_burst = 3\nkey_hash = \"{}\"\n\
         [[policies]]\ncallers = [\"slow\"]\nactions = [\"read\"]\n",
        hash("rgk_slow")
    ));
    let world = World::with(slow).await;
    let list = |key: &'static str| {
        let world = &world;
        async move { ask(world, key, Method::GET, "/api/v1/restores", &Value::Null).await }
    };
    let first = list("rgk_slow").await;
    assert_eq!(first.header("ratelimit-policy"), "\"caller\";q=3;w=3");
    assert_eq!(first.header("ratelimit"), "\"caller\";r=2;t=1");
    let mut refused = None;
    for _ in 0..30 {
        let answer = list("rgk_slow").await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("thirty at once are too fast for one per second");
    assert_eq!(refused.header("ratelimit"), "\"caller\";r=0;t=3");
    assert!(refused.header("retry-after").parse::<u32>().is_ok_and(|wait| wait >= 1));
    let other = list(NIGHTLY).await;
    assert_eq!((other.status, other.header("ratelimit-policy")), (200, "\"caller\";q=1000;w=1"));
    // A refusal further in says it too.
    let missing = ask(&world, NIGHTLY, Method::GET, "/api/v1/restores/x", &Value::Null).await;
    assert!(missing.status == 404 && missing.header("ratelimit").starts_with("\"caller\";r="));
    world.end().await;
}

#[tokio::test]
async fn s20_the_admin_listener_knows_its_operators_too() {
    let looker = format!(
        "[[callers]]\nname = \"looker\"\ntype = \"api-key\"\nlisteners = [\"admin\"]\nkey_hash = \"{}\"\n",
        hash("rgk_looker")
    );
    let world = World::with(config().and(&looker)).await;
    let admin = |key: Option<&'static str>, method: Method, path: &str, body: &Value| {
        let url = format!("http://{}{path}", world.gateway.admin());
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let http = world.http.clone();
        async move {
            let mut headers = vec![("content-type", "application/json")];
            headers.extend(key.map(|key| ("x-api-key", key)));
            http.send(method, &url, &headers, body).await
        }
    };
    for open in ["/livez", "/readyz"] {
        assert_eq!(admin(None, Method::GET, open, &Value::Null).await.status, 200, "{open}");
    }
    for path in ["/metrics", "/config", "/triage", "/recovery", "/webhooks", "/"] {
        assert_eq!(admin(None, Method::GET, path, &Value::Null).await.status, 401, "{path}");
        assert_eq!(admin(Some(NIGHTLY), Method::GET, path, &Value::Null).await.status, 401, "{path}");
        assert_eq!(admin(Some(OPERATOR), Method::GET, path, &Value::Null).await.status, 200, "{path}");
    }

    // A restore that nobody can tell the end of is ended by the operator, and by nobody else.
    world
        .faults(json!([{"match": {"method": "POST", "path": "*/restore"}, "stall": true, "applied": false}]))
        .await;
    let lost = submit(&world, NIGHTLY, &requests::free_disk()).await;
    assert_eq!(lost.status, 202, "{}", lost.text());
    let path = format!("/api/v1/restores/{}", id(&lost));
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    while ask(&world, NIGHTLY, Method::GET, &path, &Value::Null).await.json()["needs_operator"] != true {
        assert!(tokio::time::Instant::now() < end, "it never needs an operator");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let resolution = format!("/restores/{}/resolution", id(&lost));
    // Who is known and no operator sees no page of operators.
    assert_eq!(admin(Some("rgk_looker"), Method::GET, "/config", &Value::Null).await.status, 403);
    let twice = [("x-api-key", OPERATOR), ("x-api-key", OPERATOR)];
    let url = format!("http://{}/settings", world.gateway.admin());
    assert_eq!(world.http.send(Method::GET, &url, &twice, "").await.status, 400);
    let url = format!("{url}?api_key={OPERATOR}");
    assert_eq!(world.http.send(Method::GET, &url, &[("x-api-key", OPERATOR)], "").await.status, 400);
    let word = json!({"as": "not_applied", "by": "Jane Doe", "reason": "the disk is as it was"});
    assert_eq!(admin(None, Method::POST, &resolution, &word).await.status, 401);
    let ended = admin(Some(OPERATOR), Method::POST, &resolution, &word).await;
    assert_eq!((ended.status, &ended.json()["status"]), (200, &json!("not_applied")), "{}", ended.text());
    let events = ask(&world, NIGHTLY, Method::GET, &format!("{path}/events"), &Value::Null).await.text();
    assert!(events.contains("Jane Doe (caller operator)"), "{events}");
    world.end().await;
}
