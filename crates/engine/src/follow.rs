//! Following a restore to its end. Where the gateway has a token in memory, the restore is on the
//! agenda and read at the generation's rhythm, and everybody who waits is served by that. Where it has none (a
//! restart, an expired token), the restore is read when an authorised caller asks, at most once per
//! interval however many ask at the same time.

use std::collections::{BTreeSet, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use restore_generations::{Found, Reading, Watch};
use restore_ledger::{Entry, LedgerError, Query};
use restore_model::{
    Cause, EventKind, Evidence, Problem, RestoreId, RestoreRequest, State, Status, Strength,
};
use restore_upstream::{Behalf, Token, TraceContext};
use tokio::time::Instant;

use crate::Engine;
use crate::callers::Caller;
use crate::crash;
use crate::live_restores::Round;
use crate::pacing::Reads;
use crate::recover::EVIDENCE;
use crate::routing::{Access, no_longer_named};
use crate::settle::{Terms, settle};

/// From the answer to the first read.
const FIRST_LOOK: Duration = Duration::from_millis(500);
/// As long as a restore is younger than this many seconds, it is read at least every
/// [`YOUNG_INTERVAL`], whatever the rhythm of its generation.
const YOUNG_SECONDS: u64 = 15;
/// Between reads of a young restore.
const YOUNG_INTERVAL: Duration = Duration::from_secs(2);
/// Between reads of a restore that waits for a person.
const OPERATOR_INTERVAL: Duration = Duration::from_secs(60);
/// How long after the time that absence needs reads go on at their usual interval.
const SETTLED: Duration = Duration::from_secs(120);
/// Until the ledger is asked again when it did not answer.
const LEDGER_PAUSE: Duration = Duration::from_secs(5);
/// How long a caller waits for its turn to have a restore read.
const TURN: Duration = Duration::from_secs(2);
/// Operation logs of other restores that may be passed over in one round.
const MAX_TAKEN: usize = 64;

impl Engine {
    /// Puts a restore on the agenda, unless it stands there already. Without a token only its
    /// deadlines are watched.
    pub(crate) fn follow(&self, entry: &Entry, access: Option<Access>) {
        let id = entry.intent.id;
        let first = match access {
            // By the generation's rhythm the first look is early: a short restore that ends unseen
            // could not be told from none. An interval in the settings is taken at its word.
            Some(_) if self.0.routing.rules().policy.interval.is_none() => {
                Some(self.interval(entry).min(FIRST_LOOK))
            }
            Some(_) => Some(self.interval(entry)),
            None => self.until_deadline(entry),
        };
        if first.is_none() {
            self.rests(id);
        } else {
            self.at_rest().remove(&id);
        }
        if let Some(at) = self.0.live.poll(entry, first, access) {
            self.0.agenda.put(at, id);
        }
    }

    /// One round of reads, and the next one on the agenda if there is to be one.
    pub(crate) async fn follow_once(&self, id: RestoreId) {
        let Some((access, used)) = self.0.live.begin_round(id) else { return };
        let round = AssertUnwindSafe(self.round_of(id, access)).catch_unwind().await;
        // After a fault of our own, which the panic hook has told, it is tried again later.
        let after = round.unwrap_or(Round::Again(OPERATOR_INTERVAL));
        let Some(next) = self.0.live.end_round(id, used, &after, FIRST_LOOK) else { return };
        if let Some(at) = next {
            self.0.agenda.put(at, id);
            return;
        }
        if !matches!(after, Round::Over) {
            self.rests(id);
        }
        self.0.live.forget_if_idle(id);
    }

    /// Remembers a restore that is followed no more. Only another replica can move it on unseen, so a ledger of one process
    /// has none to remember.
    fn rests(&self, id: RestoreId) {
        if self.0.ledger.is_shared() {
            self.at_rest().insert(id);
        }
    }

    fn at_rest(&self) -> MutexGuard<'_, HashSet<RestoreId>> {
        self.0.at_rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows a restore again that this process followed before. An event of another replica may begin a deadline, and that
    /// replica may be gone before the deadline is over.
    pub(crate) fn watch_again(&self, entry: &Entry) {
        let id = entry.intent.id;
        if !self.at_rest().contains(&id) {
            return;
        }
        if entry.state.status.is_final() {
            self.at_rest().remove(&id);
        } else if self.until_deadline(entry).is_some() {
            self.follow(entry, self.0.routing.access(entry, None));
        }
    }

    /// One round.
    async fn round_of(&self, id: RestoreId, access: Option<Access>) -> Round {
        match self.try_round_of(id, access).await {
            Ok(round) => round,
            // Another replica, or a caller's own read, was first.
            Err(LedgerError::Stale(_)) => Round::Again(FIRST_LOOK),
            Err(error) => {
                tracing::warn!(restore.id = %id, error = %error, "a restore cannot be followed for the moment");
                Round::Again(LEDGER_PAUSE)
            }
        }
    }

    async fn try_round_of(&self, id: RestoreId, access: Option<Access>) -> Result<Round, LedgerError> {
        let Some(entry) = self.0.ledger.get(id).await? else { return Ok(Round::Over) };
        if entry.state.status.is_final() {
            return Ok(Round::Over);
        }
        let interval = self.interval(&entry);
        if entry.state.is_between_steps() {
            return self.between_steps(entry).await;
        }
        let entry = match access {
            None if self.0.routing.rules().routes.pinned(&entry).is_none() => {
                let reason = no_longer_named(entry.state.route(&entry.intent));
                self.settle(&entry, &Reading::unreadable(reason, false, "settings")).await?
            }
            None => {
                let reading = Reading::unreadable("no token to read it with", true, "credential");
                self.settle(&entry, &reading).await?
            }
            // Another replica has read it just now, perhaps without this token.
            Some(_) if !self.0.ledger.reserve_read(id, interval / 10 * 9).await? => {
                return Ok(Round::Again(interval));
            }
            Some(access) => {
                let queue = self.0.routing.queue(&entry.state.route(&entry.intent).upstream);
                self.observe(&entry, access, None, Reads::paid(queue.budget())).await?
            }
        };
        if entry.state.is_between_steps() {
            return self.between_steps(entry).await;
        }
        Ok(if entry.state.status.is_final() {
            Round::Over
        } else if entry.state.awaiting_credential {
            Round::Unread(self.until_deadline(&entry))
        } else {
            Round::Again(self.interval(&entry))
        })
    }

    /// One round of a restore of which one disk has ended well: the next one is sent where that can be done.
    async fn between_steps(&self, entry: Entry) -> Result<Round, LedgerError> {
        let sending = self.0.live.is_dispatching(entry.intent.id);
        if entry.state.halted && !sending {
            // Reads find out if it was sent.
            let reason =
                "the ledger may have been an older copy of itself, made before this disk was sent".to_owned();
            let evidence = Evidence::new("recovery", Strength::Weak, self.0.journal.now());
            let unsure = EventKind::Unsure { reason, problem: None };
            let entry = self.0.journal.append(&entry, Cause::Gateway, vec![(unsure, evidence)]).await?;
            return Ok(Round::Again(self.interval(&entry)));
        }
        if sending || self.send_next_step(&entry).await? {
            return Ok(Round::Again(self.interval(&entry)));
        }
        let gone = self.0.routing.rules().routes.pinned(&entry).is_none();
        let brought = self.0.live.sender(entry.intent.id).is_some();
        let waits = !gone && !brought && self.0.routing.access(&entry, None).is_none();
        let reason = match (gone, waits) {
            (true, _) => no_longer_named(entry.state.route(&entry.intent)),
            (_, true) => "no credential to send the next disk with".to_owned(),
            _ => "the next disk may not be sent now".to_owned(),
        };
        let entry = self.settle(&entry, &Reading::unreadable(reason, waits, "credential")).await?;
        Ok(match waits {
            true => Round::Unread(self.until_deadline(&entry)),
            false => Round::Again(self.interval(&entry)),
        })
    }

    /// Until something becomes true of a restore by time alone; nothing when all such is true.
    fn until_deadline(&self, entry: &Entry) -> Option<Duration> {
        let left = match entry.state.status {
            Status::Running if !entry.state.overdue => {
                let overdue = Duration::from_secs(entry.intent.route.overdue_seconds);
                overdue.saturating_sub(self.age(entry))
            }
            Status::Running if !entry.state.needs_operator => {
                let overdue = Duration::from_secs(entry.intent.route.overdue_seconds);
                (overdue + self.0.routing.rules().policy.unknown).saturating_sub(self.age(entry))
            }
            Status::Unknown if !entry.state.needs_operator => {
                let unknown_for = self.unknown_for(entry.intent.id, &entry.state);
                self.0.routing.rules().policy.unknown.saturating_sub(unknown_for)
            }
            _ => return None,
        };
        // Past it, not just before it.
        Some(left + Duration::from_millis(20))
    }

    /// Until the next read. Spread by a tenth, by a number that each restore has of its own, so
    /// that restores begun together are not read together for ever.
    fn interval(&self, entry: &Entry) -> Duration {
        let generation = restore_generations::by_name(&entry.state.route(&entry.intent).generation);
        let age = self.age(entry).as_secs();
        let own = Duration::from_secs(generation.map_or(15, |generation| generation.rhythm(age)));
        let own = if age < YOUNG_SECONDS { own.min(YOUNG_INTERVAL) } else { own };
        let mut interval = self.0.routing.rules().policy.interval.unwrap_or(own);
        // An operator is asked, and reads go on: more slowly once absence can prove nothing more.
        let policy = &self.0.routing.rules().policy;
        let settled = self.unknown_for(entry.intent.id, &entry.state) > policy.send + policy.settle + SETTLED;
        if entry.state.needs_operator && (entry.state.status != Status::Unknown || settled) {
            interval = interval.max(OPERATOR_INTERVAL);
        }
        let share = entry.intent.id.spread();
        interval + interval / 1_000 * u32::from(share % 100)
    }

    /// A restore as it stands, read anew where nobody follows it and a token is at hand. That a read
    /// fails is no fault: the restore then says `stale_since`.
    pub(crate) async fn refresh(
        &self,
        entry: Entry,
        token: Option<Token>,
        trace: Option<TraceContext>,
    ) -> Result<Entry, Problem> {
        let id = entry.intent.id;
        let busy = self.0.live.is_busy(id);
        // Of a disk that was not sent there is nothing to read.
        let readable = matches!(entry.state.status, Status::Running | Status::Unknown)
            && !entry.state.is_between_steps();
        let access = self.0.routing.access(&entry, token);
        let (Some(access), false, true) = (access, busy, readable) else { return Ok(entry) };

        // One flight per restore, and a short life of what it brought. In a task of its own: what was
        // read is written down although the caller who asked may have gone.
        let engine = self.clone();
        let asked = access.clone();
        let flight = async move {
            let read = self.0.tasks.spawn(async move { engine.read_now(&entry, asked, trace).await });
            match read.await {
                Ok(Ok(_) | Err(LedgerError::Stale(_))) => {}
                Ok(Err(error)) => {
                    tracing::warn!(restore.id = %id, error = %error, "what was read could not be written down");
                }
                Err(error) => tracing::error!(restore.id = %id, error = %error, "a read of a restore failed"),
            }
        };
        self.0.fresh.get_with(id, flight).await;
        let entry = self.0.journal.get(id).await?;
        if entry.state.awaiting_credential {
            // A token that was refused says nothing of the next caller's.
            self.0.fresh.invalidate(&id).await;
        }
        if !entry.state.status.is_final() && entry.state.stale_since.is_none() {
            self.follow(&entry, Some(access));
        }
        Ok(entry)
    }

    /// Reads for a caller who asks, unless the upstream was asked often enough, or by another
    /// replica just now.
    async fn read_now(
        &self,
        entry: &Entry,
        access: Access,
        trace: Option<TraceContext>,
    ) -> Result<Entry, LedgerError> {
        let queue = self.0.routing.queue(&entry.state.route(&entry.intent).upstream);
        let shared = self.0.routing.rules().policy.status_cache;
        // A read that brought nothing for want of a token says nothing of this one's.
        let free =
            entry.state.awaiting_credential || self.0.ledger.reserve_read(entry.intent.id, shared).await?;
        // A read that a caller asks for takes turns with those of others.
        let asks = Behalf::Restore(entry.intent.caller.as_str().into());
        let free = free && queue.budget().quiet().is_zero();
        if !free || tokio::time::timeout(TURN, queue.budget().turn(&asks)).await != Ok(true) {
            return Ok(entry.clone());
        }
        self.observe(entry, access, trace, Reads::paid(queue.budget())).await
    }

    /// One round of reads, and what follows from it. A task of the upstream belongs to one restore, which the ledger
    /// decides as it writes: what is bound to another one is passed over, and the same answers are judged again.
    async fn observe(
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
                self.0.routing.learnt().note_no_restore_read(entry);
            }
            // A credential of the gateway's own waits for nobody: it is tried again.
            if held && let Found::Unreadable { credential, .. } = &mut reading.found {
                *credential = false;
            }
            self.0.refused.note(entry, &access, &reading).await;
            crash::point("observed");
            match self.settle(entry, &reading).await {
                Err(LedgerError::TaskTaken { .. }) if taken.len() < MAX_TAKEN => {
                    taken.extend(reading.handle.map(|handle| handle.id));
                }
                Err(LedgerError::TaskTaken { .. }) => {
                    let reason = "too many tasks of other restores fit this one";
                    return self.settle(entry, &Reading::unreadable(reason, false, "reads")).await;
                }
                settled => return settled,
            }
        }
    }

    /// Writes down what follows from a reading.
    async fn settle(&self, entry: &Entry, reading: &Reading) -> Result<Entry, LedgerError> {
        let settled = settle(&entry.state, reading, self.terms(entry));
        let mut entry = entry.clone();
        if !settled.told.is_empty() {
            entry = self.0.journal.append(&entry, Cause::Upstream, settled.told).await?;
        }
        if !settled.passed.is_empty() {
            entry = self.0.journal.append(&entry, Cause::Deadline, settled.passed).await?;
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
        let Some(plan) = self.0.routing.rules().routes.pinned(entry) else { return Ok(None) };
        let upstream = plan.upstream;
        let generation = upstream.generation();
        let no_restore_read = self.0.routing.learnt().lacks_restore_read(entry);
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
            // Looked for after the read: whatever is in it was written down before it was sent.
            let says = match reading.found {
                Found::Succeeded | Found::Failed(_) => true,
                // That one runs which is known to have begun is no news.
                Found::Running => !entry.state.seen_moving || reading.handle.is_some(),
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
            handle: state.handle.as_ref(),
            notes: &state.notes,
            accepted: state.seen_moving,
            sent_at,
            now: self.monotonic_now(entry.intent.id, sent_at),
            clock_offset_ms: state.clock_offset_ms,
            request_id: state.request_id.as_deref(),
            taken: &[],
            grace_seconds: self.0.routing.rules().policy.grace.as_secs(),
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
        self.0
            .journal
            .each_of(query, |other| {
                let state = &other.state;
                let ended = matches!(state.status, Status::Succeeded | Status::Failed);
                let is_unknown =
                    state.handle.is_none() && state.steps.iter().all(|step| step.handle.is_none());
                let apart = other.intent.created_at.micros_since(entry.intent.created_at).abs();
                shared |= other.intent.id != entry.intent.id && ended && is_unknown && apart <= day;
            })
            .await?;
        Ok(shared)
    }

    /// Whether another restore may have moved a backup of this one since it was sent. A restore of a server moves the
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
            self.0
                .journal
                .each_of(query, |other| {
                    let state = &other.state;
                    let moves = state.seen_moving
                        || matches!(state.status, Status::Submitting | Status::Unknown)
                        || state.steps.iter().any(|step| step.attempts > 0);
                    shared |=
                        moves && other.intent.id != entry.intent.id && !own.is_disjoint(&backups(other));
                })
                .await?;
        }
        Ok(shared)
    }

    /// The present moment as the send's own moment plus what the monotonic clock says has passed,
    /// where this process made the send; a wall clock that is set meanwhile changes nothing then.
    fn monotonic_now(&self, id: RestoreId, sent_at: restore_model::Timestamp) -> restore_model::Timestamp {
        match self.0.live.sent_ago(id) {
            Some(ago) => sent_at.plus_micros(i64::try_from(ago.as_micros()).unwrap_or(i64::MAX)),
            None => self.0.journal.now(),
        }
    }

    /// Since the send.
    pub(crate) fn age(&self, entry: &Entry) -> Duration {
        let sent_at = entry.state.submitted_at.unwrap_or(entry.intent.created_at);
        let now = self.monotonic_now(entry.intent.id, sent_at);
        let by_wall = Duration::from_micros(u64::try_from(now.micros_since(sent_at)).unwrap_or(0));
        // A wall clock that was set back makes nothing younger than this process has known it for.
        let known_for = self.0.live.known_for(entry.intent.id, entry.state.step);
        known_for.map_or(by_wall, |known_for| by_wall.max(known_for))
    }

    fn terms(&self, entry: &Entry) -> Terms {
        let policy = &self.0.routing.rules().policy;
        let unknown_for = self.unknown_for(entry.intent.id, &entry.state);
        Terms {
            now: self.0.journal.now(),
            unknown_for,
            settle: policy.send + policy.settle,
            unknown: policy.unknown,
            overdue: self.age(entry).checked_sub(Duration::from_secs(entry.intent.route.overdue_seconds)),
        }
    }

    /// How long this process has known a restore to be unknown. Starts anew with the process:
    /// waiting longer than needed is safe, shorter is not.
    fn unknown_for(&self, id: RestoreId, state: &State) -> Duration {
        if state.status != Status::Unknown {
            return Duration::ZERO;
        }
        self.0.live.unknown_for(id)
    }

    /// Refreshes, then waits until the restore is final or `until` has come.
    ///
    /// # Errors
    /// As [`Engine::look`].
    pub async fn refresh_and_wait(
        &self,
        id: RestoreId,
        caller: &Caller,
        trace: Option<TraceContext>,
        until: Option<Instant>,
    ) -> Result<Entry, Problem> {
        let entry = self.look(id, caller).await?;
        let entry = self.refresh(entry, caller.token.clone(), trace).await?;
        match until {
            Some(until) if !entry.state.status.is_final() => self.wait(id, until).await,
            _ => Ok(entry),
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
