//! Limits the audit lines about rejected strangers: so many lines per second, with the number of suppressed ones. A
//! flood of rejections must not fill a disk or hide the lines about callers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lines a second.
const LINES: u64 = 20;
const SECOND: Duration = Duration::from_secs(1);

/// How many lines were written lately. Clones are one.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Count>>);

#[derive(Default)]
struct Count {
    since: Option<Instant>,
    written: u64,
    left_out: u64,
}

impl Lines {
    /// True if one more line may be written: `Some` with the number of lines that were left out before it. After the last
    /// refusal of a flood that number is written by itself.
    pub(super) fn allow(&self) -> Option<u64> {
        let now = Instant::now();
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if count.since.is_none_or(|since| now - since >= SECOND) {
            count.since = Some(now);
            count.written = 0;
        }
        if count.written < LINES {
            count.written += 1;
            return Some(std::mem::take(&mut count.left_out));
        }
        count.left_out += 1;
        if count.left_out == 1 {
            let own = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(2 * SECOND).await;
                own.flush();
            });
        }
        None
    }

    /// Writes the number that no line has carried since.
    fn flush(&self) {
        let left_out = std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).left_out);
        if left_out > 0 {
            tracing::info!(
                target: "restore_gateway::audit",
                { decision = "unauthenticated", left_out },
                "further authentication failures, not logged one by one",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn s58_a_flood_has_few_lines_and_they_say_how_many_are_missing() {
        let lines = Lines::default();
        let written = (0..1_000).filter(|_| lines.allow().is_some()).count();
        assert_eq!(written, 20);
        tokio::time::advance(SECOND).await;
        assert_eq!(lines.allow(), Some(980), "the next line says so");
        assert_eq!((0..100).filter(|_| lines.allow().is_some()).count(), 19);
        tokio::time::sleep(3 * SECOND).await;
        assert_eq!(lines.allow(), Some(0), "or a line of its own did");
    }
}
