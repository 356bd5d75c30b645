//! The reference: made by the program, kept in `docs/reference`, and not stale. `UPDATE_REFERENCE=1` writes it anew.

use std::collections::BTreeSet;

use restore_tests::binary;
use tokio::process::Command;

use crate::repository::first_minutes::{root, run};

async fn printed(arguments: &[&str]) -> String {
    let output = run(Command::new(binary()).args(arguments)).await;
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test]
async fn every_page_is_what_the_program_prints() {
    let folder = root().join("docs/reference");
    let names = printed(&["generate", "reference"]).await;
    let mut stale = Vec::new();
    for name in names.lines() {
        let page = printed(&["generate", "reference", name]).await;
        let path = folder.join(format!("{name}.md"));
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            std::fs::write(&path, &page).expect("it is written");
        }
        if std::fs::read_to_string(&path).unwrap_or_default() != page {
            stale.push(name);
        }
    }
    assert!(names.lines().count() >= 5, "{names}");
    assert!(stale.is_empty(), "stale, run this test with UPDATE_REFERENCE=1: {stale:?}");
}

#[tokio::test]
async fn what_configures_a_client_is_no_fault_of_a_gateway() {
    let page = printed(&["generate", "reference", "command-line"]).await;
    let names: BTreeSet<&str> =
        page.split("[env: ").skip(1).filter_map(|rest| rest.split([']', '=']).next()).collect();
    assert!(names.contains("RESTORE_CLIENT_URL") && names.len() >= 6, "{names:?}");
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("settings.toml");
    std::fs::write(&config, printed(&["init", "sidecar", "--file", "-"]).await).expect("written");
    for name in names {
        let value = if name.ends_with("RECOVERY") { "true" } else { "http://127.0.0.1:1" };
        let mut command = Command::new(binary());
        command.args(["check-config", "--offline", "--config"]).arg(&config).env(name, value);
        // The file is named on the command line, which wins.
        let output = run(&mut command).await;
        assert_eq!(output.status.code(), Some(0), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test]
async fn the_version_is_the_same_everywhere() {
    let said = printed(&["--version"]).await;
    let version = said.trim().strip_prefix("restore-gateway ").expect("a version");
    assert!(version.starts_with(env!("CARGO_PKG_VERSION")), "{version}");
    let world = restore_tests::World::new().await;
    assert_eq!(world.admin("/readyz").await.json()["version"], restore_gateway::version());
    world.end().await;
}
