//! What commands print and where: completions and manuals, standard output that is full or read by nobody, and texts of
//! somebody else on a terminal.

use std::process::Stdio;

use restore_tests::{TestConfig, World, binary, ids, requests};
use tokio::process::Command;

use crate::cli::client::{client, file, run, says, told};

#[tokio::test]
async fn shells_and_manuals_know_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(Command::new(binary()).args(["generate", "completions", shell])).await;
        assert!(told(&output).contains("check-config"), "{shell}");
    }
    let bash = run(Command::new(binary()).args(["generate", "completions", "bash"])).await;
    let mut check = Command::new("bash");
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("completions");
    std::fs::write(&script, &bash.stdout).expect("written");
    assert!(run(check.arg("-n").arg(&script)).await.status.success());
    // What a shell makes of the second word, and of one behind another command.
    for (words, wanted) in [
        ("restore-gateway check-c", "check-config"),
        ("restore-gateway restore sub", "submit"),
        ("restore-gateway recovery con", "confirm"),
    ] {
        let asks = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _restore__gateway restore-gateway \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[*]}}\"",
            script.display()
        );
        let output = run(Command::new("bash").args(["--norc", "-c", &asks])).await;
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), wanted, "{words}: {}", told(&output));
    }
    let pages = folder.path().join("man");
    let output = run(Command::new(binary()).args(["generate", "man"]).arg(&pages)).await;
    assert!(output.status.success(), "{}", told(&output));
    for page in ["restore-gateway.1", "restore-gateway-restore-submit.1", "restore-gateway-serve.1"] {
        let text = std::fs::read_to_string(pages.join(page)).expect(page);
        assert!(text.contains(".TH "), "{page}");
    }
}

fn full() -> Stdio {
    std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a disk that is full").into()
}

/// A pipe whose reader has gone away.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

/// How a command ends whose words cannot be written, and what it says of that.
async fn into(out: Stdio, command: &mut Command) -> (Option<i32>, String) {
    let child = command.stdin(Stdio::null()).stdout(out).stderr(Stdio::piped()).kill_on_drop(true).spawn();
    let output = child.expect("it runs").wait_with_output().await.expect("it ends");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn what_cannot_be_printed_is_said_and_what_nobody_reads_is_no_failure() {
    let mut world = World::serve(TestConfig::default()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let request = file(&folder, &requests::free_disk());
    let submit = ["submit", &request, "--yes", "--key", "k", "--output", "text"];
    // The code is that of the restore, and its being sent does not depend on a reader.
    let (code, error) = into(full(), &mut client(&world, &submit)).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(error.contains("error: standard output: "), "{error}");
    assert_eq!(world.applied().await.len(), 1);
    let id = error.lines().find_map(|line| line.strip_prefix("restore ")).expect("its id").to_owned();

    let check = ["check", &request, "--output", "text"];
    let (status, export) = (["status", &id, "--output", "text"], ["export", &id]);
    let list = ["list", "--output", "text"];
    for (arguments, code) in [
        (&submit[..], 0),
        (&check, 0),
        (&status, 0),
        (&list, 1),
        (&["list"], 1),
        (&export, 1),
        (&["preview", &request], 1),
    ] {
        let (gone, error) = into(unread(), &mut client(&world, arguments)).await;
        assert_eq!(gone, Some(0), "{arguments:?}: {error}");
        assert!(!error.contains("standard output"), "{arguments:?}: {error}");
        let (full, error) = into(full(), &mut client(&world, arguments)).await;
        assert_eq!(full, Some(code), "{arguments:?}: {error}");
        assert!(error.contains("error: standard output: "), "{arguments:?}: {error}");
    }

    let here = world.process().folder().to_owned();
    let request = serde_json::json!({"name": "a", "request": requests::free_disk(), "refused": "no_route"});
    std::fs::write(here.join("tests.json"), serde_json::json!({"tests": [request]}).to_string())
        .expect("written");
    for (arguments, unread_code, full_code) in [
        // A trail that was cut off is not a whole one.
        (&["ledger", "export", "-c", "gateway.toml"][..], 0, 1),
        (&["ledger", "check", "-c", "gateway.toml"], 0, 1),
        (&["routes", "verify", "-c", "gateway.toml", "tests.json"], 1, 1),
        (&["init", "sidecar", "--file", "-"], 0, 1),
        (&["generate", "schema", "config"], 0, 1),
        (&["generate", "openapi"], 0, 1),
    ] {
        let command = || {
            let mut command = Command::new(binary());
            command.args(arguments).current_dir(&here);
            command
        };
        let (code, error) = into(unread(), &mut command()).await;
        assert_eq!(code, Some(unread_code), "{arguments:?}: {error}");
        let (code, error) = into(full(), &mut command()).await;
        assert_eq!(code, Some(full_code), "{arguments:?}: {error}");
        assert!(error.contains("error: standard output: "), "{arguments:?}: {error}");
    }
    world.ended_by("TERM").await;
    world.end().await;
}

#[tokio::test]
async fn what_others_say_does_not_command_the_terminal() {
    let world = World::new().await;
    let id = "0199a7c4-8d5e-7c21-9f0e-5b1f3a2d4c6e";
    let escape = "\\u001b[2J\\u009b2J\\u202e";
    let restore = format!("{{\"id\":\"{id}\",\"status\":\"failed\",\"error\":{{\"detail\":\"{escape}\"}}}}");
    let problem = format!("{{\"title\":\"{escape}\",\"detail\":\"{escape}\",\"effect\":\"none\"}}");
    let answer = |status: u16, body: &str| -> &'static str {
        let length = body.len();
        let head = format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        (head + body).leak()
    };
    for (answer, arguments, code) in [
        (answer(200, &restore), &["status", id, "--output", "text"][..], 1),
        (answer(200, &restore), &["status", id, "--output", "json"], 1),
        (answer(403, &problem), &["list"], 3),
    ] {
        let url = says(vec![answer].leak()).await;
        let output = run(client(&world, arguments).env("RESTORE_CLIENT_URL", &url)).await;
        assert_eq!(output.status.code(), Some(code), "{}", told(&output));
        let odd = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!told(&output).contains(odd), "{:?}", told(&output));
    }
    world.end().await;
}

#[tokio::test]
async fn a_wrong_url_or_key_is_a_wrong_command_line() {
    let world = World::new().await;
    let words =
        ["submit", "--yes", "--project", ids::PROJECT, "--backup", ids::FREE.0, "--volume", ids::FREE.1];
    for url in ["127.0.0.1:28080", "ftp://127.0.0.1:1", "/x"] {
        let output = run(client(&world, &words).env("RESTORE_CLIENT_URL", url)).await;
        assert_eq!(output.status.code(), Some(2), "{url}: {}", told(&output));
        assert!(told(&output).contains("write http://"), "{url}: {}", told(&output));
        let mut health = Command::new(binary());
        assert_eq!(
            run(health.args(["check-health", "--admin-url", url])).await.status.code(),
            Some(2),
            "{url}"
        );
    }
    let output = run(&mut client(&world, &[&words[..], &["--key", ""]].concat())).await;
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    assert!(world.sent().await.is_empty());
    world.end().await;
}

#[tokio::test]
async fn a_first_file_is_followed_by_what_reads_it_and_a_missing_one_by_what_makes_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = |arguments: &[&str]| {
        let mut command = Command::new(binary());
        command.args(arguments).current_dir(&folder);
        command
    };
    let none = run(&mut gateway(&["serve"])).await;
    assert_eq!(none.status.code(), Some(78));
    assert!(told(&none).contains("restore-gateway init"), "{}", told(&none));
    let made = run(&mut gateway(&["init", "sidecar", "--file", "mine.toml"])).await;
    assert!(told(&made).contains("check-config --config mine.toml, then"), "{}", told(&made));
    assert!(told(&made).contains("serve --config mine.toml"), "{}", told(&made));
    let again = run(&mut gateway(&["init", "sidecar", "--file", "mine.toml"])).await;
    assert_eq!(again.status.code(), Some(1));
    assert!(
        told(&again).contains("nothing was overwritten; choose another path with --file"),
        "{}",
        told(&again)
    );
    let shown = run(&mut gateway(&["init", "sidecar", "--file", "-"])).await;
    assert!(!told(&shown).contains("next:"), "{}", told(&shown));
    // A ledger that is not there is told alike by all that look for it.
    let toml = std::fs::read_to_string(folder.path().join("mine.toml")).expect("a file");
    let toml = format!("ledger.url = \"sqlite:none.db\"\n{toml}");
    std::fs::write(folder.path().join("mine.toml"), toml).expect("written");
    for command in ["export", "check", "vacuum"] {
        let output = run(&mut gateway(&["ledger", command, "-c", "mine.toml"])).await;
        assert_eq!(output.status.code(), Some(1), "{command}: {}", told(&output));
        assert!(told(&output).contains("none.db: there is no such file"), "{command}: {}", told(&output));
    }
}
