//! The binary as a user meets it: output and exit code of each command. This test also makes `cargo test` build the binary,
//! which the end-to-end contract tests in `tests/` run as a process.

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_restore-gateway")).args(arguments).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn no_command_prints_the_list_of_commands() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(2));
    let help = text(&output.stderr);
    for command in ["serve", "demo", "simulate", "check-config", "restore", "generate"] {
        assert!(help.contains(command), "{command} in {help}");
    }
}

#[test]
fn check_config_reports_all_errors_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    std::fs::write(
        &file,
        r#"[listen]
api = "localhost"

[limits]
body_limt = 5

[[upstreams]]
name = "eu"
generation = "cbr-v4"
endpoint = "https://cbr.eu.example"

[[routes]]
upstrem = "eu"
upstream = "us"
"#,
    )
    .unwrap();
    let path = file.display().to_string();
    let output = run(&["check-config", &path, "--output", "json"]);
    assert_eq!(output.status.code(), Some(78));
    let faults: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let faults = faults["faults"].as_array().or(faults.as_array()).expect("a list").clone();
    let found: Vec<(String, u64)> = faults
        .iter()
        .filter(|fault| fault["severity"] == "error")
        .map(|fault| {
            (fault["path"].as_str().unwrap_or_default().to_owned(), fault["line"].as_u64().unwrap_or(0))
        })
        .collect();
    for expected in [
        ("listen.api", 2),
        ("limits.body_limt", 5),
        ("upstreams[0].generation", 9),
        ("routes[0].upstrem", 13),
        ("routes[0].upstream", 14),
    ] {
        assert!(found.contains(&(expected.0.to_owned(), expected.1)), "{expected:?} in {found:?}");
    }

    let output = run(&["check-config", "--config", &path]);
    let shown = text(&output.stderr);
    assert!(shown.contains("max_body_bytes"), "the nearest key is named:\n{shown}");
    assert!(shown.contains("cbr-v3"), "the nearest generation is named:\n{shown}");
}

#[test]
fn default_configuration_has_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, run(&["generate", "default-config"]).stdout).unwrap();
    let output = run(&["check-config", "--offline", &file.display().to_string()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn check_config_reads_files_of_listeners_and_callers() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let start = "[[upstreams]]\nname = \"a\"\ngeneration = \"cbr-v3\"\nendpoint = \"https://cbr.example\"\n\
                 [[routes]]\nupstream = \"a\"\n";
    let check = |more: &str| {
        run(&["check-config", "--offline", "--config", &write("gateway.toml", &format!("{start}{more}"))])
    };
    assert_eq!(check("").status.code(), Some(0));
    let keys = write("keys.json", "{}");
    let callers = format!(
        "[[callers]]\nname = \"them\"\ntype = \"jwt\"\nissuer = \"https://login.example\"\n\
         audience = \"gateway\"\njwks_file = {keys:?}\n[[policies]]\ncallers = [\"them\"]\nactions = [\"read\"]\n"
    );
    let tls = "[tls]\ncertificate_file = \"not-there.crt\"\nkey = { file = \"not-there.key\" }\n";
    for (more, named) in [(callers.as_str(), "callers[0].jwks_file: this is no set"), (tls, "not-there")] {
        let output = check(more);
        assert_eq!(output.status.code(), Some(78), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(named), "{}", text(&output.stderr));
    }
}

#[test]
fn check_config_reports_all_unusable_files_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    let key = folder.path().join("some.key");
    std::fs::write(&key, "not looked at before the chain").unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let written = r#"[id_mapping]
file = "no-pairs.csv"

[tls]
certificate_file = "no-chain.pem"
key = { file = "some.key" }

[[upstreams]]
name = "a"
generation = "cbr-v3"
endpoint = "https://cbr.example"
ca_file = "no-ca.pem"

[[upstreams]]
name = "b"
generation = "vbs-v2"
endpoint = "https://vbs.example"
ca_file = "no-ca.pem"

[[routes]]
upstream = "b"
fallback_upstream = "a"

[[callers]]
name = "them"
type = "jwt"
listeners = ["api", "admin"]
issuer = "https://login.example"
audience = "gateway"
jwks_file = "no-keys.json"

[[policies]]
callers = ["them"]
actions = ["read"]
"#;
    std::fs::write(&file, written.replace("some.key", &key.display().to_string())).unwrap();
    let path = file.display().to_string();
    let output = run(&["check-config", "--offline", "--config", &path, "--output", "json"]);
    assert_eq!(output.status.code(), Some(78));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let faults = report["faults"].as_array().expect("a list");
    let mut places: Vec<_> = faults
        .iter()
        .filter(|fault| fault["code"] == "unusable")
        .map(|fault| fault["path"].as_str().unwrap_or_default())
        .collect();
    places.sort_unstable();
    // Each once, without follow-up errors: the upstreams of the route exist, but cannot be built.
    let expected = [
        "callers[0].jwks_file",
        "id_mapping.file",
        "tls.certificate_file",
        "upstreams[0].ca_file",
        "upstreams[1].ca_file",
    ];
    assert_eq!(places, expected, "{report:#}");
}

#[test]
fn offline_preview_prints_the_call_or_the_rejection() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("gateway.toml");
    std::fs::write(&config, run(&["generate", "default-config"]).stdout).unwrap();
    let request = folder.path().join("request.json");
    let preview = |body: &str| {
        std::fs::write(&request, body).unwrap();
        let (config, request) = (config.display().to_string(), request.display().to_string());
        run(&["restore", "preview", "--offline", "--config", &config, &request])
    };
    let good = preview(
        r#"{"project_id": "0a1b2c3d4e5f60718293a4b5c6d7e8f9", "source": {"backup_id": "b1"},
            "target": {"type": "volume", "volume_id": "v1"}}"#,
    );
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));
    let shown: serde_json::Value = serde_json::from_slice(&good.stdout).unwrap();
    assert_eq!(shown["request"]["body"], serde_json::json!({"restore": {"volume_id": "v1"}}));
    let bad = preview(r#"{"project_id": "nope"}"#);
    assert_eq!(bad.status.code(), Some(3));
    assert!(text(&bad.stderr).contains("/project_id"));
}

#[test]
fn offline_preview_maps_a_source_api_request() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("gateway.toml");
    let table = folder.path().join("ids.csv");
    std::fs::write(&table, "from,from_id,to,to_id\nvbs-v2,b1,cbr-v3,c1\n").unwrap();
    let upstream = |name: &str, generation: &str| {
        format!(
            "[[upstreams]]\nname = \"{name}\"\ngeneration = \"{generation}\"\nendpoint = \"https://{name}.example\"\n"
        )
    };
    let toml = format!(
        "[id_mapping]\nfile = {:?}\n{}{}[[routes]]\nsource_apis = [\"vbs-v2\"]\nupstream = \"cbr\"\n[[routes]]\nupstream = \"vbs\"\n",
        table.display().to_string(),
        upstream("cbr", "cbr-v3"),
        upstream("vbs", "vbs-v2"),
    );
    std::fs::write(&config, toml).unwrap();
    let request = folder.path().join("request.json");
    std::fs::write(&request, r#"{"restore": {"volume_id": "v1"}}"#).unwrap();
    let (config, request) = (config.display().to_string(), request.display().to_string());
    let preview = |source_api: &str, path: &str| {
        let source_api = ["--source-api", source_api, "--path", path];
        run(&[&["restore", "preview", "--offline", "--config", &config][..], &source_api, &[&request]]
            .concat())
    };
    let project = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
    let shown = |output: &Output| serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap();

    // Mapped by the table to the generation of the route for this source API.
    let output = preview("vbs-v2", &format!("/v2/{project}/cloudbackups/b1/restore"));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let body = shown(&output);
    assert_eq!(body["request"]["url"], format!("https://cbr.example/v3/{project}/backups/c1/restore"));
    assert_eq!(body["compat"]["backup_ids"], "mapped");
    assert_eq!(body["compat"]["canonical_request"]["source"]["backup_id"], "b1");
    assert!(body["route"]["reason"].as_str().unwrap().contains("through vbs-v2"), "{body}");

    let output = preview("vbs-v2", &format!("/v2/{project}/cloudbackups/b2/restore"));
    assert_eq!(shown(&output)["compat"]["backup_ids"], "lookup_required");
    let url = format!("https://cbr.example/v3/{project}/backups/read-before-sending/restore");
    assert_eq!(shown(&output)["request"]["url"], url, "an ID that will not be sent is not shown");
    assert_eq!(shown(&output)["reads"][0]["reason"], "what the backup is of, as its own generation tells");

    // Another source API of the same generation takes another route and keeps its IDs.
    let output = preview("cinder-v3", &format!("/v3/{project}/backups/b1/restore"));
    assert_eq!(shown(&output)["compat"]["backup_ids"], "unchanged", "{}", text(&output.stderr));
    assert_eq!(shown(&output)["route"]["upstream"], "vbs");

    let output = preview("vbs-v2", &format!("/v2/{project}/jobs/b1"));
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("is no restore"));
    assert_eq!(preview("karbor", "/v1").status.code(), Some(2));
}

#[test]
fn capabilities_need_no_configuration() {
    let output = run(&["compat", "capabilities"]);
    let rows = text(&output.stdout);
    assert!(rows.contains("csbs-v1    vbs-v2    server    opt in"), "{rows}");
    let output = run(&["compat", "capabilities", "--output", "json"]);
    let pairs: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(pairs["pairs"].as_array().map(Vec::len), Some(4 * 4));
}

#[test]
fn old_command_names_are_rejected() {
    for old in ["attention", "resolve", "preview", "capabilities", "usage", "health", "ids", "api-key", "man"]
    {
        assert_eq!(run(&[old]).status.code(), Some(2), "{old}");
    }
}

#[test]
fn flag_of_offline_preview_needs_offline() {
    let preview = ["restore", "preview", "--source-api", "vbs-v2", "--path", "/v2", "request.json"];
    let output = run(&preview);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--offline"), "{}", text(&output.stderr));
}

#[test]
fn quiet_init_prints_no_informational_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    assert!(text(&run(&["init", "migration", "--file", &file("a.toml")]).stderr).contains("next: "));
    let output = run(&["-q", "init", "migration", "--file", &file("b.toml")]);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    let output = run(&["check-config", "--offline", &file("b.toml")]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}
