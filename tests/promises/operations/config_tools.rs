//! What helps with configuration before anything runs: a first file, a check in stages, which route takes what and why, and a
//! team's own tests of its routes.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use restore_tests::{TestConfig, World, binary, requests};
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
    let odd = run(Path::new("/"), &["init", "sidecar", "--region", "x/../y", "--file", "-"]).await;
    assert_eq!(odd.status.code(), Some(2), "{}", told(&odd));
}

/// The gateway's own login is asked for once, each address of each upstream once, and nothing of any project.
#[tokio::test]
async fn the_systems_that_the_configuration_needs_are_checked() {
    let world = World::with(TestConfig::default()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("kept");
    };
    let good = TestConfig::default().each_upstream("credential = \"robot\"").robot();
    let good = good.set("ledger.url", "\"sqlite:ledger.db\"").toml(&world.clouds.url());
    write("password", "example-only");
    write("gateway.toml", &good);
    let check = ["check-config", "-c", "gateway.toml", "--output", "json"];
    let output = run(folder.path(), &check).await;
    assert!(output.status.success(), "{}", told(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let looks = report["dependencies"].as_array().expect("looks");
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

    // Each thing that is not as it should be has its own line; the configuration is good.
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
    assert!(!text.contains("example-only") && !text.contains(": no errors"), "{text}");
    let github = run(folder.path(), &["check-config", "-c", "gateway.toml", "--output", "github"]).await;
    assert!(told(&github).contains("::error title=dependencies::ledger.url: "), "{}", told(&github));
    // Where nothing may be dialled, nothing is.
    let output = run(folder.path(), &["check-config", "-c", "gateway.toml", "--offline"]).await;
    assert!(output.status.success(), "{}", told(&output));
    world.end().await;
}

/// A good file, to be made worse.
const GOOD: &str = r#"
[[upstreams]]
name = "cbr"
generation = "cbr-v3"
endpoint = "https://cbr.cloud.example"
[[routes]]
upstream = "cbr"
"#;

#[tokio::test]
async fn a_file_that_cannot_be_used_is_a_fault_at_its_key_in_every_format() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("header.csv"), "old,new\n").expect("written");
    let in_upstream = GOOD.replacen("generation", "ca_file = \"none.pem\"\ngeneration", 1);
    let tls = "[tls]\ncertificate_file = \"none.pem\"\nkey = { env = \"HOME\" }\n";
    for (text, path, line, words) in [
        (format!("[id_mapping]\nfile = \"none.csv\"\n{GOOD}"), "id_mapping.file", 2, "none.csv"),
        (
            format!("[id_mapping]\nfile = \"header.csv\"\n{GOOD}"),
            "id_mapping.file",
            2,
            "from,from_id,to,to_id",
        ),
        (in_upstream, "upstreams[0].ca_file", 4, "none.pem"),
        (format!("{tls}{GOOD}"), "tls.certificate_file", 2, "none.pem"),
    ] {
        std::fs::write(folder.path().join("gateway.toml"), text).expect("written");
        let check = async |format: &str| {
            let arguments = ["check-config", "--offline", "-c", "gateway.toml", "--output", format];
            let output = run(folder.path(), &arguments).await;
            assert_eq!(output.status.code(), Some(78), "{}", told(&output));
            told(&output)
        };
        let human = check("text").await;
        assert!(human.contains(&format!("gateway.toml:{line}:")) && human.contains(words), "{human}");
        let json: Value = serde_json::from_str(&check("json").await).expect("JSON");
        let fault = &json["faults"][0];
        assert_eq!(
            (&json["errors"], &fault["path"], &fault["line"]),
            (&json!(1), &json!(path), &json!(line)),
            "{json}"
        );
        assert_eq!(json["dependencies"], json!([]));
        let github = check("github").await;
        assert!(github.starts_with(&format!("::error file=gateway.toml,line={line},")), "{github}");
    }
}

/// In CI there are neither secrets nor certificates nor a network.
#[tokio::test]
async fn a_configuration_of_another_machine_is_checked_without_its_secrets() {
    let folder = tempfile::tempdir().expect("a folder");
    let secrets = r#"
[tls]
certificate_file = "/run/secrets/tls.crt"
key = { file = "/run/secrets/tls.key" }
[ledger]
url = "postgres://gateway@db.example/restore"
password = { file = "/run/secrets/database" }
[[credentials]]
name = "robot"
type = "iam-password"
iam_endpoint = "https://iam.cloud.example"
user = "robot"
domain = "example"
password = { env = "RESTORE_TEST_THAT_NOBODY_SETS" }
project_id = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
[[webhooks]]
name = "tickets"
url = "https://tickets.example/hook"
secret = { file = "/run/secrets/hook" }
"#;
    let file = format!("{secrets}{}", GOOD.replacen("generation", "credential = \"robot\"\ngeneration", 1));
    let path = folder.path().join("gateway.toml");
    std::fs::write(&path, &file).expect("written");
    let check = ["check-config", "--elsewhere", "gateway.toml"];
    let output = run(folder.path(), &check).await;
    assert!(output.status.success(), "{}", told(&output));
    // Without the switch each missing secret is an error, and with it everything else is still checked.
    let output = run(folder.path(), &["check-config", "--offline", "gateway.toml"]).await;
    assert_eq!(output.status.code(), Some(78), "{}", told(&output));
    assert_eq!(told(&output).matches("secret-missing").count(), 4, "{}", told(&output));
    std::fs::write(&path, file.replace("iam_endpoint", "iam_endpiont")).expect("written");
    let output = run(folder.path(), &check).await;
    assert_eq!(output.status.code(), Some(78), "{}", told(&output));
    assert!(told(&output).contains("iam_endpoint"), "{}", told(&output));

    // Every example of the repository passes this check.
    let examples = root().join("config/examples");
    let mut count = 0;
    for example in std::fs::read_dir(examples).expect("a folder") {
        let example = example.expect("a file").path();
        if example.extension().is_some_and(|kind| kind == "toml") {
            let name = example.display().to_string();
            let output = run(folder.path(), &["check-config", "--elsewhere", &name]).await;
            assert!(output.status.success(), "{name}: {}", told(&output));
            count += 1;
        }
    }
    assert!(count >= 5);
}

#[tokio::test]
async fn no_format_calls_good_what_ends_with_78() {
    let folder = tempfile::tempdir().expect("a folder");
    let unused = GOOD.replacen("[[routes]]", "[[upstreams]]\nname = \"more\"\ngeneration = \"vbs-v2\"\nendpoint = \"https://vbs.cloud.example\"\n[[routes]]", 1);
    std::fs::write(folder.path().join("gateway.toml"), unused).expect("written");
    for (file, more, words) in [
        ("gateway.toml", &["--deny-warnings"][..], "unused-upstream"),
        ("none.toml", &[], "restore-gateway init"),
    ] {
        let check = async |format: &str| {
            let arguments = ["check-config", "--offline", "-c", file, "--output", format];
            let output = run(folder.path(), &[&arguments[..], more].concat()).await;
            assert_eq!(output.status.code(), Some(78), "{}", told(&output));
            assert!(told(&output).contains(words), "{}", told(&output));
            output
        };
        let human = told(&check("text").await);
        assert!(human.contains("1 error\n") && !human.contains("no errors"), "{human}");
        let json: Value = serde_json::from_slice(&check("json").await.stdout).expect("JSON");
        assert_eq!((&json["errors"], &json["faults"][0]["severity"]), (&json!(1), &json!("error")), "{json}");
        assert_eq!(json["file"], file);
        let github = String::from_utf8(check("github").await.stdout).expect("text");
        assert!(github.starts_with(&format!("::error file={file},")), "{github}");
    }
    let serve = run(folder.path(), &["serve", "-c", "none.toml"]).await;
    assert!(told(&serve).contains("restore-gateway init sidecar --file none.toml"), "{}", told(&serve));
}

#[tokio::test]
async fn messages_say_what_there_is_and_where() {
    let folder = tempfile::tempdir().expect("a folder");
    let policy = "[[policies]]\ncallers = [\"x\"]\nactions = [\"restore\"]\n";
    let secret = GOOD.replacen(
        "generation",
        "client_certificate_file = \"c\"\nclient_key = { file = \"pw\" }\ngeneration",
        1,
    );
    // As the process finds its working directory.
    let here = std::fs::canonicalize(folder.path()).expect("a folder");
    let place = format!("the file {} cannot be read", here.join("pw").display());
    for (text, words) in
        [(format!("{GOOD}{policy}"), "there is no `[[callers]]` at all"), (secret, place.as_str())]
    {
        std::fs::write(folder.path().join("gateway.toml"), text).expect("written");
        let output = run(folder.path(), &["check-config", "--offline", "-c", "gateway.toml"]).await;
        assert!(told(&output).contains(words), "{words}: {}", told(&output));
    }
}

#[tokio::test]
async fn a_route_that_takes_what_it_cannot_express_says_that_it_refuses_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = TestConfig::default().ways(
        "[[routes]]\nmatch = { target_types = [\"server\"] }\nupstream = \"vbs\"\n[[routes]]\nupstream = \"cbr\"\n",
    );
    std::fs::write(folder.path().join("gateway.toml"), config.toml("http://127.0.0.1:9")).expect("written");
    let test = ["routes", "test", "-c", "gateway.toml", "request.json"];
    for (request, code, words) in [
        (
            requests::cbr_server(),
            3,
            "routes[0] to vbs matches: target, but the upstream rejects it: unsupported_by_generation ",
        ),
        (requests::free_disk(), 0, "routes[1] to cbr matches: everything\n"),
    ] {
        std::fs::write(folder.path().join("request.json"), request.to_string()).expect("written");
        let output = run(folder.path(), &test).await;
        assert!(output.status.code() == Some(code) && told(&output).contains(words), "{}", told(&output));
    }
}

#[tokio::test]
async fn each_route_says_why_it_takes_a_request_or_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = TestConfig::default().ways(
        r#"
[[routes]]
match = { target_types = ["volume"] }
upstream = "vbs"
[[routes]]
source_apis = ["csbs-v1"]
upstream = "csbs"
[[routes]]
match = { project_ids = ["ffffffffffffffffffffffffffffffff"] }
upstream = "csbs"
[[routes]]
upstream = "cbr"
[[routes]]
upstream = "cbr"
"#,
    );
    std::fs::write(folder.path().join("gateway.toml"), config.toml("http://127.0.0.1:9")).expect("written");
    std::fs::write(folder.path().join("request.json"), requests::cbr_server().to_string()).expect("written");
    let test = ["routes", "test", "-c", "gateway.toml", "request.json"];
    let output = run(folder.path(), &test).await;
    assert!(output.status.success(), "{}", told(&output));
    let lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    assert_eq!(
        lines,
        [
            "routes[0] to vbs does not match: its target is not the request's",
            "routes[1] to csbs does not match: it does not take what comes through canonical",
            "routes[2] to csbs does not match: its project_id is not the request's",
            "routes[3] to cbr matches: everything",
            "routes[4] to cbr matches too, but comes later",
        ]
    );
    let output = run(folder.path(), &[&test[..], &["--source-api", "csbs-v1"]].concat()).await;
    assert!(
        told(&output).contains("routes[1] to csbs matches: everything, through csbs-v1"),
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
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let text = told(&output);
    for line in [
        "/route/upstream is \"cbr\", not \"vbs\"",
        "/request/body/restore/x is null, not 1",
        "not rejected with no_route, but sent to cbr",
        "rejected with invalid_request",
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
