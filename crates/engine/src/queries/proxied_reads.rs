//! Reads of compatibility endpoints besides the operations: proxied reads of the cloud, and the open restore of a
//! backup or a disk.

use std::sync::Arc;

use restore_generations::{Backup, Call, Reply, classify, errors};
use restore_ledger::{Entry, Ledger, Query};
use restore_model::{Code, Effect, Id, Origin, Problem, ProjectId, Status};
use restore_upstream::{Behalf, TraceContext, Upstream, With};

use crate::callers::Caller;
use crate::journal::{Journal, unavailable};
use crate::pacing::asked_enough;
use crate::permissions::Permissions;
use crate::response_cache::ResponseCache;
use crate::routing::{Access, Routing, whose};

/// Seconds after its end in which a restore still shows in the state of its backup and its disk.
const RECENT: i64 = 3_600;
/// Restores of a project that are looked through in one go.
const PAGE: usize = 200;

/// Asks clouds on behalf of compatibility endpoints.
pub(crate) struct ProxiedReads {
    journal: Arc<Journal>,
    ledger: Arc<dyn Ledger>,
    routing: Arc<Routing>,
    permissions: Arc<Permissions>,
    responses: Arc<ResponseCache>,
}

impl ProxiedReads {
    pub(crate) const fn new(
        journal: Arc<Journal>,
        ledger: Arc<dyn Ledger>,
        routing: Arc<Routing>,
        permissions: Arc<Permissions>,
        responses: Arc<ResponseCache>,
    ) -> Self {
        Self { journal, ledger, routing, permissions, responses }
    }

    /// Asks an upstream something that changes nothing, for a caller who may read there, and gives its answer as it
    /// came, or as it came a moment ago. `about` is the restore that shows in the answer, if one does.
    ///
    /// # Errors
    /// [`Code::Forbidden`]; [`Code::CredentialMissing`]; [`Code::UpstreamThrottled`] when the upstream was asked so often that its
    /// turn does not come; else why no answer came.
    pub(crate) async fn pass_on(
        &self,
        upstream: &str,
        project: &ProjectId,
        call: &Call,
        about: Option<&Entry>,
        caller: &Caller,
        trace: Option<TraceContext>,
    ) -> Result<Reply, Problem> {
        self.permissions.permit_project(caller, project, upstream)?;
        let named = self.routing.rules().routes.upstream(upstream).filter(|_| !call.restores);
        let Some(named) = named else {
            return Err(Problem::new(Code::NotFound, "no upstream has an answer to this"));
        };
        let Some(access) = Access::to(&named, caller.token.clone()) else {
            let detail = format!("upstream {upstream} is asked with the caller's own token");
            return Err(Problem::new(Code::CredentialMissing, detail));
        };
        let ask = self.ask_in_turn(&named, call, &access, caller.asks_of(project), trace);
        self.responses.once(upstream, call, caller, about, ask).await
    }

    /// Asks when it is this read's turn: a program of the old source APIs gives up on the first 429.
    pub(super) async fn ask_in_turn(
        &self,
        upstream: &Arc<Upstream>,
        call: &Call,
        access: &Access,
        behalf: Behalf,
        trace: Option<TraceContext>,
    ) -> Result<Reply, Problem> {
        let name = upstream.name();
        let queue = self.routing.queue(name);
        queue.quota().refuse_while_quiet(name)?;
        if !queue.quota().turn(&behalf).await {
            return Err(asked_enough(name, 1));
        }
        let with = With { behalf: behalf.clone(), ..access.with(trace) };
        match upstream.send(call, with).await {
            Ok(reply) => {
                queue.quota().observe(&reply);
                if reply.status == 401 && access.is_held() {
                    // A client would get itself a new token for it, which is of no use.
                    let detail = format!("upstream {name} refused the gateway's own credential");
                    return Err(Problem::new(Code::CredentialFailed, detail));
                }
                Ok(reply)
            }
            Err(fault) => {
                if fault.is_kept_back() {
                    queue.quota().give_back(&behalf);
                }
                Err(fault.to_problem())
            }
        }
    }

    /// The upstream that knows the disks of a project: `own`, if it has the service, else one that the restores of this
    /// source API are carried out by. Disks outlive the generation of backups that a program speaks to.
    #[must_use]
    pub(crate) fn upstream_of_disks(
        &self,
        own: Option<&str>,
        source_api: &str,
        call: &Call,
    ) -> Option<String> {
        let own = own.and_then(|own| self.routing.rules().routes.upstream(own));
        let mut all = own.into_iter().chain(self.routing.rules().routes.of_source_api(source_api));
        all.find(|upstream| upstream.url(call).is_some()).map(|upstream| upstream.name().to_owned())
    }

    /// A backup as another generation than the compatibility endpoint's tells of it: one that the compatibility endpoint's restores may be carried out by.
    /// It keeps the id that it was asked for by, which is the one that the compatibility endpoint's programs know.
    ///
    /// # Errors
    /// Reason why none of them has it, unless all of them know no such backup.
    pub(crate) async fn backup_elsewhere(
        &self,
        origin: &Origin,
        project: &ProjectId,
        id: &Id,
        about: Option<&Entry>,
        caller: &Caller,
        trace: Option<TraceContext>,
    ) -> Result<Option<Backup>, Problem> {
        let mut fault = None;
        for upstream in self.routing.rules().routes.of_source_api(&origin.source_api) {
            let generation = upstream.generation();
            if generation.name() == origin.generation {
                continue;
            }
            // A restore that went there has proven what the backup is called there.
            let sent = about.filter(|entry| entry.intent.route.upstream == upstream.name());
            let sent = sent.map(|entry| entry.state.request(&entry.intent).source.backup_id.clone());
            let paired =
                || self.routing.rules().routes.pairs().find(&origin.generation, generation.name(), id);
            let named = sent.or_else(paired);
            let call = generation.read_backup(project, named.as_ref().unwrap_or(id));
            match self.pass_on(upstream.name(), project, &call, about, caller, trace.clone()).await {
                Ok(reply) => match generation.backup(&reply) {
                    Some(backup) => return Ok(Some(Backup { id: id.to_string(), ..backup })),
                    None if is_absent(&reply) => {}
                    None => fault = Some(whose(unread(&reply, upstream.name()), &upstream)),
                },
                Err(problem) => fault = Some(problem),
            }
        }
        fault.map_or(Ok(None), Err)
    }

    /// The restore that a backup is, or was just now, the source of; none that a caller may not see.
    ///
    /// # Errors
    /// [`Code::LedgerUnavailable`].
    pub(crate) async fn restore_of_backup(
        &self,
        project: &ProjectId,
        backup: &Id,
        caller: &Caller,
    ) -> Result<Option<Entry>, Problem> {
        let of_it = |entry: &Entry| entry.intent.request.source.backup_id.is_same(backup);
        let mut found = None;
        let all = Query { project_id: Some(project.clone()), ..Query::default() };
        self.each_that_shows(all, caller, |entry| {
            found = Some(entry).filter(of_it);
            found.is_some()
        })
        .await?;
        Ok(found)
    }

    /// The restore that overwrites a disk, or did so just now; none that a caller may not see.
    ///
    /// # Errors
    /// [`Code::LedgerUnavailable`].
    pub(crate) async fn restore_of_disk(
        &self,
        project: &ProjectId,
        disk: &Id,
        caller: &Caller,
    ) -> Result<Option<Entry>, Problem> {
        let mut found = None;
        let target = Some(disk.folded());
        let of_it = Query { project_id: Some(project.clone()), target, ..Query::default() };
        self.each_that_shows(of_it, caller, |entry| {
            found = Some(entry);
            true
        })
        .await?;
        Ok(found)
    }

    /// The restores of a project that show in its backups and disks just now, those first that have not ended, each
    /// kind newest first; none that a caller may not see.
    ///
    /// # Errors
    /// [`Code::LedgerUnavailable`].
    pub(crate) async fn restores_that_show(
        &self,
        project: &ProjectId,
        caller: &Caller,
    ) -> Result<Vec<Entry>, Problem> {
        let mut found = Vec::new();
        let all = Query { project_id: Some(project.clone()), ..Query::default() };
        self.each_that_shows(all, caller, |entry| {
            found.push(entry);
            false
        })
        .await?;
        Ok(found)
    }

    /// Shows restores until `enough` is told, those first that have not ended. All are looked through that could show:
    /// one that is left out would be taken for one that has ended well. One that was refused while its caller waited
    /// for the answer does not show, for that was told; nor one that ended long ago.
    async fn each_that_shows(
        &self,
        query: Query,
        caller: &Caller,
        mut enough: impl FnMut(Entry) -> bool,
    ) -> Result<(), Problem> {
        let recently = Some(self.journal.now().plus_seconds(-RECENT));
        let under_way = Status::ALL.into_iter().filter(|status| !status.is_final()).collect();
        let ended = Status::ALL.into_iter().filter(|status| status.is_final()).collect();
        for (status, ended_since) in [(under_way, None), (ended, recently)] {
            let mut query = Query { status, ended_since, limit: PAGE, ..query.clone() };
            loop {
                let page = self.ledger.list(query.clone()).await.map_err(unavailable)?;
                let last = page.len() < PAGE;
                query.before = page.last().map(|oldest| oldest.intent.id);
                for entry in page {
                    if !self.was_refused_at_once(&entry) && caller.sees(&entry) && enough(entry) {
                        return Ok(());
                    }
                }
                if last {
                    break;
                }
            }
        }
        Ok(())
    }

    /// True if a refusal was the answer to the request. Later than that, the request had been answered as taken.
    fn was_refused_at_once(&self, entry: &Entry) -> bool {
        let took = entry.state.finished_at.map_or(0, |end| end.micros_since(entry.intent.created_at));
        let waited = i64::try_from(self.routing.rules().policy.answer.as_micros()).unwrap_or(i64::MAX);
        entry.state.status == Status::Rejected && took < waited
    }
}

/// True for an answer that there is no such backup, or nothing of the project any more. An API gateway that does not know
/// the path says nothing of the backup.
fn is_absent(reply: &Reply) -> bool {
    let refusal = classify(reply).refusal();
    errors::not_there(reply) || matches!(refusal, Some(Code::BackupNotFound | Code::GenerationRetired))
}

/// Reason why a response contains no backup.
fn unread(reply: &Reply, name: &str) -> Problem {
    if (200..300).contains(&reply.status) {
        let detail = format!("what upstream {name} answered cannot be read as a backup");
        return Problem::new(Code::UpstreamUnavailable, detail);
    }
    classify(reply).into_problem().effect(Effect::None)
}
