//! Metrics: the page and what is sent to a collector are one set, and the reference says what is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use http::Method;
use restore_test_postgres::Postgres;
use restore_tests::{MetricSeen, Receiver, TestConfig, World, ids, requests};
use serde_json::json;
use tokio::time::{Duration, Instant};

use crate::api::webhooks;
use crate::auth::callers::hash;

const DEADLINE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// What a page of metrics says of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) help: String,
    pub(crate) labels: BTreeSet<String>,
}

/// Those of a page, by their names.
pub(crate) fn families(page: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in page.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            families.entry(name.to_owned()).or_default().help = help.to_owned();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            families.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else {
            let (series, _) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
            let name = base.filter(|base| families.contains_key(*base)).unwrap_or(name);
            let family = families.get_mut(name).unwrap_or_else(|| panic!("{name} has no type: {line}"));
            let labels = labels.split("=\"").filter_map(|part| part.rsplit(['"', ',']).next());
            let names = labels.filter(|label| !label.is_empty() && !matches!(*label, "le" | "}"));
            family.labels.extend(names.map(str::to_owned));
        }
    }
    families
}

/// What a gateway shows that has met everything it counts.
pub(crate) async fn everything(collector: &Receiver) -> BTreeMap<String, Family> {
    let telemetry = |config: TestConfig| {
        config
            .set("telemetry.otlp_endpoint", &format!("\"http://{}\"", collector.addr))
            .set("telemetry.otlp_metrics_interval_seconds", "0.5")
            .set("telemetry.service_name", "\"one-of-ours\"")
    };
    let folder = tempfile::tempdir().expect("a folder");
    let ears = webhooks::Receiver::start().await;
    let config = webhooks::hooked(&ears.url(), folder.path(), "").robot().and(DOOR).routes(ROUTES);
    let world = World::serve_beside(telemetry(config), &[], &[("password", "example-only")]).await;
    for request in [requests::cbr_server(), requests::free_disk()] {
        let answer = world.submit(&request).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        world.until_status(answer.json()["id"].as_str().expect("an id"), "succeeded").await;
    }
    assert_eq!(world.get("/cbr/").await.status, 300);
    // Too much, so that a limit is reached.
    let large = json!({"x": "x".repeat(100_000)});
    assert_eq!(world.submit(&large).await.status, 413);
    assert_eq!(world.reload().await.status, 200);
    let mut all = until_known(&world, collector).await;
    world.end().await;

    let postgres = Postgres::start();
    postgres.create_database("ledger");
    let known = TestConfig::default().and(&CALLER.replace("{hash}", &hash(KEY)));
    let known = known.set("ledger.url", &format!("{:?}", postgres.url("ledger")));
    let world = World::serve(telemetry(known.routes(&nowhere()))).await;
    let ask = async |key: &str| {
        let headers =
            [("x-api-key", key), ("x-auth-token", ids::TOKEN), ("content-type", "application/json")];
        let body = requests::free_disk().to_string();
        world.http.send(Method::POST, &world.url("/api/v1/restores"), &headers, body).await.status
    };
    assert_eq!((ask("no-such-key").await, ask(KEY).await), (401, 503));
    let mut more = vec![until_known(&world, collector).await];
    postgres.kill();
    assert_eq!(ask(KEY).await, 503);
    more.push(families(&world.admin("/metrics").await.text()));
    for (name, family) in more.into_iter().flatten() {
        all.entry(name).or_insert_with(|| family.clone()).labels.extend(family.labels);
    }
    world.end().await;
    all
}

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:9";
const KEY: &str = "rgk_nightly-0123456789abcdef0123456789abcdef";
const CALLER: &str = r#"
[[callers]]
name = "nightly"
type = "api-key"
key_hash = "{hash}"
[[policies]]
callers = ["nightly"]
actions = ["restore", "read"]
"#;
const DOOR: &str = "\n[[compat_endpoints]]\napi = \"cbr-v3\"\nprefix = \"/cbr\"\n";
const ROUTES: &str = r#"
[[upstreams]]
name = "cbr"
generation = "cbr-v3"
endpoint = "{clouds}"
credential = "robot"
[[upstreams]]
name = "vbs"
generation = "vbs-v2"
endpoint = "{clouds}/vbs"
[[routes]]
match = { target_types = ["volume"] }
upstream = "vbs"
[[routes]]
upstream = "cbr"
"#;

/// The same with an upstream for disks that is not there.
fn nowhere() -> String {
    ROUTES.replace("{clouds}/vbs", NOWHERE).replace("credential = \"robot\"\n", "")
}

/// The page, once the ledger has been looked at and the collector has heard of everything on it.
async fn until_known(world: &World, collector: &Receiver) -> BTreeMap<String, Family> {
    let end = Instant::now() + DEADLINE;
    loop {
        let shown = families(&world.admin("/metrics").await.text());
        let heard: BTreeSet<String> = collector.metrics().iter().map(shown_as(&shown)).collect();
        let is_sent = |name: &&String| !heard.contains(*name) && !is_of_process(name);
        let unheard: Vec<&String> = shown.keys().filter(is_sent).collect();
        if unheard.is_empty() && shown.contains_key("restore_gateway_restores_in_progress") {
            return shown;
        }
        assert!(Instant::now() < end, "the collector does not hear of {unheard:?}");
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether a metric is one of the process collector's, which the page alone shows.
fn is_of_process(name: &str) -> bool {
    name.starts_with("process_")
}

/// What a metric of OTLP is called on the page: Prometheus has the unit in the name, and says what counts up.
fn shown_as(shown: &BTreeMap<String, Family>) -> impl Fn((&String, &MetricSeen)) -> String {
    |(name, seen)| {
        let unit = match seen.unit.as_str() {
            "s" => "_seconds",
            "By" => "_bytes",
            "" => "",
            other => panic!("{name} has a unit without a word: {other}"),
        };
        let name = format!("{}{unit}", name.replace('.', "_"));
        let total = format!("{name}_total");
        if shown.contains_key(&total) { total } else { name }
    }
}

fn reference() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("deploy/METRICS.md")
}

#[tokio::test]
async fn the_reference_says_what_is_shown_and_what_is_sent() {
    let collector = Receiver::start().await;
    let shown = everything(&collector).await;
    let sent = collector.metrics();
    assert!(sent.values().all(|seen| seen.service == "one-of-ours"), "{sent:?}");

    let mut table =
        "| `/metrics` | OTLP | type | unit | labels | meaning |\n|---|---|---|---|---|---|\n".to_owned();
    for metric @ (name, seen) in &sent {
        let on_page = shown_as(&shown)(metric);
        let family = shown.get(&on_page).unwrap_or_else(|| panic!("{name} is sent and not shown"));
        assert_eq!(family.help, seen.description, "{name}");
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let (kind, unit, labels) = (&family.kind, &seen.unit, labels.join(" "));
        writeln!(table, "| `{on_page}` | `{name}` | {kind} | {unit} | {labels} | {} |", family.help)
            .expect("text");
    }
    for (name, family) in shown.iter().filter(|(name, _)| is_of_process(name)) {
        writeln!(table, "| `{name}` | | {} | | | {} |", family.kind, family.help).expect("text");
    }
    let written = std::fs::read_to_string(reference()).expect("the reference");
    let (before, rest) = written.split_once("<!-- table -->\n").expect("where the table begins");
    let (old, after) = rest.split_once("<!-- end -->").expect("where it ends");
    if updates() {
        let anew = format!("{before}<!-- table -->\n{table}<!-- end -->{after}");
        std::fs::write(reference(), anew).expect("the reference is written");
        return;
    }
    assert_eq!(old, table, "deploy/METRICS.md is out of date: run this test with UPDATE_METRICS=1");
}

/// Whoever wants the table written anew says so to the test command.
fn updates() -> bool {
    std::env::var_os("UPDATE_METRICS").is_some()
}

/// A figure of a page.
fn figure(page: &str, series: &str) -> Option<f64> {
    let line =
        page.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse().ok()
}

async fn until_figure(world: &World, series: &str, wanted: impl Fn(f64) -> bool) {
    let end = Instant::now() + DEADLINE;
    loop {
        let page = world.admin("/metrics").await.text();
        if figure(&page, series).is_some_and(&wanted) {
            return;
        }
        assert!(Instant::now() < end, "{series} is not as wanted: {page}");
        tokio::time::sleep(LOOK).await;
    }
}

#[tokio::test]
async fn what_has_not_ended_is_counted_by_status_and_flag_and_the_oldest_lock_has_an_age() {
    let config = TestConfig::default()
        .set("polling.overdue_seconds", "1")
        .set("polling.operator_escalation_seconds", "1");
    let config =
        config.set("polling.absence_confirmation_seconds", "600").each_upstream("send_timeout_seconds = 1");
    let world = World::serve(config).await;
    world.behave(json!({"restore_seconds": 3600})).await;
    until_figure(&world, "restore_gateway_oldest_lock_age_seconds", |age| age == 0.0).await;
    let running = world.submit(&requests::free_disk()).await;
    assert_eq!(running.json()["status"], "running", "{}", running.text());
    // The answer never comes, and no read can tell.
    world
        .faults(json!([
            {"match": {"method": "POST", "path": "*/restore"}, "stall": true, "applied": false},
            {"match": {"method": "GET"}, "times": 0, "answer": {"status": 500, "body": {}}},
        ]))
        .await;
    let lost = world.submit(&requests::cbr_server()).await;
    assert_eq!(lost.status, 202, "{}", lost.text());
    let of = |label: &str| format!("restore_gateway_restores_{label}");
    for series in [
        of("in_progress{status=\"running\"}"),
        of("in_progress{status=\"unknown\"}"),
        of("flagged{flag=\"overdue\"}"),
    ] {
        until_figure(&world, &series, |count| count == 1.0).await;
    }
    // Neither can be read, so that each is an operator's in the end.
    until_figure(&world, &of("flagged{flag=\"needs_operator\"}"), |count| count == 2.0).await;
    until_figure(&world, &of("flagged{flag=\"stale\"}"), |count| count == 2.0).await;
    until_figure(&world, &of("in_progress{status=\"accepted\"}"), |count| count == 0.0).await;
    until_figure(&world, "restore_gateway_oldest_lock_age_seconds", |age| age > 1.0 && age < 600.0).await;
    until_figure(&world, "restore_gateway_ledger_writable", |writable| writable == 1.0).await;
    world.end().await;
}

#[tokio::test]
async fn a_ledger_that_is_away_is_said_to_be_and_counts_nothing() {
    let postgres = Postgres::start();
    postgres.create_database("ledger");
    let url = format!("{:?}", postgres.url("ledger"));
    let world = World::serve(TestConfig::default().set("ledger.url", &url)).await;
    until_figure(&world, "restore_gateway_ledger_writable", |writable| writable == 1.0).await;
    postgres.kill();
    until_figure(&world, "restore_gateway_ledger_writable", |writable| writable == 0.0).await;
    // An old figure would be a lie.
    let page = world.admin("/metrics").await.text();
    assert!(!page.contains("restore_gateway_restores_in_progress{"), "{page}");
    let refused = world.submit(&requests::free_disk()).await;
    assert_eq!(refused.status, 503);
    let series = "db_client_operation_duration_seconds_count{db_operation_name=\"accept\",db_system_name=\"postgresql\",\
                  error_type=\"unavailable\"}";
    until_figure(&world, series, |count| count >= 1.0).await;
    postgres.start_again();
    until_figure(&world, "restore_gateway_ledger_writable", |writable| writable == 1.0).await;
    world.end().await;
}

#[tokio::test]
async fn a_share_of_requests_is_logged_and_all_that_fail() {
    let config = TestConfig::default()
        .set("telemetry.access_log", "true")
        .set("telemetry.access_log_ratio", "0.0")
        .routes(&nowhere());
    let mut world = World::serve(config).await;
    for _ in 0..20 {
        assert_eq!(world.get("/api/v1/restores").await.status, 200);
    }
    // Nobody listens where the upstream is to be.
    let answer = world.submit(&requests::free_disk()).await;
    assert!(answer.status >= 500, "{}", answer.text());
    let (_, log, _) = world.ended_by("TERM").await;
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("restore_gateway::access")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(!log.contains(ids::TOKEN));
    world.end().await;
}
