//! The contract is one that public tools can use: a linter finds no error, and clients that generators make of it submit,
//! wait, list and cancel, with types.

use std::path::Path;
use std::time::Duration;

use restore_tests::sdks::{generator, node, node_modules, source, steps};
use restore_tests::{TestConfig, World, ids};
use serde_json::{Value, json};
use tokio::process::Command;

/// Longest life of one tool on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// A restore that reads first is answered soon.
fn quick() -> TestConfig {
    TestConfig::default().set("submit.sync_wait_seconds", "0.5")
}

/// The contract as a running gateway serves it, in a folder.
async fn contract(world: &World) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let served = world.get("/openapi.json").await;
    assert_eq!(served.status, 200);
    std::fs::write(folder.path().join("openapi.json"), served.text()).expect("a file");
    folder
}

/// Runs a tool to its end; what it wrote to standard output.
async fn run(mut command: Command, folder: &Path) -> Vec<u8> {
    command.current_dir(folder).env("HOME", folder);
    let ran = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = ran.expect("it ends in time").expect("it is installed");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    output.stdout
}

/// Has a client restore a disk, and cancel another restore of it while the read before the send is slow.
async fn restore_and_cancel(world: &World, folder: &Path, client: impl Fn() -> Command) {
    let url = world.url("");
    let act = async |action: &str| {
        let mut client = client();
        client.args([action, url.trim_end_matches('/'), ids::TOKEN, ids::PROJECT, ids::FREE.0, ids::FREE.1]);
        steps(&run(client, folder).await)
    };
    assert_complete(&act("restore").await);
    world.faults(json!([{"match": {"method": "GET"}, "delay_ms": 60000, "times": 0}])).await;
    assert_eq!(act("cancel").await, [json!({"step": "cancel", "status": "cancelled"})]);
    assert_eq!(world.sent().await.len(), 1, "the cancelled restore was not sent");
}

/// What a client says that did all of it.
fn assert_complete(steps: &[Value]) {
    let step = |name: &str| {
        steps.iter().find(|step| step["step"] == name).unwrap_or_else(|| panic!("no {name}: {steps:#?}"))
    };
    assert_eq!((&step("submit")["replayed"], &step("repeat")["replayed"]), (&json!(false), &json!(true)));
    assert_eq!(step("repeat")["same"], true);
    assert_eq!(step("wait")["status"], "succeeded");
    assert_eq!(step("list")["ids"][0], step("submit")["id"]);
    let names = step("events")["names"].as_array().expect("events");
    assert_eq!((names.first(), names.last()), (Some(&json!("accepted")), Some(&json!("succeeded"))));
    let late = step("cancel-late");
    assert_eq!((&late["code"], &late["effect"]), (&json!("not_cancellable"), &json!("done")), "{late}");
}

#[tokio::test]
async fn a_public_linter_finds_no_error_in_the_contract() {
    let world = World::new().await;
    let folder = contract(&world).await;
    let mut redocly = generator("@redocly/cli/bin/cli.js");
    redocly.args(["lint", "openapi.json"]);
    run(redocly, folder.path()).await;
    world.end().await;
}

#[tokio::test]
async fn a_generated_python_client_restores() {
    let world = World::with(quick()).await;
    let folder = contract(&world).await;
    let mut generate = generator("openapi-python-client");
    generate.args(["generate", "--path", "openapi.json", "--meta", "none", "--fail-on-warning"]);
    generate.args(["--output-path", "restore_gateway_client"]);
    run(generate, folder.path()).await;
    let path = [folder.path().to_owned(), source("")].map(|path| path.display().to_string()).join(":");
    let client = || {
        let mut client = generator("python");
        client.arg(source("generated.py")).env("PYTHONPATH", &path);
        client
    };
    restore_and_cancel(&world, folder.path(), client).await;
    world.end().await;
}

#[tokio::test]
async fn a_generated_typescript_client_restores() {
    let world = World::with(quick()).await;
    let folder = contract(&world).await;
    let mut generate = generator("openapi-typescript/bin/cli.js");
    generate.args(["openapi.json", "--output", "contract.d.ts"]);
    run(generate, folder.path()).await;
    std::fs::copy(source("generated.ts"), folder.path().join("generated.ts")).expect("a file");
    std::os::unix::fs::symlink(node_modules(), folder.path().join("node_modules")).expect("a link");
    let mut compile = generator("typescript/bin/tsc");
    compile.args([
        "--strict",
        "--target",
        "es2022",
        "--module",
        "nodenext",
        "--skipLibCheck",
        "generated.ts",
    ]);
    run(compile, folder.path()).await;
    restore_and_cancel(&world, folder.path(), || node(&folder.path().join("generated.js"))).await;
    world.end().await;
}
