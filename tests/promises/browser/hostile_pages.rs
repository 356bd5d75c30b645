//! What a browser could be made to do with the gateway: nothing. Words of strangers are never HTML (S39), and no page of
//! another origin may read an answer (S40).

use http::Method;
use restore_tests::{Answer, TestConfig, World, ids, requests};
use serde_json::{Value, json};

const SCRIPT: &str = "<script src=https://evil.example/x.js></script><img src=x onerror=alert(1)>\"'&";

/// What is told as HTML; everything else a browser is told not to take for HTML.
fn is_page(answer: &Answer, what: &str) -> bool {
    let kind = answer.header("content-type");
    assert_eq!(answer.header("x-content-type-options"), "nosniff", "{what}: {kind}");
    kind.starts_with("text/html")
}

/// The files that `/docs` may load; it has no other script and no other style than the inline one.
const DOCS_FILES: [&str; 4] = [
    "<link rel=\"stylesheet\" href=\"/docs/swagger-ui.css\">",
    "<link rel=\"stylesheet\" href=\"/docs/docs.css\">",
    "<script src=\"/docs/swagger-ui-bundle.js\"></script>",
    "<script src=\"/docs/docs.js\"></script>",
];

/// A page loads nothing from elsewhere. Only `/docs` runs scripts, those of its own files.
fn is_harmless(answer: &Answer, what: &str) {
    let policy = answer.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none';"), "{what}: {policy:?}");
    for part in ["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{what}: {policy}");
    }
    let mut text = answer.text().to_lowercase();
    if what == "/docs" {
        assert!(policy.contains("script-src 'self';"), "{what}: {policy}");
        for file in DOCS_FILES {
            assert_eq!(text.matches(file).count(), 1, "{file}");
            text = text.replace(file, "");
        }
    } else {
        assert!(!policy.contains("script-src"), "{what}: {policy}");
    }
    assert!(!policy.contains("http") && !policy.contains("unsafe"), "{what}: {policy}");
    for word in ["<script", "<img", "<iframe", "<link", "<object", " src=", "onerror", "javascript:", "evil"]
    {
        assert!(!text.contains(word), "{what}: {word}");
    }
    for link in text.split("href=\"").skip(1) {
        assert!(link.starts_with('/'), "{what} leads elsewhere: {}", &link[..link.len().min(60)]);
    }
}

async fn pages(world: &World) -> Vec<(String, Answer)> {
    let contract = world.get("/openapi.json").await.json();
    assert!(contract["paths"].is_object());
    let mut pages = vec![("/docs".to_owned(), world.get("/docs").await)];
    let text = pages[0].1.text();
    for code in text.split("href=\"/problems/").skip(1).filter_map(|rest| rest.split('"').next()) {
        let path = format!("/problems/{code}");
        pages.push((path.clone(), world.get(&path).await));
    }
    assert!(pages.len() > 20, "every problem has its page: {}", pages.len());
    pages
}

#[tokio::test]
async fn a_page_reaches_loopback_by_no_name_of_its_own() {
    let world = World::new().await;
    let send = |headers: Vec<(&'static str, &'static str)>| {
        let (http, url) = (world.http.clone(), world.url("/api/v1/restores"));
        async move {
            let mut all = vec![("content-type", "application/json"), ("x-auth-token", ids::TOKEN)];
            all.extend(headers);
            http.send(Method::POST, &url, &all, requests::free_disk().to_string()).await
        }
    };
    for foreign in [
        vec![("host", "evil.example")],
        vec![("host", "evil.example:8080"), ("origin", "http://evil.example:8080")],
        vec![("host", "127.0.0.1.evil.example")],
        vec![("origin", "http://evil.example")],
        vec![("origin", "null")],
    ] {
        let answer = send(foreign.clone()).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (403, &json!("cross_site_request")),
            "{foreign:?}"
        );
    }
    assert!(world.arrived().await.is_empty());
    assert_eq!(send(vec![]).await.status, 202);
    world.end().await;
}

/// S53: listeners without callers that other machines can reach, on an address that is this machine's all the same.
#[tokio::test]
async fn s53_without_callers_no_listener_answers_to_a_foreign_name() {
    let mapped = "\"[::ffff:127.0.0.1]:0\"";
    let config = TestConfig::default()
        .set("listen.api", mapped)
        .set("listen.admin", mapped)
        .set("listen.allowed_hosts", "[\"gateway\"]")
        .set("listen.allow_unauthenticated_remote", "true");
    let world = World::with(config).await;
    let restore = world.submit(&requests::free_disk()).await;
    assert_eq!(restore.status, 202, "{}", restore.text());
    let arrived = world.arrived().await.len();

    let api = world.url("");
    let admin = format!("http://{}", world.gateway.admin());
    let level = r#"{"level": "trace", "minutes": 5}"#;
    let asked = [
        (Method::GET, format!("{api}/api/v1/restores"), ""),
        (Method::POST, format!("{api}/api/v1/restores"), "{}"),
        (Method::GET, format!("{admin}/restores"), ""),
        (Method::GET, format!("{admin}/metrics"), ""),
        (Method::GET, format!("{admin}/console"), ""),
        (Method::POST, format!("{admin}/log-level"), level),
        (Method::POST, format!("{admin}/config/reload"), "{}"),
    ];
    let foreign: [&[(&str, &str)]; 6] = [
        &[("host", "evil.example")],
        &[("host", "evil.example:8080"), ("origin", "http://evil.example:8080")],
        &[("host", "gateway.evil.example")],
        &[("host", "127.0.0.1.evil.example")],
        &[("origin", "http://evil.example")],
        &[("origin", "null")],
    ];
    for (method, url, body) in &asked {
        for headers in foreign {
            let mut all = vec![("content-type", "application/json"), ("x-auth-token", ids::TOKEN)];
            all.extend(headers);
            let answer = world.http.send(method.clone(), url, &all, (*body).to_owned()).await;
            let found = (answer.status, answer.json()["code"].clone());
            assert_eq!(found, (403, json!("cross_site_request")), "{url} {headers:?}");
        }
        // Its own names, and any address: probes call that of a pod.
        for host in ["gateway:8080", "localhost", "10.1.2.3:8081", "[fd00::7]:8081"] {
            let all = [("content-type", "application/json"), ("x-auth-token", ids::TOKEN), ("host", host)];
            let answer = world.http.send(method.clone(), url, &all, (*body).to_owned()).await;
            assert!(!answer.text().contains("cross_site_request"), "{url} {host}");
        }
    }
    assert_eq!(world.arrived().await.len(), arrived, "nothing reached the cloud");
    let ready = world.admin("/readyz").await.json();
    assert_eq!(ready["dangers"][0]["key"], "listen.allow_unauthenticated_remote", "{ready}");
    world.end().await;
}

#[tokio::test]
async fn s39_words_of_strangers_are_never_html() {
    let config = TestConfig::default()
        .set("polling.absence_confirmation_seconds", "1")
        .set("polling.operator_escalation_seconds", "1");
    let world = World::with(config).await;
    world.behave(json!({"extra_disks": 3})).await;
    let before = pages(&world).await;
    for (path, page) in &before {
        assert!(page.status == 200 && is_page(page, path), "{path}");
        is_harmless(page, path);
    }

    // Upstream's words, and the caller's own, in every place that repeats them.
    let refusal = json!({"match": {"method": "POST", "path": "*/restore"}, "times": 2, "answer": {"status": 409,
        "headers": {"x-request-id": SCRIPT, "content-type": "text/html"},
        "body": {"error_code": SCRIPT, "error_msg": SCRIPT}}});
    let garbage = json!({"match": {"method": "POST", "path": "*/restore"}, "answer": {"status": 202,
        "headers": {"content-type": "text/html"}, "body_raw": format!("<html>{SCRIPT}</html>")}});
    world.faults(json!([refusal, garbage])).await;
    let mut answers = Vec::new();
    for number in 0..3 {
        answers.push(("submit".to_owned(), world.submit(&requests::extra_disk(number)).await));
    }
    let hostile = [
        json!({"project_id": SCRIPT}),
        json!({SCRIPT: 1}),
        json!({"project_id": ids::PROJECT, "source": {"backup_id": SCRIPT}, "target": {"type": SCRIPT}}),
        json!(SCRIPT),
    ];
    for body in &hostile {
        for path in ["/api/v1/restores", "/api/v1/restore-previews", "/api/v1/restore-checks"] {
            answers.push((path.to_owned(), world.post(path, body).await));
        }
    }
    let escaped = SCRIPT.replace('<', "%3C").replace('>', "%3E").replace('"', "%22").replace(' ', "%20");
    for path in ["/", "/problems/", "/schemas/", "/docs/", "/api/v1/restores/", "/api/v1/restores?status="] {
        let path = format!("{path}{escaped}");
        answers.push((path.clone(), world.get(&path).await));
    }
    let list = world.get("/api/v1/restores").await;
    for restore in list.json()["restores"].as_array().expect("restores") {
        let path = format!("/api/v1/restores/{}", restore["id"].as_str().expect("an id"));
        answers.push((path.clone(), world.get(&path).await));
        answers.push((path.clone(), world.get(&format!("{path}/events")).await));
    }
    answers.push(("the list".to_owned(), list));
    let admin = ["/", "/livez", "/readyz", "/metrics", "/config", "/triage", "/recovery", "/webhooks"];
    for path in admin.map(str::to_owned).into_iter().chain([format!("/{escaped}")]) {
        answers.push((path.clone(), world.admin(&path).await));
    }
    for (what, answer) in &answers {
        assert!(!is_page(answer, what), "{what}: {}", answer.text());
    }
    // The words did come that far.
    let told = |word: &str| answers.iter().any(|(_, answer)| answer.text().contains(word));
    assert!(told("evil.example") && told("onerror"), "nothing was repeated");

    // And no page has learnt anything from all that.
    for ((path, page), (_, now)) in before.iter().zip(pages(&world).await) {
        assert_eq!(page.body, now.body, "{path}");
    }
    world.end().await;
}

#[tokio::test]
async fn s40_no_page_of_another_origin_may_read_an_answer() {
    let world = World::new().await;
    let admin = format!("http://{}", world.gateway.admin());
    let api = world.url("");
    let paths: Vec<String> =
        ["/docs", "/openapi.json", "/api/v1/restores", "/api/v1/capabilities", "/nowhere"]
            .map(|path| format!("{api}{path}"))
            .into_iter()
            .chain(
                ["/livez", "/metrics", "/config", "/triage", "/restores", "/console"]
                    .map(|path| format!("{admin}{path}")),
            )
            .collect();
    let origins = ["https://evil.example", "null", api.as_str(), "http://localhost:8080"];
    let body = requests::free_disk().to_string();
    for url in &paths {
        for origin in origins {
            for method in [Method::OPTIONS, Method::GET, Method::HEAD, Method::POST, Method::DELETE] {
                let headers = [
                    ("origin", origin),
                    ("access-control-request-method", "POST"),
                    ("access-control-request-headers", "x-auth-token, content-type"),
                    ("access-control-request-private-network", "true"),
                    // What a page may send without asking first.
                    ("content-type", "text/plain"),
                ];
                let body = if method == Method::POST { body.as_str() } else { "" };
                let answer = world.http.send(method.clone(), url, &headers, body.to_owned()).await;
                let names = answer.headers.keys().map(http::HeaderName::as_str);
                let given: Vec<&str> = names.filter(|name| name.starts_with("access-control-")).collect();
                assert!(given.is_empty(), "{method} {url} of {origin}: {given:?}");
                if method == Method::OPTIONS {
                    assert!((400..500).contains(&answer.status), "{url} of {origin}: {}", answer.status);
                }
                if method == Method::POST {
                    assert!((400..500).contains(&answer.status), "{url} of {origin}: {}", answer.status);
                }
            }
        }
    }
    assert_eq!(world.arrived().await, Vec::<Value>::new(), "no cloud was asked");
    world.end().await;
}
