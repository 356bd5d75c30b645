//! Runs the tasks of one engine: on the runtime of the machine, or on the platform of a simulation. Owns the token that
//! stops them. Stands below everything that starts a task.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use restore_upstream::Platform;
use restore_upstream::platform::Hosted;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a task that has panicked rests: what it died of may still be there.
const REST: Duration = Duration::from_secs(1);

/// Every task that the engine has begun and that has not ended.
pub(crate) struct Tasks {
    tracker: TaskTracker,
    platform: Option<Arc<dyn Platform>>,
    stop: CancellationToken,
}

impl Tasks {
    /// On this platform, or on the machine.
    pub(crate) fn on(platform: Option<Arc<dyn Platform>>) -> Self {
        Self { tracker: TaskTracker::new(), platform, stop: CancellationToken::new() }
    }

    /// Begins one.
    pub(crate) fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match &self.platform {
            None => self.tracker.spawn(task),
            Some(platform) => {
                let spawned = self.tracker.spawn(Hosted::by(Arc::clone(platform), task));
                platform.spawned(spawned.abort_handle());
                spawned
            }
        }
    }

    /// Has a task run for as long as the engine does. One that dies of a panic begins anew: what it knew is lost with it,
    /// and each finds out again what there is to do.
    pub(crate) fn keep<F: Future<Output = ()> + Send + 'static>(
        &self,
        name: &'static str,
        begin: impl Fn() -> F + Send + Sync + 'static,
    ) {
        self.spawn(restarting(name, self.stop.clone(), begin));
    }

    /// Cancelled when the engine stops.
    pub(crate) const fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// No more will come.
    pub(crate) fn close(&self) {
        self.tracker.close();
    }

    /// Waits until all have ended.
    pub(crate) async fn wait(&self) {
        self.tracker.wait().await;
    }
}

/// Runs a task until it ends by itself, or `stop` comes while it rests.
async fn restarting<F: Future<Output = ()>>(
    name: &'static str,
    stop: CancellationToken,
    begin: impl Fn() -> F,
) {
    while AssertUnwindSafe(async { begin().await }).catch_unwind().await.is_err() {
        tracing::error!(task = name, "engine task panicked and is restarted");
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(REST) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_restarts_until_it_ends_by_itself() {
        let begun = AtomicU32::new(0);
        let task = || async {
            assert!(begun.fetch_add(1, Ordering::SeqCst) >= 2, "for a test");
        };
        restarting("test", CancellationToken::new(), task).await;
        assert_eq!(begun.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_keeps_panicking_ends_with_the_engine() {
        let stop = CancellationToken::new();
        let task = || async {
            stop.cancel();
            panic!("for a test");
        };
        restarting("test", stop.clone(), task).await;
    }
}
