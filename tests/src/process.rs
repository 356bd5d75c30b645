//! The real binary as a process, for what only a process can show: signals, exit codes, its output.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Longest wait for a process to start or end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The gateway's binary, as the test command has built it beside the tests.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn binary() -> PathBuf {
    let here = std::env::current_exe().expect("the path of this program");
    // A test stands in a folder below the binaries, a program of the tests among them.
    let beside = here.ancestors().skip(1).take(2).map(|folder| folder.join("restore-gateway"));
    let found = beside.clone().find(|binary| binary.exists());
    found
        .unwrap_or_else(|| panic!("none of {:?}: cargo build -p restore-gateway", beside.collect::<Vec<_>>()))
}

/// `restore-gateway serve` with configuration of its own.
pub struct Process {
    child: Child,
    /// Where the canonical API listens.
    pub api: SocketAddr,
    /// Where the admin pages listen.
    pub admin: SocketAddr,
    /// The compatibility endpoints that have a listener of their own: the source API of each, and where it listens.
    pub endpoints: Vec<(String, SocketAddr)>,
    log: tokio::task::JoinHandle<String>,
    folder: tempfile::TempDir,
}

/// What the file of its configuration is called.
const SETTINGS: &str = "gateway.toml";

impl Process {
    /// Starts it; the configuration must log JSON, at `info` or more.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn serve(toml: &str) -> Self {
        Self::serve_in(tempfile::tempdir().expect("a folder"), toml).await
    }

    /// Starts it where an earlier one has run.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn serve_in(folder: tempfile::TempDir, toml: &str) -> Self {
        match Self::try_serve_in(folder, toml, &[]).await {
            Ok(process) => process,
            Err((_, log)) => panic!("the gateway did not come up:\n{log}"),
        }
    }

    /// Starts it where an earlier one has run, with these variables; gives the folder and the log
    /// back when it ends before it is up.
    ///
    /// # Errors
    /// When it does not come up.
    ///
    /// # Panics
    /// When it cannot be started at all.
    pub async fn try_serve_in(
        folder: tempfile::TempDir,
        toml: &str,
        variables: &[(&str, &str)],
    ) -> Result<Self, (tempfile::TempDir, String)> {
        let config = folder.path().join(SETTINGS);
        std::fs::write(&config, toml).expect("settings are written");
        // A file that may grow no further is an error then, as a full disk is, and not a signal.
        let child = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .arg(binary())
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .envs(variables.iter().copied())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the gateway runs");
        Self::of(child, folder).await
    }

    /// One that a test has started by itself, with the log on a pipe; gives the folder and the log back when it ends
    /// before it is up.
    ///
    /// # Errors
    /// When it does not come up.
    ///
    /// # Panics
    /// When its log is on no pipe.
    pub async fn of(
        mut child: Child,
        folder: tempfile::TempDir,
    ) -> Result<Self, (tempfile::TempDir, String)> {
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let mut before = String::new();
        let up = async {
            while let Ok(Some(line)) = lines.next_line().await {
                before.push_str(&line);
                before.push('\n');
                if line.contains("gateway started") {
                    return serde_json::from_str::<Value>(&line).ok();
                }
            }
            None
        };
        let up = tokio::time::timeout(PATIENCE, up).await.ok().flatten();
        let Some(up) = up else {
            let _dead = child.kill().await;
            return Err((folder, before));
        };
        let address = |name: &str| up[name].as_str().and_then(|a| a.parse().ok()).expect(name);
        let (api, admin) = (address("api"), address("admin"));
        let endpoints = before.lines().filter_map(opened).collect();
        let log = tokio::spawn(async move {
            let mut log = before;
            while let Ok(Some(line)) = lines.next_line().await {
                log.push_str(&line);
                log.push('\n');
            }
            log
        });
        Ok(Self { child, api, admin, endpoints, log, folder })
    }

    /// What the kernel tells of it: a file below `/proc/<pid>`.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn proc(&self, name: &str) -> PathBuf {
        let id = self.child.id().expect("a running process");
        PathBuf::from(format!("/proc/{id}/{name}"))
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The folder it runs in, where a relative ledger is.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// The file of its configuration.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder().join(SETTINGS)
    }

    /// Sends a signal by its name, such as `TERM`.
    ///
    /// # Panics
    /// When there is no such process any more.
    pub async fn signal(&self, name: &str) {
        let id = self.child.id().expect("a running process").to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().await.expect("kill runs");
        assert!(sent.success(), "kill -s {name} {id}");
    }

    /// Lets no file of the process grow beyond so many bytes; `None` lifts it. To the process it is as
    /// if the disk were full.
    ///
    /// # Panics
    /// When there is no such process any more.
    pub async fn limit_files(&self, bytes: Option<u64>) {
        let id = self.child.id().expect("a running process").to_string();
        let limit = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
        let soft = format!("--fsize={limit}:");
        let set = Command::new("prlimit").args(["--pid", &id, &soft]).status().await.expect("prlimit runs");
        assert!(set.success(), "prlimit {soft} {id}");
    }

    /// Resident memory in KiB.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most resident memory it ever had, in KiB.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn peak_kib(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, what: &str) -> u64 {
        let status = std::fs::read_to_string(self.proc("status")).expect("procfs");
        let line = status.lines().find(|line| line.starts_with(what)).expect(what);
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }

    /// Waits for its end; returns how it ended, its log, and its folder.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn ended(mut self) -> (ExitStatus, String, tempfile::TempDir) {
        let status =
            tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends").expect("status");
        (status, self.log.await.unwrap_or_default(), self.folder)
    }
}

/// The compatibility endpoint that a line of the log tells of.
fn opened(line: &str) -> Option<(String, SocketAddr)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let told = line.to_string().contains("compatibility endpoint started");
    let address = line["address"].as_str().filter(|_| told)?.parse().ok()?;
    Some((line["source_api"].as_str()?.to_owned(), address))
}
