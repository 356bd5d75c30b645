//! The house stays as ARCHITECTURE.md draws it: no crate imports one above it, and no room of the gateway or of the engine
//! one above it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use restore_tests::tools::sources;

/// Crates, the lowest first; each imports only what stands before it. The simulator imports none of them.
const CRATES: [&str; 9] =
    ["model", "generations", "ledger", "upstream", "webhooks", "engine", "config", "gateway", "cli"];

/// Rooms of the gateway, the lowest first. What is not listed (`lib.rs`, `offline.rs`, `readers.rs`) puts them together.
const ROOMS: [&str; 12] = [
    "web",
    "telemetry",
    "server",
    "auth",
    "dispatch",
    "middleware",
    "api",
    "compat",
    "handler",
    "console",
    "admin",
    "compose",
];

/// Rooms of the engine, the lowest first, as the table in its `lib.rs` has them. `lib.rs` itself delegates to all, and
/// `testing` builds some for unit tests.
const ENGINE_ROOMS: [&str; 21] = [
    "crash",
    "brief",
    "tasks",
    "pacing",
    "routing",
    "callers",
    "observer",
    "live_restores",
    "journal",
    "permissions",
    "planning",
    "id_mapping",
    "schedule",
    "dispatch",
    "polling",
    "takeover",
    "response_cache",
    "admission",
    "queries",
    "operations",
    "components",
];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("crates")
}

fn place(names: &[&str], name: &str) -> Option<usize> {
    names.iter().position(|known| *known == name)
}

#[test]
fn no_crate_imports_one_above_it() {
    let mut seen = BTreeSet::new();
    for folder in std::fs::read_dir(crates()).expect("the crates") {
        let folder = folder.expect("a crate").path();
        let name = folder.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
        let ours: Vec<&str> = manifest
            .lines()
            .take_while(|line| *line != "[dev-dependencies]")
            // The program has the name of the gateway, its library another one.
            .filter_map(|line| line.strip_prefix("restore-")?.split([' ', '=']).next())
            .map(|name| name.trim_end_matches("-service"))
            .collect();
        if name == "simulator" {
            assert!(ours.is_empty(), "the simulator shares nothing with what it tests: {ours:?}");
            continue;
        }
        let own =
            place(&CRATES, &name).unwrap_or_else(|| panic!("{name} has no place in the list of this test"));
        for other in ours {
            if other == "simulator" {
                assert_eq!(name, "cli", "only the program starts simulated clouds");
                continue;
            }
            let other_place = place(&CRATES, other).unwrap_or_else(|| panic!("{name} imports {other}"));
            assert!(other_place < own, "{name} imports {other}, which stands above it");
        }
        seen.insert(name);
    }
    assert_eq!(seen.len(), CRATES.len(), "{seen:?}");
}

/// Each source of a crate: the room it is in, its place within the crate, and its text without tests, which may stand on
/// anything.
fn rooms_of(name: &str) -> Vec<(String, PathBuf, String)> {
    let root = crates().join(name).join("src");
    sources(&root)
        .into_iter()
        .map(|file| {
            let within = file.strip_prefix(&root).expect("below it").to_owned();
            let room = within.iter().next().and_then(|part| part.to_str()).expect("a room");
            let text = std::fs::read_to_string(&file).expect("a source");
            let text = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
            (room.trim_end_matches(".rs").to_owned(), within, text)
        })
        .collect()
}

/// Holds that no room of a crate imports one that stands after it.
fn none_imports_one_above_it(name: &str, rooms: &[&str]) {
    let mut upward = Vec::new();
    let mut imports = 0;
    for (room, within, text) in rooms_of(name) {
        let Some(own) = place(rooms, &room) else { continue };
        for (at, _) in text.match_indices("crate::") {
            let rest = &text[at + "crate::".len()..];
            let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(rest.len());
            let Some(other) = place(rooms, &rest[..end]) else { continue };
            imports += 1;
            if other > own {
                upward.push(format!("{} imports {}", within.display(), &rest[..end]));
            }
        }
    }
    assert!(imports > 100, "the test reads nothing: {imports}");
    assert!(upward.is_empty(), "{}", upward.join("\n"));
}

#[test]
fn no_room_of_the_gateway_imports_one_above_it() {
    none_imports_one_above_it("gateway", &ROOMS);
}

#[test]
fn no_room_of_the_engine_imports_one_above_it_and_the_engine_only_delegates() {
    none_imports_one_above_it("engine", &ENGINE_ROOMS);
    for (room, within, text) in rooms_of("engine") {
        let file = within.display();
        if room == "lib" {
            let table = text.lines().filter_map(|line| line.strip_prefix("//! | ")?.split(" | ").next());
            let named: Vec<&str> = table
                .flat_map(|rooms| rooms.split(", "))
                .map(|room| room.trim_matches(['[', ']', '`']))
                .filter(|room| *room != "module")
                .collect();
            assert_eq!(named, ENGINE_ROOMS, "its table lists the rooms in their order");
            continue;
        }
        assert!(
            room == "testing" || place(&ENGINE_ROOMS, &room).is_some(),
            "{file} has no place in the list"
        );
        assert!(!text.contains("Engine {") && !text.contains("crate::Engine"), "{file} knows the façade");
        // A group of rooms in one import would not be read.
        assert!(!text.contains("crate::{"), "{file} imports one room a line");
    }
}
