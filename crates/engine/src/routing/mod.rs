//! Selects the upstream of a restore. Owns the routes and the policy in effect, the poll queue of each upstream, and
//! learnt facts about upstreams. A reload replaces routes and policy at once. An operation in progress keeps those it
//! began with, and an accepted restore keeps its upstream with address and credential until it ends (F34).
//!
//! Stands above `pacing`, and does not know the ledger.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use restore_ledger::Entry;
use restore_model::RoutePin;
use restore_upstream::{BreakerState, Token};

use crate::pacing::UpstreamQueue;

mod access;
mod learnt;
mod pairs;
mod policy;
pub mod route;

pub(crate) use access::{Access, no_longer_named, whose};
use learnt::Learnt;
pub use pairs::{Pair, Pairs};
pub use policy::Policy;
use route::Routes;
pub(crate) use route::{Plan, differ};

/// The parts of one version of the configuration.
#[derive(Clone)]
pub(crate) struct Rules {
    pub(crate) routes: Routes,
    pub(crate) policy: Policy,
    /// By upstream, those that are gone as well: what was accepted for them is still read.
    queues: HashMap<String, Arc<UpstreamQueue>>,
    /// Of upstreams that this process never knew, which nothing is read from.
    no_queue: Arc<UpstreamQueue>,
}

/// The rules that are in effect, and what was learnt of the upstreams that they name.
pub(crate) struct Routing {
    rules: RwLock<Arc<Rules>>,
    learnt: Learnt,
}

impl Routing {
    pub(crate) fn new(routes: Routes, policy: Policy) -> Self {
        let queues = routes.upstreams().map(|upstream| {
            (upstream.name().to_owned(), Arc::new(UpstreamQueue::per_minute(upstream.polls_per_minute())))
        });
        let queues = queues.collect();
        let no_queue = Arc::new(UpstreamQueue::per_minute(0));
        let rules = Rules { routes, policy, queues, no_queue };
        Self { rules: RwLock::new(Arc::new(rules)), learnt: Learnt::default() }
    }

    /// The rules that are in effect.
    pub(crate) fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Facts about upstreams that this process has learnt.
    pub(crate) const fn learnt(&self) -> &Learnt {
        &self.learnt
    }

    /// The poll queue of an upstream.
    pub(crate) fn queue(&self, upstream: &str) -> Arc<UpstreamQueue> {
        let rules = self.rules();
        Arc::clone(rules.queues.get(upstream).unwrap_or(&rules.no_queue))
    }

    /// Every poll queue, once.
    pub(crate) fn queues(&self) -> Vec<Arc<UpstreamQueue>> {
        let rules = self.rules();
        rules.queues.values().chain([&rules.no_queue]).cloned().collect()
    }

    /// How many restores are due for a read and wait for their read quota of the upstream, by upstream.
    pub(crate) fn waiting_reads(&self) -> Vec<(String, usize)> {
        self.rules().queues.iter().map(|(upstream, queue)| (upstream.clone(), queue.len())).collect()
    }

    /// The breaker of each upstream.
    pub(crate) fn breakers(&self) -> Vec<(String, BreakerState)> {
        let upstreams = &self.rules().routes;
        upstreams.upstreams().map(|upstream| (upstream.name().to_owned(), upstream.breaker())).collect()
    }

    /// The access to the upstream that a restore goes to.
    pub(crate) fn access(&self, entry: &Entry, token: Option<Token>) -> Option<Access> {
        match self.rules().routes.upstream_of(entry.state.route(&entry.intent)) {
            Some(upstream) => Access::to(&upstream, token),
            // Gone from the configuration: no credential helps, and the attempt to read says so.
            None => token.map(Access::Token),
        }
    }

    /// Forgets upstreams as they were that none of these restores needs any more.
    pub(crate) fn forget_former(&self, pins: &[RoutePin]) {
        let mut now = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        let rules = Rules::clone(&now);
        *now = Arc::new(Rules { routes: rules.routes.without_former(pins), ..rules });
    }

    /// Goes by these from now on. Restores that are under way keep the upstream they were accepted for. How long a
    /// status counts as fresh is of the start alone. Returns the poll queues that came with it, which nobody works yet.
    #[must_use]
    pub(crate) fn replace(&self, routes: Routes, mut policy: Policy) -> Vec<Arc<UpstreamQueue>> {
        let mut now = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        // What is being sent may take as long as it was allowed to: absence is not believed any sooner.
        policy.send = policy.send.max(now.policy.send);
        let routes = routes.in_place_of(&now.routes);
        let mut queues = now.queues.clone();
        let mut added = Vec::new();
        for upstream in routes.upstreams() {
            let reads = upstream.polls_per_minute();
            if let Some(queue) = queues.get(upstream.name()) {
                queue.quota().allow(reads);
                continue;
            }
            let queue = Arc::new(UpstreamQueue::per_minute(reads));
            added.push(Arc::clone(&queue));
            queues.insert(upstream.name().to_owned(), queue);
        }
        let no_queue = Arc::clone(&now.no_queue);
        *now = Arc::new(Rules { routes, policy, queues, no_queue });
        drop(now);
        self.learnt.forget();
        added
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

    /// F34: three versions of the configuration; a restore finds the place it was accepted for, and never another of its name.
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
        // A process that was started with the new configuration knows nothing of the old place, and does not ask another.
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

    #[tokio::test]
    async fn a_reload_brings_the_poll_queues_that_are_new_and_forgets_what_was_learnt() {
        let (first, second) = (upstream("a", "http://127.0.0.1:9"), upstream("b", "http://127.0.0.1:9/b"));
        let routing = Routing::new(Routes::default().and(Arc::clone(&first)), crate::testing::policy());
        let request = crate::testing::server().request;
        let mut policy = crate::testing::policy();
        policy.send /= 2;
        let plan = Plan {
            upstream: Arc::clone(&first),
            pin: crate::testing::server().route,
            fallback_upstream: None,
            idempotency: route::Idempotency::Optional,
            key_window: policy.send,
            duplicate_window: policy.send,
        };
        let closed = restore_model::Problem::new(restore_model::Code::GenerationRetired, "it is closed");
        routing.learnt().note_closed(&plan, &request, &closed).await;
        assert!(routing.learnt().is_closed(&plan, &request));
        let kept = routing.queue("a");

        let added = routing.replace(Routes::default().and(first).and(second), policy.clone());
        assert_eq!(added.len(), 1);
        assert!(Arc::ptr_eq(&added[0], &routing.queue("b")) && Arc::ptr_eq(&kept, &routing.queue("a")));
        assert!(!routing.learnt().is_closed(&plan, &request));
        assert_eq!(
            routing.rules().policy.send,
            policy.send * 2,
            "what is being sent may take as long as before"
        );
    }
}
