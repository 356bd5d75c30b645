//! The rules of the engine, from a configuration, for programs that run an engine without a listener.

use std::sync::Arc;

use restore_engine::{Policy, Routes};
use restore_model::Clock;
use restore_upstream::Platform;

use crate::compose::rotation::Rotation;
use crate::compose::upstreams::{self, Built};
use restore_config::Config;

/// Routes, upstreams and manners of work, as a gateway of this configuration has them.
pub struct Rules {
    config: Config,
    built: Built,
}

impl Rules {
    /// Of configuration that takes the place of others, or are the first. As with a reload, an upstream and a credential that are
    /// written as before are taken over. Files that configuration names are read once and not watched.
    ///
    /// # Errors
    /// The unusable part.
    pub fn of(
        config: &Config,
        before: Option<&Self>,
        clock: &Arc<dyn Clock>,
        platform: Option<&Arc<dyn Platform>>,
    ) -> Result<Self, String> {
        let before = before.map(|before| (&before.config, &before.built));
        let built = upstreams::build_on(platform, config, before, clock, &mut Rotation::new())
            .map_err(String::from)?;
        Ok(Self { config: config.clone(), built })
    }

    /// The routes.
    #[must_use]
    pub fn routes(&self) -> Routes {
        self.built.routes.clone()
    }

    /// The manners of work.
    #[must_use]
    pub fn policy(&self) -> Policy {
        crate::policy(&self.config)
    }
}
