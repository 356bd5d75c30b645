//! Finds the backup ID in the generation that carries out a restore, if the request came through the compatibility
//! endpoint of another one. No documentation says that IDs survive a move between generations, and a wrong ID
//! overwrites disks. So an ID needs proof (cloud APIs 6.4). The order is:
//!
//! 1. The operator's ID map.
//! 2. The same ID, if the backup with it is of the same resource, kind and time as the caller's backup. If the caller's
//!    own generation can permanently report nothing (`home.rs` has the table), every disk backup of the request must be a
//!    part of it, or it must be of the very server or disk that is overwritten.
//! 3. The only backup of the same resource and time with the same disks.
//!
//! A failed read proves nothing and excludes nothing: the restore is rejected until the read succeeds.
//!
//! Each step and its comparison is data ([`Step`]): the restore stores it, and people can see it in advance.
//!
//! Stands above `routing`.

use std::sync::Arc;

use restore_generations::{Backup, Call, Reply};
use restore_model::{Code, Effect, Id, Origin, Problem, Proof, RestoreRequest};
use restore_upstream::{Behalf, Fault, FaultKind, Token, Upstream, With};

use crate::routing::{Access, Plan, Routing, differ, whose};

mod decide;
mod home;

pub use decide::{Asked, Names};
use home::{Home, LookupResult};

/// Placeholder in a preview for an ID that only a read before the send can find.
pub(crate) const PLACEHOLDER: &str = "read-before-sending";
/// Seconds after which a read that failed may be made again.
const LATER: u32 = 5;

/// One step on the way to a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The attempted method: `source_lookup`, `id_map`, `same_id`, `match` or `disks`.
    pub method: &'static str,
    /// True if it brought what was sought.
    pub found: bool,
    /// The comparison and its result.
    pub detail: String,
}

/// The way to a name, step by step, and where it led.
#[derive(Clone, Debug)]
pub struct Sought {
    /// The steps, in their order.
    pub steps: Vec<Step>,
    /// The names, or why there are none.
    pub names: Result<Names, Problem>,
}

/// A request in the names of the upstream's generation.
#[derive(Clone, Debug)]
pub struct Named {
    /// The request.
    pub request: RestoreRequest,
    /// How its names were found, for a person.
    pub evidence: String,
}

/// Finds what backups are called by the generation that carries a restore out.
pub(crate) struct IdMapping {
    routing: Arc<Routing>,
}

impl IdMapping {
    pub(crate) const fn new(routing: Arc<Routing>) -> Self {
        Self { routing }
    }

    /// The request in the upstream's own names; none where it has them already.
    pub(crate) async fn own_names(
        &self,
        request: &RestoreRequest,
        origin: Option<&Origin>,
        plan: &Plan,
        with: &With,
    ) -> Result<Option<Named>, Problem> {
        let Some(origin) = origin.filter(|origin| differ(Some(origin), plan)) else { return Ok(None) };
        let asked = Asked::of(request);
        let search = Search { asked: &asked, origin, upstream: &plan.upstream, with };
        let Sought { steps, names } = self.seek(&search).await;
        let request = names?.put_into(request);
        Ok(Some(Named { request, evidence: format!("ids: {}", told(&steps)) }))
    }

    /// How names would be found at an upstream, for a person: the reads that a restore would make, and nothing else.
    ///
    /// # Errors
    /// [`Code::NotFound`] when there is no such upstream; [`Code::CredentialMissing`] when there is nothing to read with.
    pub(crate) async fn seek_names(
        &self,
        asked: &Asked,
        origin: &Origin,
        upstream: &str,
        token: Option<Token>,
    ) -> Result<Sought, Problem> {
        let Some(upstream) = self.routing.rules().routes.upstream(upstream) else {
            let detail = format!("the configuration has no upstream {upstream:?}");
            return Err(Problem::new(Code::NotFound, detail));
        };
        if upstream.generation().name() == origin.generation {
            let detail =
                format!("{} and {} have the same names for backups", origin.source_api, upstream.name());
            let steps = vec![Step { method: "source_lookup", found: true, detail }];
            let names = Names { backup_id: asked.backup_id.clone(), disks: asked.disks.clone() };
            return Ok(Sought { steps, names: Ok(names) });
        }
        let Some(access) = Access::to(&upstream, token) else {
            let detail = format!("upstream {} is asked with the caller's own token", upstream.name());
            return Err(Problem::new(Code::CredentialMissing, detail));
        };
        let with = access.with(None);
        let search = Search { asked, origin, upstream: &upstream, with: &with };
        Ok(Box::pin(self.seek(&search)).await)
    }

    /// The request in the names of the operator's table, and how many names that does not have: a
    /// placeholder stands for those.
    pub(crate) fn by_table(
        &self,
        request: &RestoreRequest,
        origin: &Origin,
        plan: &Plan,
    ) -> (RestoreRequest, usize) {
        let mut unknown = 0;
        let mut named = |id: &Id| {
            let found =
                self.routing.rules().routes.pairs().find(&origin.generation, &plan.pin.generation, id);
            unknown += usize::from(found.is_none());
            found.or_else(|| PLACEHOLDER.parse().ok()).unwrap_or_else(|| id.clone())
        };
        let asked = Asked::of(request);
        let backup_id = named(&asked.backup_id);
        let names = Names { backup_id, disks: asked.disks.iter().map(named).collect() };
        (names.put_into(request), unknown)
    }

    /// The reads that names are found by: path template, why.
    pub(crate) fn reads_of_names(
        &self,
        request: &RestoreRequest,
        origin: &Origin,
        plan: &Plan,
    ) -> Vec<(String, &'static str)> {
        let (project, id) = (&request.project_id, &request.source.backup_id);
        let home = origin.upstream.as_deref().and_then(|name| self.routing.rules().routes.upstream(name));
        let home = home.map(|home| home.generation().read_backup(project, id).template.to_owned());
        let ours = plan.upstream.generation().read_backup(project, id).template.to_owned();
        let home = home.map(|template| (template, "what the backup is of, as its own generation tells"));
        home.into_iter().chain([(ours, "which backup there is the same one")]).collect()
    }

    async fn seek(&self, search: &Search<'_>) -> Sought {
        let mut steps = Vec::new();
        let names = self.find(search, &mut steps).await;
        Sought { names, steps }
    }

    async fn find(&self, search: &Search<'_>, steps: &mut Vec<Step>) -> Result<Names, Problem> {
        let Search { asked, origin, upstream, .. } = *search;
        let home = self.read_at_home(search).await;
        let detail = match &home {
            Home::Tells(theirs) => format!("{} tells of it: of {}", origin.generation, theirs.resource_id),
            Home::Silent(why) | Home::Unread(why, _) => {
                format!("{} does not tell what it is of: {why}", origin.generation)
            }
        };
        steps.push(Step { method: "source_lookup", found: home.backup().is_some(), detail });
        decide::checkpoint(asked, &home).map_err(|why| Problem::new(Code::BackupNotFound, why))?;
        let ours = self.find_ours(search, &home, steps).await?;
        let backup_id = ours.id.parse::<Id>().map_err(|_| {
            note(steps, "match", Err("its id is no id".to_owned()));
            search.unresolved(steps)
        })?;
        let to = upstream.generation().name();
        let find = |disk: &Id| self.routing.rules().routes.pairs().find(&origin.generation, to, disk);
        match decide::disks(asked, &home, &ours, find) {
            Err(why) => {
                note(steps, "disks", Err(why));
                // Home may know them by their volumes, once it can be asked.
                Err(match home {
                    Home::Unread(_, problem) => *problem,
                    Home::Tells(_) | Home::Silent(_) => search.unresolved(steps),
                })
            }
            Ok((disks, how)) => {
                if !disks.is_empty() {
                    note(steps, "disks", Ok(how));
                }
                Ok(Names { backup_id, disks })
            }
        }
    }

    /// The backup according to the caller's own generation, or the consequence if the lookup fails.
    async fn read_at_home(&self, search: &Search<'_>) -> Home {
        let Search { asked, origin, with, .. } = *search;
        let routes = &self.routing.rules().routes;
        let Some(name) = &origin.upstream else {
            let own = routes.upstreams().filter(|one| one.generation().name() == origin.generation);
            let names: Vec<String> = own.map(|one| one.name().to_owned()).collect();
            if names.is_empty() {
                return Home::untold(LookupResult::NoUpstream, "", None);
            }
            let what = format!("{} are of {}", names.join(" and "), origin.generation);
            return Home::untold(LookupResult::SeveralUpstreams, &what, None);
        };
        if origin.closed {
            let what = format!("this caller may not know what upstream {name} has");
            return Home::untold(LookupResult::NotAllowed, &what, None);
        }
        let Some(upstream) = routes.upstream(name) else {
            let what = format!("upstream {name} is not configured any more");
            return Home::untold(LookupResult::TakenOut, &what, None);
        };
        if upstream.generation().name() != origin.generation {
            let what = format!("upstream {name} is of another generation now");
            return Home::untold(LookupResult::TakenOut, &what, None);
        }
        if !upstream.holds_credential() && with.token.is_none() {
            let what = format!("upstream {name} takes the caller's token, which is not there");
            return Home::untold(LookupResult::NoToken, &what, None);
        }
        let generation = upstream.generation();
        let call = generation.read_backup(&asked.project_id, &asked.backup_id);
        let reply = match self.read(&upstream, &call, with).await {
            Ok(reply) => reply,
            Err(fault) => {
                let what = format!("upstream {name} gives no answer: {}", fault.detail);
                return Home::untold(LookupResult::without(&fault), &what, Some(fault.to_problem()));
            }
        };
        let read = generation.backup(&reply);
        match (LookupResult::of(&reply, &asked.backup_id, read.as_ref()), read) {
            (LookupResult::Told, Some(read)) => Home::Tells(Box::new(read)),
            (result, _) => {
                let (what, problem) = refusal(&reply, &upstream);
                Home::untold(result, &what, Some(problem))
            }
        }
    }

    /// The same backup at the upstream that carries the restore out.
    async fn find_ours(
        &self,
        search: &Search<'_>,
        home: &Home,
        steps: &mut Vec<Step>,
    ) -> Result<Backup, Problem> {
        let Search { asked, origin, upstream, .. } = *search;
        let generation = upstream.generation();
        let paired =
            self.routing.rules().routes.pairs().find(&origin.generation, generation.name(), &asked.backup_id);
        if let Some(paired) = paired {
            let ours = self.read_ours(search, &paired).await?;
            let decided = decide::paired(asked, &paired, ours.as_ref());
            let taken = note(steps, "id_map", decided).and(ours);
            return taken.ok_or_else(|| search.unresolved(steps));
        }
        note(steps, "id_map", Err("no row".to_owned()));
        if let Home::Unread(_, problem) = home {
            return Err((**problem).clone());
        }
        let ours = self.read_ours(search, &asked.backup_id).await?;
        let decided = decide::same_id(asked, home, ours.as_ref());
        if let Some(ours) = note(steps, "same_id", decided).and(ours) {
            return Ok(ours);
        }
        let Home::Tells(theirs) = home else { return Err(search.unresolved(steps)) };
        let mut candidates = self.candidates(search, theirs).await?;
        let (index, decided) = match decide::only(theirs, &candidates) {
            Ok((index, how)) => (Some(index), Ok(how)),
            Err(why) => (None, Err(why)),
        };
        note(steps, "match", decided);
        index.map(|index| candidates.swap_remove(index)).ok_or_else(|| search.unresolved(steps))
    }

    /// A backup at the upstream; none where it says that it has none. Whatever else it says is no answer.
    async fn read_ours(&self, search: &Search<'_>, id: &Id) -> Result<Option<Backup>, Problem> {
        let generation = search.upstream.generation();
        let call = generation.read_backup(&search.asked.project_id, id);
        let reply = self.read_or_refuse(search, &call).await?;
        let read = generation.backup(&reply);
        match LookupResult::of(&reply, id, read.as_ref()) {
            LookupResult::Told => Ok(read),
            LookupResult::NoSuchBackup => Ok(None),
            result => Err(search.unread(&reply, result)),
        }
    }

    /// The backups at the upstream that may be the same one: of its resource and time, each read as a whole, for a list does
    /// not show the disks of a server.
    async fn candidates(&self, search: &Search<'_>, theirs: &Backup) -> Result<Vec<Backup>, Problem> {
        let generation = search.upstream.generation();
        let (Some(kind), Ok(resource)) = (theirs.kind, theirs.resource_id.parse::<Id>()) else {
            return Ok(Vec::new());
        };
        let Some(call) = generation.list_backups(&search.asked.project_id, &resource, kind) else {
            return Ok(Vec::new());
        };
        let reply = self.read_or_refuse(search, &call).await?;
        // What is listed and cannot be read, or is not listed any more, may be the one.
        let Some(listed) = generation.backups(&reply) else {
            return Err(search.unread(&reply, LookupResult::Unreadable));
        };
        let mut found = Vec::new();
        for listed in listed.iter().filter(|listed| decide::may_be(listed, theirs)) {
            let Ok(id) = listed.id.parse::<Id>() else {
                return Err(search.unread(&reply, LookupResult::Unreadable));
            };
            // Gone since it was listed.
            let Some(whole) = self.read_ours(search, &id).await? else { continue };
            found.push(whole);
        }
        Ok(found)
    }

    async fn read_or_refuse(&self, search: &Search<'_>, call: &Call) -> Result<Reply, Problem> {
        let answer = self.read(search.upstream, call, search.with).await;
        answer.map_err(|fault| match fault.proof {
            Some(_) => fault.to_problem(),
            // Nobody knows what became of a read, and nothing hangs on it.
            None => search.later(&fault.to_string(), None),
        })
    }

    async fn read(&self, upstream: &Arc<Upstream>, call: &Call, with: &With) -> Result<Reply, Fault> {
        let queue = self.routing.queue(upstream.name());
        if with.behalf == Behalf::Poll {
            queue.quota().spend();
        } else if !queue.quota().turn(&with.behalf).await {
            let detail = format!("upstream {} was asked often enough for now", upstream.name());
            return Err(Fault {
                kind: FaultKind::Overloaded,
                proof: Some(Proof::NotConnected),
                detail,
                problem: None,
            });
        }
        match upstream.send(call, with.clone()).await {
            Ok(reply) => {
                queue.quota().observe(&reply);
                Ok(reply)
            }
            Err(fault) => {
                if fault.is_kept_back() {
                    queue.quota().give_back(&with.behalf);
                }
                Err(fault)
            }
        }
    }
}

/// An answer without a backup: in words, and as the problem that it is.
fn refusal(reply: &Reply, upstream: &Upstream) -> (String, Problem) {
    let problem = restore_generations::classify(reply).into_problem().effect(Effect::None);
    let name = upstream.name();
    let what = match reply.status {
        200 => format!("upstream {name} answers 200 with something that cannot be read, or not in full"),
        status => format!("upstream {name} answers {status}: {}", problem.detail),
    };
    (what, whose(problem, upstream))
}

/// The wanted backup, and the place of the search.
struct Search<'a> {
    asked: &'a Asked,
    origin: &'a Origin,
    upstream: &'a Arc<Upstream>,
    with: &'a With,
}

impl Search<'_> {
    /// Why an answer of the upstream leaves it open which backup is the same one.
    fn unread(&self, reply: &Reply, result: LookupResult) -> Problem {
        let (what, problem) = refusal(reply, self.upstream);
        match result {
            LookupResult::Failed | LookupResult::Unreadable | LookupResult::Told => {
                self.later(&what, problem.retry_after)
            }
            _ => Problem { detail: format!("{what}; nothing was sent"), ..problem },
        }
    }

    fn later(&self, what: &str, after: Option<u32>) -> Problem {
        let Self { asked, upstream, .. } = self;
        let detail = format!(
            "which backup {} of upstream {} is cannot be told now: {what}; nothing was sent: ask again later",
            asked.backup_id,
            upstream.name()
        );
        Problem::new(Code::BackupLookupFailed, detail).after(after.unwrap_or(LATER))
    }

    fn unresolved(&self, steps: &[Step]) -> Problem {
        let Self { asked, origin, upstream, .. } = self;
        let detail = format!(
            "what upstream {} ({}) calls backup {} of {} cannot be told: {}; nothing was sent",
            upstream.name(),
            upstream.generation().name(),
            asked.backup_id,
            origin.generation,
            told(steps)
        );
        Problem::new(Code::BackupIdUnmapped, detail)
    }
}

/// Notes a decision as a step; none where it brought nothing.
fn note(steps: &mut Vec<Step>, method: &'static str, decided: Result<String, String>) -> Option<()> {
    let found = decided.is_ok();
    steps.push(Step { method, found, detail: decided.unwrap_or_else(|why| why) });
    found.then_some(())
}

/// Steps in one line.
fn told(steps: &[Step]) -> String {
    steps.iter().map(|step| format!("{}: {}", step.method, step.detail)).collect::<Vec<_>>().join("; ")
}
