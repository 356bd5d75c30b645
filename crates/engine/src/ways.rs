//! Routes and manners of work as they now are. A reload of the settings replaces them all at once; whoever is in the
//! middle of something keeps what it began with, and a restore that was accepted keeps the upstream it was accepted
//! for, with its address and its credential, until it has ended (F34).

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use restore_ledger::{LedgerError, Query};
use restore_model::{Status, Timestamp};

use crate::agenda::Lane;
use crate::{Engine, Policy, Routes};

/// Restores looked at in one go.
const PAGE: usize = 500;

/// What was loaded together.
#[derive(Clone)]
pub(crate) struct Rules {
    /// Since when they are in effect; no two have the same time.
    pub(crate) since: Timestamp,
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
    pub(crate) fn new(routes: Routes, policy: Policy, since: Timestamp) -> Self {
        let lanes = routes.upstreams().map(|upstream| {
            (upstream.name().to_owned(), Arc::new(Lane::per_minute(upstream.reads_per_minute())))
        });
        let lanes = lanes.collect();
        let no_lane = Arc::new(Lane::per_minute(0));
        Self(RwLock::new(Arc::new(Rules { since, routes, policy, lanes, no_lane })))
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

    /// Forgets upstreams as they were that no restore needs any more.
    pub(crate) async fn forget_former(&self) -> Result<(), LedgerError> {
        if !self.rules().routes.has_former() {
            return Ok(());
        }
        // Before the look: what is accepted during it goes by newer rules.
        let mut oldest = self.rules().since;
        let under_way = Status::ALL.into_iter().filter(|status| !status.is_final()).collect();
        let mut query = Query { status: under_way, limit: PAGE, ..Query::default() };
        loop {
            let page = self.0.ledger.list(query.clone()).await?;
            for entry in &page {
                let since = entry.intent.route.rules_since.unwrap_or(entry.intent.created_at);
                oldest = oldest.min(since);
            }
            query.before = page.last().map(|entry| entry.intent.id);
            if page.len() < PAGE {
                break;
            }
        }
        let mut now = self.0.ways.0.write().unwrap_or_else(PoisonError::into_inner);
        let rules = Rules::clone(&now);
        *now = Arc::new(Rules { routes: rules.routes.without_former(oldest), ..rules });
        Ok(())
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
        let since = self.now().max(now.since.plus_micros(1));
        let routes = routes.in_place_of(&now.routes, since);
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
        *now = Arc::new(Rules { since, routes, policy, lanes, no_lane });
        drop(now);
        // Learnt of upstreams that may be others now.
        self.0.closed.invalidate_all();
        self.0.checkpoints.invalidate_all();
        self.0.no_restore_read.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use restore_upstream::{Options, Upstream};

    use super::*;
    use crate::parts::tests::whole;

    fn upstream(name: &str) -> Arc<Upstream> {
        let generation = restore_generations::by_name("vbs-v2").unwrap();
        Arc::new(Upstream::new(Options::to(name, "http://127.0.0.1:9".parse().unwrap()), generation).unwrap())
    }

    /// F34: three versions of the settings; what was accepted by each finds its upstream as it was then.
    #[test]
    fn f34_each_restore_finds_the_upstream_of_the_rules_it_was_accepted_by() {
        let at = Timestamp::from_micros;
        let (first, second, other) = (upstream("a"), upstream("a"), upstream("b"));
        let routes = |all: &[&Arc<Upstream>]| {
            all.iter().fold(Routes::default(), |routes, upstream| routes.and(Arc::clone(upstream)))
        };
        let one = routes(&[&first, &other]);
        let two = routes(&[&second, &other]).in_place_of(&one, at(20));
        let three = routes(&[&other]).in_place_of(&two, at(30));
        let found = |name: &str, since: i64| {
            let mut intent = whole();
            intent.route.upstream = name.to_owned();
            intent.route.rules_since = Some(at(since));
            three.upstream_of(&intent)
        };
        assert!(Arc::ptr_eq(&found("a", 10).unwrap(), &first));
        assert!(Arc::ptr_eq(&found("a", 20).unwrap(), &second));
        assert!(found("a", 30).is_none(), "the newest rules have none of that name");
        for since in [10, 20, 30] {
            assert!(Arc::ptr_eq(&found("b", since).unwrap(), &other), "what stayed is the same for all");
        }
        let three = three.clone().without_former(at(20));
        assert!(three.has_former(), "one from the second rules may still run");
        assert!(!three.without_former(at(30)).has_former());
    }
}
