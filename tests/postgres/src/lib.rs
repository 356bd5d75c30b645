//! A PostgreSQL server of a test's own: in a temporary folder, on a free loopback port, made by
//! the programs of the Debian package `postgresql`, and gone when the test process is, however that
//! ends. For tests only.
//!
//! The server is kept by a shell script (`keeper.sh`) that does what it reads from its input. The
//! input ends with this process, and then script, server and folder end too.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

const KEEPER: &str = include_str!("keeper.sh");

/// How the server is set up.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// The superuser's password, asked for with SCRAM; without one everybody is trusted.
    pub password: Option<String>,
    /// Certificate and key as PEM; with them only TLS connections are taken.
    pub tls: Option<(String, String)>,
}

/// A server that runs until this is dropped.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    password: Option<String>,
    keeper: Mutex<Keeper>,
}

#[derive(Debug)]
struct Keeper {
    process: Child,
    /// `None` when it is to end.
    words: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Postgres {
    /// A server that trusts everybody on loopback, without TLS.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_as(&Setup::default())
    }

    /// A server that is set up in another way.
    ///
    /// # Panics
    /// As [`Postgres::start`].
    #[must_use]
    pub fn start_as(setup: &Setup) -> Self {
        let programs = programs().unwrap_or_else(|| {
            panic!(
                "these tests need PostgreSQL: install the Debian package `postgresql`. Its programs are \
                 looked for in /usr/lib/postgresql/*/bin and on the PATH"
            )
        });
        // Another process may take the port between its being found and its being used.
        let started = (0..5).find_map(|_| Self::try_start(&programs, setup).ok());
        started.expect("PostgreSQL does not start; what it said stands above")
    }

    fn try_start(programs: &Path, setup: &Setup) -> io::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let (certificate, key) = setup.tls.clone().unwrap_or_default();
        let mut command = as_nobody_special();
        command
            .args(["sh", "-c", KEEPER, "keeper"])
            .arg(programs)
            .arg(port.to_string())
            .arg(setup.password.clone().unwrap_or_default())
            .arg(certificate)
            .arg(key);
        let mut process = command
            // An interrupt from the terminal is for the tests; the keeper ends after them.
            .process_group(0)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let words = process.stdin.take();
        let answers = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut keeper = Keeper { process, words, answers: BufReader::new(answers) };
        let folder = keeper.answer()?.into();
        let (programs, password) = (programs.to_owned(), setup.password.clone());
        Ok(Self { programs, folder, port, password, keeper: Mutex::new(keeper) })
    }

    /// The port it listens on, on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The URL of one of its databases, for the superuser, without a password.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn create_database(&self, name: &str) {
        let mut command = Command::new(self.programs.join("createdb"));
        // By the socket; with TLS or without is the server's business with others.
        command.arg("-h").arg(&self.folder).args(["-p", &self.port.to_string(), "-U", "postgres", name]);
        if let Some(password) = &self.password {
            command.env("PGPASSWORD", password);
        }
        assert!(command.status().expect("createdb").success(), "the database {name} cannot be made");
    }

    /// Ends the server in good order. Its databases stay.
    ///
    /// # Panics
    /// When the server is not running.
    pub fn stop(&self) {
        self.tell("stop");
    }

    /// Ends the server as a crash would.
    ///
    /// # Panics
    /// When the server is not running.
    pub fn kill(&self) {
        self.tell("kill");
    }

    /// Starts the server again, on the same port with the same databases.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&self) {
        self.tell("start");
    }

    fn tell(&self, word: &str) {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = keeper.tell(word).expect("the server's keeper is there");
        assert_eq!(answer, word, "the server's keeper answers what it was told");
    }
}

impl Keeper {
    fn tell(&mut self, word: &str) -> io::Result<String> {
        let words = self.words.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(words, "{word}")?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.answers.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.words = None;
        let _ended = self.process.wait();
    }
}

/// Where the programs of the newest installed version are.
fn programs() -> Option<PathBuf> {
    let has_all = |folder: &PathBuf| ["initdb", "postgres"].iter().all(|name| folder.join(name).exists());
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<_> = versions
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin")))
        })
        .collect();
    versions.sort_unstable();
    let installed = versions.into_iter().rev().map(|(_, folder)| folder);
    let path = std::env::var_os("PATH").unwrap_or_default();
    installed.chain(std::env::split_paths(&path)).find(has_all)
}

/// PostgreSQL refuses to run as root, whose tests run it as the package's user.
fn as_nobody_special() -> Command {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    if is_root {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]);
        command
    } else {
        Command::new("env")
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn a_server_comes_and_goes_and_leaves_nothing() {
        let server = Postgres::start();
        let reachable = |server: &Postgres| TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).is_ok();
        server.create_database("one");
        for end in [Postgres::stop, Postgres::kill] {
            assert!(reachable(&server));
            end(&server);
            assert!(!reachable(&server));
            server.start_again();
        }
        let (port, folder) = (server.port, server.folder.clone());
        drop(server);
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
        assert!(!folder.exists());
    }
}
