//! What the engine goes by, out of settings: for whoever runs an engine without a listener.

use std::sync::Arc;

use restore_engine::{Policy, Routes};
use restore_model::Clock;
use restore_upstream::Platform;

use crate::compose::rotation::Rotation;
use crate::compose::upstreams::{self, Built};
use restore_config::Settings;

/// Routes, upstreams and manners of work, as a gateway of these settings has them.
pub struct Rules {
    settings: Settings,
    built: Built,
}

impl Rules {
    /// Of settings that take the place of others, or are the first. As with a reload, an upstream and a credential that are
    /// written as before are taken over. Files that settings name are read once and not watched.
    ///
    /// # Errors
    /// What cannot be used.
    pub fn of(
        settings: &Settings,
        before: Option<&Self>,
        clock: &Arc<dyn Clock>,
        platform: Option<&Arc<dyn Platform>>,
    ) -> Result<Self, String> {
        let before = before.map(|before| (&before.settings, &before.built));
        let built = upstreams::build_on(platform, settings, before, clock, &mut Rotation::new())
            .map_err(String::from)?;
        Ok(Self { settings: settings.clone(), built })
    }

    /// The routes.
    #[must_use]
    pub fn routes(&self) -> Routes {
        self.built.routes.clone()
    }

    /// The manners of work.
    #[must_use]
    pub fn policy(&self) -> Policy {
        crate::policy(&self.settings)
    }
}
