//! Keeps the ledger small: deletes old restores, and forgets former upstreams that no restore needs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use restore_ledger::{Entry, Ledger, LedgerError, Query};
use restore_model::{RoutePin, Status};
use tokio::time::Instant;

use crate::journal::Journal;
use crate::polling::EVIDENCE;
use crate::routing::Routing;
use crate::tasks::Tasks;

/// The longest window of a key that the configuration permits.
const LONGEST_KEY_WINDOW: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// A signature is good for so long on either side of its date, and a repetition of it is the same restore.
const SIGNATURES: Duration = Duration::from_secs(2 * 900);
/// Between two rounds of forgetting, and how much each step forgets.
const TIDY: Duration = Duration::from_secs(600);
const TIDY_STEP: usize = 500;

/// Forgets what is old.
pub(crate) struct Maintenance {
    journal: Arc<Journal>,
    ledger: Arc<dyn Ledger>,
    routing: Arc<Routing>,
    tasks: Arc<Tasks>,
}

impl Maintenance {
    pub(crate) const fn new(
        journal: Arc<Journal>,
        ledger: Arc<dyn Ledger>,
        routing: Arc<Routing>,
        tasks: Arc<Tasks>,
    ) -> Self {
        Self { journal, ledger, routing, tasks }
    }

    /// Begins to forget what is old, now and then.
    pub(crate) fn start(self: &Arc<Self>) {
        let maintenance = Arc::clone(self);
        self.tasks.keep("tidy", move || Arc::clone(&maintenance).tidy());
    }

    /// Forgets what need not be kept: restores past their retention, keys past their window.
    async fn tidy(self: Arc<Self>) {
        // The first round comes soon, so that a gateway that is restarted daily gets to it as well.
        let mut next = Instant::now() + TIDY / 10;
        loop {
            tokio::select! {
                () = self.tasks.stop().cancelled() => return,
                () = tokio::time::sleep_until(next) => {}
            }
            next = Instant::now() + TIDY;
            if let Err(error) = self.forget_old().await {
                tracing::warn!(error = %error, "pruning failed");
            }
        }
    }

    /// Forgets upstreams as they were that no restore needs any more.
    async fn forget_former(&self) -> Result<(), LedgerError> {
        if !self.routing.rules().routes.has_former() {
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
        self.routing.forget_former(&pins);
        Ok(())
    }

    /// How many restores are under way at upstreams that the configuration names no more, by upstream. This process follows
    /// them to their end; one that is started anew would not know where to ask.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub(crate) async fn on_removed_upstreams(&self) -> Result<BTreeMap<String, usize>, LedgerError> {
        let routes = self.routing.rules().routes.clone();
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
        self.journal.each_of(Query { status, ..Query::default() }, show).await
    }

    async fn forget_old(&self) -> Result<(), LedgerError> {
        self.forget_former().await?;
        let now = self.journal.now();
        let ago = |age: Duration| {
            let age = self.journal.reaching_back(age);
            now.plus_seconds(-i64::try_from(age.as_secs()).unwrap_or(i64::MAX / 2_000_000))
        };
        // Nothing is forgotten that a window still answers with, whatever the retention says.
        let windows = self.routing.rules().routes.longest_window().max(SIGNATURES);
        let restores = match self.routing.rules().policy.retention {
            None => None,
            Some(retention) => {
                // What ended while a restore was under way that has not ended yet may be what its evidence belongs to.
                let under_way = self.ledger.unfinished().await?.oldest;
                let before = ago(retention.max(windows).max(EVIDENCE));
                Some(under_way.map_or(before, |oldest| before.min(oldest)))
            }
        };
        // Other replicas may have other windows, and this one had others before: no key is forgotten
        // that any configuration could still honour.
        let keys = ago(self.routing.rules().routes.longest_key_window().max(LONGEST_KEY_WINDOW));
        loop {
            let pruned = self.ledger.prune(restores, keys, TIDY_STEP).await?;
            if pruned.restores > 0 || pruned.keys > 0 {
                tracing::info!(restores = pruned.restores, keys = pruned.keys, "old entries pruned");
            }
            if pruned.restores < TIDY_STEP && pruned.keys < TIDY_STEP {
                return Ok(());
            }
            if self.tasks.stop().is_cancelled() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use restore_model::{Cause, Code, EventKind, Evidence, Problem, RestoreId, Strength};

    use super::*;
    use crate::journal::number;
    use crate::routing::Policy;
    use crate::routing::route::Routes;
    use crate::testing::{self, Base, policy, server, taken_in};

    fn that_keeps_for_a_second(base: &Base) -> Maintenance {
        let policy = Policy { retention: Some(Duration::from_secs(1)), ..policy() };
        let routing = Arc::new(Routing::new(Routes::default(), policy));
        let tasks = Arc::new(Tasks::on(None));
        Maintenance::new(Arc::clone(&base.journal), Arc::clone(&base.ledger), routing, tasks)
    }

    /// A restore of a disk of its own that began so many seconds ago, and was refused as many seconds ago where it has ended.
    async fn began(base: &Base, disk: &str, began: i64, ended: Option<i64>) -> RestoreId {
        let mut intent = server();
        intent.route.steps = Vec::new();
        let ago = |seconds: i64| base.journal.now().plus_seconds(-seconds);
        intent.id = RestoreId::at(ago(began));
        intent.created_at = ago(began);
        intent.request.target = restore_model::Target::Volume { volume_id: disk.parse().unwrap() };
        intent.fingerprint = intent.own_fingerprint();
        let id = intent.id;
        let evidence = |seconds| Evidence::new("test", Strength::Strong, ago(seconds));
        let entry = taken_in(&base.journal, intent, ago(began)).await;
        if let Some(ended) = ended {
            let problem = Box::new(Problem::new(Code::UpstreamBadRequest, "no"));
            let kinds = vec![(EventKind::Rejected { problem }, evidence(ended))];
            let events = number(entry.state.seq, ago(ended), Cause::Upstream, &"0".repeat(32), kinds);
            base.ledger.append(id, entry.state.seq, events).await.unwrap();
        }
        id
    }

    /// F43: what is forgotten changes no answer.
    #[tokio::test]
    async fn f43_nothing_is_forgotten_that_a_window_or_a_restore_still_needs() {
        let base = testing::base();
        let maintenance = that_keeps_for_a_second(&base);
        let old = began(&base, "v1", 99_000, Some(98_000)).await;
        let recent = began(&base, "v2", 80_000, Some(79_000)).await;
        maintenance.forget_old().await.unwrap();
        assert!(base.ledger.get(old).await.unwrap().is_none());
        assert!(base.ledger.get(recent).await.unwrap().is_some(), "its task may be taken for a later one's");

        // It ended while another one was under way that has not ended yet.
        let base = testing::base();
        let maintenance = that_keeps_for_a_second(&base);
        let before = began(&base, "v0", 119_000, Some(118_000)).await;
        let beside = began(&base, "v1", 109_000, Some(108_000)).await;
        began(&base, "v2", 108_500, None).await;
        maintenance.forget_old().await.unwrap();
        assert!(base.ledger.get(before).await.unwrap().is_none());
        assert!(base.ledger.get(beside).await.unwrap().is_some(), "its task may be taken for the other's");
    }
}
