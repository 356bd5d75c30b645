//! Pages of Markdown that are followed to the letter: their fenced blocks, one after the other, in one shell.
//!
//! The word after the three backticks says what a block is:
//!
//! | word | what is done |
//! |---|---|
//! | `sh` | it is run; it must end with 0 |
//! | `sh exit=N` | it is run; its last command must end with `N` |
//! | `sh background` | it is started and stays; what comes next waits until it is up |
//! | `sh no-run: REASON` | nothing: it cannot be run here, and who counts these is told why |
//! | `text output`, `json output` | what the block before it printed must be like that; `…` stands for anything |
//! | `LANGUAGE file=NAME` | it is written to that file |
//! | `toml` | a whole configuration file, which must be without fault |
//! | `toml part` | tables to be added to one |

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::process::binary;

/// The ports that pages name; each stands for one that is free.
const PORTS: [u16; 7] = [8080, 8081, 8082, 8083, 8084, 8085, 9000];
/// A shortest file that parts are added to.
const REST: &str = "\n[[upstreams]]\nname = \"eu-de-cbr\"\ngeneration = \"cbr-v3\"\nendpoint = \"https://cbr.eu-de.otc.t-systems.com\"\n\
     [[routes]]\nupstream = \"eu-de-cbr\"\n";

/// One fenced block.
#[derive(Debug)]
pub struct Block {
    /// The word of the language.
    pub language: String,
    /// What stands behind it.
    pub about: String,
    /// What is in it.
    pub text: String,
    /// The line it begins at.
    pub line: usize,
}

/// The fenced blocks of a page.
///
/// # Panics
/// When one has no end.
#[must_use]
pub fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let (language, about) = info.split_once(' ').unwrap_or((info, ""));
        let mut text = String::new();
        loop {
            let (_, line) = lines.next().unwrap_or_else(|| panic!("line {}: no end of a block", number + 1));
            if line == "```" {
                break;
            }
            text.push_str(line);
            text.push('\n');
        }
        let about = about.trim().to_owned();
        blocks.push(Block { language: language.to_owned(), about, text, line: number + 1 });
    }
    blocks
}

/// What was done with a page.
#[derive(Debug, Default)]
pub struct Followed {
    /// Blocks of commands that were run.
    pub run: usize,
    /// Outputs that were compared.
    pub compared: usize,
    /// Reasons of those that were not run.
    pub not_run: Vec<String>,
}

/// Follows a page. `replace` are further texts that stand for something that is made for the test.
///
/// # Panics
/// When something on it is not as it says.
#[must_use]
pub fn follow(page: &str, name: &str, replace: &[(&str, String)]) -> Followed {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = Ports::new(replace);
    tools(folder.path(), &ports);
    let mut done = Followed::default();
    let mut script = String::from("set -eu\n");
    let mut expected: BTreeMap<usize, Vec<(usize, String, String)>> = BTreeMap::new();
    let mut last = None;
    for (number, block) in blocks(page).into_iter().enumerate() {
        let place = format!("{name}:{}", block.line);
        let text = ports.here(&block.text);
        match (block.language.as_str(), block.about.as_str()) {
            ("sh", about) if about.starts_with("no-run: ") => {
                done.not_run.push(format!("{place} {}", &about["no-run: ".len()..]));
                last = None;
            }
            ("sh", about) => {
                done.run += 1;
                last = Some(number);
                script.push_str(&commands(number, &place, about, &text));
            }
            (kind @ ("text" | "json"), "output") => {
                let of = last.unwrap_or_else(|| panic!("{place}: the output of what?"));
                done.compared += 1;
                expected.entry(of).or_default().push((block.line, kind.to_owned(), block.text));
            }
            (language, about) if about.starts_with("file=") => {
                check_text(language, &text, &place);
                let file = &about["file=".len()..];
                script.push_str(&format!("cat >'{file}' <<'END_OF_FILE'\n{text}END_OF_FILE\n"));
            }
            ("toml", "") => config(folder.path(), &block.text, &place),
            ("toml", "part") => config(folder.path(), &(block.text + REST), &place),
            ("json", "") => check_text("json", &text, &place),
            ("text" | "mermaid" | "csv", "") => {}
            other => panic!("{place}: nobody knows what to do with {other:?}"),
        }
    }
    if done.run > 0 {
        let run = shell(folder.path(), &script);
        assert!(run.0, "{name}: {}\n{}", run.1, logs(folder.path()));
    }
    for (of, texts) in expected {
        let said = std::fs::read_to_string(folder.path().join(format!("out-{of}"))).expect("an output");
        let said = ports.there(&said);
        for (line, kind, text) in texts {
            let alike = if kind == "json" { json_alike(&text, &said) } else { lines_alike(&text, &said) };
            alike.unwrap_or_else(|why| panic!("{name}:{line}: {why}\nshown:\n{text}\nsaid:\n{said}"));
        }
    }
    done
}

/// The part of the script that does what a block says.
fn commands(number: usize, place: &str, about: &str, text: &str) -> String {
    let out = format!("out-{number}");
    match about {
        "background" => format!(
            "( {}\n) >{out} 2>&1 </dev/null &\nup {out} $! '{place}'\n",
            text.trim_end().trim_end_matches('&')
        ),
        "" => format!("place='{place}'; {{\n{text}}} >{out} 2>&1 </dev/null\n"),
        exit => {
            let code: u8 = exit
                .strip_prefix("exit=")
                .and_then(|code| code.parse().ok())
                .unwrap_or_else(|| panic!("{place}: {exit}?"));
            format!(
                "place='{place}'; code=0; set +e; {{\n{text}}} >{out} 2>&1 </dev/null; code=$?; set -e\n\
                 test $code -eq {code} || {{ echo \"ended with $code, and not with {code}\"; false; }}\n"
            )
        }
    }
}

/// The programs that pages call: the gateway as it is, at ports of this test, and with words as on a terminal.
fn tools(folder: &Path, ports: &Ports) {
    let bin = folder.join("bin");
    std::fs::create_dir(&bin).expect("a folder");
    let at = |port: u16| ports.address(port);
    let gateway = format!(
        "#!/bin/sh\n\
         : \"${{RESTORE_GATEWAY_LISTEN__API:={api}}}\" \"${{RESTORE_GATEWAY_LISTEN__ADMIN:={admin}}}\"\n\
         : \"${{RESTORE_CLIENT_URL:=http://{api}}}\" \"${{RESTORE_CLIENT_ADMIN_URL:=http://{admin}}}\"\n\
         export RESTORE_GATEWAY_LISTEN__API RESTORE_GATEWAY_LISTEN__ADMIN RESTORE_CLIENT_URL RESTORE_CLIENT_ADMIN_URL\n\
         case \"${{1:-}} ${{2:-}}\" in\n\
         demo*) set -- \"$@\" --listen {api} --admin {admin} --clouds {clouds} ;;\n\
         simulate*) set -- \"$@\" --listen {clouds} ;;\n\
         'restore submit'|'restore status'|'restore wait'|'restore list'|'restore check'|'restore preview'|'restore cancel')\n\
         case \"$*\" in *--output*) ;; *) set -- \"$@\" --output text ;; esac ;;\n\
         esac\n\
         exec {binary} \"$@\"\n",
        api = at(8080),
        admin = at(8081),
        clouds = at(9000),
        binary = binary().display(),
    );
    // `cargo run -- demo` is the same program: it was built before the tests.
    let cargo = "#!/bin/sh\ntest \"$1 $2\" = 'run --' || { echo \"cargo $*?\"; exit 1; }\nshift 2\nexec restore-gateway \"$@\"\n";
    for (name, text) in [("restore-gateway", gateway.as_str()), ("cargo", cargo)] {
        let path = bin.join(name);
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("permitted");
    }
}

/// Runs the script in a process group of its own, all of which is gone afterwards.
fn shell(folder: &Path, script: &str) -> (bool, String) {
    let up = "up() { for i in $(seq 600); do\n\
        if grep -qE 'Try it|simulated clouds on|gateway started' \"$1\"; then return; fi\n\
        if ! kill -0 \"$2\" 2>/dev/null; then break; fi; sleep 0.1; done\n\
        echo \"$3: it does not come up\"; exit 1; }\n";
    let script = format!(
        "trap 'echo \"stopped in the block at $place\" >&2' EXIT\nplace=begin\nPATH=$PWD/bin:$PATH\n{up}{script}\ntrap - EXIT\n"
    );
    std::fs::write(folder.join("page.sh"), script).expect("written");
    let said = std::fs::File::create(folder.join("said")).expect("a file");
    let mut child = Command::new("timeout")
        .args(["--signal=KILL", "180", "sh", "page.sh"])
        .current_dir(folder)
        .env("HOME", folder)
        .stdin(Stdio::null())
        .stdout(said.try_clone().expect("a file"))
        .stderr(said)
        .process_group(0)
        .spawn()
        .expect("a shell");
    let group = child.id();
    let status = child.wait().expect("it ends");
    // `timeout` makes itself the leader of its group; whatever the page left behind is in it.
    let _ =
        Command::new("kill").args(["-s", "KILL", "--", &format!("-{group}")]).stderr(Stdio::null()).status();
    (status.success(), std::fs::read_to_string(folder.join("said")).unwrap_or_default())
}

fn logs(folder: &Path) -> String {
    let mut logs: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder")
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("out-"))
        .collect();
    logs.sort_by_key(|entry| entry.metadata().and_then(|about| about.modified()).ok());
    let last = logs.iter().rev().take(3).rev();
    last.map(|entry| {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        let tail: Vec<_> = text.lines().rev().take(30).collect();
        let tail: Vec<_> = tail.into_iter().rev().collect();
        format!("── {}\n{}\n", entry.file_name().to_string_lossy(), tail.join("\n"))
    })
    .collect()
}

fn check_text(language: &str, text: &str, place: &str) {
    match language {
        "json" => drop(serde_json::from_str::<Value>(text).unwrap_or_else(|why| panic!("{place}: {why}"))),
        "toml" => drop(text.parse::<toml::Table>().unwrap_or_else(|why| panic!("{place}: {why}"))),
        _ => {}
    }
}

fn config(folder: &Path, text: &str, place: &str) {
    let file = folder.join("settings-of-a-page.toml");
    std::fs::write(&file, text).expect("written");
    let mut command = Command::new(binary());
    command.args(["check-config", "--elsewhere", "--config"]).arg(&file);
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{place}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Texts of pages and what they are here.
struct Ports(Vec<(String, String)>);

impl Ports {
    fn new(replace: &[(&str, String)]) -> Self {
        let listeners = PORTS.map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let free = listeners.each_ref().map(|listener| listener.local_addr().expect("an address"));
        let ports =
            PORTS.iter().zip(free).map(|(port, free)| (format!("127.0.0.1:{port}"), free.to_string()));
        Self(replace.iter().map(|(from, to)| ((*from).to_owned(), to.clone())).chain(ports).collect())
    }

    fn address(&self, port: u16) -> SocketAddr {
        self.here(&format!("127.0.0.1:{port}")).parse().expect("an address")
    }

    fn here(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    fn there(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (from, to)| text.replace(to, from))
    }
}

/// Whether every line that is shown is said, in that order. `…` stands for anything.
fn lines_alike(shown: &str, said: &str) -> Result<(), String> {
    let mut said = said.lines().map(anonymous);
    for line in shown.lines().map(anonymous).filter(|line| !line.trim().is_empty() && line.trim() != "…") {
        if !said.any(|said| fits(line.trim_end(), said.trim_end())) {
            return Err(format!("this line does not come, or not here: {line}"));
        }
    }
    Ok(())
}

/// Whether a text is of a pattern whose `…` stand for anything.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut open = false;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        open = part.is_empty();
    }
    open || rest.is_empty()
}

/// The text with `…` for ids and moments, which are others every time.
fn anonymous(text: &str) -> String {
    let mut plain = String::new();
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | ':' | '.');
    let mut rest = text;
    while let Some(at) = rest.find(part) {
        plain.push_str(&rest[..at]);
        let word = &rest[at..];
        let word = &word[..word.find(|c| !part(c)).unwrap_or(word.len())];
        plain.push_str(if is_of_the_moment(word) { "…" } else { word });
        rest = &rest[at + word.len()..];
    }
    plain + rest
}

/// Ids of restores, and times. The ids of the simulated world are always the same and stay.
fn is_of_the_moment(word: &str) -> bool {
    let made = word.len() == 36 && word.as_bytes()[14] == b'7' && word.as_bytes()[8] == b'-';
    let time = word.len() >= 20 && word.starts_with("20") && word.ends_with('Z') && word.contains('T');
    made || time
}

/// Whether what is shown is in what is said: members that are shown must be there and say the same.
fn json_alike(shown: &str, said: &str) -> Result<(), String> {
    let shown: Value =
        serde_json::from_str(shown).map_err(|why| format!("what is shown is no JSON: {why}"))?;
    let begin = said.find(['{', '[']).ok_or("no JSON came")?;
    let mut values = serde_json::Deserializer::from_str(&said[begin..]).into_iter::<Value>();
    let said = values.next().ok_or("no JSON came")?.map_err(|why| format!("no JSON came: {why}"))?;
    within(&shown, &said, "")
}

fn within(shown: &Value, said: &Value, place: &str) -> Result<(), String> {
    match (shown, said) {
        (Value::Object(shown), Value::Object(said)) => shown.iter().try_for_each(|(name, value)| {
            let place = format!("{place}/{name}");
            within(value, said.get(name).ok_or_else(|| format!("{place} is not there"))?, &place)
        }),
        (Value::Array(shown), Value::Array(said)) if shown.len() == said.len() => shown
            .iter()
            .zip(said)
            .enumerate()
            .try_for_each(|(index, (shown, said))| within(shown, said, &format!("{place}/{index}"))),
        (Value::String(shown), Value::String(said)) if fits(&anonymous(shown), &anonymous(said)) => Ok(()),
        _ if shown == said => Ok(()),
        _ => Err(format!("{place}: {shown} is shown and {said} came")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_a_language_and_more() {
        let page = "a\n```sh exit=3\nfalse\n```\n```json file=x.json\n{}\n```\n";
        let found = blocks(page);
        assert_eq!((found[0].language.as_str(), found[0].about.as_str(), found[0].line), ("sh", "exit=3", 2));
        assert_eq!((found[1].about.as_str(), found[1].text.as_str()), ("file=x.json", "{}\n"));
    }

    #[test]
    fn what_is_not_said_is_noticed() {
        assert!(lines_alike("status    succeeded\n", "id 1\nstatus    succeeded\n").is_ok());
        assert!(lines_alike("status    failed\n", "status    succeeded\n").is_err());
        assert!(lines_alike("b\na\n", "a\nb\n").is_err(), "the order counts");
        assert!(lines_alike("took … s\n", "took 3 s\n").is_ok());
        assert!(lines_alike("took … s\n", "took 3 min\n").is_err());
        let (one, other) = ("01a20510-4a2b-7c09-8ee2-020dfe282813", "0199a7c4-8d5e-7c21-9f0e-5b1f3a2d4c6e");
        assert!(lines_alike(&format!("restore {one}"), &format!("restore {other}")).is_ok());
        assert!(json_alike("{\"a\": {\"b\": 1}}", "said:\n{\"a\": {\"b\": 1, \"c\": 2}}").is_ok());
        for bad in ["{\"a\": {\"b\": 2}}", "{\"a\": {}}", "none"] {
            assert!(json_alike("{\"a\": {\"b\": 1}}", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_page_that_says_what_is_not_so_is_noticed() {
        let caught = |page: &str| std::panic::catch_unwind(|| follow(page, "a page", &[])).is_err();
        assert!(!caught("```sh\nprintf 'a\\nb\\n'\n```\n```text output\nb\n```\n"));
        assert!(!caught("```sh exit=3\nexit_with() { return 3; }; exit_with\n```\n"));
        for bad in [
            "```sh\nfalse\n```\n",
            "```sh\nfalse\ntrue\n```\n",
            "```sh exit=3\nfalse\n```\n",
            "```sh\necho a\n```\n```text output\nb\n```\n",
            "```toml\n[listen]\nadmim = 1\n```\n",
            "```json\n{\n```\n",
            "```sh background\nexit 1\n```\n",
            "```console\n$ true\n```\n",
        ] {
            assert!(caught(bad), "{bad}");
        }
    }
}
