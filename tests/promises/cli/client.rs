//! The client on the command line: what it asks before a restore, what it prints, and exit codes that a script can use.

use std::process::{Output, Stdio};
use std::time::Duration;

use restore_tests::{TestConfig, World, binary, ids, requests};
use serde_json::{Value, json};
use tokio::process::Command;

const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) async fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    tokio::time::timeout(DEADLINE, output).await.expect("it ends").expect("it runs")
}

pub(crate) fn client(world: &World, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.arg("restore").args(arguments);
    command.env("RESTORE_CLIENT_URL", world.url("")).env("RESTORE_CLIENT_TOKEN", ids::TOKEN);
    command
}

pub(crate) fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub(crate) fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

pub(crate) fn file(folder: &tempfile::TempDir, request: &Value) -> String {
    let path = folder.path().join("request.json");
    std::fs::write(&path, request.to_string()).expect("written");
    path.display().to_string()
}

#[tokio::test]
async fn a_restore_is_followed_line_by_line_to_its_end() {
    let world = World::with(TestConfig::default()).await;
    world.behave(json!({"restore_seconds": 2})).await;
    let folder = tempfile::tempdir().expect("a folder");
    let request = file(&folder, &requests::cbr_server());
    let output = run(&mut client(&world, &["submit", &request, "--yes", "--key", "nightly-1"])).await;
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let seen = lines(&output);
    assert!(seen.len() > 1, "{}", told(&output));
    assert_eq!(seen.last().map(|last| last["status"].clone()), Some(json!("succeeded")));
    let id = seen[0]["id"].as_str().expect("an id").to_owned();

    // The same key is the same restore, and says so at once.
    let again = run(&mut client(&world, &["submit", &request, "--yes", "--key", "nightly-1"])).await;
    assert_eq!(lines(&again)[0]["id"], *id);
    assert_eq!(world.applied().await.len(), 1);

    let status = run(&mut client(&world, &["status", &id, "--output", "text"])).await;
    assert_eq!(status.status.code(), Some(0));
    assert!(told(&status).contains("status    succeeded, 100 %"), "{}", told(&status));
    let listed = run(&mut client(&world, &["list", "--status", "succeeded"])).await;
    assert_eq!(lines(&listed).len(), 1, "{}", told(&listed));
    let history = run(&mut client(&world, &["export", &id, "--output", "text"])).await;
    for line in ["status    succeeded, 100 %", "TIME", " accepted ", " succeeded "] {
        assert!(told(&history).contains(line), "{line}: {}", told(&history));
    }
    // The start of an ID is enough; what fits no restore, or several, is a wrong command line.
    let short = run(&mut client(&world, &["-v", "status", &id[..30]])).await;
    assert_eq!((short.status.code(), &lines(&short)[0]["id"]), (Some(0), &json!(id)));
    let trace = told(&short);
    assert!(
        trace.contains(&format!("GET /api/v1/restores/{id} 200 ")) && !trace.contains(ids::TOKEN),
        "{trace}"
    );
    let none = run(&mut client(&world, &["status", "ffffffff"])).await;
    assert_eq!(none.status.code(), Some(2), "{}", told(&none));
    assert!(told(&none).contains("no restore has an ID that starts with ffffffff"), "{}", told(&none));
    let export = run(&mut client(&world, &["export", &id])).await;
    let whole = &lines(&export)[0];
    assert_eq!(
        (&whole["restore"]["id"], &whole["events"][0]["event"]),
        (&json!(id), &json!("accepted")),
        "{whole}"
    );
    let cancel = run(&mut client(&world, &["cancel", &id])).await;
    assert_eq!(cancel.status.code(), Some(1), "{}", told(&cancel));
    world.end().await;
}

#[tokio::test]
async fn the_exit_code_shows_the_outcome() {
    let world = World::with(TestConfig::default()).await;
    let volume = ["--project", ids::PROJECT, "--backup", ids::FREE.0, "--volume", ids::FREE.1];
    let submit = async |more: &[&str]| {
        let arguments = [&["submit", "--yes"], &volume[..], more].concat();
        run(&mut client(&world, &arguments)).await
    };
    // Not ended in time.
    world.behave(json!({"restore_seconds": 600})).await;
    let output = submit(&["--timeout", "1"]).await;
    assert_eq!(output.status.code(), Some(4), "{}", told(&output));
    let id = lines(&output)[0]["id"].as_str().expect("an id").to_owned();
    assert!(told(&output).contains(&format!("restore-gateway restore wait {id}")), "{}", told(&output));
    // The target is held: nothing was changed.
    let other = ["submit", "--yes", "--key", "another", "--no-wait"];
    let busy = run(&mut client(&world, &[&other[..], &volume[..]].concat())).await;
    assert_eq!(busy.status.code(), Some(3), "{}", told(&busy));
    // And then it ends.
    world.advance(601).await;
    let output = run(&mut client(&world, &["wait", &id])).await;
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));

    // It fails in the cloud.
    let failing = json!({"status": "failed", "error_code": "BackupService.9910", "error_msg": "m"});
    world.behave(json!({"restore_seconds": 0, "next_restore": failing})).await;
    let output = submit(&["--key", "fails"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    // It is refused by the cloud.
    let refusal = json!({"status": 400, "body": {"error_code": "BackupService.6408", "error_msg": "no"}});
    world.faults(json!([{"match": {"method": "POST", "path": "*/restore"}, "answer": refusal}])).await;
    let output = submit(&["--key", "refused"]).await;
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    // It is refused by the gateway, with the place of the fault.
    let odd = ["submit", "--yes", "--project", ids::PROJECT, "--backup", "x y", "--volume", ids::FREE.1];
    let output = run(&mut client(&world, &odd)).await;
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    assert!(told(&output).contains("/source/backup_id"), "{}", told(&output));
    world.end().await;
}

#[tokio::test]
async fn a_missing_gateway_differs_from_one_without_a_response() {
    let world = World::with(TestConfig::default()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let request = file(&folder, &requests::free_disk());
    let mut gone = client(&world, &["submit", &request, "--yes"]);
    let output = run(gone.env("RESTORE_CLIENT_URL", "http://127.0.0.1:9")).await;
    assert_eq!(output.status.code(), Some(5), "{}", told(&output));
    assert!(told(&output).contains("nothing was sent"), "{}", told(&output));

    // Something that takes the request and hangs up, each time.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let server = tokio::spawn(async move {
        let mut keys = Vec::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            use tokio::io::AsyncReadExt;
            let mut buffer = vec![0; 4096];
            let read = socket.read(&mut buffer).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
            keys.extend(text.lines().find(|line| line.starts_with("idempotency-key")).map(str::to_owned));
            if keys.len() == 5 {
                break;
            }
        }
        keys
    });
    let mut silent = client(&world, &["submit", &request, "--yes"]);
    let output = run(silent.env("RESTORE_CLIENT_URL", &url)).await;
    assert_eq!(output.status.code(), Some(4), "{}", told(&output));
    assert!(
        told(&output).contains("it is not known whether the gateway accepted the restore"),
        "{}",
        told(&output)
    );
    let mut keys = server.await.expect("keys");
    assert_eq!(keys.len(), 5);
    keys.dedup();
    assert_eq!(keys.len(), 1, "asked again with the one key alone");
    world.end().await;
}

/// What takes a request, and says this each time.
pub(crate) async fn says(answers: &'static [&'static str]) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        for answer in answers.iter().chain(std::iter::repeat(&answers[answers.len() - 1])) {
            let Ok((mut socket, _)) = listener.accept().await else { return };
            let mut buffer = vec![0; 8192];
            let _ = socket.read(&mut buffer).await;
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    url
}

/// Only the gateway's own word that nothing was changed is believed, and only of the one try that it answers.
#[tokio::test]
async fn nothing_was_changed_is_reported_only_with_proof() {
    const PROXY: &str = "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: 5\r\nconnection: close\r\n\r\n<oh/>";
    const STOPPING: &str = "HTTP/1.1 503 x\r\ncontent-type: application/json\r\ncontent-length: 17\r\nconnection: close\r\n\r\n{\"effect\":\"none\"}";
    const EMPTY: &str = "HTTP/1.1 202 x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let world = World::with(TestConfig::default()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let request = file(&folder, &requests::free_disk());
    for (answers, code) in [
        // A proxy that gave up on what it has passed on.
        (&[PROXY][..], 4),
        // Taken, and cut off; and then a refusal, which is about the second try.
        (&["", STOPPING][..], 4),
        (&[EMPTY][..], 4),
        // Refused at once by the gateway itself.
        (&[STOPPING][..], 3),
    ] {
        let url = says(answers.to_vec().leak()).await;
        let mut submit = client(&world, &["submit", &request, "--yes", "--key", "k"]);
        let output = run(submit.env("RESTORE_CLIENT_URL", &url)).await;
        assert_eq!(output.status.code(), Some(code), "{answers:?}: {}", told(&output));
        assert_eq!(
            told(&output).contains("submit it again with --key k"),
            code == 4,
            "{answers:?}: {}",
            told(&output)
        );
    }
    // A look that fails says nothing of the restore.
    let url = says(&[PROXY]).await;
    let id = "0199a7c4-8d5e-7c21-9f0e-5b1f3a2d4c6e";
    for arguments in [&["status", id][..], &["wait", id, "--timeout", "1"]] {
        let output = run(client(&world, arguments).env("RESTORE_CLIENT_URL", &url)).await;
        assert_eq!(output.status.code(), Some(4), "{arguments:?}: {}", told(&output));
    }
    world.end().await;
}

#[tokio::test]
async fn without_a_terminal_nobody_is_asked_and_nothing_is_sent() {
    let world = World::with(TestConfig::default()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let request = file(&folder, &requests::free_disk());
    let output = run(&mut client(&world, &["submit", &request])).await;
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    assert!(told(&output).contains("--yes"), "{}", told(&output));
    assert!(world.sent().await.is_empty());
    world.end().await;
}

/// On a terminal: `script` makes one.
async fn on_a_terminal(world: &World, folder: &tempfile::TempDir, typed: &str) -> (Option<i32>, String) {
    let request = file(folder, &requests::free_disk());
    let line = format!("{} restore submit {request}", binary().display());
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env("RESTORE_CLIENT_URL", world.url(""))
        .env("RESTORE_CLIENT_TOKEN", ids::TOKEN)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("script, of util-linux");
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut into, mut out) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
    let mut told = Vec::new();
    let asked = async {
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&told).contains("to continue: ") {
            let read = out.read(&mut buffer).await.expect("its words");
            assert!(read > 0, "{}", String::from_utf8_lossy(&told));
            told.extend_from_slice(&buffer[..read]);
        }
        into.write_all(format!("{typed}\n").as_bytes()).await.expect("typed");
        out.read_to_end(&mut told).await.expect("its words");
        child.wait().await.expect("an end").code()
    };
    let code = tokio::time::timeout(DEADLINE, asked).await.expect("it ends");
    (code, String::from_utf8_lossy(&told).into_owned())
}

#[tokio::test]
async fn a_person_sees_backup_and_disks_and_only_yes_continues() {
    let world = World::with(TestConfig::default()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (code, text) = on_a_terminal(&world, &folder, "y").await;
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("nothing was sent"), "{text}");
    assert!(world.sent().await.is_empty());
    for said in [ids::FREE.0, ids::FREE.1, "of 100 GB", " ago, at ", "cannot be undone", "vbs (vbs-v2)"] {
        assert!(text.contains(said), "{said} in {text}");
    }
    let (code, text) = on_a_terminal(&world, &folder, "yes").await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("status    succeeded"), "{text}");
    // The ID is printed as soon as the gateway accepts the restore, and not only at its end.
    let (taken_in, end) = (text.find("restore 0"), text.find("restore   0"));
    assert!(taken_in.is_some() && taken_in < end, "{text}");
    assert_eq!(world.applied().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn checks_and_previews_change_nothing() {
    let world = World::with(TestConfig::default()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let request = file(&folder, &requests::cbr_server());
    let check = run(&mut client(&world, &["check", &request])).await;
    assert_eq!(check.status.code(), Some(0), "{}", told(&check));
    let report = &lines(&check)[0];
    assert_eq!(report["backup"]["id"], ids::CBR_BACKUP, "{report}");
    assert!(report["backup"]["size_gb"].is_u64() && report["backup"]["created_at"].is_string(), "{report}");
    let preview = run(&mut client(&world, &["preview", &request])).await;
    assert_eq!(lines(&preview)[0]["route"]["upstream"], "cbr");
    let unknown =
        requests::cbr_server().to_string().replace(ids::CBR_BACKUP, "99999999-0000-4000-8000-000000000000");
    let request = file(&folder, &serde_json::from_str(&unknown).expect("JSON"));
    let check = run(&mut client(&world, &["check", &request, "--output", "text"])).await;
    assert_eq!(check.status.code(), Some(3), "{}", told(&check));
    assert!(told(&check).contains("The cloud would reject the restore."), "{}", told(&check));
    assert!(world.sent().await.is_empty());
    world.end().await;
}
