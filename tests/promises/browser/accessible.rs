//! People who see little or use no mouse can use the pages: axe-core finds no violation in light, in dark and on a narrow
//! screen.

use restore_tests::{Browser, TestConfig, World, ids, requests, sdks};
use serde_json::{Value, json};

use crate::auth::callers::hash;
use crate::browser::docs_page::try_out;
use crate::operations::operator::{hasty, waiting};

const DARK: (&str, &str) = ("prefers-color-scheme", "dark");
/// What moves is not measured.
const STILL: (&str, &str) = ("prefers-reduced-motion", "reduce");

/// Rules that Swagger UI itself breaks in the markup of `/docs`. They hold for all other markup.
const OF_SWAGGER_UI: [&str; 3] = ["label", "nested-interactive", "scrollable-region-focusable"];

/// Checks the page with axe in both schemes and on a narrow screen.
async fn look(browser: &Browser, what: &str) {
    browser.run(&format!("{}; return true", sdks::axe())).await;
    for (width, scheme) in [(1300, vec![STILL]), (1300, vec![STILL, DARK]), (500, vec![STILL])] {
        browser.resize(width, 900).await;
        browser.prefer(&scheme).await;
        // The viewer changes its colours in an event.
        let follows = "document.documentElement.classList.contains('dark-mode') === \
                       matchMedia('(prefers-color-scheme: dark)').matches";
        browser.until(&format!("!document.getElementById('viewer') || {follows}")).await;
        let found = browser
            .run(
                &format!(
                    "const {{violations, passes}} = await axe.run(); const known = {known}; \
                     const ours = (id) => (node) => \
                       !(known.includes(id) && document.querySelector(node.target[0]).closest('#viewer')); \
                     return {{passes: passes.length, violations: violations \
                       .map(({{id, nodes}}) => [id, nodes.filter(ours(id)).map((node) => node.html + ' ' + node.failureSummary)]) \
                       .filter(([, nodes]) => nodes.length)}}",
                    known = json!(OF_SWAGGER_UI),
                ),
            )
            .await;
        assert!(found["passes"].as_u64() > Some(10), "{what}: it was not looked at: {found}");
        assert_eq!(found["violations"], json!([]), "{what}, {scheme:?}, {width} wide");
    }
    browser.resize(1300, 900).await;
    browser.prefer(&[STILL]).await;
}

#[tokio::test]
async fn axe_has_nothing_against_the_console() {
    let world = World::with(hasty()).await;
    let browser = Browser::open(1300, 900).await;
    browser.prefer(&[STILL]).await;
    browser.go(&format!("http://{}/console", world.gateway.admin())).await;
    browser.until("document.getElementById('live').textContent === 'live'").await;
    look(&browser, "nothing to do").await;
    let done = world.submit(&requests::cbr_server()).await.json();
    let restore = waiting(&world).await;
    world.until_status(done["id"].as_str().expect("an id"), "succeeded").await;
    browser.until("document.querySelectorAll('#rows tr').length === 2").await;
    browser.until("document.querySelectorAll('#attention li').length === 1").await;
    look(&browser, "a list and one that waits").await;
    browser.click("#attention a.button").await;
    browser.until("document.querySelectorAll('#history li').length > 3").await;
    look(&browser, "a decision").await;
    assert_eq!(restore["target"]["volume_id"], ids::FREE.1);
    // It does find what is wrong.
    browser.run("document.querySelector('#decide label[for=by]').remove()").await;
    let found = browser.run("return (await axe.run()).violations.map(({id}) => id)").await;
    assert!(found.as_array().is_some_and(|found| found.contains(&Value::from("label"))), "{found}");
    browser.close().await;
    world.end().await;
}

#[tokio::test]
async fn axe_has_nothing_against_the_pages_and_the_question_who_asks() {
    let operator = format!(
        "[[callers]]\nname = \"operator\"\ntype = \"api-key\"\nlisteners = [\"admin\"]\nkey_hash = \"{}\"\n\
         [[policies]]\ncallers = [\"operator\"]\nactions = [\"read-any\"]\n",
        hash("rgk_operator-0123456789abcdef0123456789abcde")
    );
    let world = World::with(TestConfig::default().and(&operator)).await;
    let browser = Browser::open(1300, 900).await;
    browser.prefer(&[STILL]).await;
    browser.go(&format!("http://{}/console", world.gateway.admin())).await;
    browser.until("!document.getElementById('login').hidden").await;
    look(&browser, "who asks").await;
    browser.go(&world.url("/problems/target_busy")).await;
    look(&browser, "a problem").await;
    browser.go(&world.url("/docs")).await;
    browser.until("document.querySelector('.opblock')").await;
    look(&browser, "/docs").await;
    try_out(&browser, "listCapabilities").await;
    look(&browser, "/docs with an operation").await;
    browser.close().await;
    world.end().await;
}
