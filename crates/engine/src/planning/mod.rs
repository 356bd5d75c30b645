//! Plans a request: its route, the caller's permission for that upstream, and whether the generation can express the
//! request. Restores, checks and previews are all planned here, so a check or preview is about the route that the
//! restore would take.
//!
//! Stands above `routing` and `permissions`, and below every operation.

use std::sync::Arc;

use restore_generations::Known;
use restore_model::{Origin, Problem, RestoreRequest};

use crate::callers::{Action, Caller};
use crate::permissions::Permissions;
use crate::routing::{Plan, Routing, differ};

mod fallback;

pub(crate) use fallback::{origin_of, reroute, says_closed};

/// Plans the requests of callers.
pub(crate) struct Planner {
    routing: Arc<Routing>,
    permissions: Arc<Permissions>,
}

impl Planner {
    pub(crate) const fn new(routing: Arc<Routing>, permissions: Arc<Permissions>) -> Self {
        Self { routing, permissions }
    }

    /// The way of a request that this caller may send it, once it is known that it may.
    pub(crate) fn permitted_plan(
        &self,
        caller: &Caller,
        action: Action,
        request: &RestoreRequest,
        origin: Option<&Origin>,
    ) -> Result<Plan, Problem> {
        let plan = self.plan(request, origin);
        let upstream = plan.as_ref().ok().map(|plan| plan.upstream.name());
        // A caller without permission does not learn either that no route matches.
        self.permissions.permit(caller, action, request, upstream)?;
        if let Ok(plan) = &plan
            && !plan.pin.steps.is_empty()
        {
            self.permissions.permit_apart(caller, action, request, plan.upstream.name())?;
        }
        plan
    }

    /// Where a request comes from, for a caller who may know what its home has: who may read a project there, or may
    /// have this very request carried out or looked into there. For anybody else the home is closed. It is asked only
    /// where another generation may carry the request out.
    pub(crate) fn home_for(
        &self,
        caller: &Caller,
        request: &RestoreRequest,
        origin: Option<&Origin>,
        plan: &Plan,
    ) -> Option<Origin> {
        let mut origin = origin?.clone();
        let asked = differ(Some(&origin), plan) || plan.fallback_upstream.is_some();
        if let Some(home) = origin.upstream.as_deref().filter(|_| asked) {
            origin.closed = self.permissions.permit_home(caller, request, home).is_err();
        }
        Some(origin)
    }

    /// The way of a request that its generation can express.
    fn plan(&self, request: &RestoreRequest, origin: Option<&Origin>) -> Result<Plan, Problem> {
        let plan = self.routing.rules().routes.plan(request, origin.map(|origin| &*origin.source_api))?;
        let generation = plan.upstream.generation();
        if plan.pin.steps.is_empty() && !generation.restores(request.target.kind()) {
            generation.encode(request, &Known::default())?;
        }
        Ok(plan)
    }
}
