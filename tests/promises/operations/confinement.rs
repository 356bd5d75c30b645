//! The gateway needs no rights: it runs as a user without any, in a root that is read-only, writes to its ledger's
//! folder and nowhere else (S41), and what it holds in memory is seen by nobody (S44).
//!
//! No container engine is needed: as root, the test makes user and mounts by itself; as another user it goes without
//! what only root can make, and checks the rest.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Stdio;

use restore_tests::world::{Running, clouds};
use restore_tests::{Http, Process, TestConfig, World, binary, requests};
use tokio::process::Command;

/// A user that nothing belongs to.
const NOBODY: u32 = 65_534;
const PASSWORD: &str = "example-only";

const HELD: &str = r#"
[[credentials]]
name = "robot"
type = "iam-password"
iam_endpoint = "{clouds}"
user = "restore-bot"
domain = "OTC00000000001000012345"
password = { file = "{folder}/password" }
project_id = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
[[upstreams]]
name = "cbr"
generation = "cbr-v3"
endpoint = "{clouds}"
credential = "robot"
[[routes]]
upstream = "cbr"
"#;

/// The root of the process becomes read-only but for the ledger's folder; then it loses every right.
const CONFINE: &str = r#"mount --bind "$1" "$1" && mount -o remount,bind,ro / && shift &&
exec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs "$@""#;

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A field of `/proc/<pid>/status`.
fn status(process: &Process, name: &str) -> String {
    let text = std::fs::read_to_string(process.proc("status")).expect("procfs");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect(name);
    line.split_whitespace().next().unwrap_or_default().to_owned()
}

/// Whether mounts of one's own can be made here.
async fn can_mount() -> bool {
    let tried =
        Command::new("unshare").args(["--mount", "mount", "-o", "remount,bind,ro", "/"]).output().await;
    tried.is_ok_and(|output| output.status.success())
}

#[tokio::test]
async fn s41_s44_it_needs_no_rights_and_one_folder_and_its_memory_is_its_own() {
    let clouds = clouds().await;
    let folder = tempfile::tempdir().expect("a folder");
    let top = folder.path();
    mode(top, 0o755);
    let root = std::fs::metadata(top).expect("a folder").uid() == 0;
    // Somewhere that another user may look into, unlike the folder that it was built in.
    let program = top.join("restore-gateway");
    std::fs::copy(binary(), &program).expect("the binary");
    let ledger = top.join("ledger");
    std::fs::create_dir(&ledger).expect("a folder");
    mode(&ledger, 0o700);
    let password = top.join("password");
    std::fs::write(&password, PASSWORD).expect("a secret");
    mode(&password, 0o600);
    if root {
        chown(&ledger, Some(NOBODY), Some(NOBODY)).expect("its own folder");
        chown(&password, Some(NOBODY), Some(NOBODY)).expect("its own secret");
    }
    let toml = TestConfig::default()
        .set("ledger.url", &format!("\"sqlite:{}\"", ledger.join("ledger.db").display()))
        .set("telemetry.log_level", "\"info\"")
        .set("telemetry.log_format", "\"json\"")
        .routes(HELD)
        .toml(&clouds.url())
        .replace("{folder}", &top.display().to_string());
    let config = top.join("gateway.toml");
    std::fs::write(&config, &toml).expect("settings");
    let work = top.join("work");
    std::fs::create_dir(&work).expect("a folder");
    mode(&work, 0o555);

    // Where cores are allowed, so that it is the gateway that forbids them.
    let mut words: Vec<String> =
        ["sh", "-c", "ulimit -S -c \"$(ulimit -H -c)\"; exec \"$@\"", "sh"].map(str::to_owned).into();
    let read_only = root && can_mount().await;
    if read_only {
        words.extend(["unshare", "--mount", "sh", "-c", CONFINE, "sh"].map(str::to_owned));
        words.push(ledger.display().to_string());
    } else if root {
        let dropped = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"];
        words.extend(dropped.map(str::to_owned));
        words.extend(["--bounding-set=-all", "--no-new-privs"].map(str::to_owned));
    }
    words.push(program.display().to_string());
    let child = Command::new(&words[0])
        .args(&words[1..])
        .args(["serve", "--config"])
        .arg(&config)
        .current_dir(&work)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the gateway runs");
    let process = Process::of(child, folder).await.unwrap_or_else(|(_, log)| panic!("{log}"));

    if root {
        assert_eq!((status(&process, "Uid:"), status(&process, "Gid:")), ("65534".into(), "65534".into()));
        assert_eq!(status(&process, "CapBnd:").trim_start_matches('0'), "");
    }
    assert_eq!(status(&process, "CapEff:").trim_start_matches('0'), "", "it has no rights");
    if read_only {
        let mounts = std::fs::read_to_string(process.proc("mounts")).expect("procfs");
        let root = mounts.lines().find(|line| line.split(' ').nth(1) == Some("/")).expect("a root");
        assert!(root.split(' ').nth(3).is_some_and(|options| options.starts_with("ro")), "{root}");
    }
    // No core, by limit; and, by the kernel's own word, nobody's to look into: what belongs to a process that may
    // be dumped belongs to its user, and else to root.
    let limits = std::fs::read_to_string(process.proc("limits")).expect("procfs");
    let cores = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(cores.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{cores}");
    let environ = process.proc("environ");
    let own: u32 = status(&process, "Uid:").parse().expect("a user");
    assert_ne!(std::fs::metadata(&environ).expect("procfs").uid(), own, "another process could look into it");
    for place in [environ, process.proc("cmdline")] {
        // Only root can read the first.
        let Ok(bytes) = std::fs::read(&place) else { continue };
        assert!(!bytes.is_empty());
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(!text.contains(PASSWORD), "the secret is in {}", place.display());
    }

    // It works, with the secret out of its file.
    let mut world =
        World { clouds, gateway: Running::Process(Box::new(process)), http: Http::default(), toml };
    let answer = world.submit(&requests::cbr_server()).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let id = answer.json()["id"].as_str().expect("an id").to_owned();
    world.until_status(&id, "succeeded").await;
    assert_eq!(world.applied().await.len(), 1);
    let (status, log, folder) = world.ended_by("TERM").await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(names(folder.path()), ["gateway.toml", "ledger", "password", "restore-gateway", "work"]);
    assert!(names(&folder.path().join("work")).is_empty(), "nothing where it ran");
    assert!(names(&folder.path().join("ledger")).iter().any(|name| name == "ledger.db"));
    world.end().await;
}
