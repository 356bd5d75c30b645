//! `/docs` and the pages of problems: `/docs` shows every call with its fields and runs it, and a real browser shows the
//! pages as designed.

use http::Method;
use restore_model::Code;
use restore_tests::{Browser, Contract, TestConfig, World, ids};
use serde_json::{Value, json};

use crate::auth::callers::hash;

/// The complaints of the browser, but for the missing icon of the site.
async fn complaints(browser: &Browser) -> Vec<String> {
    browser.complaints().await.into_iter().filter(|complaint| !complaint.contains("favicon")).collect()
}

/// Opens an operation and its form.
pub(crate) async fn try_out(browser: &Browser, operation: &str) {
    browser.click(&format!("[id$='-{operation}'] .opblock-summary-control")).await;
    browser.until(&format!("document.querySelector(\"[id$='-{operation}'] .try-out__btn\")")).await;
    browser.click(&format!("[id$='-{operation}'] .try-out__btn")).await;
}

/// Runs the open form of an operation, and returns status and body of the response.
async fn execute(browser: &Browser, operation: &str) -> (String, Value) {
    browser.click(&format!("[id$='-{operation}'] .execute")).await;
    let live = format!("[id$='-{operation}'] .live-responses-table");
    browser.until(&format!("document.querySelector(\"{live} .response-col_status\")")).await;
    let status = browser.text(&format!("{live} tbody .response-col_status")).await;
    let body = browser.text(&format!("{live} .highlight-code code")).await;
    (status.trim().to_owned(), serde_json::from_str(&body).unwrap_or(Value::String(body)))
}

#[tokio::test]
async fn api_page_shows_every_operation_with_fields() {
    let world = World::new().await;
    let contract = Contract::served(&world).await;
    let browser = Browser::open(1200, 900).await;
    browser.go(&world.url("/docs")).await;
    browser.until("document.querySelector('.opblock')").await;
    for (method, path) in contract.operations() {
        let operation = contract.operation(&method, &path);
        let id = operation["operationId"].as_str().expect("an operation ID");
        let summary = browser.text(&format!("[id$='-{id}'] .opblock-summary")).await;
        // The page breaks long paths with zero-width spaces.
        let plain = summary.replace('\u{200b}', "");
        assert!(plain.contains(&method) && plain.contains(&path), "{id}: {summary}");
        assert!(plain.contains(operation["summary"].as_str().expect("a summary")), "{id}: {summary}");
    }
    let shown = browser.run("return document.querySelectorAll('.opblock').length").await;
    assert_eq!(shown, Value::from(contract.operations().len()));

    // The tables of fields come from the schemas, with descriptions, and the example from the contract.
    try_out(&browser, "submitRestore").await;
    let form = "[id$='-submitRestore']";
    browser.until(&format!("document.querySelector(\"{form} textarea\")")).await;
    let example = browser.run(&format!("return document.querySelector(\"{form} textarea\").value")).await;
    let example: Value = serde_json::from_str(example.as_str().unwrap_or_default()).expect("JSON");
    let operation = contract.operation("POST", "/api/v1/restores");
    assert_eq!(
        example,
        operation.pointer("/requestBody/content/application~1json/example").cloned().expect("one")
    );
    for (place, schema) in
        [(".opblock-section-request-body", "restore-request"), (".responses-wrapper", "restore")]
    {
        browser.click(&format!("{form} {place} .tab li:last-child button")).await;
        browser
            .until(&format!("document.querySelector(\"{form} {place} .json-schema-2020-12-property\")"))
            .await;
        let text = browser.text(&format!("{form} {place}")).await;
        let schema = world.get(&format!("/schemas/{schema}")).await.json();
        for (name, field) in schema["properties"].as_object().expect("properties") {
            assert!(text.contains(name.as_str()), "{name} is missing: {text}");
            if let Some(description) =
                field["description"].as_str().and_then(|text| text.split(['`', '.']).next())
            {
                assert!(text.contains(description), "{name}: {description} is missing");
            }
        }
    }
    let errors = browser.run("return document.querySelectorAll('.errors-wrapper').length").await;
    assert_eq!((errors, complaints(&browser).await), (json!(0), Vec::<String>::new()));
    browser.close().await;
    world.end().await;
}

#[tokio::test]
async fn api_page_submits_and_shows_a_restore() {
    let world = World::new().await;
    let browser = Browser::open(1200, 900).await;
    browser.go(&world.url("/docs")).await;
    browser.until("document.querySelector('.opblock')").await;
    try_out(&browser, "submitRestore").await;
    let form = "[id$='-submitRestore']";
    browser.write(&format!("{form} tr[data-param-name='X-Auth-Token'] input"), ids::TOKEN).await;
    let (status, restore) = execute(&browser, "submitRestore").await;
    assert_eq!((status.as_str(), &restore["status"]), ("200", &json!("succeeded")), "{restore}");
    assert_eq!(world.applied().await.len(), 1);
    // The same key is the same restore.
    let (_, again) = execute(&browser, "submitRestore").await;
    assert_eq!((&again["id"], world.applied().await.len()), (&restore["id"], 1));

    try_out(&browser, "getRestore").await;
    browser
        .write("[id$='-getRestore'] tr[data-param-name='id'] input", restore["id"].as_str().expect("an ID"))
        .await;
    let (status, shown) = execute(&browser, "getRestore").await;
    // Only the answer to a submitted request says if it was repeated.
    let mut restore = restore;
    assert_eq!(restore.as_object_mut().expect("a restore").remove("replayed"), Some(json!(false)));
    assert_eq!((status.as_str(), &shown), ("200", &restore));
    // The example of a path comes with the operation.
    try_out(&browser, "getProblem").await;
    let (status, _) = execute(&browser, "getProblem").await;
    assert_eq!((status.as_str(), complaints(&browser).await), ("200", Vec::<String>::new()));
    browser.close().await;
    world.end().await;
}

#[tokio::test]
async fn api_page_sends_the_key_of_a_caller() {
    let key = "rgk_docs-reader-0123456789abcdef0123456789ab";
    let callers = format!(
        "[[callers]]\nname = \"docs\"\ntype = \"api-key\"\nkey_hash = \"{}\"\n\
         [[policies]]\ncallers = [\"docs\"]\nactions = [\"read-any\"]\n",
        hash(key)
    );
    let world = World::with(TestConfig::default().and(&callers)).await;
    let browser = Browser::open(1200, 900).await;
    browser.go(&world.url("/docs")).await;
    browser.until("document.querySelector('.opblock')").await;
    try_out(&browser, "listRestores").await;
    let (status, problem) = execute(&browser, "listRestores").await;
    assert_eq!((status.as_str(), &problem["code"]), ("401", &json!("unauthenticated")));
    browser.click(".auth-wrapper .authorize").await;
    browser.until("document.querySelector('.dialog-ux input')").await;
    browser.write(".dialog-ux .auth-container:first-child input", key).await;
    browser.click(".dialog-ux .auth-container:first-child .modal-btn.authorize").await;
    browser.click(".dialog-ux .close-modal").await;
    let (status, list) = execute(&browser, "listRestores").await;
    assert_eq!((status.as_str(), &list["restores"]), ("200", &json!([])), "{list}");
    let stored =
        browser.run("return JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])").await;
    assert!(!stored.to_string().contains("rgk_"), "{stored}");
    browser.close().await;
    world.end().await;
}

/// The page loads from no other origin and runs no inline script.
#[tokio::test]
async fn api_page_policy_allows_this_gateway_only() {
    let world = World::new().await;
    let page = world.get("/docs").await;
    let policy = page.header("content-security-policy").to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("http") && !policy.contains('*'), "{policy}");
    for (file, kind) in [
        ("docs.css", "text/css; charset=utf-8"),
        ("docs.js", "text/javascript; charset=utf-8"),
        ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        ("swagger-ui.css", "text/css; charset=utf-8"),
    ] {
        let answer = world.get(&format!("/docs/{file}")).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, kind), "{file}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    assert_eq!(world.get("/docs/swagger-initializer.js").await.status, 404);

    let browser = Browser::open(1200, 900).await;
    browser.go(&world.url("/docs")).await;
    browser.until("document.querySelector('.opblock')").await;
    let loaded =
        browser.run("return performance.getEntriesByType('resource').map((entry) => entry.name)").await;
    let loaded: Vec<&str> = loaded.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    assert!(loaded.len() >= 4, "{loaded:?}");
    for url in loaded {
        assert!(url.starts_with(&world.url("/")) || url.starts_with("data:"), "{url}");
    }
    assert_eq!(complaints(&browser).await, Vec::<String>::new());
    // The policy stops an inline script and another origin.
    browser
        .run(
            "const script = document.createElement('script'); script.textContent = 'window.inline = true'; \
             document.body.append(script); \
             fetch('http://127.0.0.2:9/').then(() => { window.fetched = true; }, () => { window.stopped = true; });",
        )
        .await;
    browser.until("window.stopped").await;
    let passed = browser.run("return [window.inline, window.fetched].map(Boolean)").await;
    assert_eq!(passed, json!([false, false]));
    browser.close().await;
    world.end().await;
}

#[tokio::test]
async fn a_problem_is_a_page_for_people_and_json_for_programs() {
    let world = World::new().await;
    let contract = Contract::served(&world).await;
    for code in Code::ALL {
        let url = world.url(&format!("/problems/{}", code.as_str()));
        let ask = async |accept: &str| world.http.send(Method::GET, &url, &[("accept", accept)], "").await;
        let page = ask("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8").await;
        contract.check("GET", "/problems/{code}", &page).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(
            (page.header("content-type"), page.header("vary")),
            ("text/html; charset=utf-8", "accept")
        );
        for heading in ["What happened", "Was anything changed in the cloud?", "What to do"] {
            assert!(page.text().contains(&format!("<h2>{heading}</h2>")), "{}: {heading}", code.as_str());
        }
        let told = ask("application/json").await;
        contract.check("GET", "/problems/{code}", &told).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(told.json()["code"], code.as_str());
        assert_eq!(told.json()["advice"], code.advice());
    }
    world.end().await;
}

#[tokio::test]
async fn pages_show_their_style_and_links_resolve() {
    let world = World::new().await;
    let browser = Browser::open(1200, 900).await;
    for path in ["/docs", "/problems/target_busy"] {
        browser.go(&world.url(path)).await;
        // The policy lets the style pass, and nothing else.
        let shown = browser.run("return getComputedStyle(document.querySelector('nav')).position").await;
        assert_eq!(shown, "sticky", "{path}: {:?}", browser.complaints().await);
        assert_eq!(complaints(&browser).await, Vec::<String>::new(), "{path}");
        if let Some(folder) = std::env::var_os("RESTORE_SCREENSHOTS") {
            let name = format!("{}.png", path.trim_start_matches('/').replace('/', "-"));
            std::fs::write(std::path::Path::new(&folder).join(name), browser.picture().await)
                .expect("it is written");
        }
    }
    // Every link of the page leads somewhere on it.
    browser.go(&world.url("/docs")).await;
    let lost = browser
        .run(
            "return [...document.querySelectorAll('nav a[href*=\"#\"]')].map((link) => link.hash.slice(1)).filter((id) => !document.getElementById(id))",
        )
        .await;
    assert_eq!(lost, json!([]));
    // Only the page of the API has scripts.
    browser.go(&world.url("/problems/target_busy")).await;
    let made = browser.run("return document.querySelectorAll('script, img, link, iframe').length").await;
    assert_eq!(made, Value::from(0));
    browser.close().await;
    world.end().await;
}
