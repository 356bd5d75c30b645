//! What the tree itself promises: no `unsafe` of our own (S43), dependencies that are chosen and pinned (S42), an image
//! and a unit without rights (S41). These read files: the image is not built here, for that needs a container engine;
//! `confinement.rs` runs the binary as the image would.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn text(path: &str) -> String {
    std::fs::read_to_string(top().join(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
}

fn table(path: &str) -> Table {
    text(path).parse().unwrap_or_else(|why| panic!("{path}: {why}"))
}

/// The folders of all members, as the workspace names them.
fn members() -> Vec<String> {
    let workspace = table("Cargo.toml");
    let named = workspace["workspace"]["members"].as_array().expect("members").iter();
    let mut members = Vec::new();
    for member in named.map(|member| member.as_str().expect("a path")) {
        match member.strip_suffix("/*") {
            None => members.push(member.to_owned()),
            Some(folder) => {
                let entries = std::fs::read_dir(top().join(folder)).expect("members");
                let found = entries.map(|entry| entry.expect("an entry").file_name());
                members.extend(found.map(|name| format!("{folder}/{}", name.to_string_lossy())));
            }
        }
    }
    members
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn s43_no_crate_of_ours_may_use_unsafe() {
    let workspace = table("Cargo.toml");
    let lint = &workspace["workspace"]["lints"]["rust"]["unsafe_code"];
    assert_eq!(lint.as_str(), Some("forbid"));
    let members = members();
    assert!(members.len() >= 12, "{members:?}");
    for member in members {
        let manifest = table(&format!("{member}/Cargo.toml"));
        let inherits = manifest.get("lints").and_then(|lints| lints.get("workspace"));
        assert_eq!(inherits.and_then(Value::as_bool), Some(true), "{member} has lints of its own");
    }
}

#[test]
fn s42_what_is_built_from_is_chosen_and_pinned() {
    let deny = table("deny.toml");
    let licences = strings(&deny["licenses"]["allow"]);
    assert!(licences.contains(&"MIT") && !licences.iter().any(|name| name.contains("GPL")), "{licences:?}");
    assert_eq!(deny["bans"]["wildcards"].as_str(), Some("deny"));
    let banned = deny["bans"]["deny"].as_array().expect("bans");
    let banned: Vec<&str> = banned.iter().filter_map(|ban| ban["crate"].as_str()).collect();
    assert!(banned.contains(&"openssl") && banned.contains(&"reqwest"), "{banned:?}");
    for kind in ["unknown-registry", "unknown-git"] {
        assert_eq!(deny["sources"][kind].as_str(), Some("deny"), "{kind}");
    }
    assert_eq!(deny["advisories"]["yanked"].as_str(), Some("deny"));
    assert!(deny["advisories"].get("ignore").is_none_or(|ignored| strings(ignored).is_empty()));
    let entry = text("dev");
    assert!(entry.contains("cargo deny check bans licenses sources"), "it is run");

    // What is locked is all there is, from one registry, each with its checksum.
    let lock = table("Cargo.lock");
    let packages = lock["package"].as_array().expect("packages");
    assert!(packages.len() > 100);
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        match package.get("source").and_then(Value::as_str) {
            Some(source) => {
                assert!(source.starts_with("registry+"), "{name} comes from {source}");
                assert!(package.get("checksum").is_some(), "{name} has no checksum");
            }
            None => assert!(name.starts_with("restore-"), "{name} comes from nowhere"),
        }
    }
    // And nothing is built from anything else: a lock that does not fit is an error.
    let calls = ["cargo clippy", "cargo doc", "cargo test", "cargo build", "cargo run"];
    for line in entry.lines().chain(text("deploy/Containerfile").leak().lines()) {
        if calls.iter().any(|call| line.contains(call)) {
            assert!(line.contains("--locked"), "{line}");
        }
    }
    // Versions stand in one place, and none is "whatever".
    for member in members() {
        let manifest = table(&format!("{member}/Cargo.toml"));
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (name, value) in manifest.get(kind).and_then(Value::as_table).into_iter().flatten() {
                assert_eq!(value.get("workspace").and_then(Value::as_bool), Some(true), "{member}: {name}");
            }
        }
    }
}

#[test]
fn s41_the_image_and_the_unit_give_no_rights() {
    let image = text("deploy/Containerfile");
    let last = image.rsplit("\nFROM ").next().expect("a stage");
    let users: Vec<&str> = last.lines().filter_map(|line| line.strip_prefix("USER ")).collect();
    let [user] = users.as_slice() else { panic!("one user: {users:?}") };
    for id in user.split(':') {
        // By number, so that an orchestrator can see that it is not root.
        assert!(id.parse::<u32>().is_ok_and(|id| id >= 1_000), "{user}");
    }
    assert!(last.contains("\nVOLUME /data\n") && last.contains("\nWORKDIR /data\n"));
    let mut after = last.split("\nUSER ").nth(1).expect("what comes after").lines();
    assert!(
        !after.any(|line| line.starts_with("RUN") || line.starts_with("COPY")),
        "all is root's but /data"
    );
    assert!(!last.contains("--cap-add") && !last.contains("setcap") && !last.contains("chmod u+s"));

    let unit = text("deploy/systemd/restore-gateway.service");
    for line in [
        "DynamicUser=yes",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "AmbientCapabilities=",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "PrivateTmp=yes",
        "PrivateDevices=yes",
        "ProtectProc=invisible",
        "RestrictNamespaces=yes",
        "MemoryDenyWriteExecute=yes",
        "SystemCallArchitectures=native",
        "LimitCORE=0",
        "UMask=0077",
        "StateDirectoryMode=0700",
    ] {
        assert!(unit.lines().any(|own| own == line), "the unit says {line}");
    }
    assert!(!unit.contains("Environment="), "no secret has its place there");
}
