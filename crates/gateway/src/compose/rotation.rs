//! Rotation: values from files are renewed while the gateway runs, when the content of the files changes.
//!
//! Place: each user of a file registers it with [`Rotation::watch`] while the gateway is composed; one task then reads
//! all of them. It compares contents, not names or times, so mounted folders with a swapped link work as well as
//! rewritten files. A new content counts after two equal readings in a row, so a half-written file is not used. The
//! user of a file rejects an invalid value: the old value stays in use, and a log line has the reason but nothing of
//! the content. Rejections are counted.
//!
//! It uses `std::fs` on a blocking thread and no notifications of the system: those are missing for some kinds of
//! mounts, and reading a few small files every [`PERIOD`] costs nothing.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use restore_upstream::{ClientIdentity, SecretCell};
use secrecy::zeroize::Zeroizing;
use tokio_util::sync::CancellationToken;

/// Between two looks. What is new is in use after two of them: far within the 60 s that are promised (S26).
pub(crate) const PERIOD: Duration = Duration::from_secs(2);
/// Bytes of a file that are read; no rotated file is larger.
const LOOKED_AT: u64 = 4 * 1024 * 1024;

/// Watched files. Its debug output shows their names only.
#[derive(Default)]
pub struct Rotation {
    watches: Vec<Watch>,
    counts: Arc<Counts>,
    /// Files are remembered as hashes under a key of this process: a secret cannot be guessed from one.
    hasher: RandomState,
}

/// Outcomes of changed files so far.
#[derive(Debug, Default)]
pub struct Counts {
    taken: AtomicU64,
    refused: AtomicU64,
    /// Watches whose files hold what cannot be taken.
    behind: AtomicU64,
}

impl Counts {
    /// How many changes were taken.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// How many changes could not be taken, so that the old value stayed in use.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// True if what is in use is what the files hold now.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.behind.load(Ordering::Relaxed) == 0
    }
}

/// One watch whose files cannot be taken, for as long as this is held.
struct Behind(Arc<Counts>);

impl Behind {
    fn new(counts: &Arc<Counts>) -> Self {
        counts.behind.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counts))
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.0.behind.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Files that are taken together, and how.
struct Watch {
    name: String,
    paths: Vec<PathBuf>,
    user: Box<dyn User>,
    /// State of the files at registration.
    begun: u64,
    /// State of the files that was last accepted or rejected: neither is tried again until the files change.
    settled: Option<u64>,
    /// State of the files at the last look.
    seen: u64,
    /// Held while what was last seen could not be taken.
    behind: Option<Behind>,
}

/// A value from files, and the way to renew it.
trait User: Send {
    /// True if anybody else still has it.
    fn is_there(&self) -> bool;
    fn take(&mut self) -> Result<(), String>;
}

impl<K: Kept, T: FnMut(&K) -> Result<(), String> + Send> User for (K, T) {
    fn is_there(&self) -> bool {
        self.0.is_used()
    }

    fn take(&mut self) -> Result<(), String> {
        (self.1)(&self.0)
    }
}

/// A value that is renewed when its files change.
pub trait Kept: Send + 'static {
    /// True if anybody but the watch has it.
    fn is_used(&self) -> bool;
}

impl<T: Send + Sync + 'static> Kept for Arc<T> {
    fn is_used(&self) -> bool {
        Self::strong_count(self) > 1
    }
}

impl<T: Send + Sync + 'static> Kept for SecretCell<T> {
    fn is_used(&self) -> bool {
        self.is_shared()
    }
}

impl Kept for ClientIdentity {
    fn is_used(&self) -> bool {
        self.is_shared()
    }
}

impl std::fmt::Debug for Rotation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.watches.iter().map(|watch| &watch.name)).finish()
    }
}

impl Rotation {
    /// Nothing is watched yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Watches files that belong together, such as a certificate and its key, as long as anybody uses `kept`. When one
    /// of them changes, `take` reads what it needs by its own rules and puts it into `kept`, or changes nothing and says
    /// why not, without any of the content. It is called on a thread that may block. `name` is for the log.
    ///
    /// It is called once soon after the start, too, for files may have changed since they were read.
    pub fn watch<K: Kept>(
        &mut self,
        name: impl Into<String>,
        paths: impl IntoIterator<Item = impl Into<PathBuf>>,
        kept: K,
        take: impl FnMut(&K) -> Result<(), String> + Send + 'static,
    ) {
        let paths: Vec<PathBuf> = paths.into_iter().map(Into::into).collect();
        if paths.is_empty() {
            return;
        }
        let seen = look(&self.hasher, &paths);
        self.watches.push(Watch {
            name: name.into(),
            paths,
            user: Box::new((kept, take)),
            begun: seen,
            settled: None,
            seen,
            behind: None,
        });
    }

    /// Another one that is counted together with this one: for what configuration that is loaded later use.
    #[must_use]
    pub fn another(counts: &Arc<Counts>) -> Self {
        Self { counts: Arc::clone(counts), ..Self::default() }
    }

    /// Outcomes of changed files, to be shown.
    #[must_use]
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Looks again and again until it is stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        let counts = self.counts();
        while !self.watches.is_empty() && stop.run_until_cancelled(tokio::time::sleep(PERIOD)).await.is_some()
        {
            let looked = tokio::task::spawn_blocking(move || {
                self.look_once();
                self
            });
            match looked.await {
                Ok(rotation) => self = rotation,
                Err(error) => {
                    // For good: nobody knows any more what the files hold.
                    counts.behind.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(%error, "file watching failed; a changed file needs a restart");
                    return;
                }
            }
        }
    }

    /// One look at everything.
    fn look_once(&mut self) {
        self.watches.retain_mut(|watch| {
            let now = look(&self.hasher, &watch.paths);
            let steady = now == watch.seen;
            watch.seen = now;
            if watch.settled == Some(now) || !steady {
                // Configuration that was loaded since may have no more use for what cannot be taken.
                return watch.behind.is_none() || watch.user.is_there();
            }
            if !watch.user.is_there() {
                return false;
            }
            let first = watch.settled.replace(now).is_none() && now == watch.begun;
            watch.behind = None;
            match watch.user.take() {
                Ok(()) if first => {}
                Ok(()) => {
                    self.counts.taken.fetch_add(1, Ordering::Relaxed);
                    tracing::info!(watched = watch.name, "file reloaded");
                }
                Err(why) => {
                    watch.behind = Some(Behind::new(&self.counts));
                    self.counts.refused.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(
                        watched = watch.name,
                        why,
                        "changed file rejected; the previous content stays in use"
                    );
                }
            }
            true
        });
    }
}

/// What files hold, and who may read them, as a number. One that cannot be read has one too: it is a change to tell
/// of.
pub(crate) fn look(hasher: &RandomState, paths: &[PathBuf]) -> u64 {
    let mut hash = hasher.build_hasher();
    for path in paths {
        match content(path) {
            Ok((mode, content)) => {
                hash.write_u32(mode);
                hash.write_usize(content.len());
                hash.write(&content);
            }
            Err(error) => hash.write(error.kind().to_string().as_bytes()),
        }
    }
    hash.finish()
}

fn content(path: &Path) -> std::io::Result<(u32, Zeroizing<Vec<u8>>)> {
    // Looked at before it is opened: opening a pipe would wait for its other end.
    let meta = std::fs::metadata(path)?;
    if !meta.is_file() {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    // As large as it is from the beginning: a buffer that grows leaves copies behind.
    let size = usize::try_from(meta.len().min(LOOKED_AT)).unwrap_or(0);
    let mut content = Zeroizing::new(Vec::with_capacity(size + 1));
    std::fs::File::open(path)?.take(LOOKED_AT).read_to_end(&mut content)?;
    Ok((mode(&meta), content))
}

#[cfg(unix)]
fn mode(meta: &std::fs::Metadata) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&meta.permissions())
}

#[cfg(not(unix))]
fn mode(_: &std::fs::Metadata) -> u32 {
    0
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A rotation of one file, and what was taken of it.
    fn watched(path: &Path) -> (Rotation, Arc<Mutex<String>>) {
        let taken = Arc::new(Mutex::new(String::new()));
        let mut rotation = Rotation::new();
        let file = path.to_owned();
        rotation.watch("a test", [path], Arc::clone(&taken), move |into| {
            let text = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
            if text.is_empty() {
                return Err("it is empty".to_owned());
            }
            *into.lock().unwrap() = text;
            Ok(())
        });
        (rotation, taken)
    }

    #[test]
    fn what_is_new_is_taken_once_it_is_steady() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "one").unwrap();
        let (mut rotation, taken) = watched(&path);
        rotation.look_once();
        assert_eq!((taken.lock().unwrap().as_str(), rotation.counts().taken()), ("one", 0), "nothing is new");
        std::fs::write(&path, "two, hal").unwrap();
        rotation.look_once();
        std::fs::write(&path, "two, half written").unwrap();
        rotation.look_once();
        assert_eq!(taken.lock().unwrap().as_str(), "one", "it is being written");
        rotation.look_once();
        assert_eq!(taken.lock().unwrap().as_str(), "two, half written");
        rotation.look_once();
        assert_eq!((rotation.counts().taken(), rotation.counts().refused()), (1, 0), "taken once");
    }

    #[test]
    fn what_cannot_be_taken_is_refused_once_and_the_next_good_one_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "one").unwrap();
        let (mut rotation, taken) = watched(&path);
        rotation.look_once();
        for _ in 0..2 {
            std::fs::write(&path, "").unwrap();
            (0..3).for_each(|_| rotation.look_once());
            assert_eq!((rotation.counts().refused(), rotation.counts().is_current()), (1, false));
        }
        std::fs::remove_file(&path).unwrap();
        (0..3).for_each(|_| rotation.look_once());
        assert_eq!((rotation.counts().refused(), taken.lock().unwrap().as_str()), (2, "one"));
        std::fs::write(&path, "three").unwrap();
        (0..2).for_each(|_| rotation.look_once());
        assert_eq!((rotation.counts().taken(), taken.lock().unwrap().as_str()), (1, "three"));
        assert!(rotation.counts().is_current());

        // And where nobody uses it any more, nothing is behind.
        std::fs::write(&path, "").unwrap();
        (0..2).for_each(|_| rotation.look_once());
        assert!(!rotation.counts().is_current());
        drop(taken);
        rotation.look_once();
        assert!(rotation.counts().is_current());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_is_swapped_and_a_mode_that_is_widened_are_changes() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, text) in [("v1", "one"), ("v2", "two")] {
            std::fs::create_dir(at(version)).unwrap();
            std::fs::write(at(version).join("secret"), text).unwrap();
        }
        symlink(at("v1"), at("now")).unwrap();
        let (mut rotation, taken) = watched(&at("now").join("secret"));
        rotation.look_once();
        symlink(at("v2"), at("next")).unwrap();
        std::fs::rename(at("next"), at("now")).unwrap();
        (0..2).for_each(|_| rotation.look_once());
        assert_eq!(taken.lock().unwrap().as_str(), "two");
        let permissions = std::fs::Permissions::from_mode(0o604);
        std::fs::set_permissions(at("v2").join("secret"), permissions).unwrap();
        (0..2).for_each(|_| rotation.look_once());
        assert_eq!(rotation.counts().taken(), 2, "whoever uses it is asked again");
    }

    #[tokio::test]
    async fn it_ends_when_nobody_uses_what_it_keeps() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "one").unwrap();
        let (mut rotation, taken) = watched(&path);
        rotation.look_once();
        drop(taken);
        std::fs::write(&path, "two").unwrap();
        (0..2).for_each(|_| rotation.look_once());
        assert!(rotation.watches.is_empty());
        rotation.run(CancellationToken::new()).await;
    }

    #[tokio::test]
    async fn the_command_ends_at_a_signal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let (rotation, _taken) = watched(&path);
        let stop = CancellationToken::new();
        let running = tokio::spawn(rotation.run(stop.clone()));
        stop.cancel();
        running.await.unwrap();
    }
}
