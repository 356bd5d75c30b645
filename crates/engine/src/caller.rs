//! Who asks, and what they may: a [`Caller`] goes into every verb that somebody can ask for, and the
//! verb itself asks it, so that no way in can forget to. Who a caller is was found out before.
//!
//! Denied unless allowed: a known caller may what a [`Grant`] says and nothing else, whatever its
//! token could do in the cloud. Every [`Decision`] is told to the [`Witness`](crate::Witness).

use std::sync::Arc;
use std::time::Duration;

use restore_ledger::Entry;
use restore_model::{Code, Problem, ProjectId, RestoreRequest};
use restore_upstream::Token;

use crate::Engine;
use crate::route::Match;

/// What can be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To submit a restore, and to call an own one off.
    Restore,
    /// To see own restores.
    Read,
    /// To see the restores of every caller.
    ReadAny,
    /// To ask the cloud whether a restore may be done.
    Check,
    /// To ask what would be sent.
    Preview,
    /// To end a restore that waits for a person, and whatever else an operator decides.
    Resolve,
}

impl Action {
    /// The words for all of them.
    pub const WORDS: &'static [&'static str] =
        &["restore", "read", "read-any", "check", "preview", "resolve"];
    const ALL: [Self; 6] =
        [Self::Restore, Self::Read, Self::ReadAny, Self::Check, Self::Preview, Self::Resolve];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        Self::WORDS[self as usize]
    }

    /// The action of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == word)
    }
}

/// What is allowed on what.
#[derive(Clone, Debug)]
pub struct Grant {
    /// What.
    pub allow: Vec<Action>,
    /// Only through these upstreams; none is through any.
    pub upstreams: Vec<String>,
    /// Only of what matches.
    pub matches: Match,
}

impl Grant {
    fn allows(&self, action: Action, request: &RestoreRequest, upstream: Option<&str>) -> bool {
        self.allow.contains(&action)
            && upstream.map_or(self.upstreams.is_empty(), |upstream| self.goes_through(upstream))
            && self.matches.takes(request)
    }

    fn goes_through(&self, upstream: &str) -> bool {
        self.upstreams.is_empty() || self.upstreams.iter().any(|name| name == upstream)
    }
}

/// Who a caller was found to be.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its own name: what it submits, its keys and its duplicates are kept under.
    pub name: Arc<str>,
    /// What it may.
    pub grants: Arc<[Grant]>,
    /// How long whoever has seen a request of this caller can send it again and be taken for it: an equal
    /// request counts as the same one for at least that long.
    pub repeatable: Duration,
    /// The only projects it may touch, where its own token or key is for them alone.
    pub scope: Option<Arc<[ProjectId]>>,
}

/// What was decided about a known caller.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// The caller's name.
    pub caller: &'a str,
    /// What it asked for.
    pub action: Action,
    /// On what, where it is about one restore.
    pub request: Option<&'a RestoreRequest>,
    /// Whether it may.
    pub allowed: bool,
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Caller {
    identity: Option<Identity>,
    /// The token it brought for the cloud.
    pub token: Option<Token>,
}

impl Caller {
    /// Whoever reaches a listener that asks nobody who they are. What it asks for is decided by its
    /// token's rights in the cloud; its name is the project it names.
    #[must_use]
    pub const fn anyone(token: Option<Token>) -> Self {
        Self { identity: None, token }
    }

    /// A caller that is known.
    #[must_use]
    pub const fn known(identity: Identity, token: Option<Token>) -> Self {
        Self { identity: Some(identity), token }
    }

    /// Its name, where it is known.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.identity.as_ref().map(|identity| &*identity.name)
    }

    /// As in [`Identity`].
    pub(crate) fn repeatable(&self) -> Duration {
        self.identity.as_ref().map_or(Duration::ZERO, |identity| identity.repeatable)
    }

    /// The name that a request of this caller is kept under.
    pub(crate) fn account(&self, request: &RestoreRequest) -> String {
        self.name().unwrap_or(request.project_id.as_str()).to_owned()
    }

    /// Whether it may do this; `upstream` is left out where no route takes the request, and then only who
    /// is bound to no upstream may know.
    fn may(&self, action: Action, request: &RestoreRequest, upstream: Option<&str>) -> bool {
        self.identity.as_ref().is_none_or(|identity| {
            identity.scope.as_ref().is_none_or(|scope| scope.contains(&request.project_id))
                && identity.grants.iter().any(|grant| grant.allows(action, request, upstream))
        })
    }

    /// Whether it may see this restore. Nothing is told of that in the log: lists ask it often.
    #[must_use]
    pub fn sees(&self, entry: &Entry) -> bool {
        let Some(identity) = &self.identity else { return true };
        let intent = &entry.intent;
        let may = |action| self.may(action, &intent.request, Some(&intent.route.upstream));
        may(Action::ReadAny) || (*intent.caller == *identity.name && may(Action::Read))
    }

    /// Whether it may read whatever a project has at an upstream. A grant for certain backups, servers or disks is
    /// none for all that a project has.
    fn reads_project(&self, project: &ProjectId, upstream: &str) -> bool {
        self.identity.as_ref().is_none_or(|identity| {
            identity.scope.as_ref().is_none_or(|scope| scope.contains(project))
                && identity.grants.iter().any(|grant| {
                    let reads =
                        [Action::Read, Action::ReadAny].iter().any(|action| grant.allow.contains(action));
                    reads && grant.goes_through(upstream) && grant.matches.takes_all_of(project)
                })
        })
    }

    /// Whether it may do this to anything.
    pub(crate) fn may_at_all(&self, action: Action) -> bool {
        let identity = self.identity.as_ref();
        identity.is_none_or(|identity| identity.grants.iter().any(|grant| grant.allow.contains(&action)))
    }
}

impl Engine {
    /// Refuses what a caller may not do, before anything else is found out about it: neither a route
    /// nor a cloud is asked for somebody who may not ask.
    pub(crate) fn permit(
        &self,
        caller: &Caller,
        action: Action,
        request: &RestoreRequest,
        upstream: Option<&str>,
    ) -> Result<(), Problem> {
        self.decide(caller, action, Some(request), caller.may(action, request, upstream))
    }

    /// Refuses to show a restore that a caller may not see; the answer is that of one that is not.
    pub(crate) fn show(&self, caller: &Caller, entry: &Entry) -> Result<(), Problem> {
        let intent = &entry.intent;
        self.decide(caller, Action::Read, Some(&intent.request), caller.sees(entry))
            .map_err(|_| crate::not_found(intent.id))
    }

    /// Refuses to call off what somebody else submitted; whose end is not to be seen is not found.
    pub(crate) fn permit_own(&self, caller: &Caller, action: Action, entry: &Entry) -> Result<(), Problem> {
        let intent = &entry.intent;
        let own = caller.name().is_none_or(|name| *name == intent.caller);
        if !own {
            self.show(caller, entry)?;
        }
        let allowed = own && caller.may(action, &intent.request, Some(&intent.route.upstream));
        self.decide(caller, action, Some(&intent.request), allowed)
    }

    /// Refuses to read what a project has at an upstream.
    pub(crate) fn permit_project(
        &self,
        caller: &Caller,
        project: &ProjectId,
        upstream: &str,
    ) -> Result<(), Problem> {
        self.decide(caller, Action::Read, None, caller.reads_project(project, upstream))
    }

    /// Refuses what an operator does on no restore in particular.
    ///
    /// # Errors
    /// [`Code::NotAllowed`].
    pub fn permit_operator(&self, caller: &Caller) -> Result<(), Problem> {
        self.decide(caller, Action::Resolve, None, caller.may_at_all(Action::Resolve))
    }

    /// Refuses the pages of operators to who is none.
    ///
    /// # Errors
    /// [`Code::NotAllowed`].
    pub fn permit_watch(&self, caller: &Caller) -> Result<(), Problem> {
        let allowed = caller.may_at_all(Action::ReadAny) || caller.may_at_all(Action::Resolve);
        self.decide(caller, Action::ReadAny, None, allowed)
    }

    /// Refuses a list to who may see nothing at all: an empty one would say that there is nothing.
    ///
    /// # Errors
    /// [`Code::NotAllowed`].
    pub fn permit_list(&self, caller: &Caller) -> Result<(), Problem> {
        let allowed = caller.may_at_all(Action::Read) || caller.may_at_all(Action::ReadAny);
        self.decide(caller, Action::Read, None, allowed)
    }

    /// Tells of a decision, which of nobody in particular is none, and answers with it.
    fn decide(
        &self,
        caller: &Caller,
        action: Action,
        request: Option<&RestoreRequest>,
        allowed: bool,
    ) -> Result<(), Problem> {
        if let Some(caller) = caller.name() {
            self.0.witness.decided(&Decision { caller, action, request, allowed });
        }
        if allowed { Ok(()) } else { Err(denied(action)) }
    }
}

fn denied(action: Action) -> Problem {
    let verb = if action == Action::ReadAny { Action::Read } else { action }.as_str();
    Problem::new(Code::NotAllowed, format!("no policy allows this caller to {verb} this; nothing was sent"))
}

#[cfg(test)]
mod tests {
    use restore_model::{json, schema};

    use super::*;

    const OURS: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
    const THEIRS: &str = "ffffffffffffffffffffffffffffffff";

    fn request(project: &str) -> RestoreRequest {
        let text = format!(
            r#"{{"project_id": "{project}", "source": {{"backup_id": "0f9e8d7c-6b5a-4948-8372-615049382716"}},
                "target": {{"type": "volume", "volume_id": "c0ffee00-1111-4222-8333-444455556666"}}}}"#
        );
        schema::parse_restore(json::read(text.as_bytes()).unwrap()).unwrap()
    }

    fn caller(scope: Option<&str>, allow: &[Action], upstreams: &[&str]) -> Caller {
        let grant = Grant {
            allow: allow.to_vec(),
            upstreams: upstreams.iter().map(|name| (*name).to_owned()).collect(),
            matches: Match { project_id: vec![OURS.parse().unwrap()], ..Match::default() },
        };
        let scope = scope.map(|scope| [scope.parse().unwrap()].into());
        Caller::known(
            Identity { name: "job".into(), grants: [grant].into(), repeatable: Duration::ZERO, scope },
            None,
        )
    }

    #[test]
    fn what_no_grant_names_is_denied() {
        let job = caller(None, &[Action::Restore], &["blue"]);
        assert!(job.may(Action::Restore, &request(OURS), Some("blue")));
        assert!(!job.may(Action::Restore, &request(OURS), Some("green")), "another upstream");
        assert!(!job.may(Action::Restore, &request(THEIRS), Some("blue")), "another project");
        assert!(!job.may(Action::Preview, &request(OURS), Some("blue")), "another action");
        assert!(job.may_at_all(Action::Restore) && !job.may_at_all(Action::ReadAny));
        assert!(Caller::anyone(None).may(Action::Restore, &request(THEIRS), Some("green")));
    }

    #[test]
    fn a_token_of_one_project_opens_no_other_whatever_the_grants_say() {
        let job = caller(Some(THEIRS), &[Action::Restore], &[]);
        assert!(!job.may(Action::Restore, &request(OURS), None), "granted, and out of scope");
        assert!(!job.may(Action::Restore, &request(THEIRS), None), "in scope, and not granted");
        let job = caller(Some(OURS), &[Action::Restore], &[]);
        assert!(job.may(Action::Restore, &request(OURS), None));
    }

    #[test]
    fn every_action_has_its_word() {
        for (action, word) in Action::ALL.into_iter().zip(Action::WORDS) {
            assert_eq!((action.as_str(), Action::parse(word)), (*word, Some(action)));
        }
        assert_eq!(Action::parse("everything"), None);
    }
}
