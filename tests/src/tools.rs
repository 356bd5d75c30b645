//! What `deploy/` is checked with: tools of other people, as `./dev tools` installs them. One that is not there fails the
//! test that needs it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

/// Longest run of a tool.
const PATIENCE: Duration = Duration::from_secs(120);

/// The top of the tree.
///
/// # Panics
/// Never: the tests stand in it.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// Every file at or below a path, in no order.
///
/// # Panics
/// When a folder cannot be read.
#[must_use]
pub fn files(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let entries = std::fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    entries.flat_map(|entry| files(&entry.expect("an entry").path())).collect()
}

/// Every source file of Rust at or below a path, in no order.
#[must_use]
pub fn sources(path: &Path) -> Vec<PathBuf> {
    let mut all = files(path);
    all.retain(|path| path.extension().is_some_and(|end| end == "rs"));
    all
}

/// The folder that `./dev tools` fills.
fn installed() -> PathBuf {
    let here = std::env::current_exe().expect("the path of this program");
    let folder = here
        .ancestors()
        .map(|folder| folder.join("deploy-tools"))
        .find(|folder| folder.join("stamp").is_file());
    folder.unwrap_or_else(|| {
        panic!("the tools are not installed beside {}: run ./dev tools (./dev test does)", here.display())
    })
}

/// One of them, by its place in that folder.
#[must_use]
pub fn tool(path: &str) -> Command {
    let mut command = Command::new(installed().join(path));
    command.current_dir(root());
    command
}

/// The linter of compose files.
#[must_use]
pub fn dclint() -> Command {
    let mut command = tool("node/node");
    command.arg(installed().join("node/node_modules/dclint/bin/dclint.cjs"));
    command
}

/// A command of `tests/deploy/tools.py`.
#[must_use]
pub fn python(arguments: &[&str]) -> Command {
    let mut command = tool("python/bin/python");
    command.arg("-B").arg("tests/deploy/tools.py").args(arguments);
    command
}

/// Runs one to its end; whether it was content, and all that it said.
///
/// # Panics
/// When it cannot be run, or does not end.
pub async fn run(command: &mut Command) -> (bool, String) {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, output).await.expect("it ends");
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// The documents of YAML files.
///
/// # Panics
/// When they are none.
pub async fn yaml(paths: &[&str]) -> Vec<Value> {
    let (read, said) = run(&mut python(&[&["yaml"], paths].concat())).await;
    assert!(read, "{said}");
    serde_json::from_str(&said).expect("JSON")
}
