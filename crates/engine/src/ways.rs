//! Routes and manners of work as they now are. A reload of the settings replaces them all at once; whoever is in the
//! middle of something keeps what it began with, and a restore that was accepted keeps the upstream it was accepted
//! for, with its address and its credential, until it has ended (F34).

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::agenda::Lane;
use crate::{Engine, Policy, Routes};

/// What was loaded together.
pub(crate) struct Rules {
    pub(crate) routes: Routes,
    pub(crate) policy: Policy,
    /// By upstream, those that are gone as well: what was accepted for them is still read.
    lanes: HashMap<String, Arc<Lane>>,
    /// Of upstreams that this process never knew, which nothing is read from.
    no_lane: Arc<Lane>,
}

impl Rules {
    /// How many restores wait in each lane.
    pub(crate) fn waiting(&self) -> Vec<(String, usize)> {
        self.lanes.iter().map(|(upstream, lane)| (upstream.clone(), lane.len())).collect()
    }

    /// Every lane, once.
    pub(crate) fn lanes(&self) -> impl Iterator<Item = Arc<Lane>> + '_ {
        self.lanes.values().chain([&self.no_lane]).cloned()
    }
}

/// The rules that are in effect.
pub(crate) struct Ways(RwLock<Arc<Rules>>);

impl Ways {
    pub(crate) fn new(routes: Routes, policy: Policy) -> Self {
        let lanes = routes.upstreams().map(|upstream| {
            (upstream.name().to_owned(), Arc::new(Lane::per_minute(upstream.reads_per_minute())))
        });
        let lanes = lanes.collect();
        let no_lane = Arc::new(Lane::per_minute(0));
        Self(RwLock::new(Arc::new(Rules { routes, policy, lanes, no_lane })))
    }

    fn now(&self) -> Arc<Rules> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Engine {
    /// The rules that are in effect.
    pub(crate) fn rules(&self) -> Arc<Rules> {
        self.0.ways.now()
    }

    /// The lane of an upstream.
    pub(crate) fn lane(&self, upstream: &str) -> Arc<Lane> {
        let rules = self.rules();
        Arc::clone(rules.lanes.get(upstream).unwrap_or(&rules.no_lane))
    }

    /// The routes that are in effect.
    #[must_use]
    pub fn routes(&self) -> Routes {
        self.rules().routes.clone()
    }

    /// Goes by these from now on. Restores that are under way keep the upstream they were accepted for. How long a
    /// status counts as fresh is of the start alone.
    pub fn replace(&self, routes: Routes, mut policy: Policy) {
        let mut now = self.0.ways.0.write().unwrap_or_else(PoisonError::into_inner);
        // What is being sent may take as long as it was allowed to: absence is not believed any sooner.
        policy.send = policy.send.max(now.policy.send);
        let routes = routes.in_place_of(&now.routes, self.now());
        let mut lanes = now.lanes.clone();
        for upstream in routes.upstreams() {
            let reads = upstream.reads_per_minute();
            if let Some(lane) = lanes.get(upstream.name()) {
                lane.budget.allow(reads);
                continue;
            }
            let lane = Arc::new(Lane::per_minute(reads));
            self.0.tasks.spawn(self.clone().work_lane(Arc::clone(&lane)));
            lanes.insert(upstream.name().to_owned(), lane);
        }
        let no_lane = Arc::clone(&now.no_lane);
        *now = Arc::new(Rules { routes, policy, lanes, no_lane });
        drop(now);
        // Learnt of upstreams that may be others now.
        self.0.closed.invalidate_all();
        self.0.checkpoints.invalidate_all();
        self.0.no_restore_read.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
