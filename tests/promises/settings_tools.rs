//! What helps with settings before anything runs: a first file, a check in stages, which route takes what and why, and a
//! team's own tests of its routes.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use restore_tests::{Settings, World, binary, requests};
use serde_json::{Value, json};
use tokio::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

async fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    let output = command.args(arguments).current_dir(folder).stdin(Stdio::null()).kill_on_drop(true).output();
    tokio::time::timeout(Duration::from_secs(60), output).await.expect("it ends").expect("it runs")
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn a_first_file_has_ten_lines_at_most_and_is_good() {
    for story in ["sidecar", "service", "migration"] {
        let folder = tempfile::tempdir().expect("a folder");
        let output = run(folder.path(), &["init", story, "--region", "eu-nl"]).await;
        assert!(output.status.success(), "{}", told(&output));
        let text = std::fs::read_to_string(folder.path().join("restore-gateway.toml")).expect("a file");
        assert!(text.lines().count() <= 10 && text.starts_with("# "), "{text}");
        assert!(text.contains("https://cbr.eu-nl.otc.t-systems.com"), "{text}");
        let checked = run(folder.path(), &["check-config", "--offline"]).await;
        assert!(checked.status.success(), "{story}: {}", told(&checked));
        if story == "service" {
            let key =
                told(&output).split_whitespace().find(|word| word.starts_with("rgk_")).map(str::to_owned);
            assert!(key.is_some_and(|key| !text.contains(&key)), "the file has the hash alone");
        }
        // What is there is somebody's.
        std::fs::write(folder.path().join("restore-gateway.toml"), "mine").expect("written");
        assert_eq!(run(folder.path(), &["init", story]).await.status.code(), Some(1));
        let kept = std::fs::read_to_string(folder.path().join("restore-gateway.toml")).expect("a file");
        assert_eq!(kept, "mine");
    }
    let odd = run(Path::new("/"), &["init", "sidecar", "--region", "x/../y", "-o", "-"]).await;
    assert_eq!(odd.status.code(), Some(2), "{}", told(&odd));
}

/// The gateway's own login is asked for once, each address of each upstream once, and nothing of any project.
#[tokio::test]
async fn what_settings_need_around_them_is_looked_at() {
    let world = World::with(Settings::default()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("kept");
    };
    let good = Settings::default().each_upstream("credential = \"robot\"").robot();
    let good = good.set("ledger.url", "\"sqlite:ledger.db\"").toml(&world.clouds.url());
    write("password", "example-only");
    write("gateway.toml", &good);
    let check = ["check-config", "-c", "gateway.toml", "--format", "json"];
    let output = run(folder.path(), &check).await;
    assert!(output.status.success(), "{}", told(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let looks = report["surroundings"].as_array().expect("looks");
    let ok = |path: &str| looks.iter().filter(|look| look["path"] == path && look["outcome"] == "ok").count();
    // CBR and VBS have two addresses each.
    let counts = ["ledger.url", "upstreams[0]", "upstreams[1]", "upstreams[2]", "credentials[0]"].map(ok);
    assert_eq!(counts, [1, 2, 1, 2, 1], "{report}");
    assert!(!folder.path().join("ledger.db").exists(), "nothing is made");
    let arrived = world.arrived().await;
    assert!(
        arrived.iter().all(|seen| !seen["path"].to_string().contains(restore_tests::ids::PROJECT)),
        "{arrived:?}"
    );

    // Each thing that is not as it should be has its own line; the settings are good.
    write("password", "wrong");
    let bad = good.replace("sqlite:ledger.db", "sqlite:no/such/folder/ledger.db");
    let bad = bad.replacen(&world.clouds.url(), "http://127.0.0.1:9", 1);
    write("gateway.toml", &bad);
    let output = run(folder.path(), &check[..3]).await;
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let text = told(&output);
    for path in ["ledger.url", "upstreams[0]", "credentials[0]"] {
        assert!(text.contains(&format!("FAILED  {path}: ")), "{path} in {text}");
    }
    assert!(!text.contains("example-only") && !text.contains(": no faults"), "{text}");
    let github = run(folder.path(), &["check-config", "-c", "gateway.toml", "--format", "github"]).await;
    assert!(told(&github).contains("::error title=surroundings::ledger.url: "), "{}", told(&github));
    // Where nothing may be dialled, nothing is.
    let output = run(folder.path(), &["check-config", "-c", "gateway.toml", "--offline"]).await;
    assert!(output.status.success(), "{}", told(&output));
    world.end().await;
}

#[tokio::test]
async fn each_route_says_why_it_takes_a_request_or_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings::default().ways(
        r#"
[[routes]]
match = { target = ["volume"] }
upstream = "vbs"
[[routes]]
dialect = ["csbs-v1"]
upstream = "csbs"
[[routes]]
match = { project_id = ["ffffffffffffffffffffffffffffffff"] }
upstream = "csbs"
[[routes]]
upstream = "cbr"
[[routes]]
upstream = "cbr"
"#,
    );
    std::fs::write(folder.path().join("gateway.toml"), settings.toml("http://127.0.0.1:9")).expect("written");
    std::fs::write(folder.path().join("request.json"), requests::cbr_server().to_string()).expect("written");
    let test = ["routes", "test", "-c", "gateway.toml", "request.json"];
    let output = run(folder.path(), &test).await;
    assert!(output.status.success(), "{}", told(&output));
    let lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    assert_eq!(
        lines,
        [
            "routes[0] to vbs does not: its target is not the request's",
            "routes[1] to csbs does not: it does not take what comes through canonical",
            "routes[2] to csbs does not: its project_id is not the request's",
            "routes[3] to cbr takes it: everything",
            "routes[4] to cbr would take it, and comes later",
        ]
    );
    let output = run(folder.path(), &[&test[..], &["--dialect", "csbs-v1"]].concat()).await;
    assert!(
        told(&output).contains("routes[1] to csbs takes it: everything, through csbs-v1"),
        "{}",
        told(&output)
    );
    std::fs::write(folder.path().join("request.json"), "{\"target\": 1}").expect("written");
    let output = run(folder.path(), &test).await;
    assert_eq!(output.status.code(), Some(3));
    assert!(told(&output).contains("/target"), "{}", told(&output));
}

#[tokio::test]
async fn a_team_tests_its_routes_in_its_own_ci() {
    let examples = root().join("config/examples");
    let verify = ["routes", "verify", "-c", "migration.toml"];
    let output = run(&examples, &[&verify[..], &["migration.tests.json"]].concat()).await;
    assert!(output.status.success(), "{}", told(&output));
    assert!(told(&output).contains("3 passed, 0 failed"), "{}", told(&output));

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tests.json");
    let tests = json!({"tests": [
        {"name": "another way", "request": requests::free_disk(), "expect": {"route": {"upstream": "vbs"}}},
        {"name": "another body", "request": requests::free_disk(), "expect": {"request": {"body": {"restore": {"x": 1}}}}},
        {"name": "not refused", "request": requests::free_disk(), "refused": "no_route"},
        {"name": "refused", "request": {"target": 1}, "expect": {}},
    ]});
    std::fs::write(&path, tests.to_string()).expect("written");
    let file = path.display().to_string();
    let output = run(&examples, &[&verify[..], &[&file]].concat()).await;
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    let text = told(&output);
    for line in [
        "/route/upstream is \"cbr\", not \"vbs\"",
        "/request/body/restore/x is null, not 1",
        "not refused with no_route, but sent to cbr",
        "refused with invalid_request",
        "0 passed, 4 failed",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    // A test that says nothing, or two things, is no test.
    for broken in
        [json!({"tests": []}), json!({"tests": [{"name": "x", "request": {}}]}), json!({"tests": 1})]
    {
        std::fs::write(&path, broken.to_string()).expect("written");
        let output = run(&examples, &[&verify[..], &[&file]].concat()).await;
        assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    }
}
