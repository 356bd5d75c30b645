//! Permits or rejects the request of a caller, and reports every [`Decision`] to the [`Observer`]. Stands below every
//! operation.

use std::sync::Arc;

use restore_ledger::Entry;
use restore_model::{Code, Problem, ProjectId, RestoreId, RestoreRequest};

use crate::callers::{Action, Caller, Decision};
use crate::journal::not_found;
use crate::observer::Observer;

/// Decides on the permissions of callers, and reports each decision to the observer.
pub(crate) struct Permissions {
    observer: Arc<dyn Observer>,
}

impl Permissions {
    pub(crate) fn told_to(observer: Arc<dyn Observer>) -> Self {
        Self { observer }
    }

    /// Refuses what a caller may not do, before anything else is found out about it: neither a route
    /// nor a cloud is asked for somebody who may not ask.
    pub(crate) fn permit(
        &self,
        caller: &Caller,
        action: Action,
        request: &RestoreRequest,
        upstream: Option<&str>,
    ) -> Result<(), Problem> {
        let allowed = caller.may(action, request, upstream);
        self.decide(caller, action, On { request: Some(request), upstream, restore: None }, allowed)
    }

    /// As [`Permissions::permit`], for a server that is restored disk by disk.
    pub(crate) fn permit_apart(
        &self,
        caller: &Caller,
        action: Action,
        request: &RestoreRequest,
        upstream: &str,
    ) -> Result<(), Problem> {
        if caller.may_apart(action, request, upstream) {
            return Ok(());
        }
        let on = On { request: Some(request), upstream: Some(upstream), restore: None };
        self.decide(caller, action, on, false).map_err(|denied| {
            let detail = "the server is restored disk by disk there, so a policy must cover each disk: one for servers \
                          must list the disks (volume_id), one for certain backups those of the disks (backup_id)";
            Problem { detail: format!("{}; {detail}", denied.detail), ..denied }
        })
    }

    /// Refuses to show a restore that a caller may not see; the answer is that of one that is not.
    pub(crate) fn show(&self, caller: &Caller, entry: &Entry) -> Result<(), Problem> {
        self.decide(caller, Action::Read, On::entry(entry), caller.sees(entry))
            .map_err(|_| not_found(entry.intent.id))
    }

    /// Refuses to call off what somebody else submitted; whose end is not to be seen is not found.
    pub(crate) fn permit_own(&self, caller: &Caller, action: Action, entry: &Entry) -> Result<(), Problem> {
        let own = caller.name().is_none_or(|name| *name == entry.intent.caller);
        if !own {
            self.show(caller, entry)?;
        }
        let allowed = own && caller.may_on(action, entry);
        self.decide(caller, action, On::entry(entry), allowed)
    }

    /// Refuses to end a restore as an operator to who is none for it.
    pub(crate) fn permit_resolve(&self, caller: &Caller, entry: &Entry) -> Result<(), Problem> {
        let allowed = caller.may_on(Action::Resolve, entry);
        self.decide(caller, Action::Resolve, On::entry(entry), allowed)
    }

    /// Refuses to read what a project has at an upstream.
    pub(crate) fn permit_project(
        &self,
        caller: &Caller,
        project: &ProjectId,
        upstream: &str,
    ) -> Result<(), Problem> {
        let on = On { upstream: Some(upstream), ..On::default() };
        let allowed = caller.may_with_project(&[Action::Read, Action::ReadAny], project, upstream);
        self.decide(caller, Action::Read, on, allowed).map_err(|denied| {
            let detail = "what a cloud tells of a backup, a disk or a task is open to policies with `read` for the whole \
                          project and this upstream, not for certain targets of it";
            Problem { detail: format!("{}: {detail}", denied.detail), ..denied }
        })
    }

    /// Refuses to read what a request names at its home to who may not know what that has: neither read the project
    /// there, nor have this very request carried out or looked into there.
    pub(crate) fn permit_home(
        &self,
        caller: &Caller,
        request: &RestoreRequest,
        home: &str,
    ) -> Result<(), Problem> {
        let reads = [Action::Read, Action::ReadAny];
        let goes = [Action::Restore, Action::Check].map(|action| caller.may(action, request, Some(home)));
        let allowed = caller.may_with_project(&reads, &request.project_id, home) || goes.contains(&true);
        let on = On { request: Some(request), upstream: Some(home), restore: None };
        self.decide(caller, Action::Read, on, allowed)
    }

    /// Refuses to look through what a project has at an upstream, as an operator, to who is none for it.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub(crate) fn permit_audit(
        &self,
        caller: &Caller,
        project: &ProjectId,
        upstream: &str,
    ) -> Result<(), Problem> {
        let on = On { upstream: Some(upstream), ..On::default() };
        let allowed = caller.may_with_project(&[Action::Resolve], project, upstream);
        self.decide(caller, Action::Resolve, on, allowed)
    }

    /// Refuses what an operator does to the gateway as a whole.
    ///
    /// # Errors
    /// [`Code::Forbidden`], also for operators of certain projects, upstreams or targets.
    pub(crate) fn permit_operator(&self, caller: &Caller) -> Result<(), Problem> {
        self.decide(caller, Action::Resolve, On::default(), caller.may_everywhere(Action::Resolve))
    }

    /// Refuses the pages of operators to who is none.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub(crate) fn permit_watch(&self, caller: &Caller) -> Result<(), Problem> {
        let allowed = caller.may_at_all(Action::ReadAny) || caller.may_at_all(Action::Resolve);
        self.decide(caller, Action::ReadAny, On::default(), allowed)
    }

    /// Refuses what tells of every caller and every project to who may not know of all.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub(crate) fn permit_overview(&self, caller: &Caller) -> Result<(), Problem> {
        self.decide(caller, Action::ReadAny, On::default(), caller.sees_everybody())
    }

    /// Refuses a list to who may see nothing at all: an empty one would say that there is nothing.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub(crate) fn permit_list(&self, caller: &Caller) -> Result<(), Problem> {
        let allowed = caller.may_at_all(Action::Read) || caller.may_at_all(Action::ReadAny);
        self.decide(caller, Action::Read, On::default(), allowed)
    }

    /// Tells of a decision, which of nobody in particular is none, and answers with it.
    fn decide(&self, caller: &Caller, action: Action, on: On<'_>, allowed: bool) -> Result<(), Problem> {
        if let Some(name) = caller.name() {
            let On { request, restore, upstream } = on;
            let request_context = &caller.request_context;
            let decision =
                Decision { caller: name, action, request, restore, upstream, request_context, allowed };
            self.observer.decided(&decision);
        }
        if allowed { Ok(()) } else { Err(denied(action)) }
    }
}

/// The subject of a decision.
#[derive(Clone, Copy, Default)]
struct On<'a> {
    request: Option<&'a RestoreRequest>,
    restore: Option<RestoreId>,
    upstream: Option<&'a str>,
}

impl<'a> On<'a> {
    fn entry(entry: &'a Entry) -> Self {
        let intent = &entry.intent;
        Self {
            request: Some(&intent.request),
            restore: Some(intent.id),
            upstream: Some(&entry.state.route(intent).upstream),
        }
    }
}

fn denied(action: Action) -> Problem {
    let verb = if action == Action::ReadAny { Action::Read } else { action }.as_str();
    Problem::new(Code::Forbidden, format!("no policy allows this caller to {verb} this; nothing was sent"))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use restore_model::Event;

    use super::*;
    use crate::callers::{Grant, Identity};
    use crate::routing::route::Match;

    /// Receives each decision: the requested action, and the result.
    #[derive(Default)]
    struct Hears(Mutex<Vec<(Action, bool)>>);

    impl Observer for Hears {
        fn committed(&self, _: &Entry, _: &Event) {}

        fn decided(&self, decision: &Decision<'_>) {
            self.0.lock().unwrap().push((decision.action, decision.allowed));
        }
    }

    #[test]
    fn every_decision_on_a_known_caller_is_audited_and_none_on_unknown_senders() {
        let observer = Arc::new(Hears::default());
        let permissions = Permissions::told_to(Arc::clone(&observer) as Arc<dyn Observer>);
        permissions.permit_operator(&Caller::anyone(None)).unwrap();
        assert!(observer.0.lock().unwrap().is_empty());
        let grant = Grant {
            allow: vec![Action::Read],
            upstreams: Vec::new(),
            matches: Match::default(),
            disks: Vec::new(),
        };
        let identity =
            Identity { name: "job".into(), grants: [grant].into(), repeatable: Duration::ZERO, scope: None };
        let job = Caller::known(identity, None);
        permissions.permit_list(&job).unwrap();
        assert_eq!(permissions.permit_operator(&job).unwrap_err().code, Code::Forbidden);
        assert_eq!(*observer.0.lock().unwrap(), [(Action::Read, true), (Action::Resolve, false)]);
    }
}
