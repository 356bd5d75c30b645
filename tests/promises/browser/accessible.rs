//! That pages can be used by whoever cannot see them, or has no mouse, or needs strong contrast: axe-core finds nothing to
//! say against them, in light, in dark and on a narrow screen.

use restore_tests::{Browser, TestConfig, World, ids, requests, sdks};
use serde_json::{Value, json};

use crate::auth::callers::hash;
use crate::operations::operator::{hasty, waiting};

const DARK: (&str, &str) = ("prefers-color-scheme", "dark");
/// What moves is not measured.
const STILL: (&str, &str) = ("prefers-reduced-motion", "reduce");

/// What axe has against the page as it stands, in both schemes and on a narrow screen.
async fn look(browser: &Browser, what: &str) {
    browser.run(&format!("{}; return true", sdks::axe())).await;
    for (width, scheme) in [(1300, vec![STILL]), (1300, vec![STILL, DARK]), (500, vec![STILL])] {
        browser.resize(width, 900).await;
        browser.prefer(&scheme).await;
        let found = browser
            .run(
                "const {violations, passes} = await axe.run(); return {passes: passes.length, violations: \
                 violations.map(({id, nodes}) => [id, nodes.map((node) => node.html + ' ' + node.failureSummary)])}",
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
    for path in ["/docs", "/problems/target_busy"] {
        browser.go(&world.url(path)).await;
        look(&browser, path).await;
    }
    browser.close().await;
    world.end().await;
}
