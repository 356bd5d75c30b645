//! The memory ceiling: how much of the machine's memory the process holds is looked at a few times a
//! second, and above `limits.memory_bytes` nothing that brings a body is taken in and connections are
//! accepted slowly, until it is less again. A restore that was taken in goes on; a kernel that kills
//! the process for its memory would not ask.
//!
//! Reads `/proc/self/status`; where there is none (anything but Linux) there is no ceiling.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Between two looks.
pub(crate) const LOOK: Duration = Duration::from_millis(250);

/// What is known of the process's memory. Clones are one.
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

    /// Whether more than the ceiling is held.
    pub(crate) fn is_over(&self) -> bool {
        self.0.over.load(Ordering::Relaxed)
    }

    /// Bytes held at the last look.
    pub(crate) fn resident(&self) -> u64 {
        self.0.resident.load(Ordering::Relaxed)
    }

    /// Why nothing more can be taken in, where that is so.
    pub(crate) fn reason(&self) -> Option<String> {
        let (resident, ceiling) = (self.resident(), self.0.ceiling);
        self.is_over()
            .then(|| format!("memory: {resident} bytes are held, and limits.memory_bytes is {ceiling}"))
    }

    /// Looks until it is stopped.
    pub(crate) async fn watch(self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            let before = self.is_over();
            self.look();
            match (before, self.reason()) {
                (false, Some(why)) => tracing::warn!(why, "nothing more is taken in"),
                (true, None) => tracing::info!(resident = self.resident(), "there is room again"),
                _ => {}
            }
        }
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
