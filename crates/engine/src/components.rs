//! Joins the components, the lowest first.

use std::sync::Arc;

use restore_ledger::{Ledger, LedgerError};
use restore_model::Clock;
use restore_upstream::Platform;

use crate::admission::Admission;
use crate::dispatch::Dispatcher;
use crate::id_mapping::IdMapping;
use crate::journal::Journal;
use crate::live_restores::LiveRestores;
use crate::observer::Observer;
use crate::operations::{Decisions, Maintenance};
use crate::permissions::Permissions;
use crate::planning::Planner;
use crate::polling::Poller;
use crate::queries::{Inquiries, ProxiedReads, Views};
use crate::response_cache::ResponseCache;
use crate::routing::route::Routes;
use crate::routing::{Policy, Routing};
use crate::schedule::Schedule;
use crate::takeover::Takeover;
use crate::tasks::Tasks;

/// The components that the engine delegates to.
pub(crate) struct Components {
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) routing: Arc<Routing>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) permissions: Arc<Permissions>,
    pub(crate) ids: Arc<IdMapping>,
    pub(crate) poller: Arc<Poller>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) views: Views,
    pub(crate) proxied: Arc<ProxiedReads>,
    pub(crate) inquiries: Inquiries,
    pub(crate) takeover: Arc<Takeover>,
    pub(crate) maintenance: Arc<Maintenance>,
    pub(crate) decisions: Decisions,
}

impl Components {
    pub(crate) fn new(
        platform: Option<Arc<dyn Platform>>,
        ledger: Arc<dyn Ledger>,
        routes: Routes,
        policy: Policy,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let tasks = Arc::new(Tasks::on(platform));
        let routing = Arc::new(Routing::new(routes, policy));
        let live = Arc::new(LiveRestores::default());
        let journal = Arc::new(Journal::new(
            ledger.clone(),
            clock,
            observer.clone(),
            live.clone(),
            tasks.stop().clone(),
        ));
        let permissions = Arc::new(Permissions::told_to(observer.clone()));
        let planner = Arc::new(Planner::new(routing.clone(), permissions.clone()));
        let ids = Arc::new(IdMapping::new(routing.clone()));
        let schedule = Arc::new(Schedule::new(journal.clone(), live.clone(), routing.clone()));
        let dispatcher = Arc::new(Dispatcher::new(
            journal.clone(),
            ledger.clone(),
            live.clone(),
            routing.clone(),
            ids.clone(),
            schedule.clone(),
            tasks.clone(),
        ));
        let poller = Arc::new(Poller::new(
            journal.clone(),
            ledger.clone(),
            routing.clone(),
            schedule.clone(),
            dispatcher.clone(),
            tasks.clone(),
            observer,
        ));
        let takeover = Arc::new(Takeover::new(
            journal.clone(),
            ledger.clone(),
            routing.clone(),
            schedule.clone(),
            dispatcher.clone(),
            tasks.clone(),
        ));
        let responses = Arc::new(ResponseCache::default());
        let admission = Arc::new(Admission::new(
            journal.clone(),
            ledger.clone(),
            routing.clone(),
            planner.clone(),
            schedule,
            dispatcher,
            poller.clone(),
            takeover.clone(),
            responses.clone(),
            tasks.clone(),
        ));
        let views =
            Views::new(journal.clone(), ledger.clone(), routing.clone(), permissions.clone(), poller.clone());
        let proxied = Arc::new(ProxiedReads::new(
            journal.clone(),
            ledger.clone(),
            routing.clone(),
            permissions.clone(),
            responses,
        ));
        let inquiries =
            Inquiries::new(journal.clone(), routing.clone(), planner, ids.clone(), proxied.clone());
        let maintenance =
            Arc::new(Maintenance::new(journal.clone(), ledger.clone(), routing.clone(), tasks.clone()));
        let decisions = Decisions::new(journal.clone(), ledger, routing.clone(), permissions.clone());
        Self {
            tasks,
            routing,
            journal,
            permissions,
            ids,
            poller,
            admission,
            views,
            proxied,
            inquiries,
            takeover,
            maintenance,
            decisions,
        }
    }

    /// Starts the engine's own work, and begins to take up what no living process holds.
    ///
    /// # Errors
    /// When the ledger cannot be read or written.
    pub(crate) async fn start(&self) -> Result<usize, LedgerError> {
        self.poller.start();
        self.journal.recovery().learn().await?;
        let count = self.takeover.begin().await?;
        self.maintenance.start();
        self.takeover.start().await?;
        Ok(count)
    }
}
