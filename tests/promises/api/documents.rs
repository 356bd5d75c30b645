//! What the gateway says about itself is what it does: every answer fits the contract that it serves,
//! every link leads somewhere, and metrics hold no stranger's words.

use std::collections::BTreeSet;

use http::Method;
use restore_tests::{Answer, Contract, TestConfig, World, ids, requests, world::words};
use serde_json::{Value, json};

/// The contract, and what of it was seen in use.
struct Held {
    contract: Contract,
    seen: BTreeSet<String>,
}

impl Held {
    async fn served(world: &World) -> Self {
        Self { contract: Contract::served(world).await, seen: BTreeSet::new() }
    }

    /// Holds one answer to the contract.
    fn hold(&mut self, method: &str, template: &str, answer: &Answer) {
        self.contract.check(method, template, answer).unwrap_or_else(|why| panic!("{why}"));
        if answer.status < 400 {
            self.seen.insert(format!("{method} {template}"));
        }
    }
}

fn id(restore: &Value) -> String {
    restore["id"].as_str().unwrap_or_else(|| panic!("no id in {restore}")).to_owned()
}

#[tokio::test]
async fn every_answer_fits_the_contract() {
    let world = World::with(
        TestConfig::default()
            .set("limits.max_body_bytes", "65536")
            .set("polling.absence_confirmation_seconds", "1"),
    )
    .await;
    let mut contract = Held::served(&world).await;
    let (restores, one, events) =
        ("/api/v1/restores", "/api/v1/restores/{id}", "/api/v1/restores/{id}/events");
    let (checks, previews) = ("/api/v1/restore-checks", "/api/v1/restore-previews");
    let nobody = "0199a7c4-8d5e-7c21-9f0e-5b1f3a2d4c6e";
    let send = async |method: Method, path: &str, headers: &[(&str, &str)], body: String| {
        world.http.send(method, &world.url(path), headers, body).await
    };

    // Good and bad ends of restores, each looked at in every way.
    let resource = json!({"project_id": ids::PROJECT, "source": {"backup_id": "0f9e8d7c-6b5a-4948-8372-615049382717"},
        "target": {"type": "resource", "resource_id": "3e6f8a90-1b2c-4d3e-8f40-5a6b7c8d9e0f"}});
    let mut looked_at = Vec::new();
    for request in [requests::cbr_server(), requests::csbs_server(), requests::free_disk(), resource] {
        for (path, key) in [(previews, None), (checks, None), (restores, Some("1")), (restores, Some("1"))] {
            let key = key.map(|key| ("idempotency-key", key));
            let key: Vec<_> = key.into_iter().collect();
            // One key per request.
            let own = format!(
                "{}-{}",
                request["source"]["backup_id"].as_str().unwrap_or_default(),
                request["target"]["type"]
            );
            let own = own.replace('"', "");
            let headers: Vec<_> = key.iter().map(|(name, _)| (*name, own.as_str())).collect();
            let answer = world.post_with(path, &request, &headers).await;
            contract.hold("POST", path, &answer);
            if path == restores && answer.status < 300 {
                looked_at.push(id(&answer.json()));
            }
        }
    }
    for id in looked_at.clone() {
        world.until(&id, |restore| restore["finished_at"].is_string()).await;
    }
    world.behave(json!({"next_restore": {"status": "failed", "error_code": "BackupService.9910", "error_msg": "m"}})).await;
    let failed = world
        .post_with(restores, &requests::cbr_server(), &[("prefer", "wait=30"), ("idempotency-key", "f")])
        .await;
    assert_eq!((failed.status, failed.json()["status"].as_str()), (200, Some("failed")));
    contract.hold("POST", restores, &failed);
    looked_at.push(id(&failed.json()));
    for (n, answer) in [
        json!({"status": 504, "body": "<html>"}),
        json!({"status": 400, "body": {"error_code": "BackupService.2010", "error_msg": "m"}}),
        json!({"status": 401, "body": {"error_code": "APIGW.0301", "error_msg": "m"}}),
        json!({"status": 404, "body": {"error_code": "BackupService.0001", "error_msg": "m"}}),
        json!({"status": 429, "headers": {"retry-after": "0"}, "body": {"error_code": "APIGW.0308", "error_msg": "m"}}),
    ]
    .into_iter()
    .enumerate()
    {
        world
            .faults(json!([{"match": {"method": "POST", "path": "*/restore"}, "times": 3, "answer": answer}]))
            .await;
        // The one that ends unknown holds its target.
        let request = if n == 0 { requests::free_disk() } else { requests::cbr_server() };
        let answer = world.post_with(restores, &request, &[("idempotency-key", &format!("r{n}"))]).await;
        contract.hold("POST", restores, &answer);
    }
    world.faults(json!([])).await;
    contract.hold(
        "POST",
        restores,
        &world.post_with(restores, &requests::free_disk(), &[("idempotency-key", "busy")]).await,
    );
    let list = world.get(restores).await;
    contract.hold("GET", restores, &list);
    looked_at.extend(words(&list.json()["restores"], "id"));
    for id in &looked_at {
        let path = format!("{restores}/{id}");
        let answer = world.get(&path).await;
        contract.hold("GET", one, &answer);
        let tag = answer.header("etag").to_owned();
        if answer.json()["finished_at"].is_string() {
            let unchanged = send(Method::GET, &path, &[("if-none-match", &tag)], String::new()).await;
            assert_eq!(unchanged.status, 304);
            contract.hold("GET", one, &unchanged);
        }
        contract.hold("GET", events, &world.get(&format!("{path}/events")).await);
        contract.hold("DELETE", one, &send(Method::DELETE, &path, &[], String::new()).await);
    }
    // Called off in time.
    world.faults(json!([{"match": {"method": "GET"}, "delay_ms": 2000}])).await;
    let (http, url, body) = (world.http.clone(), world.url(restores), requests::csbs_server().to_string());
    let submitted = tokio::spawn(async move {
        let headers =
            [("x-auth-token", ids::TOKEN), ("content-type", "application/json"), ("idempotency-key", "off")];
        http.send(Method::POST, &url, &headers, body).await
    });
    let checking = loop {
        let list = world.get("/api/v1/restores?status=checking").await.json();
        if let Some(restore) = list["restores"].as_array().and_then(|restores| restores.first()) {
            break id(restore);
        }
        assert!(!submitted.is_finished(), "it was never seen checking");
    };
    contract.hold(
        "DELETE",
        one,
        &send(Method::DELETE, &format!("{restores}/{checking}"), &[], String::new()).await,
    );
    contract.hold("POST", restores, &submitted.await.expect("an answer"));

    // Refusals of the gateway's own.
    let json_token = [("x-auth-token", ids::TOKEN), ("content-type", "application/json")];
    let native = json!({
        "source_api": "vbs-v2", "method": "POST",
        "path": format!("/v2/{}/cloudbackups/{}/restore", ids::PROJECT, ids::FREE.0),
        "body": {"restore": {"volume_id": ids::FREE.1}},
    });
    let shown = world.post("/api/v1/compat-previews", &native).await;
    contract.hold("POST", "/api/v1/compat-previews", &shown);
    assert_eq!(
        shown.json()["compat"]["canonical_request"]["source"]["backup_id"],
        ids::FREE.0,
        "{}",
        shown.text()
    );
    for (member, wrong) in [
        ("source_api", json!("karbor")),
        ("method", json!("GET")),
        ("path", json!("/v2")),
        ("path", json!("no path \u{7f}")),
        ("body", json!({"restore": {}})),
    ] {
        let mut other = native.clone();
        other[member] = wrong;
        let refused = world.post("/api/v1/compat-previews", &other).await;
        assert!((400..=422).contains(&refused.status), "{other}: {}", refused.text());
        contract.hold("POST", "/api/v1/compat-previews", &refused);
    }

    for path in [restores, checks, previews, "/api/v1/compat-previews"] {
        for body in ["", "{", "{}", "[1]", &"x".repeat(70_000)] {
            contract.hold("POST", path, &send(Method::POST, path, &json_token, body.to_owned()).await);
        }
        let disk = requests::free_disk().to_string();
        for headers in [
            vec![("content-type", "text/plain")],
            vec![("content-type", "application/json"), ("content-encoding", "gzip")],
            vec![("content-type", "application/json")],
            vec![json_token[0], json_token[0], json_token[1]],
            vec![json_token[0], json_token[1], ("a_b", "c")],
            vec![json_token[0], json_token[1], ("idempotency-key", "")],
        ] {
            contract.hold("POST", path, &send(Method::POST, path, &headers, disk.clone()).await);
        }
    }
    for query in ["?limit=0", "?status=x", "?nothing=1", "?cursor=x", "?limit=1", "?status=succeeded"] {
        contract.hold("GET", restores, &world.get(&format!("{restores}{query}")).await);
    }
    for id in [nobody, "x"] {
        contract.hold("GET", one, &world.get(&format!("{restores}/{id}")).await);
        contract.hold("GET", events, &world.get(&format!("{restores}/{id}/events")).await);
        contract.hold(
            "DELETE",
            one,
            &send(Method::DELETE, &format!("{restores}/{id}"), &[], String::new()).await,
        );
    }
    for (template, path) in [
        ("/api/v1/capabilities", "/api/v1/capabilities"),
        ("/openapi.json", "/openapi.json"),
        ("/docs", "/docs"),
        ("/docs/{file}", "/docs/docs.js"),
        ("/docs/{file}", "/docs/swagger-ui.css"),
        ("/docs/{file}", "/docs/none"),
        ("/schemas/{name}", "/schemas/restore"),
        ("/schemas/{name}", "/schemas/restore.json"),
        ("/schemas/{name}", "/schemas/none"),
        ("/problems/{code}", "/problems/target_busy"),
        ("/problems/{code}", "/problems/none"),
    ] {
        contract.hold("GET", template, &world.get(path).await);
    }

    // A stream of a restore that has ended is as long as its history.
    let stream = "/api/v1/restores/{id}/stream";
    let ended = stream.replace("{id}", &looked_at[0]);
    contract.hold("GET", stream, &world.get(&ended).await);
    let head = send(Method::HEAD, "/api/v1/stream", &[], String::new()).await;
    assert_eq!((head.status, head.header("content-type")), (200, "text/event-stream"));
    contract.hold("GET", "/api/v1/stream", &world.get("/api/v1/stream?limit=1").await);

    // Nothing of the contract was left out.
    let good: BTreeSet<String> =
        contract.contract.calls().into_iter().map(|(method, path)| format!("{method} {path}")).collect();
    let missing: Vec<_> = good.difference(&contract.seen).collect();
    assert!(missing.is_empty(), "never seen: {missing:?}");
    world.end().await;
}

#[tokio::test]
async fn a_route_that_takes_nothing_says_so_within_the_contract() {
    let routes = "[[upstreams]]\nname = \"vbs\"\ngeneration = \"vbs-v2\"\nendpoint = \"{clouds}/vbs\"\n\
                  [[routes]]\nmatch = { target_types = [\"volume\", \"resource\"] }\nupstream = \"vbs\"\nidempotency_key = \"required\"\n";
    let world = World::with(TestConfig::default().routes(routes)).await;
    let mut contract = Held::served(&world).await;
    let resource = json!({"project_id": ids::PROJECT, "source": {"backup_id": "b"}, "target": {"type": "resource", "resource_id": "r"}});
    for (request, code) in [
        (requests::cbr_server(), "no_route"),
        (resource, "unsupported_by_generation"),
        (requests::free_disk(), "idempotency_key_required"),
    ] {
        for path in ["/api/v1/restores", "/api/v1/restore-checks", "/api/v1/restore-previews"] {
            let answer = world.post(path, &request).await;
            contract.hold("POST", path, &answer);
            if path == "/api/v1/restores" {
                assert_eq!(answer.json()["code"], code);
            } else if code != "idempotency_key_required" {
                assert!(answer.status >= 400, "a preview fails where the call would: {}", answer.text());
            }
        }
    }
    world.end().await;
}

#[tokio::test]
async fn every_problem_has_its_page_and_the_pages_need_nothing_from_elsewhere() {
    let world = World::new().await;
    let docs = world.get("/docs").await;
    let mut pages = vec!["/docs".to_owned()];
    for code in restore_model::Code::ALL {
        let page = format!("/problems/{}", code.as_str());
        assert!(docs.text().contains(&format!("href=\"{page}\"")), "{page} is not in /docs");
        pages.push(page);
    }
    for path in pages {
        let page = world.get(&path).await;
        assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"), "{path}");
        let policy = page.header("content-security-policy").to_owned();
        assert!(policy.contains("default-src 'none'"), "{path}: {policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        let text = page.text();
        assert!(!text.contains("@import") && !text.contains("url("), "{path}");
        // Only the page of the API has scripts, all of them in files.
        let scripts = text.matches("<script").count();
        assert_eq!(text.matches("<script src=\"/docs/").count(), scripts, "{path}");
        assert_eq!(
            (scripts > 0, policy.contains("script-src 'self'")),
            (path == "/docs", path == "/docs"),
            "{path}"
        );
        for attribute in ["href=\"", "src=\""] {
            for target in text.split(attribute).skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(target.starts_with('/') && !target.starts_with("//"), "{path}: {target}");
                assert_eq!(world.get(target).await.status, 200, "{path}: {target} leads nowhere");
            }
        }
    }
    // The type of a problem that is given out is such a page.
    let problem = world.get("/api/v1/restores/x").await.json();
    assert_eq!(world.get(problem["type"].as_str().expect("a type")).await.status, 200);
    // And what is served is no invitation to other origins.
    let headers = [("origin", "http://evil.example")];
    let answer = world.http.send(Method::GET, &world.url("/api/v1/capabilities"), &headers, "").await;
    assert_eq!(answer.header("access-control-allow-origin"), "");
    world.end().await;
}

#[tokio::test]
async fn s34_metrics_hold_templates_and_no_strangers_words() {
    let world = World::new().await;
    let series = async || {
        let page = world.admin("/metrics").await.text();
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        (
            lines
                .map(|line| line.rsplit_once(' ').map_or(line, |(name, _)| name).to_owned())
                .collect::<BTreeSet<_>>(),
            page,
        )
    };
    let ask = async |n: usize| {
        let id = format!("0199a7c4-8d5e-7c21-9f0e-{n:012}");
        for path in [
            format!("/api/v1/restores/{id}"),
            format!("/api/v1/restores/{id}/events"),
            format!("/strange-{n}"),
            format!("/schemas/strange-{n}"),
            format!("/problems/strange-{n}"),
        ] {
            assert_eq!(world.get(&path).await.status, 404);
        }
        let method = Method::from_bytes(format!("STRANGE{n}").as_bytes()).expect("a method");
        let url = world.url("/api/v1/restores");
        world.http.send(method, &url, &[("user-agent", &format!("strange-{n}"))], "").await;
        let mut request = requests::free_disk();
        request["source"]["backup_id"] = json!(format!("strange-{n}"));
        world.submit(&request).await;
    };
    ask(0).await;
    let (before, _) = series().await;
    for n in 1..200 {
        ask(n).await;
    }
    let (after, page) = series().await;
    assert_eq!(after.difference(&before).collect::<Vec<_>>(), Vec::<&String>::new());
    assert!(page.contains("http_route=\"/api/v1/restores/{id}\""), "{page}");
    for word in ["strange", "STRANGE", "0199a7c4", ids::TOKEN, ids::PROJECT, ids::FREE.1] {
        assert!(!page.contains(word), "{word} in {page}");
    }
    world.end().await;
}

#[tokio::test]
async fn s22_the_configuration_is_shown_without_the_environment() {
    let world = World::new().await;
    let config = world.admin("/config").await;
    assert_eq!(config.json()["upstreams"][0]["name"], "cbr");
    assert!(!config.text().contains("PATH="), "{}", config.text());
    let ready = world.admin("/readyz").await;
    assert_eq!(
        (ready.status, &ready.json()["ready"], &ready.json()["reasons"]),
        (200, &json!(true), &json!([]))
    );
    assert_eq!(world.admin("/livez").await.status, 200);
    world.end().await;
}
