//! Routes and manners of work as they now are. A reload of the settings replaces them all at once; whoever is in the
//! middle of something keeps what it began with, and a restore that was accepted keeps the upstream it was accepted
//! for, with its address and its credential, until it has ended (F34).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use restore_ledger::{Entry, LedgerError, Query};
use restore_model::{RoutePin, Status};

use crate::agenda::Lane;
use crate::{Engine, Policy, Routes};

/// Restores looked at in one go.
const PAGE: usize = 500;

/// What was loaded together.
#[derive(Clone)]
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
            (upstream.name().to_owned(), Arc::new(Lane::per_minute(upstream.polls_per_minute())))
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

    /// Forgets upstreams as they were that no restore needs any more.
    pub(crate) async fn forget_former(&self) -> Result<(), LedgerError> {
        if !self.rules().routes.has_former() {
            return Ok(());
        }
        let mut pins: Vec<RoutePin> = Vec::new();
        self.under_way(|entry| {
            let pin = entry.state.route(&entry.intent);
            let known = |known: &RoutePin| {
                (&known.upstream, &known.generation, &known.at) == (&pin.upstream, &pin.generation, &pin.at)
            };
            if !pins.iter().any(known) {
                pins.push(pin.clone());
            }
            // The fallback may still be needed.
            pins.extend(entry.intent.fallback.as_deref().filter(|_| entry.state.rerouted.is_none()).cloned());
        })
        .await?;
        let mut now = self.0.ways.0.write().unwrap_or_else(PoisonError::into_inner);
        let rules = Rules::clone(&now);
        *now = Arc::new(Rules { routes: rules.routes.without_former(&pins), ..rules });
        Ok(())
    }

    /// How many restores are under way at upstreams that the settings name no more, by upstream. This process follows
    /// them to their end; one that is started anew would not know where to ask.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn outlasting(&self) -> Result<BTreeMap<String, usize>, LedgerError> {
        let routes = self.routes();
        let mut counts = BTreeMap::new();
        self.under_way(|entry| {
            let pin = entry.state.route(&entry.intent);
            if !routes.names(pin) {
                *counts.entry(pin.upstream.clone()).or_default() += 1;
            }
        })
        .await?;
        Ok(counts)
    }

    /// Shows every restore that is under way.
    async fn under_way(&self, show: impl FnMut(&Entry) + Send) -> Result<(), LedgerError> {
        let status = Status::ALL.into_iter().filter(|status| !status.is_final()).collect();
        self.each_of(Query { status, ..Query::default() }, show).await
    }

    /// Shows every restore that is an answer.
    pub(crate) async fn each_of(
        &self,
        query: Query,
        mut show: impl FnMut(&Entry) + Send,
    ) -> Result<(), LedgerError> {
        let mut query = Query { limit: PAGE, ..query };
        loop {
            let page = self.0.ledger.list(query.clone()).await?;
            page.iter().for_each(&mut show);
            query.before = page.last().map(|entry| entry.intent.id);
            if page.len() < PAGE {
                return Ok(());
            }
        }
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
        let routes = routes.in_place_of(&now.routes);
        let mut lanes = now.lanes.clone();
        for upstream in routes.upstreams() {
            let reads = upstream.polls_per_minute();
            if let Some(lane) = lanes.get(upstream.name()) {
                lane.budget.allow(reads);
                continue;
            }
            let lane = Arc::new(Lane::per_minute(reads));
            self.keep_lane(Arc::clone(&lane));
            lanes.insert(upstream.name().to_owned(), lane);
        }
        let no_lane = Arc::clone(&now.no_lane);
        *now = Arc::new(Rules { routes, policy, lanes, no_lane });
        drop(now);
        // Learnt of upstreams that may be others now.
        self.0.closed.invalidate_all();
        self.0.facts.invalidate_all();
        self.0.no_restore_read.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use restore_upstream::{Options, Upstream};

    use super::*;

    fn upstream(name: &str, place: &str) -> Arc<Upstream> {
        let generation = restore_generations::by_name("vbs-v2").unwrap();
        Arc::new(Upstream::new(Options::to(name, place.parse().unwrap()), generation).unwrap())
    }

    /// F34: three versions of the settings; a restore finds the place it was accepted for, and never another of its name.
    #[test]
    fn f34_each_restore_finds_the_place_that_it_was_accepted_for() {
        let (here, there) = ("http://127.0.0.1:9", "http://127.0.0.1:9/there");
        let (first, second, other) = (upstream("a", here), upstream("a", there), upstream("b", there));
        let routes = |all: &[&Arc<Upstream>]| {
            all.iter().fold(Routes::default(), |routes, upstream| routes.and(Arc::clone(upstream)))
        };
        let pin = |name: &str, at: Option<&str>| RoutePin {
            upstream: name.to_owned(),
            at: at.map(str::to_owned),
            generation: "vbs-v2".to_owned(),
            reason: String::new(),
            baseline: true,
            overdue_seconds: 60,
            steps: Vec::new(),
        };
        let one = routes(&[&first]);
        let two = routes(&[&second]).in_place_of(&one);
        let found = |routes: &Routes, pin: &RoutePin| routes.upstream_of(pin);
        assert!(Arc::ptr_eq(&found(&two, &pin("a", Some(here))).unwrap(), &first));
        assert!(Arc::ptr_eq(&found(&two, &pin("a", Some(there))).unwrap(), &second));
        // A process that was started with the new settings knows nothing of the old place, and does not ask another.
        let anew = routes(&[&second]);
        assert!(found(&anew, &pin("a", Some(here))).is_none());
        assert!(
            Arc::ptr_eq(&found(&anew, &pin("a", None)).unwrap(), &second),
            "written down without a place"
        );
        // The place under another name is the place.
        let renamed = routes(&[&other]);
        assert!(Arc::ptr_eq(&found(&renamed, &pin("a", Some(there))).unwrap(), &other));
        // And it is forgotten once nobody needs it.
        let pins = [pin("a", Some(here))];
        let two = two.without_former(&pins);
        assert!(two.has_former());
        drop((first, one));
        assert!(!two.without_former(&[]).has_former());
    }
}
