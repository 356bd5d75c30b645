//! Learnt facts about upstreams: facts of backups, the projects to which an upstream is closed, and missing optional
//! reads. They may be lost at any time, and a change of the configuration clears them, because upstreams may be
//! different then.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::future::Cache;
use restore_generations::Known;
use restore_ledger::Entry;
use restore_model::{Problem, RestoreRequest};

use super::route::Plan;
use crate::brief::Brief;

/// How long it is believed that an upstream is closed to a project.
const CLOSED: Duration = Duration::from_secs(600);

/// Facts about upstreams that this process has learnt.
pub(crate) struct Learnt {
    /// Facts of a backup that its generation wants cached: place, project and backup → facts that never change.
    facts: Cache<(String, String, String), Known>,
    /// Places of upstreams and projects that they are closed to, with the refusal of a while ago.
    closed: Brief<(String, String), Arc<Problem>>,
    /// Places of upstreams that are known to lack the optional read of a restore.
    no_restore_read: Mutex<HashSet<String>>,
}

impl Default for Learnt {
    fn default() -> Self {
        Self {
            facts: Cache::builder().max_capacity(100_000).build(),
            closed: Brief::new(10_000, CLOSED),
            no_restore_read: Mutex::default(),
        }
    }
}

impl Learnt {
    /// Known facts of a backup besides the request.
    pub(crate) async fn facts(&self, plan: &Plan, request: &RestoreRequest) -> Known {
        if plan.upstream.generation().wanted_facts(request).is_empty() {
            return Known::default();
        }
        self.facts.get(&fact_key(plan, request)).await.unwrap_or_default()
    }

    pub(crate) async fn note_facts(&self, plan: &Plan, request: &RestoreRequest, facts: Known) {
        self.facts.insert(fact_key(plan, request), facts).await;
    }

    /// The refusal of a while ago, where the upstream is closed to the project.
    pub(crate) async fn closed(&self, plan: &Plan, request: &RestoreRequest) -> Option<Arc<Problem>> {
        self.closed.get(&closed_key(plan, request)).await
    }

    pub(crate) fn is_closed(&self, plan: &Plan, request: &RestoreRequest) -> bool {
        self.closed.contains_key(&closed_key(plan, request))
    }

    pub(crate) async fn note_closed(&self, plan: &Plan, request: &RestoreRequest, refused: &Problem) {
        self.closed.insert(closed_key(plan, request), Arc::new(refused.clone())).await;
    }

    /// True if the place that a restore goes to lacks the optional read of a restore.
    pub(crate) fn lacks_restore_read(&self, entry: &Entry) -> bool {
        self.no_restore_read().contains(&place_of(entry))
    }

    pub(crate) fn note_no_restore_read(&self, entry: &Entry) {
        self.no_restore_read().insert(place_of(entry));
    }

    fn no_restore_read(&self) -> MutexGuard<'_, HashSet<String>> {
        self.no_restore_read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all: it was learnt of upstreams that may be others now.
    pub(super) fn forget(&self) {
        self.closed.invalidate_all();
        self.facts.invalidate_all();
        self.no_restore_read().clear();
    }
}

fn fact_key(plan: &Plan, request: &RestoreRequest) -> (String, String, String) {
    (
        plan.upstream.place(),
        request.project_id.as_str().to_owned(),
        request.source.backup_id.as_str().to_owned(),
    )
}

/// Under what it is remembered that an upstream is closed to a project: its place, whatever the configuration calls it.
fn closed_key(plan: &Plan, request: &RestoreRequest) -> (String, String) {
    (plan.upstream.place(), request.project_id.to_string())
}

/// The place that a restore goes to, which is one whatever the configuration calls it.
fn place_of(entry: &Entry) -> String {
    let route = entry.state.route(&entry.intent);
    route.at.clone().unwrap_or_else(|| route.upstream.clone())
}
