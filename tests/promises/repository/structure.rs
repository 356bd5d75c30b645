//! The house stays as ARCHITECTURE.md draws it: no crate imports one above it, and no room of the gateway one above it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

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

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_room_of_the_gateway_imports_one_above_it() {
    let root = crates().join("gateway/src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut upward = Vec::new();
    let mut imports = 0;
    for file in files {
        let within = file.strip_prefix(&root).expect("below it");
        let room = within.iter().next().and_then(|part| part.to_str()).expect("a room");
        let Some(own) = place(&ROOMS, room.trim_end_matches(".rs")) else { continue };
        let text = std::fs::read_to_string(&file).expect("a source");
        // Tests may stand on anything.
        let text = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default();
        for (at, _) in text.match_indices("crate::") {
            let rest = &text[at + "crate::".len()..];
            let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(rest.len());
            let Some(other) = place(&ROOMS, &rest[..end]) else { continue };
            imports += 1;
            if other > own {
                upward.push(format!("{} imports {}", within.display(), &rest[..end]));
            }
        }
    }
    assert!(imports > 100, "the test reads nothing: {imports}");
    assert!(upward.is_empty(), "{}", upward.join("\n"));
}
