//! Any source API to any generation: each cell works, or is refused with the reason in the source API's own form, and nothing is
//! sent then (cloud APIs 6.3). What works is followed to its end by the reads that its programs make.

use restore_tests::{TestConfig, World, ids};
use serde_json::{Value, json};

use crate::compat::basics::{DOORS, follow, native};

/// One cell.
struct Cell {
    source_api: &'static str,
    target: &'static str,
    upstream: &'static str,
    /// Status and code of a refusal; none where it works.
    refused: Option<(u16, &'static str)>,
}

const fn works(source_api: &'static str, target: &'static str, upstream: &'static str) -> Cell {
    Cell { source_api, target, upstream, refused: None }
}

const fn refused(
    source_api: &'static str,
    target: &'static str,
    upstream: &'static str,
    why: (u16, &'static str),
) -> Cell {
    Cell { source_api, target, upstream, refused: Some(why) }
}

const CANNOT: (u16, &str) = (400, "Gateway.unsupported_by_generation");
/// The source API has no word for such a target.
const NO_WORD: (u16, &str) = (400, "Gateway.invalid_request");

const CELLS: &[Cell] = &[
    works("csbs-v1", "server", "csbs"),
    works("csbs-v1", "server", "cbr"),
    refused("csbs-v1", "server", "vbs", CANNOT),
    refused("csbs-v1", "volume", "csbs", NO_WORD),
    refused("csbs-v1", "volume", "cbr", NO_WORD),
    refused("csbs-v1", "volume", "vbs", NO_WORD),
    works("cbr-v3", "server", "csbs"),
    works("cbr-v3", "server", "cbr"),
    refused("cbr-v3", "server", "vbs", CANNOT),
    refused("cbr-v3", "volume", "csbs", CANNOT),
    works("cbr-v3", "volume", "cbr"),
    works("cbr-v3", "volume", "vbs"),
    refused("vbs-v2", "server", "csbs", NO_WORD),
    refused("vbs-v2", "server", "cbr", NO_WORD),
    refused("vbs-v2", "server", "vbs", NO_WORD),
    refused("vbs-v2", "volume", "csbs", CANNOT),
    works("vbs-v2", "volume", "cbr"),
    works("vbs-v2", "volume", "vbs"),
    refused("cinder-v3", "server", "csbs", NO_WORD),
    refused("cinder-v3", "server", "cbr", NO_WORD),
    refused("cinder-v3", "server", "vbs", NO_WORD),
    refused("cinder-v3", "volume", "csbs", CANNOT),
    works("cinder-v3", "volume", "cbr"),
    works("cinder-v3", "volume", "vbs"),
    refused("csbs-v1", "server", "cinder", CANNOT),
    refused("csbs-v1", "volume", "cinder", NO_WORD),
    refused("cbr-v3", "server", "cinder", CANNOT),
    works("cbr-v3", "volume", "cinder"),
    refused("vbs-v2", "server", "cinder", NO_WORD),
    works("vbs-v2", "volume", "cinder"),
    refused("cinder-v3", "server", "cinder", NO_WORD),
    works("cinder-v3", "volume", "cinder"),
];

/// Everything goes to one upstream; the others are known to the compatibility endpoints alone.
fn config(upstream: &str) -> TestConfig {
    let routes = r#"
[[routes]]
upstream = "UPSTREAM"
"#;
    let further = if upstream == "cinder" { crate::clouds::cinder::UPSTREAM } else { "" };
    TestConfig::default().ways(&format!("{further}{}", routes.replace("UPSTREAM", upstream))).and(DOORS)
}

/// The body of a restore that the upstream must get, and where.
fn expected(cell: &Cell) -> (String, Value) {
    let mappings = json!([
        {"backup_id": ids::SYSTEM.0, "volume_id": ids::SYSTEM.1},
        {"backup_id": ids::DATA.0, "volume_id": ids::DATA.1},
    ]);
    let project = ids::PROJECT;
    match (cell.upstream, cell.target) {
        ("csbs", _) => (
            format!("/v1/{project}/restores"),
            json!({"restore": {
                "provider_id": "fc4d5750-22e7-4798-8a46-f48f62c4c1da",
                "checkpoint_id": ids::CSBS_CHECKPOINT,
                "parameters": {"checkpoint_item_id": ids::CSBS_ITEM, "power_on": true,
                    "targets": {"server_id": ids::SERVER, "volumes": mappings}},
            }}),
        ),
        ("cbr", "server") => (
            format!("/v3/{project}/backups/{}/restore", ids::CBR_BACKUP),
            json!({"restore": {"server_id": ids::SERVER, "power_on": true, "mappings": mappings}}),
        ),
        ("cbr", _) => (
            format!("/v3/{project}/backups/{}/restore", ids::FREE.0),
            json!({"restore": {"volume_id": ids::FREE.1}}),
        ),
        ("cinder", _) => (
            format!("/cinder/v3/{project}/backups/{}/restore", ids::FREE.0),
            json!({"restore": {"volume_id": ids::FREE.1}}),
        ),
        _ => (
            format!("/vbs/v2/{project}/cloudbackups/{}/restore", ids::FREE.0),
            json!({"restore": {"volume_id": ids::FREE.1}}),
        ),
    }
}

async fn play(cell: &Cell) {
    let Cell { source_api, target, upstream, refused } = cell;
    let name = format!("{source_api} {target} to {upstream}");
    let world = World::with(config(upstream)).await;
    let (path, body) = native::request(source_api, target);
    let answer = world.post(&path, &body).await;
    match refused {
        Some((status, code)) => {
            assert_eq!(answer.status, *status, "{name}: {}", answer.text());
            assert!(answer.text().contains(code), "{name}: {}", answer.text());
            assert!(world.sent().await.is_empty(), "{name}");
            assert!(world.applied().await.is_empty(), "{name}");
        }
        None => {
            follow(&world, source_api, &path, &answer).await;
            let sent = world.sent().await;
            assert_eq!(sent.len(), 1, "{name}");
            let (to, what) = expected(cell);
            assert_eq!((sent[0]["path"].as_str(), &sent[0]["body"]), (Some(&*to), &what), "{name}");
            assert_eq!(world.applied().await.len(), 1, "{name}");
        }
    }
    world.end().await;
}

#[tokio::test]
async fn every_source_api_and_generation_as_the_matrix_has_it() {
    assert_eq!(CELLS.len(), 4 * 4 * 2);
    for cells in CELLS.chunks(4) {
        futures_util::future::join_all(cells.iter().map(play)).await;
    }
}

/// What the gateway says of itself is what it does.
#[tokio::test]
async fn the_published_matrix_matches_the_behaviour() {
    let mut said = std::collections::BTreeMap::new();
    for upstream in ["csbs", "cbr", "vbs", "cinder"] {
        let world = World::with(config(upstream)).await;
        let capabilities = world.get("/api/v1/capabilities").await;
        assert_eq!(capabilities.status, 200, "{}", capabilities.text());
        for source_api in capabilities.json()["source_apis"].as_array().expect("a list") {
            for target in source_api["upstreams"][0]["targets"].as_array().expect("a list") {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let name = (text(&source_api["source_api"]), text(&target["target"]), upstream.to_owned());
                said.insert(name, text(&target["verdict"]));
            }
        }
        world.end().await;
    }
    assert_eq!(said.len(), 4 * 4 * 3);
    for cell in CELLS {
        let name = (cell.source_api.to_owned(), cell.target.to_owned(), cell.upstream.to_owned());
        let verdict = said.get(&name).map(String::as_str).unwrap_or_default();
        let kept = match cell.refused {
            None => ["lossless", "lossy"].contains(&verdict),
            // No route of this configuration opts in.
            Some(CANNOT) => ["impossible", "opt_in"].contains(&verdict),
            Some(_) => verdict == "unsupported_target",
        };
        assert!(kept, "{name:?}: {verdict}");
    }
    // What disk by disk does is held elsewhere, for these two.
    let by_opt_in: Vec<_> = said.iter().filter(|(_, verdict)| *verdict == "opt_in").collect();
    let server = |(name, _): &(&(String, String, String), _)| name.1 == "server" && name.2 == "vbs";
    assert!(by_opt_in.len() == 2 && by_opt_in.iter().all(server), "{by_opt_in:?}");
}
