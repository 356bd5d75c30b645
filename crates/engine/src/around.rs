//! The way that is left where a generation is closed to a project: what a route says of it, for whoever may take it. A
//! restore, a check and a preview all go by it, so that a question is answered for the way that the restore would take.

use restore_generations::{Check, Expressible, Known, codes};
use restore_model::{Code, Origin, Problem, RestoreRequest};

use crate::Engine;
use crate::caller::{Action, Caller};
use crate::route::{CANONICAL, Plan};

impl Engine {
    /// The way around an upstream, and where the request comes from then; none where the route has no other way.
    pub(crate) fn way_around(
        &self,
        (caller, action): (&Caller, Action),
        request: &RestoreRequest,
        origin: Option<&Origin>,
        plan: &Plan,
    ) -> Result<Option<(Plan, Origin)>, Problem> {
        let Some(around) = plan.around() else { return Ok(None) };
        self.permit(caller, action, request, Some(around.upstream.name()))?;
        if around.upstream.generation().capability(request.target.kind()).verdict == Expressible::Impossible {
            around.upstream.generation().encode(request, &Known::default())?;
        }
        let here = || Origin {
            dialect: CANONICAL.to_owned(),
            generation: plan.pin.generation.clone(),
            upstream: Some(plan.pin.upstream.clone()),
            closed: false,
            echo: serde_json::Value::Null,
        };
        Ok(Some((around, origin.cloned().unwrap_or_else(here))))
    }

    /// The way that a restore would begin with now: the one around where it was told a while ago that there is no other.
    pub(crate) fn way_now(
        &self,
        asks: (&Caller, Action),
        request: &RestoreRequest,
        origin: Option<&Origin>,
        plan: Plan,
    ) -> Result<(Plan, Option<Origin>), Problem> {
        if !self.0.closed.contains_key(&closed(&plan, request)) {
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
        if refused.code != Code::GenerationRetired || plan.on_retired.is_none() {
            return Err(refused);
        }
        self.0.closed.insert(closed(plan, request), ()).await;
        self.way_around(asks, request, origin, plan)?.ok_or(refused)
    }
}

/// The refusal that it is that a question was answered in the negative because the generation is closed to the project.
pub(crate) fn says_closed(check: &Check) -> Option<Problem> {
    let row = codes::find(check.upstream_code.as_deref()?, 400)?;
    let detail = check.detail.as_deref().unwrap_or(check.name);
    (row.class == Code::GenerationRetired).then(|| Problem::new(Code::GenerationRetired, detail))
}

/// What is remembered of an upstream that is closed to a project.
pub(crate) fn closed(plan: &Plan, request: &RestoreRequest) -> (String, String) {
    (plan.pin.upstream.clone(), request.project_id.to_string())
}
