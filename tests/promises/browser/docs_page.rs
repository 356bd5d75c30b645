//! `/docs` and the pages of problems: that they say all that the contract says, that their lines run, and that a real
//! browser shows them as they are meant.

use std::collections::BTreeSet;

use http::Method;
use restore_model::Code;
use restore_tests::{Browser, Contract, Http, World};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::repository::first_minutes::{free, run, running_demo};

/// The text of every block that is meant to be run.
fn lines_to_run(page: &str) -> Vec<String> {
    let blocks = page.split("<pre class=\"run\">").skip(1).filter_map(|rest| rest.split("</pre>").next());
    let plain = |text: &str| {
        let text =
            text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
        text.replace("&amp;", "&")
    };
    blocks.map(plain).collect()
}

#[tokio::test]
async fn every_call_of_the_contract_is_on_the_page_with_a_line_to_run() {
    let world = World::new().await;
    let contract = Contract::served(&world).await;
    let page = world.get("/docs").await.text();
    let sections: Vec<&str> = page.split("<section id=\"").skip(1).collect();
    let mut described = BTreeSet::new();
    for (method, path) in contract.operations() {
        let operation = contract.operation(&method, &path);
        let id = operation["operationId"].as_str().expect("a name");
        assert!(page.contains(&format!("href=\"/docs#{id}\"")), "nothing leads to {id}");
        let section = sections.iter().find(|section| section.starts_with(&format!("{id}\"")));
        let section = section.unwrap_or_else(|| panic!("{id} is not on the page"));
        assert!(section.contains(&format!("<b>{method}</b> {path}</code>")), "{section}");
        assert_eq!(lines_to_run(section).len(), 1, "{id}");
        for status in operation["responses"].as_object().into_iter().flatten().map(|(status, _)| status) {
            assert!(section.contains(&format!("<code>{status}</code>")), "{id} says nothing of {status}");
        }
        let shared = &contract.document["paths"][&path]["parameters"];
        for parameter in
            [shared, &operation["parameters"]].iter().filter_map(|list| list.as_array()).flatten()
        {
            let name = parameter["name"].as_str().expect("a name");
            assert!(section.contains(&format!("<code>{name}</code>")), "{id} says nothing of {name}");
        }
        described.insert(id.to_owned());
    }
    assert_eq!(described.len(), sections.len());
    world.end().await;
}

#[tokio::test]
async fn the_lines_of_the_page_run_against_the_demo() {
    let addresses = free::<3>();
    let demo = running_demo(addresses).await;
    let http = Http::default();
    let page = http.send(Method::GET, &format!("http://{}/docs", addresses[0]), &[], "").await.text();
    let mut blocks = lines_to_run(&page);
    let beginning = blocks.remove(0);
    let here = beginning.replace("127.0.0.1:8080", &addresses[0].to_string());
    assert_ne!(here, beginning, "the page uses the demo's own address");
    assert!(blocks.len() > 10, "{blocks:?}");
    for block in blocks {
        let script = format!("{here}\ntest -n \"$ID\"\n{block} --write-out '\\n%{{http_code}}'");
        let output = run(Command::new("sh").args(["-euc", &script])).await;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{block}: {output:?}; ./dev test installs curl");
        let (body, status) = told.rsplit_once('\n').expect("a status");
        // The newest restore of the demo is over, and what is over cannot be called off.
        if block.contains("-X DELETE") {
            assert!(status == "409" && body.contains("not_cancellable"), "{block}: {told}");
        } else {
            assert!(status == "200" && !body.is_empty(), "{block}: {told}");
        }
    }
    drop(demo);
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
async fn a_browser_shows_the_pages_as_they_are_meant_and_runs_nothing() {
    let world = World::new().await;
    let browser = Browser::open(1200, 900).await;
    for path in ["/docs", "/problems/target_busy"] {
        browser.go(&world.url(path)).await;
        // The policy lets the style pass, and nothing else.
        let shown = browser.run("return getComputedStyle(document.querySelector('nav')).position").await;
        assert_eq!(shown, "sticky", "{path}: {:?}", browser.complaints().await);
        let complaints = browser.complaints().await;
        // A browser asks for a picture of the site, which there is none of.
        let ours: Vec<_> = complaints.iter().filter(|said| !said.contains("favicon")).collect();
        assert!(ours.is_empty(), "{path}: {ours:?}");
        if let Some(folder) = std::env::var_os("RESTORE_SCREENSHOTS") {
            let name = format!("{}.png", path.trim_start_matches('/').replace('/', "-"));
            std::fs::write(std::path::Path::new(&folder).join(name), browser.picture().await)
                .expect("it is written");
        }
    }
    // Every link of the page leads somewhere on it or to a page.
    browser.go(&world.url("/docs")).await;
    let lost = browser
        .run(
            "return [...document.querySelectorAll('a[href*=\"#\"]')].map((link) => link.hash.slice(1)).filter((id) => !document.getElementById(id))",
        )
        .await;
    assert_eq!(lost, json!([]));
    let made = browser.run("return document.querySelectorAll('script, img, link, iframe').length").await;
    assert_eq!(made, Value::from(0));
    browser.close().await;
    world.end().await;
}
