//! Programs that restore with SDKs of other people, unmodified; where they are pointed is the test's business: at clouds,
//! or at whoever speaks like them.
//!
//! The programs and what they say are described in `tests/sdks/README.md`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::ids;

/// Longest life of a program: its own patience, and the start of an interpreter on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);
/// The access key that the simulated clouds begin with.
pub const KEY: (&str, &str) = ("RGTESTACCESSKEY00001", "rgTestSecretKey/000000000000000000000001");
/// A backup that is nowhere.
pub const NO_BACKUP: &str = "99999999-9999-4999-8999-999999999999";

/// A program of `tests/sdks` about to be run.
pub struct Sdk {
    program: &'static str,
    command: Command,
}

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Ran {
    program: &'static str,
    /// 0 well, 1 not well, 3 the SDK itself broke on an answer, 4 no end in time.
    pub code: Option<i32>,
    /// Its steps.
    pub steps: Vec<Value>,
    /// All of its output that is no step, for whoever reads a failed test.
    pub aside: String,
}

/// A program for a service at this URL, which has neither version nor project in it.
///
/// # Panics
/// When the SDKs are not installed.
#[must_use]
pub fn sdk(program: &'static str, base_url: &str) -> Sdk {
    let folder = installed();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdks");
    let interpreter = match Path::new(program).extension().and_then(|name| name.to_str()) {
        Some("js") => folder.join("node/node"),
        _ => folder.join("python/bin/python"),
    };
    let mut command = clean(&interpreter);
    command.arg(sources.join(program)).stdout(Stdio::piped()).stderr(Stdio::piped());
    Sdk { program, command }.with("base-url", base_url).with("project", ids::PROJECT)
}

/// The folder that `./dev sdks` fills: in the target folder, wherever in it this test stands.
fn installed() -> PathBuf {
    let here = std::env::current_exe().expect("the path of this program");
    let folder =
        here.ancestors().map(|folder| folder.join("sdks")).find(|folder| folder.join("stamp").is_file());
    folder.unwrap_or_else(|| {
        panic!(
            "the SDKs of other people are not installed beside {}: run ./dev sdks (./dev test does)",
            here.display()
        )
    })
}

/// A tool that lints the contract or generates a client of it, about to be run: a Node program by the path of its script
/// in `node_modules`, or a Python program by its name.
///
/// # Panics
/// When it is not installed.
#[must_use]
pub fn generator(program: &str) -> Command {
    if program.contains('/') {
        return node(&node_modules().join(program));
    }
    let programs = installed().join("generators/bin");
    let mut command = clean(&programs.join(program));
    command.env("PATH", format!("{}:/usr/bin:/bin", programs.display()));
    command
}

/// A command without anything of the person who runs the tests: neither proxies nor clouds.yaml nor keys.
fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("LANG", "C.UTF-8").env("NODE_PATH", node_modules());
    // Compiled Python stays out of the sources.
    command.env("PYTHONPYCACHEPREFIX", installed().join("compiled"));
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// A script for Node, about to be run.
///
/// # Panics
/// When Node is not installed.
#[must_use]
pub fn node(script: &Path) -> Command {
    let mut command = clean(&installed().join("node/node"));
    command.env("REDOCLY_TELEMETRY", "off").arg(script);
    command
}

/// A file of `tests/sdks`.
#[must_use]
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sdks").join(name)
}

/// The folder with the Node packages.
///
/// # Panics
/// When they are not installed.
#[must_use]
pub fn node_modules() -> PathBuf {
    installed().join("node/node_modules")
}

/// The steps among the lines of a program.
#[must_use]
pub fn steps(output: &[u8]) -> Vec<Value> {
    String::from_utf8_lossy(output).lines().filter_map(step).collect()
}

/// The step on a line; `None` for any other line.
fn step(line: &str) -> Option<Value> {
    serde_json::from_str(line).ok().filter(|step: &Value| step["step"].is_string())
}

/// axe-core, which finds in a page what keeps people from using it: the text of its script.
///
/// # Panics
/// When it is not installed.
#[must_use]
pub fn axe() -> String {
    let script = installed().join("node/node_modules/axe-core/axe.min.js");
    std::fs::read_to_string(&script).unwrap_or_else(|error| panic!("{}: {error}", script.display()))
}

impl Sdk {
    /// With one more argument.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        // as one word, so that the order of actions and options does not matter
        self.command.arg(format!("--{name}={value}"));
        self
    }

    /// With a token as it is.
    #[must_use]
    pub fn token(mut self) -> Self {
        self.command.env("OS_TOKEN", ids::TOKEN);
        self
    }

    /// With a token that is scoped anew by this identity service first.
    #[must_use]
    pub fn token_at(mut self, iam: &str) -> Self {
        self.command.env("OS_AUTH_URL", iam);
        self.token()
    }

    /// With user and password, at this identity service.
    #[must_use]
    pub fn password_at(mut self, iam: &str) -> Self {
        self.command
            .env("OS_AUTH_URL", iam)
            .env("OS_USERNAME", "restore-bot")
            .env("OS_PASSWORD", "example-only")
            .env("OS_USER_DOMAIN_NAME", "OTC00000000001000012345");
        self
    }

    /// Signing with the clouds' own access key.
    #[must_use]
    pub fn key(self) -> Self {
        self.key_of(KEY.0, KEY.1)
    }

    /// Signing with this access key.
    #[must_use]
    pub fn key_of(mut self, access: &str, secret: &str) -> Self {
        self.command.env("HUAWEICLOUD_SDK_AK", access).env("HUAWEICLOUD_SDK_SK", secret);
        self
    }

    /// Onto the server, both disks.
    #[must_use]
    pub fn server(self, backup: &str) -> Self {
        let pair = |(backup, volume): (&str, &str)| format!("{backup}={volume}");
        self.with("backup", backup)
            .with("checkpoint", ids::CSBS_CHECKPOINT)
            .with("server", ids::SERVER)
            .with("mapping", &pair(ids::SYSTEM))
            .with("mapping", &pair(ids::DATA))
    }

    /// Onto the detached disk.
    #[must_use]
    pub fn disk(self, backup: &str) -> Self {
        self.with("backup", backup).with("volume", ids::FREE.1)
    }

    /// Reads, restores and follows to the end, as users of this SDK do.
    pub async fn restore(self) -> Ran {
        self.run("restore").await
    }

    /// Only asks for the restore, which is to be refused.
    pub async fn refused(self) -> Ran {
        self.run("refused").await
    }

    async fn run(mut self, action: &str) -> Ran {
        // Some of them keep things at home.
        let home = tempfile::tempdir().expect("a folder");
        self.command.env("HOME", home.path()).arg(action);
        let program = self.program;
        let ran = tokio::time::timeout(PATIENCE, self.command.output()).await;
        let ran = ran.unwrap_or_else(|_| panic!("{program} does not end within {PATIENCE:?}"));
        let ran = ran.unwrap_or_else(|why| panic!("{program} cannot be run: {why}; ./dev sdks installs it"));
        let (mut steps, mut aside) = (Vec::new(), String::from_utf8_lossy(&ran.stderr).into_owned());
        // Standard output is not the programs' alone: one SDK logs there.
        for line in String::from_utf8_lossy(&ran.stdout).lines() {
            match step(line) {
                Some(step) => steps.push(step),
                None => {
                    aside.push_str(line);
                    aside.push('\n');
                }
            }
        }
        Ran { program, code: ran.status.code(), steps, aside }
    }
}

impl Ran {
    /// Ended as users want it to.
    ///
    /// # Panics
    /// When it did not.
    #[must_use]
    pub fn well(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// What it said of one step, the last time.
    ///
    /// # Panics
    /// When it said nothing.
    #[must_use]
    pub fn step(&self, name: &str) -> &Value {
        let last = self.steps.iter().rev().find(|step| step["step"] == name);
        last.unwrap_or_else(|| panic!("{} said nothing of {name}: {self:#?}", self.program))
    }

    /// Every status of one step, in order.
    #[must_use]
    pub fn statuses(&self, name: &str) -> Vec<String> {
        let those = self.steps.iter().filter(|step| step["step"] == name);
        those.map(|step| step["status"].as_str().unwrap_or_default().to_owned()).collect()
    }
}
