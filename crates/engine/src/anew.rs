//! Tasks that must not end before the engine does: one that dies of a panic begins anew. What it knew is lost with it, and
//! each finds out again what there is to do.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use crate::Engine;

/// How long a task that has panicked rests: what it died of may still be there.
const REST: Duration = Duration::from_secs(1);

/// Runs a task until it ends by itself, or `stop` comes while it rests.
pub(crate) async fn anew<F: Future<Output = ()>>(
    name: &'static str,
    stop: CancellationToken,
    begin: impl Fn() -> F,
) {
    while AssertUnwindSafe(async { begin().await }).catch_unwind().await.is_err() {
        tracing::error!(task = name, "a task of the engine has panicked; it begins anew");
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(REST) => {}
        }
    }
}

impl Engine {
    /// Has a task run for as long as the engine does.
    pub(crate) fn keep<F: Future<Output = ()> + Send + 'static>(
        &self,
        name: &'static str,
        task: impl Fn(Self) -> F + Send + Sync + 'static,
    ) {
        let engine = self.clone();
        let task = anew(name, self.0.stop.clone(), move || task(engine.clone()));
        self.0.tasks.spawn(task);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_begins_anew_until_it_ends_by_itself() {
        let begun = AtomicU32::new(0);
        let task = || async {
            assert!(begun.fetch_add(1, Ordering::SeqCst) >= 2, "for a test");
        };
        anew("test", CancellationToken::new(), task).await;
        assert_eq!(begun.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_goes_on_panicking_ends_with_the_engine() {
        let stop = CancellationToken::new();
        let task = || async {
            stop.cancel();
            panic!("for a test");
        };
        anew("test", stop.clone(), task).await;
    }
}
