//! What a backup would be called, shown beforehand; and with whose credential each cloud is asked for it.

use std::process::Output;

use restore_tests::{World, ids};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::compat::basics::native;
use crate::compat::ids::{MOVED, config, config_of};

async fn resolve(world: &World, file: &std::path::Path, more: &[&str]) -> Output {
    std::fs::write(file, config().toml(&world.clouds.url())).expect("a file");
    Command::new(restore_tests::binary())
        .args(["id-mapping", "resolve", "--config", &file.display().to_string(), "--source-api", "csbs-v1"])
        .args(["--project", ids::PROJECT, "--to", "cbr", "--output", "json"])
        .args(more)
        .env_remove("RESTORE_CLIENT_TOKEN")
        .output()
        .await
        .expect("the binary runs")
}

/// `id-mapping resolve` shows what a restore would go by, sends nothing, and ends as a restore would.
#[tokio::test]
async fn what_an_id_would_be_is_shown_beforehand() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("gateway.toml");
    let world = World::with(config()).await;
    let token = ["--token", ids::TOKEN];
    let said = |output: &Output| serde_json::from_slice::<Value>(&output.stdout).expect("JSON");

    let more = [&token[..], &[ids::CSBS_ITEM, "--volume", ids::SYSTEM.0]].concat();
    let output = resolve(&world, &file, &more).await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let shown = said(&output);
    assert_eq!(shown["names"], json!({"backup_id": ids::CBR_BACKUP, "disks": [ids::SYSTEM.0]}));
    let ways: Vec<&str> =
        shown["steps"].as_array().into_iter().flatten().filter_map(|step| step["method"].as_str()).collect();
    assert_eq!(ways, ["source_lookup", "id_map", "same_id", "match", "disks"]);

    let unknown = "8a1b9c2d-3e4f-4506-9718-293a4b5c6d70";
    let output = resolve(&world, &file, &[&token[..], &[unknown]].concat()).await;
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said(&output)["problem"]["code"], "backup_id_unmapped");

    // Without a token nobody can be asked.
    let output = resolve(&world, &file, &[ids::CSBS_ITEM]).await;
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(world.sent().await.is_empty());
    world.end().await;
}

/// The home takes the program's token and the worker has a credential of the gateway's own: each is asked with what it
/// takes. Without a token nobody can ask the home, and nothing is sent.
#[tokio::test]
async fn the_home_is_asked_with_the_programs_token_and_the_worker_with_the_gateways() {
    let held =
        MOVED.replacen("generation = \"cbr-v3\"", "generation = \"cbr-v3\"\ncredential = \"robot\"", 1);
    let config = config_of(&held).robot();
    let world = World::serve_beside(config, &[], &[("password", "example-only")]).await;
    let (path, body) = native::request("csbs-v1", "server");
    let json = [("content-type", "application/json")];
    let without = world.http.send(http::Method::POST, &world.url(&path), &json, body.to_string()).await;
    assert_eq!(without.status, 400, "{}", without.text());
    assert!(world.sent().await.is_empty());
    let answer = world.post(&path, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(world.applied().await.len(), 1);
    let arrived = world.arrived().await;
    let with = |part: &str| {
        let seen =
            arrived.iter().filter(|seen| seen["path"].as_str().is_some_and(|path| path.contains(part)));
        seen.map(|seen| seen["headers"]["x-auth-token"].clone()).collect::<Vec<_>>()
    };
    let home = with("/checkpoint_items/");
    assert!(!home.is_empty() && home.iter().all(|token| token == ids::TOKEN), "{home:?}");
    let worker = with("/v3/");
    assert!(worker.iter().all(|token| token != ids::TOKEN), "{worker:?}");
    world.end().await;
}
