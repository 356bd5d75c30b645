//! The tasks of one engine: on the machine's runtime, or by leave of the platform that a test plays.

use std::future::Future;
use std::sync::Arc;

use restore_upstream::Platform;
use restore_upstream::platform::Hosted;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// Every task that the engine has begun and that has not ended.
pub(crate) struct Tasks {
    tracker: TaskTracker,
    platform: Option<Arc<dyn Platform>>,
}

impl Tasks {
    /// On this platform, or on the machine.
    pub(crate) fn on(platform: Option<Arc<dyn Platform>>) -> Self {
        Self { tracker: TaskTracker::new(), platform }
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

    /// No more will come.
    pub(crate) fn close(&self) {
        self.tracker.close();
    }

    /// Waits until all have ended.
    pub(crate) async fn wait(&self) {
        self.tracker.wait().await;
    }
}
