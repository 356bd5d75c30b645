//! Plans the fallback upstream if a generation is closed to a project, for callers whose policies allow it.

use std::borrow::Cow;

use restore_generations::{Check, Known, codes};
use restore_ledger::Entry;
use restore_model::{CANONICAL, Code, Effect, EventKind, Origin, Problem, RestoreRequest, RoutePin};

use super::Planner;
use crate::callers::{Action, Caller};
use crate::routing::{Access, Plan, Routing};

impl Planner {
    /// The way around an upstream, and where the request comes from then; none where the route has no other way.
    pub(crate) fn way_around(
        &self,
        (caller, action): (&Caller, Action),
        request: &RestoreRequest,
        origin: Option<&Origin>,
        plan: &Plan,
    ) -> Result<Option<(Plan, Origin)>, Problem> {
        let Some(around) = plan.around() else { return Ok(None) };
        self.permissions.permit(caller, action, request, Some(around.upstream.name()))?;
        if !around.upstream.generation().restores(request.target.kind()) {
            around.upstream.generation().encode(request, &Known::default())?;
        }
        Ok(Some((around, origin.cloned().unwrap_or_else(|| at_home(&plan.pin)))))
    }

    /// The route that is left for a restore whose generation turns out to be closed to the project, for whoever may take it
    /// and has what it needs; none where there is no such route.
    pub(crate) fn fallback_for(
        &self,
        caller: &Caller,
        request: &RestoreRequest,
        origin: Option<&Origin>,
        plan: &Plan,
    ) -> Option<RoutePin> {
        let asks = (caller, Action::Restore);
        let (around, _) = self.way_around(asks, request, origin, plan).ok().flatten()?;
        Access::to(&around.upstream, caller.token.clone())?;
        Some(around.pin)
    }

    /// The way that a restore would begin with now: the one around where it was told a while ago that there is no other.
    pub(crate) fn way_now(
        &self,
        asks: (&Caller, Action),
        request: &RestoreRequest,
        origin: Option<&Origin>,
        plan: Plan,
    ) -> Result<(Plan, Option<Origin>), Problem> {
        if !self.routing.learnt().is_closed(&plan, request) {
            return Ok((plan, origin.cloned()));
        }
        let around = self.way_around(asks, request, origin, &plan)?;
        Ok(around.map_or_else(|| (plan, origin.cloned()), |(around, origin)| (around, Some(origin))))
    }

    /// The way around after a question that the upstream would not answer because it is closed to the project, which is
    /// remembered; else the refusal.
    pub(crate) async fn way_after(
        &self,
        refused: Problem,
        asks: (&Caller, Action),
        request: &RestoreRequest,
        origin: Option<&Origin>,
        plan: &Plan,
    ) -> Result<(Plan, Origin), Problem> {
        if refused.code != Code::GenerationRetired || plan.fallback_upstream.is_none() {
            return Err(refused);
        }
        self.routing.learnt().note_closed(plan, request, &refused).await;
        self.way_around(asks, request, origin, plan)?.ok_or(refused)
    }
}

/// Where the names of a restore's backups come from: its compatibility endpoint, or the route that it was accepted for where it
/// takes another one now.
pub(crate) fn origin_of(entry: &Entry) -> Option<Cow<'_, Origin>> {
    let intent = &entry.intent;
    match &intent.origin {
        Some(origin) => Some(Cow::Borrowed(origin)),
        None => entry.state.rerouted.as_ref().map(|_| Cow::Owned(at_home(&intent.route))),
    }
}

/// The event by which a restore that was refused like this takes its other route; the refusal itself where it has
/// none.
pub(crate) async fn reroute(routing: &Routing, entry: &Entry, plan: &Plan, problem: Problem) -> EventKind {
    let (intent, state) = (&entry.intent, &entry.state);
    let refused = problem.code == Code::GenerationRetired && problem.effect == Effect::None;
    if refused {
        routing.learnt().note_closed(plan, &intent.request, &problem).await;
    }
    let way = intent.fallback.as_ref().filter(|_| refused && state.rerouted.is_none() && state.step == 0);
    let problem = Box::new(problem);
    match way.filter(|pin| routing.rules().routes.upstream_of(pin).is_some()) {
        Some(to) => EventKind::Rerouted { to: to.clone(), problem },
        None => EventKind::Rejected { problem },
    }
}

/// The refusal that it is that a question was answered in the negative because the generation is closed to the project.
pub(crate) fn says_closed(check: &Check) -> Option<Problem> {
    let row = codes::find(check.upstream_code.as_deref()?, 400)?;
    let detail = check.detail.as_deref().unwrap_or(check.name);
    (row.class == Code::GenerationRetired).then(|| Problem::new(Code::GenerationRetired, detail))
}

/// The origin of what came through the canonical API: its backups have the names of the route's generation.
fn at_home(route: &RoutePin) -> Origin {
    Origin {
        source_api: CANONICAL.to_owned(),
        generation: route.generation.clone(),
        upstream: Some(route.upstream.clone()),
        closed: false,
        echo: serde_json::Value::Null,
    }
}
