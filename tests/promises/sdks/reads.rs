//! What released clients read at a compatibility endpoint: how a restore stands while nobody knows, how it failed, what is nobody's
//! business, how often a cloud is asked for it, and where links and versions lead.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::Method;
use restore_tests::{Authority, Http, TestConfig, World, ids};
use rustls::version::TLS13;
use serde_json::{Value, json};

use crate::auth::callers::hash;
use crate::auth::tokens::OTHER;
use crate::compat::basics::{DOORS, native};
use crate::sdks::habits::{ELSEWHERE, config, handle, poll, status, words};

async fn until(world: &World, path: &str, at: &str, wanted: &str) -> Value {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = world.get(path).await;
        if answer.status == 200 && answer.json().pointer(at).is_some_and(|word| word == wanted) {
            return answer.json();
        }
        assert!(Instant::now() < end, "{path}: {} {}", answer.status, answer.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn what_nobody_knows_the_end_of_runs_on_in_every_source_api() {
    for (source_api, target, upstream) in ELSEWHERE {
        let name = format!("{source_api} {target} by {upstream}");
        let world = World::with(config(upstream)).await;
        world.behave(json!({"cbr_oplogs_hidden": true, "restore_seconds": 0})).await;
        world
            .faults(json!([{"match": {"method": "POST", "path": "*/restore*"}, "reset": "after_apply"}]))
            .await;
        let (path, body) = native::request(source_api, target);
        let answer = world.post(&path, &body).await;
        let id = handle(&answer);
        let all = world.get("/api/v1/restores").await.json();
        let own = all["restores"][0]["id"].as_str().unwrap_or_else(|| panic!("{name}: {all}")).to_owned();
        world.until(&own, |restore| restore["needs_operator"] == true).await;
        assert_eq!(status(&world, source_api, &id).await, words(source_api).0, "{name}");
        // A person looks, and says so.
        let decided = json!({"as": "not_applied", "by": "ada", "reason": "seen in the console"});
        let decided = world.decide(&format!("/restores/{own}/resolution"), &decided).await;
        assert!(decided.status < 300, "{name}: {}", decided.text());
        // Whoever waits was told that it would be restored, by the state of the disk as well.
        assert_eq!(status(&world, source_api, &id).await, words(source_api).1, "{name}");
        world.end().await;
    }
}

#[tokio::test]
async fn a_restore_that_fails_elsewhere_says_why_where_its_source_api_has_a_place() {
    for (source_api, target, upstream) in ELSEWHERE {
        let name = format!("{source_api} {target} by {upstream}");
        let world = World::with(config(upstream)).await;
        world.behave(json!({"next_restore": {"status": "failed"}})).await;
        let (path, body) = native::request(source_api, target);
        let answer = world.post(&path, &body).await;
        let (read, at) = poll(source_api, &handle(&answer));
        let end = until(&world, &read, at, words(source_api).1).await;
        let item = format!("/csbs/v1/{}/checkpoint_items/{}", ids::PROJECT, ids::CSBS_ITEM);
        match source_api {
            "csbs-v1" => {
                let resource = format!("OS::Nova::Server#{}", ids::SERVER);
                assert_eq!(end["restore"]["resources_status"], json!({ &*resource: "fail" }), "{name}");
                let item = world.get(&item).await.json()["checkpoint_item"].clone();
                let info = &item["extend_info"];
                assert_eq!(
                    (&item["status"], &info["fail_op"]),
                    (&json!("available"), &json!("restore")),
                    "{name}"
                );
                assert!(
                    info["fail_code"]["Description"].is_string() && info["fail_reason"] != "",
                    "{name}: {info}"
                );
            }
            "cbr-v3" => {
                let info = &end["operation_log"]["error_info"];
                assert!(info["code"] != "" && info["message"] != "", "{name}: {info}");
            }
            "vbs-v2" => {
                assert!(end["error_code"].is_string() && end["fail_reason"].is_string(), "{name}: {end}");
            }
            _ => {
                let backup = path.strip_suffix("/restore").unwrap_or_default();
                until(&world, backup, "/backup/status", "error_restoring").await;
            }
        }
        world.end().await;
    }
}

#[tokio::test]
async fn restores_of_others_are_at_an_endpoint_as_if_they_were_not() {
    const ONE: &str = "rgk_one-0123456789abcdef0123456789abcdef0123";
    const TWO: &str = "rgk_two-0123456789abcdef0123456789abcdef0123";
    let callers = format!(
        r#"
[[callers]]
name = "one"
type = "api-key"
key_hash = "{}"
[[callers]]
name = "two"
type = "api-key"
key_hash = "{}"
[[policies]]
callers = ["one", "two"]
actions = ["restore", "read", "check"]
"#,
        hash(ONE),
        hash(TWO)
    );
    for (source_api, target, upstream) in ELSEWHERE {
        let world = World::with(config(upstream).and(&callers)).await;
        let ask = async |key: &str, method: Method, path: &str, body: &Value| {
            let headers =
                [("x-api-key", key), ("x-auth-token", ids::TOKEN), ("content-type", "application/json")];
            let body = if body.is_null() { String::new() } else { body.to_string() };
            world.http.send(method, &world.url(path), &headers, body).await
        };
        let (path, body) = native::request(source_api, target);
        let taken = ask(ONE, Method::POST, &path, &body).await;
        let id = handle(&taken);
        let (read, _) = poll(source_api, &id);
        assert_eq!(ask(ONE, Method::GET, &read, &Value::Null).await.status, 200, "{source_api}");
        if source_api == "cinder-v3" {
            // Everybody sees the cloud's own disk; nobody else the gateway's word of it.
            let disk = ask(TWO, Method::GET, &read, &Value::Null).await.json();
            assert!(disk["volume"]["metadata"].is_object() && disk["volume"]["size"].is_number(), "{disk}");
            world.end().await;
            continue;
        }
        // The same in words, but for the id that was asked for and that of the request.
        let shape = |answer: restore_tests::Answer, id: &str| {
            let mut body = answer.json();
            body.as_object_mut().expect("an object").remove("request_id");
            (answer.status, body.to_string().replace(id, "ID"))
        };
        let never = "01990000-0000-7000-8000-000000000000";
        let (nothing, _) = poll(source_api, never);
        let unknown = shape(ask(TWO, Method::GET, &nothing, &Value::Null).await, never);
        assert_eq!(unknown.0, 404, "{source_api}: {}", unknown.1);
        assert_eq!(shape(ask(TWO, Method::GET, &read, &Value::Null).await, &id), unknown, "{source_api}");
        // By way of another project.
        let elsewhere = read.replace(ids::PROJECT, OTHER);
        let other = ask(ONE, Method::GET, &elsewhere, &Value::Null).await;
        assert!(matches!(other.status, 401 | 403 | 404), "{source_api}: {} {}", other.status, other.text());
        assert!(
            !other.text().contains(ids::FREE.1) && !other.text().contains(ids::SERVER),
            "{}",
            other.text()
        );
        // Lists show none of it.
        for list in ["/csbs/v1/P/restores", "/cbr/v3/P/operation-logs"] {
            let list = list.replace('P', ids::PROJECT);
            assert!(!ask(TWO, Method::GET, &list, &Value::Null).await.text().contains(&id), "{source_api}");
        }
        world.end().await;
    }
}

/// Reads that have reached the clouds.
async fn reads(world: &World) -> usize {
    world.arrived().await.iter().filter(|request| request["method"] == "GET").count()
}

#[tokio::test]
async fn fifty_clients_that_poll_every_second_cost_a_cloud_no_more_than_one() {
    for (source_api, target, upstream) in ELSEWHERE {
        let name = format!("{source_api} {target} by {upstream}");
        let world = World::with(config(upstream).set("polling.interval_seconds", "1")).await;
        world.behave(json!({"restore_seconds": 60})).await;
        let (path, body) = native::request(source_api, target);
        let (read, _) = poll(source_api, &handle(&world.post(&path, &body).await));
        let before = reads(&world).await;
        let begun = Instant::now();
        for _ in 0..4 {
            let answers = join_all((0..50).map(|_| world.get(&read))).await;
            assert!(answers.iter().all(|answer| answer.status == 200), "{name}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        // One look at a restore is as many as three reads: its task or its job, its backup, its disk.
        let most = 3.0 * (begun.elapsed().as_secs_f64() + 2.0);
        let asked = reads(&world).await - before;
        assert!((asked as f64) <= most, "{name}: {asked} reads, and {most} are allowed");
        world.end().await;
    }
}

#[tokio::test]
async fn equal_proxied_reads_reach_the_cloud_once_a_second() {
    let project = ids::PROJECT;
    let paths = [
        format!("/csbs/v1/{project}/checkpoint_items/{}", ids::CSBS_ITEM),
        format!("/cbr/v3/{project}/backups/{}", ids::CBR_BACKUP),
        format!("/cbr/v3/{project}/operation-logs"),
        format!("/vbs/v2/{project}/backups/detail"),
        format!("/cinder/v3/{project}/volumes/{}", ids::FREE.1),
        format!("/cinder/v3/{project}/volumes/detail"),
    ];
    let world = World::with(config("cbr")).await;
    for path in &paths {
        let before = reads(&world).await;
        let begun = Instant::now();
        for _ in 0..3 {
            let answers = join_all((0..50).map(|_| world.get(path))).await;
            let [first, ..] = answers.as_slice() else { panic!("answers") };
            assert_eq!(first.status, 200, "{path}: {}", first.text());
            assert!(answers.iter().all(|answer| answer.body == first.body), "{path}");
        }
        let most = begun.elapsed().as_secs() + 1;
        let asked = reads(&world).await - before;
        assert!(asked as u64 <= most, "{path}: {asked} reads, and {most} are allowed");
    }
    // Another token is another question, whatever the cloud told the first one.
    let headers = [("x-auth-token", "some-other-token")];
    let other = world.http.send(Method::GET, &world.url(&paths[1]), &headers, "").await;
    assert_eq!(other.status, 401, "{}", other.text());
    world.end().await;
}

#[tokio::test]
async fn links_in_proxied_responses_lead_to_the_endpoint() {
    let world = World::with(config("vbs")).await;
    let inside = world.clouds.url().replace("http://", "");
    for list in
        ["/vbs/v2/P/backups/detail", "/vbs/v3/P/backups?limit=1", "/cinder/v3/P/backups/detail?limit=1"]
    {
        let answer = world.get(&list.replace('P', ids::PROJECT)).await;
        let text = answer.text();
        assert_eq!(answer.status, 200, "{list}: {text}");
        let endpoint = list.split('/').nth(1).unwrap_or_default();
        assert!(text.contains(&world.url(&format!("/{endpoint}/v"))), "{list}: {text}");
        assert!(!text.contains(&inside) && !text.contains(ids::TOKEN), "{list}: {text}");
    }
    world.end().await;
}

#[tokio::test]
async fn versions_have_the_form_that_clients_read() {
    let authority = Authority::new();
    let server = authority.server(1);
    let files = [("tls.crt", server.certificate.as_str()), ("tls.key", server.key.as_str())];
    let tls = "[tls]\ncertificate_file = \"tls.crt\"\nkey = { file = \"tls.key\" }\nlisteners = [\"api\"]\n";
    let plain = World::with(TestConfig::default().and(DOORS)).await;
    let secure = World::serve_beside(TestConfig::default().and(DOORS).and(tls), &[], &files).await;
    let trusting = Http::over(authority.trusted_by(None, &[&TLS13]), false);
    let places = [
        ("csbs", &["", "/", "/v1", "/v1/"][..], "v1"),
        ("cbr", &["", "/", "/v3", "/v3/"][..], "v3"),
        ("vbs", &["", "/", "/v2", "/v2/", "/v3", "/v3/"][..], "v2"),
        ("cinder", &["", "/", "/v3", "/v3/"][..], "v3"),
    ];
    for (http, base) in [
        (&plain.http, plain.url("")),
        (&trusting, format!("https://localhost:{}", secure.gateway.api().port())),
    ] {
        for (endpoint, paths, version) in places {
            for path in paths {
                let url = format!("{base}/{endpoint}{path}");
                let answer = http.send(Method::GET, &url, &[], "").await;
                assert_eq!(answer.status, 300, "{url}: {}", answer.text());
                let link = &answer.json()["versions"][0]["links"][0];
                let href = format!("{base}/{endpoint}/{version}/");
                assert_eq!((&link["rel"], &link["href"]), (&json!("self"), &json!(href)), "{url}");
            }
        }
    }
    plain.end().await;
    secure.end().await;
}

#[tokio::test]
async fn what_a_cloud_breaks_on_breaks_no_client() {
    let world = World::with(config("cbr")).await;
    let inside = world.clouds.url().replace("http://", "");
    let project = ids::PROJECT;
    let page = "<html><title>502 Bad Gateway</title>nginx inside</html>";
    for path in [
        format!("/csbs/v1/{project}/checkpoint_items/{}", ids::CSBS_ITEM),
        format!("/csbs/v1/{project}/checkpoint_items"),
        format!("/cbr/v3/{project}/backups/{}", ids::CBR_BACKUP),
        format!("/vbs/v2/{project}/backups/detail"),
        format!("/cinder/v3/{project}/volumes/{}", ids::FREE.1),
    ] {
        for answer in [
            json!({"status": 500, "body": {"error_code": "X.1", "error_msg": "no"}}),
            json!({"status": 500, "body_raw": ""}),
            json!({"status": 502, "body_raw": page}),
            json!({"status": 404, "body_raw": page}),
            json!({"status": 200, "body_raw": page}),
            json!({"status": 302, "headers": {"location": "http://10.0.0.1/inside"}}),
        ] {
            world.faults(json!([{"match": {"method": "GET"}, "times": 0, "answer": answer}])).await;
            let got = world.get(&path).await;
            let name = format!("{path} after {answer}: {} {}", got.status, got.text());
            assert!((400..=504).contains(&got.status) && got.status != 500, "{name}");
            let body: Value = serde_json::from_slice(&got.body).unwrap_or_else(|_| panic!("no JSON: {name}"));
            assert!(body.as_object().is_some_and(|members| !members.is_empty()), "{name}");
            assert!(![&*inside, "10.0.0.1", "<html>"].iter().any(|leak| got.text().contains(leak)), "{name}");
            // What was refused is asked again at once.
            world.faults(json!([])).await;
            assert_ne!(world.get(&path).await.status, 502, "{name}");
            tokio::time::sleep(Duration::from_millis(1_050)).await;
        }
    }
    world.end().await;
}
