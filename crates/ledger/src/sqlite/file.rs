//! The file itself: made for its owner alone, held by one gateway, and still where it was opened.
//!
//! SQLite lets any number of processes write one file in turn, which two gateways must not: each
//! would look after the other's restores. And it goes on writing a file that has lost its name,
//! whose content is gone with the process. So a lock stands beside the file for as long as it is
//! open, and before anything is written its name is looked up.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
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
    /// Of `PATH.lock`, which stays where it is: a lock on a file that has lost its name keeps nobody out.
    _lock: File,
}

impl LedgerFile {
    /// Makes the file if it is missing, and holds it.
    pub(super) async fn hold(path: &Path) -> Result<Self, String> {
        create(path)?;
        // By whatever name it was asked for, one file has one lock.
        let path = path.canonicalize().map_err(|error| error.to_string())?;
        let lock = lock(&path).await?;
        let identity = identity(&path).map_err(|error| error.to_string())?;
        Ok(Self { path, identity, _lock: lock })
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
    let file = for_the_owner().create(true).truncate(false).open(&name).map_err(cannot)?;
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
