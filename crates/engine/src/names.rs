//! What a backup is called by the generation that carries a restore out, where the request came through the door of
//! another one. Whether ids survive a move between generations is documented nowhere, and a wrong one overwrites disks,
//! so names are found on proof or not at all (wire reference 6.4). In this order:
//!
//! 1. the operator's own table of pairs;
//! 2. the same id, if the backup that has it is of the same resource, kind and time as the one that the caller means;
//!    where the caller's own generation cannot be asked any more, if every disk of the request is a part of it;
//! 3. the one backup of the same resource and time, with the same disks.
//!
//! What was found, and how, is kept with the restore.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use restore_generations::{Backup, Call};
use restore_model::{Code, Id, Mapping, Origin, Problem, RestoreRequest, Source, Target, TargetKind};
use restore_upstream::{Upstream, With};

use crate::Engine;
use crate::access::{Access, whose};
use crate::route::Plan;

/// How far the times of one backup may differ between two generations, in microseconds.
const SAME_TIME: u64 = 2_000_000;
/// Backups of one resource that are compared at most.
const CANDIDATES: usize = 20;

/// One pair of the operator's table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    from: String,
    to: String,
    /// As [`Id::folded`] spells it.
    id: String,
}

/// The operator's own table: which backup of one generation is which of another. Can be replaced as a whole.
#[derive(Debug, Default)]
pub struct Pairs(RwLock<HashMap<Key, Id>>);

/// A row of that table.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The generation that has the first id.
    pub from: String,
    /// That id.
    pub from_id: Id,
    /// The generation that has the second one.
    pub to: String,
    /// That id.
    pub to_id: Id,
}

impl Pairs {
    /// Takes these in the place of all that were there.
    ///
    /// # Errors
    /// When one id would stand for two; nothing is replaced then.
    pub fn replace(&self, rows: impl IntoIterator<Item = Pair>) -> Result<usize, String> {
        let mut pairs = HashMap::new();
        for row in rows {
            let key = Key { from: row.from, to: row.to, id: row.from_id.folded() };
            if let Some(other) = pairs.insert(key.clone(), row.to_id.clone())
                && !other.is_same(&row.to_id)
            {
                return Err(format!("{} of {} stands for two backups of {}", row.from_id, key.from, key.to));
            }
        }
        let count = pairs.len();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = pairs;
        Ok(count)
    }

    pub(crate) fn find(&self, from: &str, to: &str, id: &Id) -> Option<Id> {
        let key = Key { from: from.to_owned(), to: to.to_owned(), id: id.folded() };
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }
}

/// A request in the names of the upstream's generation.
#[derive(Clone, Debug)]
pub struct Named {
    /// The request.
    pub request: RestoreRequest,
    /// How its names were found, for a person.
    pub evidence: String,
}

/// Whether a request names backups as another generation than the upstream's does.
pub(crate) fn differ(origin: Option<&Origin>, plan: &Plan) -> bool {
    origin.is_some_and(|origin| origin.generation != plan.pin.generation)
}

impl Engine {
    /// The request in the upstream's own names; none where it has them already.
    pub(crate) async fn own_names(
        &self,
        request: &RestoreRequest,
        origin: Option<&Origin>,
        plan: &Plan,
        access: &Access,
        with: &With,
    ) -> Result<Option<Named>, Problem> {
        let Some(origin) = origin.filter(|origin| differ(Some(origin), plan)) else { return Ok(None) };
        let theirs = self.read_at_home(request, origin, access, with).await;
        let (ours, how) = self.find_ours(request, origin, plan, with, &theirs).await?;
        let named = self.rename(request, origin, plan, &theirs, &ours)?;
        Ok(Some(Named { request: named, evidence: format!("ids: {how}") }))
    }

    /// The backup as the caller's own generation tells of it, or why it does not.
    async fn read_at_home(
        &self,
        request: &RestoreRequest,
        origin: &Origin,
        access: &Access,
        with: &With,
    ) -> Result<Backup, String> {
        let name = origin.upstream.as_deref().ok_or("no upstream of it is configured")?;
        let upstream = self.0.routes.upstream(name).ok_or("its upstream is not configured")?;
        if !upstream.holds_credential() && access.is_held() && with.token.is_none() {
            return Err(format!("upstream {name} takes the caller's token, which is not there"));
        }
        let call = upstream.generation().read_backup(&request.project_id, &request.source.backup_id);
        let reply = self.read(&upstream, &call, with).await.map_err(|problem| problem.detail)?;
        upstream.generation().backup(&reply).ok_or_else(|| format!("it answers {}", reply.status))
    }

    /// The same backup at the upstream that carries the restore out, and how it was found.
    async fn find_ours(
        &self,
        request: &RestoreRequest,
        origin: &Origin,
        plan: &Plan,
        with: &With,
        theirs: &Result<Backup, String>,
    ) -> Result<(Backup, String), Problem> {
        let generation = plan.upstream.generation();
        let id = &request.source.backup_id;
        let read = async |id: &Id| {
            let call = generation.read_backup(&request.project_id, id);
            let reply = self.read(&plan.upstream, &call, with).await?;
            Ok::<_, Problem>(generation.backup(&reply))
        };
        if let Some(paired) = self.0.routes.pairs().find(&origin.generation, generation.name(), id) {
            return match read(&paired).await? {
                Some(ours) => Ok((ours, format!("{id} is {paired} by the operator's table"))),
                None => {
                    Err(unresolved(id, origin, plan, &format!("the table says {paired}, which is not there")))
                }
            };
        }
        let mut why = format!("it has no backup {id}");
        if let Some(ours) = read(id).await? {
            match same(&ours, theirs, request) {
                Ok(how) => return Ok((ours, format!("{id} has the same id there, {how}"))),
                Err(differs) => why = format!("its backup {id} is another one: {differs}"),
            }
        }
        let theirs = match theirs {
            Ok(theirs) => theirs,
            Err(silent) => {
                let why = format!("{why}, and {} does not tell what it is of: {silent}", origin.generation);
                return Err(unresolved(id, origin, plan, &why));
            }
        };
        let candidates = self.candidates(request, plan, with, theirs).await?;
        match candidates.as_slice() {
            [ours] => {
                let how = "the only backup of its resource, time and disks there";
                Ok((ours.clone(), format!("{id} is {}, {how}", ours.id)))
            }
            [] => Err(unresolved(
                id,
                origin,
                plan,
                &format!("{why}, and none of the same resource, time and disks"),
            )),
            several => {
                let why = format!("{why}, and {} backups there are of its resource and time", several.len());
                Err(unresolved(id, origin, plan, &why))
            }
        }
    }

    /// The backups at the upstream that may be the same one: of its resource, time and disks.
    async fn candidates(
        &self,
        request: &RestoreRequest,
        plan: &Plan,
        with: &With,
        theirs: &Backup,
    ) -> Result<Vec<Backup>, Problem> {
        let generation = plan.upstream.generation();
        let project = &request.project_id;
        let (Some(kind), Ok(resource)) = (theirs.kind, theirs.resource_id.parse::<Id>()) else {
            return Ok(Vec::new());
        };
        let Some(call) = generation.list_backups(project, &resource, kind) else { return Ok(Vec::new()) };
        let reply = self.read(&plan.upstream, &call, with).await?;
        let mut found = Vec::new();
        for listed in generation.backups(&reply) {
            if !is_of_same(&listed, theirs) {
                continue;
            }
            // A list does not show the disks of a server.
            let Ok(id) = listed.id.parse::<Id>() else { continue };
            let call = generation.read_backup(project, &id);
            let whole = generation.backup(&self.read(&plan.upstream, &call, with).await?);
            found.extend(whole.filter(|whole| is_of_same(whole, theirs) && same_disks(whole, theirs)));
            if found.len() > CANDIDATES {
                break;
            }
        }
        Ok(found)
    }

    /// The request with the upstream's names in the place of the caller's.
    fn rename(
        &self,
        request: &RestoreRequest,
        origin: &Origin,
        plan: &Plan,
        theirs: &Result<Backup, String>,
        ours: &Backup,
    ) -> Result<RestoreRequest, Problem> {
        let id = &request.source.backup_id;
        let to = plan.upstream.generation().name();
        let backup_id = ours.id.parse::<Id>().map_err(|_| unresolved(id, origin, plan, "its id is no id"))?;
        let disk = |mapping: &Mapping| {
            let paired = self.0.routes.pairs().find(&origin.generation, to, &mapping.backup_id);
            let wanted = paired.as_ref().unwrap_or(&mapping.backup_id);
            let by_id = ours.disks.iter().find(|disk| is(wanted, &disk.id));
            let by_volume = || {
                let home =
                    theirs.as_ref().ok()?.disks.iter().find(|disk| is(&mapping.backup_id, &disk.id))?;
                let mut of_it = ours.disks.iter().filter(|disk| disk.volume_id == home.volume_id);
                of_it.next().filter(|_| of_it.next().is_none())
            };
            let found = by_id.or_else(|| paired.is_none().then(by_volume).flatten());
            let found = found.and_then(|disk| disk.id.parse::<Id>().ok()).ok_or_else(|| {
                let why =
                    format!("the disk backup {} is no part of backup {} there", mapping.backup_id, ours.id);
                unresolved(id, origin, plan, &why)
            })?;
            Ok(Mapping { backup_id: found, volume_id: mapping.volume_id.clone() })
        };
        let target = match &request.target {
            Target::Server { server_id, power_on, volumes } => Target::Server {
                server_id: server_id.clone(),
                power_on: *power_on,
                volumes: volumes.iter().map(disk).collect::<Result<_, Problem>>()?,
            },
            other => other.clone(),
        };
        Ok(RestoreRequest {
            project_id: request.project_id.clone(),
            // The protection run has a name in one generation alone; where it is needed it is read.
            source: Source { backup_id, checkpoint_id: None },
            target,
        })
    }

    async fn read(
        &self,
        upstream: &Arc<Upstream>,
        call: &Call,
        with: &With,
    ) -> Result<restore_generations::Reply, Problem> {
        let lane = self.lane(upstream.name());
        lane.budget.spend();
        let reply = upstream.send(call, with.clone()).await.map_err(|fault| fault.to_problem())?;
        lane.budget.heard(&reply);
        if matches!(reply.status, 401 | 403 | 429 | 500..) {
            let problem = restore_generations::classify(&reply).into_problem();
            return Err(whose(problem.effect(restore_model::Effect::None), upstream));
        }
        Ok(reply)
    }
}

fn is(id: &Id, text: &str) -> bool {
    text.parse::<Id>().is_ok_and(|other| id.is_same(&other))
}

/// Whether two backups are of the same thing at the same time.
fn is_of_same(one: &Backup, other: &Backup) -> bool {
    one.kind.is_some()
        && one.kind == other.kind
        && one.resource_id == other.resource_id
        && match (one.created_at, other.created_at) {
            (Some(one), Some(other)) => one.micros_since(other).unsigned_abs() <= SAME_TIME,
            _ => false,
        }
}

/// Whether two backups have parts of the same disks.
fn same_disks(one: &Backup, other: &Backup) -> bool {
    let disks = |backup: &Backup| {
        let mut disks: Vec<String> = backup.disks.iter().map(|disk| disk.volume_id.clone()).collect();
        disks.sort_unstable();
        disks
    };
    disks(one) == disks(other)
}

/// Whether the backup that has the same id is the same backup; how that is known, or what differs.
fn same(ours: &Backup, theirs: &Result<Backup, String>, request: &RestoreRequest) -> Result<String, String> {
    match theirs {
        Ok(theirs) if is_of_same(ours, theirs) => {
            Ok("and both generations tell the same resource, kind and time of it".to_owned())
        }
        Ok(_) => Err("resource, kind or time differ".to_owned()),
        Err(silent) => {
            let kind = request.target.kind();
            let wanted = if kind == TargetKind::Server { TargetKind::Server } else { TargetKind::Volume };
            if ours.kind != Some(wanted) {
                return Err("it is of another kind".to_owned());
            }
            let part = |mapping: &&Mapping| !ours.disks.iter().any(|disk| is(&mapping.backup_id, &disk.id));
            match request.target.mappings().iter().find(part) {
                Some(missing) => Err(format!("the disk backup {} is no part of it", missing.backup_id)),
                None => Ok(format!(
                    "of the same kind and with every disk asked for; the caller's own generation cannot be asked: {silent}"
                )),
            }
        }
    }
}

fn unresolved(id: &Id, origin: &Origin, plan: &Plan, why: &str) -> Problem {
    let detail = format!(
        "what upstream {} ({}) calls backup {id} of {} cannot be told: {why}; nothing was sent",
        plan.pin.upstream, plan.pin.generation, origin.generation
    );
    Problem::new(Code::BackupUnresolved, detail)
}
