//! Callers and their permissions. A [`Caller`] is a parameter of every operation, and the operation checks it, so no
//! inbound path can forget the check. Authentication has identified the caller before.
//!
//! The default is denial: a known caller may do what a [`Grant`] permits and nothing else, whatever its token could do
//! in the cloud.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use restore_ledger::Entry;
use restore_model::{ProjectId, RestoreId, RestoreRequest};
use restore_upstream::{Behalf, Token};

mod grant;

pub use grant::Grant;

/// An action that a policy can allow.
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

/// How a request came in: what an auditor needs to find it again elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestContext {
    /// The id that its answer carries.
    pub request_id: Option<String>,
    /// Its trace.
    pub trace_id: Option<String>,
    /// The address it came from.
    pub peer: Option<SocketAddr>,
}

/// The identity of an authenticated caller.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its own name: what it submits, its keys and its duplicates are kept under.
    pub name: Arc<str>,
    /// Its permissions.
    pub grants: Arc<[Grant]>,
    /// How long whoever has seen a request of this caller can send it again and be taken for it: an equal
    /// request counts as the same one for at least that long.
    pub repeatable: Duration,
    /// The only projects it may touch, where its own token or key is for them alone.
    pub scope: Option<Arc<[ProjectId]>>,
}

/// An authorization decision about a known caller.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// The caller's name.
    pub caller: &'a str,
    /// The requested action.
    pub action: Action,
    /// On what, where it is about one restore.
    pub request: Option<&'a RestoreRequest>,
    /// That restore, where it is there already.
    pub restore: Option<RestoreId>,
    /// Through which upstream, where one is found.
    pub upstream: Option<&'a str>,
    /// How the request came in.
    pub request_context: &'a RequestContext,
    /// True if it may.
    pub allowed: bool,
}

/// The caller of a request.
#[derive(Clone, Debug)]
pub struct Caller {
    identity: Option<Identity>,
    /// The token it brought for the cloud.
    pub token: Option<Token>,
    /// How its request came in.
    pub request_context: RequestContext,
}

impl Caller {
    /// Whoever reaches a listener that asks nobody who they are. What it asks for is decided by its
    /// token's rights in the cloud; its name is the project it names.
    #[must_use]
    pub fn anyone(token: Option<Token>) -> Self {
        Self { identity: None, token, request_context: RequestContext::default() }
    }

    /// A caller that is known.
    #[must_use]
    pub fn known(identity: Identity, token: Option<Token>) -> Self {
        Self { identity: Some(identity), token, request_context: RequestContext::default() }
    }

    /// With how its request came in.
    #[must_use]
    pub fn by(self, request_context: RequestContext) -> Self {
        Self { request_context, ..self }
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

    /// On whose behalf its questions about a project are asked.
    pub(crate) fn asks_of(&self, project: &ProjectId) -> Behalf {
        Behalf::Question(self.name().unwrap_or(project.as_str()).into())
    }

    /// True if it may do this; `upstream` is left out where no route takes the request, and then only who
    /// is bound to no upstream may know.
    pub(crate) fn may(&self, action: Action, request: &RestoreRequest, upstream: Option<&str>) -> bool {
        self.identity.as_ref().is_none_or(|identity| {
            identity.scope.as_ref().is_none_or(|scope| scope.contains(&request.project_id))
                && identity.grants.iter().any(|grant| grant.allows(action, request, upstream))
        })
    }

    /// True if it may do this to the disks of a server one by one.
    pub(crate) fn may_apart(&self, action: Action, request: &RestoreRequest, upstream: &str) -> bool {
        self.identity.as_ref().is_none_or(|identity| {
            let covers =
                |grant: &Grant| grant.allows(action, request, Some(upstream)) && grant.covers_parts(request);
            identity.grants.iter().any(covers)
        })
    }

    /// True if it may see this restore. This is not logged, because lists check it often.
    #[must_use]
    pub fn sees(&self, entry: &Entry) -> bool {
        let Some(identity) = &self.identity else { return true };
        let own = *entry.intent.caller == *identity.name;
        self.may_on(Action::ReadAny, entry) || (own && self.may_on(Action::Read, entry))
    }

    /// True if it may do this to a restore, at the upstream that it was accepted for or the one that it goes to now.
    pub(crate) fn may_on(&self, action: Action, entry: &Entry) -> bool {
        let intent = &entry.intent;
        [&intent.route, entry.state.route(intent)]
            .iter()
            .any(|route| self.may(action, &intent.request, Some(&route.upstream)))
    }

    /// True if it may do one of these with whatever a project has at an upstream. A grant for certain backups, servers
    /// or disks is none for all that a project has.
    pub(crate) fn may_with_project(&self, actions: &[Action], project: &ProjectId, upstream: &str) -> bool {
        self.identity.as_ref().is_none_or(|identity| {
            identity.scope.as_ref().is_none_or(|scope| scope.contains(project))
                && identity.grants.iter().any(|grant| {
                    actions.iter().any(|action| grant.allow.contains(action))
                        && grant.goes_through(upstream)
                        && grant.disks.is_empty()
                        && grant.matches.takes_all_of(project)
                })
        })
    }

    /// True if it may do this to everything: a limited grant does not count for the whole gateway.
    pub(crate) fn may_everywhere(&self, action: Action) -> bool {
        self.identity.as_ref().is_none_or(|identity| {
            identity.scope.is_none()
                && identity.grants.iter().any(|grant| {
                    grant.allow.contains(&action)
                        && grant.upstreams.is_empty()
                        && grant.disks.is_empty()
                        && grant.matches.takes_everything()
                })
        })
    }

    /// True if it may know of every caller.
    #[must_use]
    pub fn sees_everybody(&self) -> bool {
        self.may_everywhere(Action::ReadAny) || self.may_everywhere(Action::Resolve)
    }

    /// True if it may do this to anything.
    pub(crate) fn may_at_all(&self, action: Action) -> bool {
        let identity = self.identity.as_ref();
        identity.is_none_or(|identity| identity.grants.iter().any(|grant| grant.allow.contains(&action)))
    }
}

#[cfg(test)]
mod tests {
    use restore_model::{TargetKind, json, schema};

    use super::*;
    use crate::routing::route::Match;

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
            disks: Vec::new(),
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
    fn a_grant_that_names_disks_covers_every_disk_that_is_overwritten_and_no_other() {
        const SERVER: &str = "7d2f6c1e-3b0a-4c55-9a51-0f6c2b9e8d14";
        const DISKS: [&str; 2] =
            ["c0ffee00-1111-4222-8333-444455556666", "c0ffee01-1111-4222-8333-444455556666"];
        let of_server = |disks: &[&str]| {
            let disks = disks.iter().enumerate().map(|(nth, disk)| {
                format!(
                    r#"{{"backup_id": "5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b0{nth}", "volume_id": "{disk}"}}"#
                )
            });
            let text = format!(
                r#"{{"project_id": "{OURS}", "source": {{"backup_id": "0f9e8d7c-6b5a-4948-8372-615049382716"}},
                    "target": {{"type": "server", "server_id": "{SERVER}", "power_on": true, "volumes": [{}]}}}}"#,
                disks.collect::<Vec<_>>().join(",")
            );
            schema::parse_restore(json::read(text.as_bytes()).unwrap()).unwrap()
        };
        let grant = |matches: Match, disks: &[&str]| Grant {
            allow: vec![Action::Restore],
            upstreams: Vec::new(),
            matches,
            disks: disks.iter().map(|disk| disk.parse().unwrap()).collect(),
        };
        let may = |grant: &Grant, request: &RestoreRequest| grant.allows(Action::Restore, request, None);
        for named in [
            Match { server_id: vec![SERVER.parse().unwrap()], ..Match::default() },
            Match { target: vec![TargetKind::Server], ..Match::default() },
        ] {
            let one = grant(named.clone(), &DISKS[..1]);
            assert!(may(&one, &of_server(&DISKS[..1])));
            assert!(!may(&one, &of_server(&DISKS)), "a disk that is not listed");
            let both = grant(named.clone(), &DISKS);
            assert!(may(&both, &of_server(&DISKS)) && may(&both, &of_server(&DISKS[..1])));
            assert!(may(&grant(named, &[]), &of_server(&DISKS)), "no disks are named");
        }
        let disks_alone = grant(Match::default(), &DISKS);
        assert!(may(&disks_alone, &request(OURS)));
        assert!(!may(&disks_alone, &of_server(&DISKS)), "that a server is stopped was not allowed");
        let other = grant(Match::default(), &DISKS[1..]);
        assert!(!may(&other, &request(OURS)), "another disk");
    }

    #[test]
    fn every_action_has_its_word() {
        for (action, word) in Action::ALL.into_iter().zip(Action::WORDS) {
            assert_eq!((action.as_str(), Action::parse(word)), (*word, Some(action)));
        }
        assert_eq!(Action::parse("everything"), None);
    }
}
