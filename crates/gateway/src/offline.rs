//! An engine without a gateway, for commands that show what a restore would do, and for tests. It listens nowhere and
//! stores nothing.

use std::sync::Arc;

use restore_config::Config;
use restore_engine::{Decision, Engine, Observer};
use restore_ledger::{Entry, LedgerUrl, OpenOptions};
use restore_model::{Clock, Event, SystemClock};

use crate::{Rotation, StartError, upstreams};

struct Nobody;

impl Observer for Nobody {
    fn committed(&self, _: &Entry, _: &Event) {}
    fn decided(&self, _: &Decision<'_>) {}
}

/// An engine under this configuration, with a ledger in memory.
///
/// # Errors
/// [`StartError::Setup`] where nothing can be made of the configuration.
pub async fn engine(config: &Config) -> Result<Engine, StartError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let built = upstreams::build(config, None, &clock, &mut Rotation::new())
        .map_err(|build_errors| StartError::Setup(build_errors.into()))?;
    let url = LedgerUrl::Memory;
    let ledger = restore_ledger::open(&url, OpenOptions::default())
        .await
        .map_err(|error| StartError::Ledger { url: url.to_string(), error })?;
    Ok(Engine::new(ledger, built.routes, crate::policy(config), clock, Arc::new(Nobody)))
}
