//! Gathers the evidence of one poll, and skips observations that another restore of the ledger explains.

use std::collections::BTreeSet;
use std::time::Duration;

use restore_generations::{Found, Reading, Watch};
use restore_ledger::{Entry, LedgerError, Query};
use restore_model::{Cause, RestoreRequest, Status, Strength};
use restore_upstream::TraceContext;

use super::Poller;
use super::reconcile::{Terms, reconcile};
use crate::crash;
use crate::pacing::Reads;
use crate::routing::{Access, no_longer_named};

/// How long after its end a restore explains evidence that another one could take for its own: the day that is compared
/// with before a send, and the difference of clocks.
pub(crate) const EVIDENCE: Duration = Duration::from_secs(25 * 60 * 60);
/// Operation logs of other restores that may be passed over in one round.
const MAX_TAKEN: usize = 64;

impl Poller {
    /// One round of reads, and what follows from it. A task of the upstream belongs to one restore, which the ledger
    /// decides as it writes: what is bound to another one is passed over, and the same answers are judged again.
    pub(super) async fn observe(
        &self,
        entry: &Entry,
        access: Access,
        trace: Option<TraceContext>,
        mut reads: Reads<'_>,
    ) -> Result<Entry, LedgerError> {
        let held = access.is_held();
        let mut taken: Vec<String> = Vec::new();
        loop {
            let round = Box::pin(self.round(entry, &access, trace.clone(), &mut reads, &taken));
            let mut reading = match round.await? {
                Some(reading) => reading,
                None => {
                    let reason = no_longer_named(entry.state.route(&entry.intent));
                    Reading::unreadable(reason, false, "settings")
                }
            };
            if reading.no_restore_read {
                self.routing.learnt().note_no_restore_read(entry);
            }
            // A credential of the gateway's own waits for nobody: it is tried again.
            if held && let Found::Unreadable { credential, .. } = &mut reading.found {
                *credential = false;
            }
            self.refused.note(entry, &access, &reading).await;
            crash::point("progress");
            match self.reconcile(entry, &reading).await {
                Err(LedgerError::TaskTaken { .. }) if taken.len() < MAX_TAKEN => {
                    taken.extend(reading.task.map(|task| task.id));
                }
                Err(LedgerError::TaskTaken { .. }) => {
                    let reason = "too many tasks of other restores fit this one";
                    return self.reconcile(entry, &Reading::unreadable(reason, false, "reads")).await;
                }
                settled => return settled,
            }
        }
    }

    /// Writes down what follows from a reading.
    pub(super) async fn reconcile(&self, entry: &Entry, reading: &Reading) -> Result<Entry, LedgerError> {
        let settled = reconcile(&entry.state, reading, self.terms(entry));
        let mut entry = entry.clone();
        if !settled.told.is_empty() {
            entry = self.journal.append(&entry, Cause::Upstream, settled.told).await?;
        }
        if !settled.passed.is_empty() {
            entry = self.journal.append(&entry, Cause::Deadline, settled.passed).await?;
        }
        Ok(entry)
    }

    /// The reads of one round; `None` when the upstream is no longer configured as it was.
    async fn round(
        &self,
        entry: &Entry,
        access: &Access,
        trace: Option<TraceContext>,
        reads: &mut Reads<'_>,
        taken: &[String],
    ) -> Result<Option<Reading>, LedgerError> {
        let Some(plan) = self.routing.rules().routes.pinned(entry) else { return Ok(None) };
        let upstream = plan.upstream;
        let generation = upstream.generation();
        let no_restore_read = self.routing.learnt().lacks_restore_read(entry);
        let with = access.with(trace);
        let request = entry.state.request(&entry.intent);
        let mut backup_shared = false;
        let mut target_shared = false;
        loop {
            let told = reads
                .until_done(&upstream, &with, |answers| {
                    let watch = Watch {
                        taken,
                        no_restore_read,
                        backup_shared,
                        target_shared,
                        ..self.watch(&request, entry)
                    };
                    generation.follow(&watch, answers)
                })
                .await;
            let Some(reading) = told else {
                let reason = "the reads of one round did not come to an end";
                return Ok(Some(Reading::unreadable(reason, false, "reads")));
            };
            // The state of a backup, and a task that does not say whose it is, may be of any restore of that backup.
            // Searched after the read: everything that the read can show was written before it was sent.
            let says = match reading.found {
                Found::Succeeded | Found::Failed(_) => true,
                // That one runs which is known to have begun is no news.
                Found::Running => !entry.state.seen_moving || reading.task.is_some(),
                _ => false,
            };
            let own = reading.strength == Strength::Strong;
            if says && !own && !backup_shared && self.shares_its_backup(entry).await? {
                backup_shared = true;
                continue;
            }
            if says && !own && !target_shared && self.shares_its_target(entry).await? {
                target_shared = true;
                continue;
            }
            return Ok(Some(reading));
        }
    }

    fn watch<'a>(&self, request: &'a restore_model::RestoreRequest, entry: &'a Entry) -> Watch<'a> {
        let state = &entry.state;
        let sent_at = state.submitted_at.unwrap_or(entry.intent.created_at);
        Watch {
            request,
            task: state.task.as_ref(),
            notes: &state.notes,
            accepted: state.seen_moving,
            sent_at,
            now: self.schedule.monotonic_now(entry.intent.id, sent_at),
            clock_offset_ms: state.clock_offset_ms,
            request_id: state.request_id.as_deref(),
            taken: &[],
            visibility_grace_seconds: self.routing.rules().policy.grace.as_secs(),
            no_restore_read: false,
            backup_shared: false,
            target_shared: false,
        }
    }

    /// True where another restore of the same target has ended within a day and no task of it is known. Two restores of one target are never under way at once, but clocks that are set may make it look so.
    async fn shares_its_target(&self, entry: &Entry) -> Result<bool, LedgerError> {
        // Of several disks the present one.
        let request = entry.state.request(&entry.intent);
        let query = Query {
            project_id: Some(request.project_id.clone()),
            target: Some(request.target.id().folded()),
            ..Query::default()
        };
        let day = i64::try_from(EVIDENCE.as_micros()).unwrap_or(i64::MAX);
        let mut shared = false;
        self.journal
            .each_of(query, |other| {
                let state = &other.state;
                let ended = state.status.has_effect();
                let is_unknown = state.task.is_none() && state.steps.iter().all(|step| step.task.is_none());
                let apart = other.intent.created_at.micros_since(entry.intent.created_at).abs();
                shared |= other.intent.id != entry.intent.id && ended && is_unknown && apart <= day;
            })
            .await?;
        Ok(shared)
    }

    /// True if another restore may have moved a backup of this one since it was sent. A restore of a server moves the
    /// backups of its disks as well, whatever generation carries it out and whatever it calls them.
    async fn shares_its_backup(&self, entry: &Entry) -> Result<bool, LedgerError> {
        let of_project =
            Query { project_id: Some(entry.intent.request.project_id.clone()), ..Query::default() };
        let status = Status::ALL.into_iter().filter(|status| !status.is_final()).collect();
        let unfinished = Query { status, ..of_project.clone() };
        let ended_since = Some(entry.state.submitted_at.unwrap_or(entry.intent.created_at));
        let ended = Query { ended_since, ..of_project };
        let own = present_backups(entry);
        let mut shared = false;
        for query in [unfinished, ended] {
            self.journal
                .each_of(query, |other| {
                    let state = &other.state;
                    // Sent, and not proven to have done nothing. What a person ended was perhaps never seen moving.
                    let sent = state.attempts > 0 || state.steps.iter().any(|step| step.attempts > 0);
                    let moves = state.seen_moving || sent && !state.status.is_without_effect();
                    shared |=
                        moves && other.intent.id != entry.intent.id && !own.is_disjoint(&backups(other));
                })
                .await?;
        }
        Ok(shared)
    }

    fn terms(&self, entry: &Entry) -> Terms {
        let policy = &self.routing.rules().policy;
        let unknown_for = self.schedule.unknown_for(entry.intent.id, &entry.state);
        Terms {
            now: self.journal.now(),
            unknown_for,
            settle: policy.send + policy.settle,
            unknown: policy.unknown,
            overdue: self
                .schedule
                .age(entry)
                .checked_sub(Duration::from_secs(entry.intent.route.overdue_seconds)),
        }
    }
}

/// The backups that the present call of a restore is about, in the caller's names and in the upstream's.
fn present_backups(entry: &Entry) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    add_backups(&entry.state.request(&entry.intent), &mut ids);
    if entry.state.steps.is_empty() {
        add_backups(&entry.intent.request, &mut ids);
    }
    ids
}

/// Every backup that a restore moves, in the caller's names and in the upstream's.
fn backups(entry: &Entry) -> BTreeSet<String> {
    let mut ids = present_backups(entry);
    add_backups(&entry.intent.request, &mut ids);
    ids
}

fn add_backups(request: &RestoreRequest, ids: &mut BTreeSet<String>) {
    ids.insert(request.source.backup_id.folded());
    ids.extend(request.target.mappings().iter().map(|mapping| mapping.backup_id.folded()));
}
