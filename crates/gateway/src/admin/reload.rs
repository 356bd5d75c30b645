//! The handle of reloads: operators request a reload through it, and it shows the state of the configuration in effect.
//! The loader is in `compose::reload`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use restore_config::Config;
use restore_model::{Code, Problem, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};

/// Loads that wait for the one under way.
const WAITING: usize = 16;

/// Outcome of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// Something else is in effect now.
    Applied {
        /// How many restores are under way at upstreams that are in it no more, by upstream; none if the ledger cannot
        /// say.
        on_removed_upstreams: Option<BTreeMap<String, usize>>,
    },
    /// They are what was in effect already.
    Same,
}

/// How the configuration in effect stand.
pub(crate) struct ReloadStatus {
    pub(crate) loaded_at: Timestamp,
    /// Of what is in effect: equal where two replicas go by the same.
    pub(crate) digest: String,
    /// Since when there are others that cannot be taken, and why.
    pub(crate) refused: Option<(Timestamp, String)>,
}

/// Where a load's outcome is sent to.
pub(crate) type Ask = oneshot::Sender<Result<Loaded, String>>;

/// Starts a reload and reports the last one. Cheap to clone; all clones share one state.
#[derive(Clone)]
pub(crate) struct Reload {
    asks: mpsc::Sender<Ask>,
    status: Arc<Mutex<ReloadStatus>>,
}

impl Reload {
    /// And what its loader listens to.
    pub(crate) fn new(config: &Config, now: Timestamp) -> (Self, mpsc::Receiver<Ask>) {
        let (asks, asked) = mpsc::channel(WAITING);
        let status =
            Arc::new(Mutex::new(ReloadStatus { loaded_at: now, digest: digest(config), refused: None }));
        (Self { asks, status }, asked)
    }

    /// How it stands, to be changed by the loader.
    pub(crate) fn status(&self) -> MutexGuard<'_, ReloadStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads the configuration now.
    ///
    /// # Errors
    /// [`Code::InvalidConfiguration`] with all that is wrong; those in effect stay.
    pub(crate) async fn ask(&self) -> Result<Loaded, Problem> {
        let refused = |why: &str| {
            Problem::new(
                Code::InvalidConfiguration,
                format!("{why}\nThe active configuration does not change."),
            )
        };
        let (answer, answered) = oneshot::channel();
        let gone = || refused("the active configuration does not come from a file");
        self.asks.send(answer).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?.map_err(|why| refused(&why))
    }

    /// Since when the configuration is in effect, and since when newer ones are refused. It is public; the reason is in
    /// [`Reload::refused`].
    pub(crate) fn view(&self) -> Value {
        let status = self.status();
        let refused =
            status.refused.as_ref().map(|(at, _)| json!({ "at": at, "why": "GET /config/rejected" }));
        json!({ "loaded_at": status.loaded_at, "digest": status.digest, "rejected": refused })
    }

    /// Why newer configuration is refused, with the lines of the file; null where none are.
    pub(crate) fn refused(&self) -> Value {
        self.status().refused.as_ref().map_or(Value::Null, |(at, why)| json!({ "at": at, "why": why }))
    }

    /// True if what is in effect is what was last read.
    pub(crate) fn is_current(&self) -> bool {
        self.status().refused.is_none()
    }
}

/// Twelve digits that identify a version of the configuration, from its shown form without secrets.
pub(crate) fn digest(config: &Config) -> String {
    let shown = config.to_json().to_string();
    hex::encode(&Sha256::digest(shown.as_bytes())[..6])
}
