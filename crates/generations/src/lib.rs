//! HOW each generation of the backup API says it. Pure translation: no I/O, no clock, no state.
//!
//! Every generation is one folder with the same files, and one line in [`ALL`]:
//!
//! | file | from → to |
//! |---|---|
//! | `mod.rs` | its name, what it can and cannot express |
//! | `wire.rs` | the words and bodies as documented |
//! | `encode.rs` | canonical request → [`Call`] |
//! | `decode.rs` | [`Reply`] to the restore call → [`Outcome`] |
//! | `prepare.rs` | reads before the send → notes, or a refusal |
//! | `follow.rs` | reads after the send → [`Reading`] |
//! | `backup.rs` | reads of a backup ⇄ [`Backup`], which all generations share |
//! | `check.rs` | reads that answer "may this restore be done?" |
//! | `source_api.rs` | its native API as clients know it, both ways ([`source_api`]) |
//! | `schemas/` | JSON Schemas of its bodies |
//!
//! Reads are asked for by *replaying*: a function is given all answers so far and either asks for
//! one more ([`Step::Ask`]) or is done. So the protocol of a generation, however many reads it
//! takes, stays a pure function that a test can call with made-up answers.
//!
//! **To add a generation**: copy the folder that is nearest, change what differs, add its line to
//! [`ALL`]. Nothing else in the workspace names generations.

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

/// Every generation, in the order in which the gateway learnt it. A further one is one folder and one line here.
pub static ALL: &[&dyn Generation] =
    &[&csbs_v1::CsbsV1, &vbs_v2::VbsV2, &cbr_v3::CbrV3, &cinder_v3::CinderV3];

/// The generation of this name, as configuration and ledger spell it.
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
    /// Its name in configuration, ledger and answers.
    fn name(&self) -> &'static str;

    /// What catalogs call its service (cloud APIs 5.1), the likeliest first.
    fn services(&self) -> &'static [&'static str];

    /// The day on which its cloud closed it to new projects, as `YYYY-MM-DD`; none where it is open to all. A closed
    /// generation may refuse a project that it has served before, so a route can name another one for that case.
    fn closed_on(&self) -> Option<&'static str>;

    /// Which segment of its paths is the project, counted from 0. Only a version may stand before it.
    fn project_segment(&self) -> usize;

    /// The project in one of its paths.
    fn project_in<'p>(&self, path: &'p str) -> Option<&'p str> {
        // The first part is the empty text before the first slash.
        path.split('/').nth(self.project_segment() + 1)
    }

    /// Whether this answer refuses the token or the signature that its call was made with.
    fn refuses_credential(&self, reply: &Reply) -> bool;

    /// Whether this answer refuses the signature of its call, and what time the upstream says it has.
    fn signature_refusal(&self, reply: &Reply) -> Option<SignatureRefusal>;

    /// What it can express of each kind of target.
    fn capability(&self, target: TargetKind) -> Capability;

    /// Whether it has words for a kind of target at all.
    fn restores(&self, target: TargetKind) -> bool {
        self.capability(target).verdict != Expressible::Impossible
    }

    /// Whether its reads tell which server the disk of a backup was of. Where they do not, nothing confirms that a disk
    /// belongs to the server that is named, and no server is restored disk by disk ([`Prepare::server`]).
    fn tells_server_of_disk(&self) -> bool;

    /// Whether it restores a server disk by disk, where a route says that it may: only what it cannot restore whole.
    fn restores_by_disks(&self, target: TargetKind) -> bool {
        target == TargetKind::Server
            && !self.restores(target)
            && self.restores(TargetKind::Volume)
            && self.tells_server_of_disk()
    }

    /// Whether the upstream has an API of its own for "may this restore be done?".
    fn checks_natively(&self) -> bool;

    /// Whether the upstream tells percent while a restore runs.
    fn tells_progress(&self) -> bool;

    /// Whether there is a list of restores so complete that a restore missing from it, again and
    /// again, never took place. Without one a restore of unknown outcome can only be ended by
    /// evidence or by a person.
    fn lists_restores(&self) -> bool;

    /// The JSON Schemas of its bodies.
    fn schemas(&self) -> &'static [Schema];

    /// The facts of the backup that the restore call needs and the request leaves out. [`Generation::prepare`] reads
    /// them. They never change, so whoever drives the generation keeps them for the next restore of that backup.
    fn wanted_facts(&self, _request: &RestoreRequest) -> &'static [&'static str] {
        &[]
    }

    /// Seconds to the next read of a restore that was sent `age_seconds` ago.
    fn poll_interval(&self, age_seconds: u64) -> u64;

    /// The reads that come before the send. Done with what is to be remembered, or with the
    /// refusal that the send would meet anyway.
    fn prepare(&self, ask: &Prepare<'_>, answers: &[Answer]) -> Step<Result<Prepared, Problem>>;

    /// The restore call itself.
    ///
    /// # Errors
    /// When the generation cannot express the request; the problem says which could.
    fn encode(&self, request: &RestoreRequest, known: &Known) -> Result<Encoded, Problem>;

    /// What the answer to the restore call means.
    fn decode(&self, request: &RestoreRequest, reply: &Reply) -> Outcome;

    /// The reads that tell how a restore stands.
    fn follow(&self, watch: &Watch<'_>, answers: &[Answer]) -> Step<Reading>;

    /// The reads that answer whether a restore may be done.
    fn check(&self, ask: &Prepare<'_>, answers: &[Answer]) -> Step<Vec<Check>>;

    /// The read that shows one backup.
    fn read_backup(&self, project: &ProjectId, id: &Id) -> Call;

    /// The backup in the answer to [`Generation::read_backup`]; none when there is none in it.
    fn backup(&self, reply: &Reply) -> Option<Backup>;

    /// The read that lists the backups of one server or disk; none where there is no such list.
    fn list_backups(&self, project: &ProjectId, resource: &Id, kind: TargetKind) -> Option<Call>;

    /// The backups in the answer to [`Generation::list_backups`]; none unless it is a whole list, each row of which can be
    /// read. Their disks may be missing there.
    fn backups(&self, reply: &Reply) -> Option<Vec<Backup>>;

    /// The reads that list every restore begun in a project since a moment, whoever asked for it;
    /// for generations with such a list ([`Generation::lists_restores`]).
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

/// A restore as an upstream's list tells of it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Listed {
    /// The upstream's name for it.
    pub task: TaskRef,
    /// What was restored, where the list says so.
    pub backup_id: Option<String>,
    /// What was overwritten, where the list says so.
    pub target_id: Option<String>,
    /// The upstream's own word.
    pub status: Option<String>,
    /// When it began, by the upstream's clock.
    pub begun: Option<Timestamp>,
}

/// One more read is wanted, or everything needed is there.
#[derive(Debug)]
pub enum Step<T> {
    /// Make this call and come again with its answer appended.
    Ask(Call),
    /// Done.
    Done(T),
}

/// Facts of a backup that never change, under the names that its generation has for them
/// ([`Generation::wanted_facts`]). Each is an id, so that it may stand in a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known(BTreeMap<&'static str, Id>);

impl Known {
    /// One fact.
    #[must_use]
    pub fn of(name: &'static str, value: Id) -> Self {
        Self(BTreeMap::from([(name, value)]))
    }

    /// The fact of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Id> {
        self.0.get(name)
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds what was read since; it counts for more than what was known.
    pub fn learn(&mut self, read: Self) {
        self.0.extend(read.0);
    }
}

/// The question before a send.
#[derive(Clone, Debug)]
pub struct Prepare<'a> {
    /// What is to be restored.
    pub request: &'a RestoreRequest,
    /// What is known already.
    pub known: &'a Known,
    /// Whether the route wants a baseline to compare later reads with.
    pub baseline: bool,
    /// The server that the disk of the request must be one of, where it is restored as a part of that server.
    pub server: Option<&'a Id>,
    /// The present moment.
    pub now: Timestamp,
}

/// What the reads before a send gave.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    /// What the generation wants remembered with the restore.
    pub notes: Value,
    /// Facts of the backup that were read on the way, wanted or not.
    pub facts: Known,
}

/// A restore call, with what a caller should know about it.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The call.
    pub call: Call,
    /// Values that were filled in: member, value, reason.
    pub defaults: Vec<(&'static str, Value, &'static str)>,
    /// What of the request the call does not carry: member, reason.
    pub dropped_fields: Vec<(&'static str, &'static str)>,
}

/// What an answer to a restore call means.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Accepted.
    Started {
        /// The upstream's name for the restore, if it gave one.
        task: Option<TaskRef>,
        /// The upstream's word.
        status: Option<String>,
        /// Something odd that is worth keeping.
        anomaly: Option<String>,
    },
    /// A well-formed acceptance whose body says that the restore failed.
    Failed(Problem),
    /// Refused; nothing was changed.
    Refused(Problem),
    /// It may or may not have been applied.
    Unsure {
        /// Why nobody can say.
        reason: String,
        /// What the upstream said.
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

/// A restore that is being followed.
#[derive(Clone, Debug)]
pub struct Watch<'a> {
    /// What was asked.
    pub request: &'a RestoreRequest,
    /// The upstream's name for it, once known.
    pub task: Option<&'a TaskRef>,
    /// What [`Generation::prepare`] and earlier readings wanted remembered.
    pub notes: &'a Value,
    /// Whether the upstream's acceptance was proven.
    pub accepted: bool,
    /// When it was sent, by our clock.
    pub sent_at: Timestamp,
    /// The present moment, by our clock.
    pub now: Timestamp,
    /// Upstream clock minus ours, in milliseconds, where an answer showed it.
    pub clock_offset_ms: Option<i64>,
    /// The upstream's request id of the submit.
    pub request_id: Option<&'a str>,
    /// Upstream names that belong to other restores.
    pub taken: &'a [String],
    /// Seconds in which a state that never changed still counts as "not begun".
    pub visibility_grace_seconds: u64,
    /// Whether the upstream is known to lack the optional read of a restore.
    pub no_restore_read: bool,
    /// Whether other restores of the same backup may have been under way since the send: what the backup's state shows
    /// may be their doing.
    pub backup_shared: bool,
    /// Whether another restore of the same target has ended whose task nobody knows: a task of this target may be its own,
    /// whatever the dates say, for clocks may have been set in between.
    pub target_shared: bool,
}

impl Watch<'_> {
    /// Whether the backup's state says nothing of this restore: another one moves it, and nothing else shows that this
    /// one was ever taken.
    pub(crate) const fn is_moved_by_others(&self) -> bool {
        self.backup_shared && !self.accepted
    }

    /// Whether the end of this restore cannot be seen in the backup's state: others move it as well.
    pub(crate) const fn ends_unseen(&self) -> bool {
        self.backup_shared
    }

    /// Whole seconds since the send, by our clock.
    #[must_use]
    pub fn age_seconds(&self) -> u64 {
        u64::try_from(self.now.micros_since(self.sent_at) / 1_000_000).unwrap_or(0)
    }

    /// The send by the upstream's clock, as far as its `Date` headers are believed: an offset beyond `most_seconds` is
    /// more likely a wrong header than a wrong clock, and then both clocks count as the same.
    #[must_use]
    pub fn sent_upstream(&self, most_seconds: u64) -> Timestamp {
        let offset = self.offset(most_seconds).unwrap_or(0);
        self.sent_at.plus_micros(offset.saturating_mul(1_000))
    }

    /// Upstream clock minus ours, in milliseconds, as far as it is believed.
    pub(crate) fn offset(&self, most_seconds: u64) -> Option<i64> {
        self.clock_offset_ms.filter(|offset| offset.unsigned_abs() <= most_seconds.saturating_mul(1_000))
    }
}

/// Where [`Watch::is_moved_by_others`].
fn moved_by_others() -> Found {
    let reason = "other restores of this backup were under way, so its state tells nothing of this one";
    Found::Lost(reason.to_owned())
}

/// What one round of reads told.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// How the restore stands.
    pub found: Found,
    /// The upstream's name for it, where this round found it.
    pub task: Option<TaskRef>,
    /// The upstream's own word.
    pub status: Option<String>,
    /// Percent.
    pub progress: Option<u8>,
    /// What to remember from now on, where it changed.
    pub notes: Option<Value>,
    /// The kind of evidence.
    pub evidence: &'static str,
    /// How much it proves.
    pub strength: Strength,
    /// Something odd that is worth keeping.
    pub anomaly: Option<String>,
    /// Whether this round showed that the upstream lacks the optional read of a restore.
    pub no_restore_read: bool,
}

impl Reading {
    /// A reading with nothing but its finding.
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

    /// The read itself failed.
    #[must_use]
    pub fn unreadable(reason: impl Into<String>, credential: bool, evidence: &'static str) -> Self {
        Self::new(Found::Unreadable { reason: reason.into(), credential }, evidence, Strength::Weak)
    }

    /// The read was refused. Not being permitted to read will not pass, if it is the cloud that says
    /// so; all else may.
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

    /// The read brought no answer.
    #[must_use]
    pub fn unanswered(unread: &Unread, evidence: &'static str) -> Self {
        let (reason, credential) = unread.explain();
        Self::unreadable(reason, credential, evidence)
    }

    /// The evidence as the ledger keeps it.
    #[must_use]
    pub fn evidence_at(&self, now: Timestamp) -> Evidence {
        let evidence = Evidence::new(self.evidence, self.strength, now);
        match &self.status {
            Some(status) => evidence.detail(format!("the upstream says {status:?}")),
            None => evidence,
        }
    }
}

/// How a restore stands, after one round of reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// It runs.
    Running,
    /// It is done.
    Succeeded,
    /// It failed.
    Failed(Problem),
    /// The complete list of restores does not have it.
    Absent,
    /// Nothing to be learned this time; look again.
    Nothing,
    /// It cannot be followed any more (gone, or reading is not permitted); why.
    Lost(String),
    /// The read itself failed; why, and whether another token could help.
    Unreadable {
        /// Why.
        reason: String,
        /// Whether the upstream refused the token.
        credential: bool,
    },
}

/// What a generation can do with one kind of target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Whether it can express it at all, and without loss.
    pub verdict: Expressible,
    /// What must hold for it to work.
    pub conditions: &'static [&'static str],
    /// What is not carried over.
    pub lost: &'static [&'static str],
}

/// Whether a kind of target can be expressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expressible {
    /// Everything of the request is carried.
    Lossless,
    /// It works, and something is not carried.
    Lossy,
    /// Not at all.
    Impossible,
}

impl Expressible {
    /// The public word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lossless => "lossless",
            Self::Lossy => "lossy",
            Self::Impossible => "impossible",
        }
    }
}

/// The refusal of a target that `own` cannot express, naming the generations that could.
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

/// A path out of parts that are safe by type.
fn path(version: &str, project: &ProjectId, rest: std::fmt::Arguments<'_>) -> String {
    format!("/{version}/{project}/{rest}")
}
