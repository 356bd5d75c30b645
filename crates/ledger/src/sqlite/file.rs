//! The ledger's file: created for its owner alone, held by one gateway, and still at the path where it was opened.
//!
//! SQLite lets any number of processes write one file in turn. Two gateways must not do that: each would work on the
//! other's restores. Also, SQLite continues to write a file that was deleted or replaced, and its content is lost with
//! the process. So a lock file exists beside the file while it is open, and the path is checked before each write.
//!
//! The lock file holds a [`Note`] of the file's last known content. An older copy in its place contains less and is
//! detected by that. So is an empty file or another ledger.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Number of attempts for a held lock, with a [`PAUSE`] in between: a ledger that was just dropped without a close may
/// still write its queue.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// The ledger's file, held until this value is dropped or its process ends.
#[derive(Debug)]
pub(super) struct LedgerFile {
    path: PathBuf,
    identity: (u64, u64),
    /// Last noted modification time of the file itself; its log is another file.
    written: i64,
    /// True if a file with content existed before this start.
    found: bool,
    /// Files that remained beside a missing or empty file: the ledger existed before.
    leftovers: Vec<PathBuf>,
    /// The lock file `PATH.lock`. It is never deleted: a lock on a deleted file excludes no process.
    lock: File,
}

/// The content of a file at the time of the note in its lock file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// Identity of the ledger; copies share it.
    pub(super) ledger: i64,
    /// Number of times that it had been opened.
    pub(super) opens: i64,
    /// Last position of its feed.
    pub(super) position: i64,
}

impl LedgerFile {
    /// Creates the file if it is missing, and holds it.
    pub(super) async fn hold(path: &Path) -> Result<Self, String> {
        let found = std::fs::metadata(path).is_ok_and(|file| file.len() > 0);
        create(path)?;
        // Different paths to the same file share one lock.
        let path = path.canonicalize().map_err(|error| error.to_string())?;
        // SQLite deletes a log beside an empty file, so this check comes first.
        let leftovers = if found { Vec::new() } else { leftovers(&path) };
        let lock = lock(&path).await?;
        let identity = identity(&path).map_err(|error| error.to_string())?;
        let mut file = Self { written: written(&path), path, identity, found, leftovers, lock };
        file.belongs_to_its_log()?;
        Ok(file)
    }

    /// Checks that a log beside the file belongs to it. SQLite applies any log that it finds, and the log of another
    /// file would destroy the content. A killed gateway leaves its log. The modification time shows if another program
    /// has written the file since.
    fn belongs_to_its_log(&mut self) -> Result<(), String> {
        let mut log = self.path.as_os_str().to_owned();
        log.push("-wal");
        let left = std::fs::metadata(&log).is_ok_and(|log| log.len() > 0);
        let noted = self.noted_time();
        // Beside an empty file SQLite deletes the log, and recovery mode starts.
        if self.found && left && noted.is_some_and(|noted| noted != self.written) {
            return Err(format!(
                "it was replaced while the log of the file before it, {}, was left beside it. Take that \
                 log and the -shm file away, and start again; the gateway then tells whether the file is an \
                 older copy",
                Path::new(&log).display()
            ));
        }
        Ok(())
    }

    /// Returns true if a file with content existed before this start.
    pub(super) const fn was_found(&self) -> bool {
        self.found
    }

    /// Returns the reason why a ledger must have existed here before, although the file was missing or empty.
    pub(super) fn traces(&self) -> Option<String> {
        let names: Vec<String> = self.leftovers.iter().map(|path| path.display().to_string()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// Returns true if the file itself was written since the last note. That happens when SQLite applies its log.
    pub(super) fn is_to_be_noted(&self) -> bool {
        written(&self.path) != self.written
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Checks that its path still leads to it. A direct system call: its time is negligible beside the following sync.
    pub(super) fn in_place(&self) -> Result<(), String> {
        match identity(&self.path) {
            Ok(found) if found == self.identity => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.to_string()),
            _ => Err("the ledger's file was moved or deleted; restart the gateway when the right one \
                      is in its place"
                .to_owned()),
        }
    }
}

impl LedgerFile {
    /// Returns the last note, by this process or an earlier one; `None` for a new lock or one without a readable note.
    pub(super) fn noted(&mut self) -> Option<Note> {
        let [ledger, opens, position, ..] = self.noted_numbers()?[..] else { return None };
        Some(Note { ledger, opens, position })
    }

    /// Returns the modification time of the file itself in the note.
    fn noted_time(&mut self) -> Option<i64> {
        self.noted_numbers()?.get(3).copied()
    }

    /// Returns the numbers that [`LedgerFile::note`] wrote; an earlier program wrote no time.
    fn noted_numbers(&mut self) -> Option<Vec<i64>> {
        let mut text = String::new();
        self.lock.rewind().ok()?;
        (&self.lock).take(256).read_to_string(&mut text).ok()?;
        text.split_whitespace().map(|number| number.parse().ok()).collect()
    }

    /// Notes the current content of the file. Without a sync: the note may be older than the file, but must never be
    /// newer.
    pub(super) fn note(&mut self, note: Note) -> io::Result<()> {
        let Note { ledger, opens, position } = note;
        self.written = written(&self.path);
        let written = self.written;
        self.lock.rewind()?;
        // A fixed length, so that nothing of an earlier note remains.
        let line = format!("{ledger:>20} {opens:>20} {position:>20} {written:>20}\n");
        self.lock.write_all(line.as_bytes())
    }
}

/// Returns the files that a ledger leaves beside its file: a lock with a note, a log, the index of a log. A lock
/// without a note comes from a failed start, before anything could be sent.
fn leftovers(path: &Path) -> Vec<PathBuf> {
    let beside = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let noted = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|file| file.len() > 0);
    let lock = Some(beside(".lock")).filter(noted);
    let logs = ["-wal", "-shm", "-journal"].map(beside).into_iter().filter(|path| path.exists());
    lock.into_iter().chain(logs).collect()
}

/// Returns the modification time of a file in nanoseconds; 0 if it is unknown.
fn written(path: &Path) -> i64 {
    let time = std::fs::metadata(path).and_then(|found| found.modified()).ok();
    let since = time.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    since.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(0))
}

/// Creates a missing file. It does not open an existing one: closing a second handle would drop the locks that SQLite
/// holds in this process.
fn create(path: &Path) -> Result<(), String> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    if !folder.is_dir() {
        return Err(format!("its folder {} does not exist", folder.display()));
    }
    match for_the_owner().create_new(true).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error.to_string()),
        _ => Ok(()),
    }
}

async fn lock(path: &Path) -> Result<File, String> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let cannot = |error| format!("its lock {} cannot be taken: {error}", Path::new(&name).display());
    let file = for_the_owner().read(true).create(true).truncate(false).open(&name).map_err(cannot)?;
    for _ in 0..TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(cannot(error)),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(PAUSE).await,
        }
    }
    Err("another gateway has this ledger open; one file has one gateway".to_owned())
}

fn for_the_owner() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Returns device and inode of the file at `path`.
#[cfg(unix)]
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    path.metadata().map(|found| (found.dev(), found.ino()))
}

/// Checks only that a file exists at `path`: on other systems an open file keeps its name.
#[cfg(not(unix))]
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    path.metadata().map(|_| (0, 0))
}
