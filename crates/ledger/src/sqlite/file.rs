//! The file itself: made for its owner alone, held by one gateway, and still where it was opened.
//!
//! SQLite lets any number of processes write one file in turn, which two gateways must not: each
//! would look after the other's restores. And it goes on writing a file that has lost its name,
//! whose content is gone with the process. So a lock stands beside the file for as long as it is
//! open, and before anything is written its name is looked up.
//!
//! The lock holds a [`Note`] of how much the file knew. A copy from yesterday that is put in its
//! place knows less, and is told apart by that; so is a file that is empty, or another ledger.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a lock that is held is tried again, a [`PAUSE`] between: whoever was dropped a moment
/// ago without a close may still be writing what was queued.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// The ledger's file, held until this is dropped or its process ends.
#[derive(Debug)]
pub(super) struct LedgerFile {
    path: PathBuf,
    identity: (u64, u64),
    /// When the file itself was last written, as it was noted last; its log is another file.
    written: i64,
    /// Whether there was a file with content before this start.
    found: bool,
    /// What lay beside the file although it was missing or empty: it was there before.
    leftovers: Vec<PathBuf>,
    /// Of `PATH.lock`, which stays where it is: a lock on a file that has lost its name keeps nobody out.
    lock: File,
}

/// How much a file knew, as far as its lock tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// Which ledger it is; copies share it.
    pub(super) ledger: i64,
    /// How often it had been opened.
    pub(super) opens: i64,
    /// The last position of its feed.
    pub(super) position: i64,
}

impl LedgerFile {
    /// Makes the file if it is missing, and holds it.
    pub(super) async fn hold(path: &Path) -> Result<Self, String> {
        let found = std::fs::metadata(path).is_ok_and(|file| file.len() > 0);
        create(path)?;
        // By whatever name it was asked for, one file has one lock.
        let path = path.canonicalize().map_err(|error| error.to_string())?;
        // SQLite takes a log away that it finds beside an empty file: it is looked for before.
        let leftovers = if found { Vec::new() } else { leftovers(&path) };
        let lock = lock(&path).await?;
        let identity = identity(&path).map_err(|error| error.to_string())?;
        let mut file = Self { written: written(&path), path, identity, found, leftovers, lock };
        file.belongs_to_its_log()?;
        Ok(file)
    }

    /// SQLite brings home whatever log it finds beside a file: one that another file left there
    /// would make a ruin of both. A log is left when a gateway is killed; whether the file was
    /// written since by anybody else is told by its time.
    fn belongs_to_its_log(&mut self) -> Result<(), String> {
        let mut log = self.path.as_os_str().to_owned();
        log.push("-wal");
        let left = std::fs::metadata(&log).is_ok_and(|log| log.len() > 0);
        let noted = self.noted_time();
        // Beside an empty file SQLite takes the log away, and recovery mode begins.
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

    /// Whether there was a file with content before this start.
    pub(super) const fn was_found(&self) -> bool {
        self.found
    }

    /// Why a ledger must have been here before, although the file was missing or empty.
    pub(super) fn traces(&self) -> Option<String> {
        let names: Vec<String> = self.leftovers.iter().map(|path| path.display().to_string()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// Whether the file itself was written since that was noted, which happens when its log is
    /// brought home.
    pub(super) fn is_to_be_noted(&self) -> bool {
        written(&self.path) != self.written
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its path still leads to it. Asks the kernel in place: next to the sync that follows
    /// the answer takes no time.
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
    /// What was noted last, by this process or by one before it; `None` for a new lock or one that
    /// is not readable as a note.
    pub(super) fn noted(&mut self) -> Option<Note> {
        let [ledger, opens, position, ..] = self.noted_numbers()?[..] else { return None };
        Some(Note { ledger, opens, position })
    }

    /// When the file itself was last written, as far as its lock tells.
    fn noted_time(&mut self) -> Option<i64> {
        self.noted_numbers()?.get(3).copied()
    }

    /// What [`LedgerFile::note`] wrote; an earlier program wrote no time.
    fn noted_numbers(&mut self) -> Option<Vec<i64>> {
        let mut text = String::new();
        self.lock.rewind().ok()?;
        (&self.lock).take(256).read_to_string(&mut text).ok()?;
        text.split_whitespace().map(|number| number.parse().ok()).collect()
    }

    /// Notes how much the file knows by now. Without a sync: the note may fall behind the file, and
    /// must only never be ahead of it.
    pub(super) fn note(&mut self, note: Note) -> io::Result<()> {
        let Note { ledger, opens, position } = note;
        self.written = written(&self.path);
        let written = self.written;
        self.lock.rewind()?;
        // Always of one length, so that nothing of an earlier one is left.
        let line = format!("{ledger:>20} {opens:>20} {position:>20} {written:>20}\n");
        self.lock.write_all(line.as_bytes())
    }
}

/// What a ledger leaves beside its file: a lock with a note, a log, the index of a log. A lock without a note is of a start
/// that came to nothing, before anything could be sent.
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

/// When a file was last written, in nanoseconds; 0 where that is not known.
fn written(path: &Path) -> i64 {
    let time = std::fs::metadata(path).and_then(|found| found.modified()).ok();
    let since = time.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    since.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(0))
}

/// An existing file is not even opened: closing a second handle on it would drop the locks SQLite
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

/// Device and inode of what is at `path`.
#[cfg(unix)]
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    path.metadata().map(|found| (found.dev(), found.ino()))
}

/// Only whether anything is at `path`: elsewhere an open file keeps its name.
#[cfg(not(unix))]
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    path.metadata().map(|_| (0, 0))
}
