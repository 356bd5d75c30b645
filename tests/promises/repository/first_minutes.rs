//! The first five minutes of somebody new: what the README says is what happens.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use http::Method;
use restore_tests::{Http, binary};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::Instant;

const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Addresses that were free a moment ago.
pub(crate) fn free<const N: usize>() -> [SocketAddr; N] {
    let listeners: [TcpListener; N] =
        std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").expect("a port"));
    listeners.each_ref().map(|listener| listener.local_addr().expect("an address"))
}

pub(crate) async fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    tokio::time::timeout(DEADLINE, output).await.expect("it ends").expect("it runs")
}

fn demo([api, admin, clouds]: [SocketAddr; 3]) -> Command {
    let mut command = Command::new(binary());
    command.arg("demo").args([
        "--listen",
        &api.to_string(),
        "--admin",
        &admin.to_string(),
        "--clouds",
        &clouds.to_string(),
    ]);
    command
}

/// The blocks of a Markdown text in one language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

#[tokio::test]
async fn demo_once_restores_through_all_three_generations() {
    let output = run(demo(free()).arg("--once")).await;
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(told.matches("  succeeded").count(), 3, "{told}");
    assert!(told.contains("all three succeeded"), "{told}");
}

/// A demo that stays up until it is dropped.
pub(crate) struct Demo(Child);

pub(crate) async fn running_demo(addresses: [SocketAddr; 3]) -> Demo {
    let child = demo(addresses)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("it runs");
    let demo = Demo(child);
    let http = Http::default();
    let end = Instant::now() + DEADLINE;
    // The page of restores is there, and the demo's own three are over.
    loop {
        let url = format!("http://{}/api/v1/restores?status=succeeded", addresses[0]);
        if let Ok(answer) = http.try_send(Method::GET, &url, &[], "").await
            && answer.json()["restores"].as_array().is_some_and(|restores| restores.len() == 3)
        {
            return demo;
        }
        assert!(Instant::now() < end, "the demo does not come up");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn the_readmes_own_request_does_what_the_readme_shows() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    let curl =
        blocks(&readme, "sh").into_iter().find(|block| block.starts_with("curl ")).expect("a curl block");
    let shown = blocks(&readme, "json")[0];
    let shown: Value = serde_json::from_str(shown).unwrap_or_else(|error| panic!("{error}: {shown}"));

    let addresses = free::<3>();
    let mut demo = running_demo(addresses).await;
    let line = curl.replace("127.0.0.1:8080", &addresses[0].to_string());
    assert_ne!(line, curl, "the README uses the default port");
    let has_curl = run(Command::new("sh").args(["-c", "command -v curl"])).await.status.success();
    let answer: Value = if has_curl {
        let output = run(Command::new("sh").args(["-c", &line])).await;
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    } else {
        println!("no curl here: the same request is sent by the harness");
        let body = line.split_once("-d '").and_then(|(_, rest)| rest.split('\'').next()).expect("a body");
        let headers: Vec<(&str, &str)> =
            line.split("-H '").skip(1).filter_map(|rest| rest.split('\'').next()?.split_once(": ")).collect();
        let url = format!("http://{}/api/v1/restores", addresses[0]);
        Http::default().send(Method::POST, &url, &headers, body.to_owned()).await.json()
    };
    // What is shown has the members and the fixed words of what comes.
    same_shape(&shown, &answer, "");
    for pointer in [
        "/status",
        "/progress",
        "/attempts",
        "/upstream/name",
        "/upstream/generation",
        "/upstream/status",
        "/upstream/task/kind",
        "/evidence/kind",
        "/evidence/strength",
        "/error",
    ] {
        assert_eq!(answer.pointer(pointer), shown.pointer(pointer), "{pointer}: {answer}");
    }
    demo.0.kill().await.expect("it was running");
}

fn same_shape(shown: &Value, answer: &Value, place: &str) {
    for (name, value) in shown.as_object().into_iter().flatten() {
        let place = format!("{place}/{name}");
        let there = answer.get(name).unwrap_or_else(|| panic!("{place} is shown and not there: {answer}"));
        same_shape(value, there, &place);
    }
}

#[tokio::test]
async fn the_commands_of_the_first_screen_exist() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    let all = restore_tests::pages::blocks(&readme);
    let commands: Vec<&str> = all[..2]
        .iter()
        .flat_map(|block| block.text.lines())
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .collect();
    assert_eq!(commands.len(), 2, "two commands: {commands:?}");
    let screen = readme.lines().position(|line| line.starts_with("## ")).expect("a heading");
    assert!(all[1].line < screen && screen < 40, "they are on the first screen");
    let help = run(Command::new(binary()).arg("--help")).await;
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for command in commands {
        if let Some(arguments) = command.strip_prefix("cargo run -- ") {
            assert!(help.contains(&format!("  {arguments} ")), "{command}: {help}");
        } else {
            let task = command.strip_prefix("./dev ").unwrap_or_else(|| panic!("{command}?"));
            let usage = run(Command::new("sh").arg(root().join("dev"))).await;
            let usage = String::from_utf8_lossy(&usage.stdout).into_owned();
            assert!(usage.contains(&format!("./dev {task} ")), "{command}: {usage}");
        }
    }
    // Every other subcommand that the README names is one.
    for block in all.iter().filter(|block| block.language == "sh") {
        for line in block.text.lines().filter_map(|line| line.strip_prefix("restore-gateway ")) {
            let name = line.split_whitespace().next().expect("a subcommand");
            assert!(help.contains(&format!("  {name} ")), "{name}: {help}");
        }
    }
}

#[tokio::test]
async fn every_example_of_configuration_is_good() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut count = 0;
    for entry in std::fs::read_dir(root().join("config/examples")).expect("examples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|end| end != "toml") {
            continue;
        }
        count += 1;
        let output = run(Command::new(binary())
            .args(["check-config", "--elsewhere", "--config"])
            .arg(&path)
            .env("TLS_KEY", "a key")
            .env("IAM_PASSWORD", "a password"))
        .await;
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{}: {told}", path.display());
    }
    assert!(count >= 3, "{count}");
    // And a bad one is not.
    let bad = folder.path().join("bad.toml");
    std::fs::write(&bad, "[listen]\napi = \"nowhere\"\nadmim = 1\n").expect("written");
    let output = run(Command::new(binary()).arg("check-config").arg("--config").arg(&bad)).await;
    assert_eq!(output.status.code(), Some(78));
    let told = String::from_utf8_lossy(&output.stderr);
    for expected in ["admim", "admin", "listen.api", "upstreams"] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    // The README's own shortest one.
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    let shortest = folder.path().join("shortest.toml");
    std::fs::write(&shortest, blocks(&readme, "toml")[0]).expect("written");
    let output =
        run(Command::new(binary()).args(["check-config", "--offline", "--config"]).arg(&shortest)).await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}
