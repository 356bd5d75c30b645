//! Translation between the canonical request and each generation of the backup API. Pure functions: no I/O, no clock,
//! no state.
//!
//! Every generation is one folder with the same files, and one line in [`ALL`]:
//!
//! | file | from → to |
//! |---|---|
//! | `mod.rs` | its name and its capabilities |
//! | `wire.rs` | the names and bodies as documented |
//! | `encode.rs` | canonical request → [`Call`] |
//! | `decode.rs` | [`Reply`] to the restore call → [`Outcome`] |
//! | `prepare.rs` | reads before the send → notes, or a rejection |
//! | `follow.rs` | reads after the send → [`Reading`] |
//! | `backup.rs` | reads of a backup ⇄ [`Backup`], which all generations share |
//! | `check.rs` | reads that answer "may this restore be done?" |
//! | `source_api.rs` | its native API as clients know it, both ways ([`source_api`]) |
//! | `schemas/` | JSON Schemas of its bodies |
//!
//! Reads work by *replaying*: a function gets all answers so far. It either requests one more read ([`Step::Ask`]) or
//! is done. So the protocol of a generation, however many reads it takes, stays a pure function that a test can call
//! with made-up answers.
//!
//! **To add a generation**: copy the most similar folder, change what differs, add its line to [`ALL`]. No other code
//! in the workspace names generations.

use std::collections::BTreeMap;

use restore_model::{
    Code, Evidence, Id, Problem, ProjectId, RestoreRequest, Strength, TargetKind, TaskRef, Timestamp,
};
use serde_json::Value;

pub mod backup;
pub mod call;
mod checks;
pub mod codes;
pub mod errors;
mod lenient;
pub mod matrix;
pub mod schemas;
pub mod source_api;
mod volumes;

mod cbr_v3;
mod cinder_v3;
mod csbs_v1;
mod vbs_v2;

pub use backup::{Backup, DiskBackup};
pub use call::{Answer, Call, Host, Method, Reply, Unread};
pub use checks::{Check, CheckResult};
pub use errors::{SignatureRefusal, Verdict, classify};
pub use schemas::Schema;
pub use source_api::SourceApi;

/// Every generation, in the order in which the gateway added support. A new one is one folder and one line here.
pub static ALL: &[&dyn Generation] =
    &[&csbs_v1::CsbsV1, &vbs_v2::VbsV2, &cbr_v3::CbrV3, &cinder_v3::CinderV3];

/// The generation with this name, as configuration and ledger spell it.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static dyn Generation> {
    ALL.iter().copied().find(|generation| generation.name() == name)
}

/// The names of all generations.
#[must_use]
pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|generation| generation.name()).collect()
}

/// One generation of the backup API.
pub trait Generation: Send + Sync + 'static {
    /// Its name in configuration, ledger and responses.
    fn name(&self) -> &'static str;

    /// The names of its service in catalogs (cloud APIs 5.1), the most likely first.
    fn services(&self) -> &'static [&'static str];

    /// The day on which its cloud closed it to new projects, as `YYYY-MM-DD`; `None` if it is open to all. A closed
    /// generation may reject a project that it has served before, so a route can name a fallback upstream.
    fn closed_on(&self) -> Option<&'static str>;

    /// Index of the project among the segments of its paths, counted from 0. Only a version may precede it.
    fn project_segment(&self) -> usize;

    /// Returns the project of one of its paths.
    fn project_in<'p>(&self, path: &'p str) -> Option<&'p str> {
        // The first part is the empty text before the first slash.
        path.split('/').nth(self.project_segment() + 1)
    }

    /// Returns true if this answer rejects the token or the signature of its call.
    fn refuses_credential(&self, reply: &Reply) -> bool;

    /// Returns the rejection of the call's signature with the time of the upstream's clock, if this answer is one.
    fn signature_refusal(&self, reply: &Reply) -> Option<SignatureRefusal>;

    /// Returns its capability for each kind of target.
    fn capability(&self, target: TargetKind) -> Capability;

    /// Returns true if it can express a kind of target at all.
    fn restores(&self, target: TargetKind) -> bool {
        self.capability(target).verdict != Expressible::Impossible
    }

    /// Returns true if its reads show which server the disk of a backup belonged to. Otherwise nothing confirms that a
    /// disk belongs to the named server, and no per-disk restore is possible ([`Prepare::server`]).
    fn tells_server_of_disk(&self) -> bool;

    /// Returns true if it allows a per-disk restore of a server when a route opts in: only for a target that it cannot
    /// restore as a whole.
    fn restores_by_disks(&self, target: TargetKind) -> bool {
        target == TargetKind::Server
            && !self.restores(target)
            && self.restores(TargetKind::Volume)
            && self.tells_server_of_disk()
    }

    /// Returns true if the upstream has its own call for "may this restore be done?".
    fn checks_natively(&self) -> bool;

    /// Returns true if the upstream reports percent while a restore runs.
    fn tells_progress(&self) -> bool;

    /// Returns true if there is a list of restores so complete that a restore repeatedly missing from it never took
    /// place. Without one, only evidence or a person can end a restore of unknown outcome.
    fn lists_restores(&self) -> bool;

    /// The JSON Schemas of its bodies.
    fn schemas(&self) -> &'static [Schema];

    /// Names of the backup facts that the restore call needs and the request leaves out. [`Generation::prepare`] reads
    /// them. They never change, so the caller of this trait keeps them for the next restore of that backup.
    fn wanted_facts(&self, _request: &RestoreRequest) -> &'static [&'static str] {
        &[]
    }

    /// Returns the seconds until the next poll of a restore that was sent `age_seconds` ago.
    fn poll_interval(&self, age_seconds: u64) -> u64;

    /// Requests the reads before the send. Its result is the notes to keep, or the rejection that the send would get
    /// anyway.
    fn prepare(&self, ask: &Prepare<'_>, answers: &[Answer]) -> Step<Result<Prepared, Problem>>;

    /// Builds the restore call.
    ///
    /// # Errors
    /// If the generation cannot express the request; the problem names the generations that can.
    fn encode(&self, request: &RestoreRequest, known: &Known) -> Result<Encoded, Problem>;

    /// Interprets the answer to the restore call.
    fn decode(&self, request: &RestoreRequest, reply: &Reply) -> Outcome;

    /// Requests the reads that show the state of a restore.
    fn follow(&self, watch: &Watch<'_>, answers: &[Answer]) -> Step<Reading>;

    /// Requests the reads that check if a restore is possible.
    fn check(&self, ask: &Prepare<'_>, answers: &[Answer]) -> Step<Vec<Check>>;

    /// Returns the read of one backup.
    fn read_backup(&self, project: &ProjectId, id: &Id) -> Call;

    /// Returns the backup in the answer to [`Generation::read_backup`]; `None` if there is none.
    fn backup(&self, reply: &Reply) -> Option<Backup>;

    /// Returns the read that lists the backups of one server or disk; `None` if there is no such list.
    fn list_backups(&self, project: &ProjectId, resource: &Id, kind: TargetKind) -> Option<Call>;

    /// Returns the backups in the answer to [`Generation::list_backups`]; `None` unless it is a whole list with only
    /// readable rows. The disks of the backups may be missing.
    fn backups(&self, reply: &Reply) -> Option<Vec<Backup>>;

    /// Requests the reads that list every restore begun in a project since a given time, from any client. For
    /// generations with such a list ([`Generation::lists_restores`]).
    fn audit(
        &self,
        _project: &ProjectId,
        _since: Timestamp,
        _answers: &[Answer],
    ) -> Step<Result<Vec<Listed>, Problem>> {
        let detail = format!("{} has no list of restores", self.name());
        Step::Done(Err(Problem::new(Code::UnsupportedByGeneration, detail)))
    }
}

/// A restore as an upstream's list shows it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Listed {
    /// The upstream's reference to it.
    pub task: TaskRef,
    /// ID of the restored backup, if the list has it.
    pub backup_id: Option<String>,
    /// ID of the overwritten target, if the list has it.
    pub target_id: Option<String>,
    /// The upstream's own status.
    pub status: Option<String>,
    /// Start time, by the upstream's clock.
    pub begun: Option<Timestamp>,
}

/// The next step of a replayed function: one more read, or the result.
#[derive(Debug)]
pub enum Step<T> {
    /// Make this call, then call the function again with the answer appended.
    Ask(Call),
    /// The result.
    Done(T),
}

/// Facts of a backup that never change, under the names of its generation ([`Generation::wanted_facts`]). Each is an
/// ID, so that it may be part of a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known(BTreeMap<&'static str, Id>);

impl Known {
    /// A single fact.
    #[must_use]
    pub fn of(name: &'static str, value: Id) -> Self {
        Self(BTreeMap::from([(name, value)]))
    }

    /// Returns the fact with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Id> {
        self.0.get(name)
    }

    /// Returns true if there are no facts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds facts that were read since; they replace older ones.
    pub fn learn(&mut self, read: Self) {
        self.0.extend(read.0);
    }
}

/// The input of the reads before a send.
#[derive(Clone, Debug)]
pub struct Prepare<'a> {
    /// The requested restore.
    pub request: &'a RestoreRequest,
    /// The facts that are known already.
    pub known: &'a Known,
    /// True if the route uses a baseline to compare later reads with.
    pub baseline: bool,
    /// For one step of a per-disk restore: the server that the disk must belong to.
    pub server: Option<&'a Id>,
    /// The current time.
    pub now: Timestamp,
}

/// Result of the reads before a send.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    /// The generation's notes, stored with the restore.
    pub notes: Value,
    /// All facts of the backup that the reads showed, required or not.
    pub facts: Known,
}

/// A restore call, with its defaults and dropped fields for the caller.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The call.
    pub call: Call,
    /// Values that were filled in: member, value, reason.
    pub defaults: Vec<(&'static str, Value, &'static str)>,
    /// Fields of the request that the call does not carry: member, reason.
    pub dropped_fields: Vec<(&'static str, &'static str)>,
}

/// Meaning of an answer to a restore call.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Accepted.
    Started {
        /// The upstream's reference to the restore, if it returned one.
        task: Option<TaskRef>,
        /// The upstream's status.
        status: Option<String>,
        /// An anomaly that is worth recording.
        anomaly: Option<String>,
    },
    /// A well-formed acceptance whose body reports that the restore failed.
    Failed(Problem),
    /// Rejected; nothing was changed.
    Refused(Problem),
    /// Unclear: it may or may not have been applied.
    Unsure {
        /// The reason why the outcome is unclear.
        reason: String,
        /// The upstream's error.
        problem: Problem,
    },
}

impl From<Verdict> for Outcome {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Refused(problem) => Self::Refused(problem),
            Verdict::Ambiguous(problem) => Self::Unsure { reason: problem.detail.clone(), problem },
        }
    }
}

/// A restore that is being polled.
#[derive(Clone, Debug)]
pub struct Watch<'a> {
    /// The restore request.
    pub request: &'a RestoreRequest,
    /// The upstream's reference to it, once known.
    pub task: Option<&'a TaskRef>,
    /// Notes from [`Generation::prepare`] and earlier readings.
    pub notes: &'a Value,
    /// True if the upstream's acceptance is proven.
    pub accepted: bool,
    /// Time of the send, by our clock.
    pub sent_at: Timestamp,
    /// The current time, by our clock.
    pub now: Timestamp,
    /// Upstream clock minus ours, in milliseconds, if an answer showed it.
    pub clock_offset_ms: Option<i64>,
    /// The upstream's request id of the submit.
    pub request_id: Option<&'a str>,
    /// Upstream references that belong to other restores.
    pub taken: &'a [String],
    /// Seconds in which an unchanged state still counts as "not begun".
    pub visibility_grace_seconds: u64,
    /// True if the upstream is known to lack the optional read of a restore.
    pub no_restore_read: bool,
    /// True if other restores of the same backup may have run since the send. They may have caused the state of the
    /// backup.
    pub backup_shared: bool,
    /// True if another restore of the same target has ended without a known task. A task of this target may belong to
    /// it, whatever the dates show, because clocks may have been set in between.
    pub target_shared: bool,
}

impl Watch<'_> {
    /// Returns true if the state of the backup proves nothing about this restore: another restore changes it, and
    /// nothing else shows that this one was accepted.
    pub(crate) const fn is_moved_by_others(&self) -> bool {
        self.backup_shared && !self.accepted
    }

    /// Returns true if the state of the backup cannot show the end of this restore, because other restores change it,
    /// too.
    pub(crate) const fn ends_unseen(&self) -> bool {
        self.backup_shared
    }

    /// Whole seconds since the send, by our clock.
    #[must_use]
    pub fn age_seconds(&self) -> u64 {
        u64::try_from(self.now.micros_since(self.sent_at) / 1_000_000).unwrap_or(0)
    }

    /// Returns the time of the send by the upstream's clock, if its `Date` headers are plausible. An offset beyond
    /// `most_seconds` is more likely a wrong header than a wrong clock. Then both clocks count as the same.
    #[must_use]
    pub fn sent_upstream(&self, most_seconds: u64) -> Timestamp {
        let offset = self.offset(most_seconds).unwrap_or(0);
        self.sent_at.plus_micros(offset.saturating_mul(1_000))
    }

    /// Returns upstream clock minus ours, in milliseconds, if it is plausible.
    pub(crate) fn offset(&self, most_seconds: u64) -> Option<i64> {
        self.clock_offset_ms.filter(|offset| offset.unsigned_abs() <= most_seconds.saturating_mul(1_000))
    }
}

/// The finding if [`Watch::is_moved_by_others`].
fn moved_by_others() -> Found {
    let reason = "other restores of this backup were under way, so its state tells nothing of this one";
    Found::Lost(reason.to_owned())
}

/// Result of one poll.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The state of the restore.
    pub found: Found,
    /// The upstream's reference to it, if this poll found it.
    pub task: Option<TaskRef>,
    /// The upstream's own status.
    pub status: Option<String>,
    /// Progress in percent.
    pub progress: Option<u8>,
    /// The new notes, if they changed.
    pub notes: Option<Value>,
    /// The kind of evidence.
    pub evidence: &'static str,
    /// The strength of the evidence.
    pub strength: Strength,
    /// An anomaly that is worth recording.
    pub anomaly: Option<String>,
    /// True if this poll showed that the upstream lacks the optional read of a restore.
    pub no_restore_read: bool,
}

impl Reading {
    /// Creates a reading that contains only its finding.
    #[must_use]
    pub fn new(found: Found, evidence: &'static str, strength: Strength) -> Self {
        Self {
            found,
            task: None,
            status: None,
            progress: None,
            notes: None,
            evidence,
            strength,
            anomaly: None,
            no_restore_read: false,
        }
    }

    /// A reading for a failed read.
    #[must_use]
    pub fn unreadable(reason: impl Into<String>, credential: bool, evidence: &'static str) -> Self {
        Self::new(Found::Unreadable { reason: reason.into(), credential }, evidence, Strength::Weak)
    }

    /// A reading for a rejected read. A lack of permission is permanent if the cloud's own error format reports it; all
    /// else may be temporary.
    #[must_use]
    pub fn refused(reply: &Reply, evidence: &'static str) -> Self {
        let problem = classify(reply).into_problem();
        match problem.code {
            Code::UpstreamForbidden if errors::refusal(reply).is_some() => {
                let reason = format!("not permitted to read how it stands: {}", problem.detail);
                Self::new(Found::Lost(reason), evidence, Strength::Weak)
            }
            code => Self::unreadable(problem.detail, code == Code::UpstreamUnauthorized, evidence),
        }
    }

    /// A reading for a read without an answer.
    #[must_use]
    pub fn unanswered(unread: &Unread, evidence: &'static str) -> Self {
        let (reason, credential) = unread.explain();
        Self::unreadable(reason, credential, evidence)
    }

    /// Returns the evidence as the ledger stores it.
    #[must_use]
    pub fn evidence_at(&self, now: Timestamp) -> Evidence {
        let evidence = Evidence::new(self.evidence, self.strength, now);
        match &self.status {
            Some(status) => evidence.detail(format!("the upstream says {status:?}")),
            None => evidence,
        }
    }
}

/// The state of a restore after one poll.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// It runs.
    Running,
    /// It succeeded.
    Succeeded,
    /// It failed.
    Failed(Problem),
    /// The complete list of restores does not have it.
    Absent,
    /// This poll showed nothing new; poll again.
    Nothing,
    /// It cannot be polled any more (the task is gone, or reading is not permitted). The text is the reason.
    Lost(String),
    /// The read itself failed.
    Unreadable {
        /// The reason.
        reason: String,
        /// True if the upstream rejected the token; another token could help.
        credential: bool,
    },
}

/// The capability of a generation for one kind of target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// States if it can express the target, and if it does so without loss.
    pub verdict: Expressible,
    /// Conditions under which it works.
    pub conditions: &'static [&'static str],
    /// Fields that are not carried over.
    pub lost: &'static [&'static str],
}

/// Degree to which a generation can express a kind of target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expressible {
    /// Everything of the request is carried.
    Lossless,
    /// It works, but some fields are not carried.
    Lossy,
    /// Not at all.
    Impossible,
}

impl Expressible {
    /// The public name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lossless => "lossless",
            Self::Lossy => "lossy",
            Self::Impossible => "impossible",
        }
    }
}

/// The rejection of a target that `own` cannot express. It names the generations that can.
fn not_expressible(own: &dyn Generation, target: TargetKind, why: &str) -> Problem {
    let others: Vec<_> =
        ALL.iter().filter(|other| other.restores(target)).map(|other| other.name()).collect();
    let others =
        if others.is_empty() { "no generation can".to_owned() } else { others.join(", ") + " could" };
    Problem::new(
        Code::UnsupportedByGeneration,
        format!("{} cannot restore a {}: {why}; {others}", own.name(), target.as_str()),
    )
}

/// Builds a path from parts that are safe by type.
fn path(version: &str, project: &ProjectId, rest: std::fmt::Arguments<'_>) -> String {
    format!("/{version}/{project}/{rest}")
}
