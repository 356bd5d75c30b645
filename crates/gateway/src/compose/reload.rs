//! Reload of the configuration: after a change of its file, a signal, or the request of an operator. A configuration is
//! applied as a whole or not at all. An invalid one changes nothing; the log, a metric and `/readyz` report it until a
//! valid one is there.
//!
//! Place: beside the composition in the crate's root. It compares the content of the file, as `rotation` does and for
//! the same reasons, so a mounted folder with a swapped link works too.

use std::hash::RandomState;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::admin::reload::{Ask, Loaded, digest};
use crate::compose::rotation::{self, Counts, Rotation};
use crate::compose::serving::{Current, Lasting, Pages, Serving};
use crate::compose::upstreams::{self, Built};
use crate::middleware::stack::InboundStack;
use crate::telemetry::metrics::Loads;
use crate::web::pool::Share;
use restore_config::{self as config, Config};

/// Source of the configuration, for the next reload.
pub struct Again {
    /// The file that is watched.
    pub file: PathBuf,
    /// Reads the configuration; an error lists all its errors, and no secret.
    pub load: Arc<dyn Fn() -> Result<Config, String> + Send + Sync>,
}

/// The served parts, at the place where a reload replaces them.
pub(crate) struct Places {
    pub(crate) api: Current<InboundStack>,
    /// In the order of the configuration.
    pub(crate) apart: Vec<Current<InboundStack>>,
    pub(crate) admin: Current<Pages>,
}

impl Places {
    /// Where this is served.
    pub(crate) fn of(serving: &Serving) -> Self {
        Self {
            api: Current::new(serving.api.clone()),
            apart: serving.apart.iter().map(|endpoint| Current::new(endpoint.inbound.clone())).collect(),
            admin: Current::new(serving.admin.clone()),
        }
    }

    fn replace(&self, serving: &Serving) {
        self.api.replace(serving.api.clone());
        for (place, endpoint) in self.apart.iter().zip(&serving.apart) {
            place.replace(endpoint.inbound.clone());
        }
        self.admin.replace(serving.admin.clone());
    }
}

/// Loads configuration, one load at a time.
pub(crate) struct Loader {
    pub(crate) again: Again,
    /// The configuration in effect, and its parts.
    pub(crate) config: Config,
    pub(crate) built: Built,
    pub(crate) serving: Serving,
    pub(crate) places: Places,
    pub(crate) lasting: Lasting,
    pub(crate) rotations: Arc<Counts>,
    pub(crate) loads: Loads,
    pub(crate) stop: CancellationToken,
    /// State of the files of authorities, from [`rotation::look`].
    pub(crate) trusted: Trusted,
}

/// The authorities that the configuration names by a file: who is trusted is a part of what the configuration says.
pub(crate) struct Trusted {
    hasher: RandomState,
    seen: u64,
}

impl Trusted {
    pub(crate) fn by(config: &Config) -> Self {
        let hasher = RandomState::new();
        let seen = rotation::look(&hasher, &authorities(config));
        Self { hasher, seen }
    }

    fn now(&self, config: &Config) -> u64 {
        rotation::look(&self.hasher, &authorities(config))
    }
}

fn authorities(config: &Config) -> Vec<PathBuf> {
    let upstreams = config.upstreams.iter().map(|written| &written.ca_file);
    let credentials = config.credentials.iter().map(|written| &written.ca_file);
    let callers = config.callers.iter().map(|written| &written.ca_file);
    upstreams.chain(credentials).chain(callers).flatten().cloned().collect()
}

/// A load; one that panics is refused as any other that fails, and the next one may do better.
async fn caught<T>(load: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let fault = "the gateway has a fault of its own, which its log tells; the settings in effect stay";
    AssertUnwindSafe(load).catch_unwind().await.unwrap_or_else(|_| Err(fault.to_owned()))
}

impl Loader {
    /// Loads whenever it is asked to, and when the file has changed and two looks in a row have seen the same.
    pub(crate) async fn run(mut self, mut asked: mpsc::Receiver<Ask>) {
        // Once soon after the start as well: the file may have changed since it was read.
        let (mut settled, mut seen) = (None, self.look());
        let mut looks = tokio::time::interval(rotation::PERIOD);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let stop = self.stop.clone();
        loop {
            let answer = tokio::select! {
                () = stop.cancelled() => return,
                answer = asked.recv() => match answer {
                    Some(answer) => Some(answer),
                    None => return,
                },
                _ = looks.tick() => {
                    let now = self.look();
                    let changed = now == seen && settled != Some(now);
                    seen = now;
                    if !changed {
                        continue;
                    }
                    None
                }
            };
            // Before the load: a change during it is noticed later.
            seen = self.look();
            settled = Some(seen);
            // What is swapped is swapped at once, after all that can take its time.
            let loaded = tokio::select! {
                () = stop.cancelled() => return,
                loaded = caught(self.load()) => loaded,
            };
            self.tell(&loaded);
            if let Some(answer) = answer {
                let _ = answer.send(loaded);
            }
        }
    }

    /// State of the files from which the configuration in effect was made.
    fn look(&self) -> u64 {
        let files = std::iter::once(self.again.file.clone()).chain(authorities(&self.config));
        rotation::look(&self.trusted.hasher, &files.collect::<Vec<_>>())
    }

    /// Everything that can fail comes first; then all of it changes.
    async fn load(&mut self) -> Result<Loaded, String> {
        let load = Arc::clone(&self.again.load);
        let config =
            tokio::task::spawn_blocking(move || load()).await.map_err(|error| error.to_string())??;
        let seen = self.trusted.now(&config);
        let same_trust = seen == self.trusted.seen;
        if config == self.config && same_trust {
            return Ok(Loaded::Same);
        }
        let fixed = config::read_at_start(&self.config, &config);
        if !fixed.is_empty() {
            let keys = fixed.join(", ");
            return Err(format!("read at the start alone, so that a change needs a restart: {keys}"));
        }
        let mut rotation = Rotation::another(&self.rotations);
        let clock = self.lasting.engine.clock();
        // Where others are trusted, nothing is kept that has trusted the former ones.
        let before = same_trust.then_some((&self.config, &self.built));
        let built = upstreams::build(&config, before, clock, &mut rotation)?;
        let before = same_trust.then_some((&self.config, &self.serving));
        let serving = self.lasting.serving(&config, before, &mut rotation)?;

        self.lasting.engine.replace(built.routes.clone(), crate::policy(&config));
        self.places.replace(&serving);
        self.lasting.places.resize(crate::sizes(&config.limits));
        self.lasting.connections.set_share(Share(config.limits.max_share_per_address));
        self.serving.make_way_for(&serving);
        self.lasting.log_level.is_usually(config.telemetry.log_level);
        tokio::spawn(rotation.run(self.stop.clone()));
        (self.config, self.built, self.serving) = (config, built, serving);
        self.trusted.seen = seen;
        let on_removed_upstreams = self.lasting.engine.on_removed_upstreams().await;
        let on_removed_upstreams = on_removed_upstreams.inspect_err(|error| {
            tracing::warn!(%error, "restores on removed upstreams cannot be counted");
        });
        Ok(Loaded::Applied { on_removed_upstreams: on_removed_upstreams.ok() })
    }

    fn tell(&self, loaded: &Result<Loaded, String>) {
        let now = self.lasting.engine.clock().now();
        let mut status = self.lasting.reload.status();
        match loaded {
            Ok(loaded) => {
                status.refused = None;
                if let Loaded::Applied { on_removed_upstreams } = loaded {
                    status.loaded_at = now;
                    status.digest = digest(&self.config);
                    for (upstream, restores) in on_removed_upstreams.iter().flatten() {
                        tracing::warn!(
                            upstream,
                            restores,
                            "upstream removed while its restores are in progress; they are polled until this process \
                             ends: keep the upstream in the configuration, without a route, until they have ended"
                        );
                    }
                }
                let digest = &*status.digest;
                if *loaded == Loaded::Same {
                    tracing::debug!(digest, "configuration read again, without a change");
                } else {
                    tracing::info!(digest, "configuration reloaded");
                }
            }
            Err(why) => {
                // Since when others are refused, however often they are tried.
                let since = status.refused.as_ref().map_or(now, |(since, _)| *since);
                status.refused = Some((since, why.clone()));
                tracing::error!(why, "configuration rejected; the previous one stays active");
            }
        }
        drop(status);
        self.loads.count(match loaded {
            Ok(Loaded::Applied { .. }) => "accepted",
            Ok(Loaded::Same) => "same",
            Err(_) => "rejected",
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_load_that_panics_is_a_load_that_is_refused() {
        let refused: Result<(), _> = caught(async { panic!("for a test") }).await;
        assert!(refused.is_err_and(|why| why.contains("the settings in effect stay")));
        assert_eq!(caught(async { Ok(1) }).await, Ok(1));
    }
}
