//! The memory ceiling: a task reads the memory of the process a few times a second. Above `limits.max_memory_bytes` the
//! API accepts no request and the listeners accept connections slowly. Accepted restores continue, and the admin
//! listener serves operators. Otherwise the kernel could kill the process.
//!
//! The allocator keeps freed memory for later use, and returns it only at the next allocation, which a quiet process
//! does not make. So the task asks it to return memory while much is held.
//!
//! It reads `/proc/self/status`. On systems without it (anything but Linux) there is no ceiling.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// Between two looks.
pub(crate) const LOOK: Duration = Duration::from_millis(250);

/// Between two times that the allocator is asked to give back what is free: as long as it keeps that at least.
const GIVE_BACK: Duration = Duration::from_secs(1);

/// Memory use of the process. All clones share it.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Shared>);

#[derive(Default)]
struct Shared {
    ceiling: u64,
    resident: AtomicU64,
    over: AtomicBool,
}

impl Memory {
    /// A ceiling in bytes; 0 is none.
    pub(crate) fn new(ceiling: usize) -> Self {
        let memory = Self(Arc::new(Shared { ceiling: ceiling as u64, ..Shared::default() }));
        memory.look();
        memory
    }

    /// True if more than the ceiling is held.
    pub(crate) fn is_over(&self) -> bool {
        self.0.over.load(Ordering::Relaxed)
    }

    /// Bytes held at the last look.
    pub(crate) fn resident(&self) -> u64 {
        self.0.resident.load(Ordering::Relaxed)
    }

    /// Reason why nothing more can be accepted, if there is one.
    pub(crate) fn reason(&self) -> Option<String> {
        let (resident, ceiling) = (self.resident(), self.0.ceiling);
        self.is_over()
            .then(|| format!("memory: {resident} bytes are held, and limits.max_memory_bytes is {ceiling}"))
    }

    /// Looks until it is stopped.
    pub(crate) async fn watch(self, stop: CancellationToken) {
        let mut given_back = Instant::now();
        while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            let before = self.is_over();
            self.look();
            if self.is_much() && given_back.elapsed() >= GIVE_BACK {
                give_back();
                given_back = Instant::now();
            }
            match (before, self.reason()) {
                (false, Some(why)) => tracing::warn!(why, "memory limit reached; new requests are rejected"),
                (true, None) => tracing::info!(resident = self.resident(), "there is room again"),
                _ => {}
            }
        }
    }

    /// True if more than three quarters of the ceiling are held.
    fn is_much(&self) -> bool {
        self.0.ceiling > 0 && self.resident() > self.0.ceiling / 4 * 3
    }

    fn look(&self) {
        let Some(resident) = std::fs::read_to_string("/proc/self/status").ok().as_deref().and_then(held)
        else {
            return;
        };
        self.0.resident.store(resident, Ordering::Relaxed);
        self.0.over.store(self.0.ceiling > 0 && resident > self.0.ceiling, Ordering::Relaxed);
    }
}

/// Has the allocator give the system what has been free for a while; calling it by name would take `unsafe`.
///
/// mimalloc looks through what a thread has, and others have freed, once in 10 000 allocations of that thread, and
/// through the memory that no thread has when a thread ends that has used it. So each worker is given that many,
/// which take less than a millisecond, and a thread begins and ends.
fn give_back() {
    const ALLOCATIONS: usize = 11_000;
    /// Larger than those that a thread takes off its lists without a look at anything else.
    const BYTES: usize = 2048;
    let workers = Handle::current().metrics().num_workers();
    // A free thread takes one; a thread without one gets one the next time.
    for _ in 0..2 * workers {
        tokio::spawn(async {
            for _ in 0..ALLOCATIONS {
                drop(std::hint::black_box(Vec::<u8>::with_capacity(BYTES)));
            }
        });
    }
    let name = "give-back".to_owned();
    // Without a thread nothing is given back now; the next look tries again.
    let _ = std::thread::Builder::new().name(name).spawn(|| drop(std::hint::black_box(Box::new(0_u64))));
}

/// Bytes, from a text such as `VmRSS:     23456 kB` among other lines (proc(5)).
fn held(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_read_and_compared() {
        assert_eq!(held("Name:\tx\nVmRSS:\t   23456 kB\nThreads: 1\n"), Some(23_456 * 1024));
        assert_eq!(held("Name: x\n"), None);
        let tight = Memory::new(1);
        assert!(
            tight.is_over() && tight.resident() > 1 && tight.reason().is_some_and(|why| why.contains("is 1"))
        );
        let free = Memory::new(0);
        assert!(!free.is_over() && free.resident() > 1 && free.reason().is_none());
        assert!(!Memory::new(usize::MAX).is_over());
    }
}
