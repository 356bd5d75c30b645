//! Compatibility endpoints: a native API as the programs that speak it know it, both ways. What they ask becomes the canonical request,
//! and what became of a restore is told in their words, whichever generation carried it out.
//!
//! A source API is a file `source_api.rs` in the folder of its generation, and one line in [`ALL`]. It is as pure as the
//! rest of the crate: paths and bodies in, paths and bodies out. Which restore, which upstream and which caller is for
//! others to find out.

use restore_model::schema::Validator;
use restore_model::{
    Code, Effect, Id, Intent, Problem, ProjectId, RestoreRequest, State, Status, TargetKind, Timestamp,
    UpstreamError,
};
use serde_json::{Value, json};

use crate::{Backup, Generation, Host, lenient};

/// Every source API, oldest first.
pub static ALL: &[&dyn SourceApi] = &[
    &crate::csbs_v1::source_api::CsbsSourceApi,
    &crate::vbs_v2::source_api::VbsSourceApi,
    &crate::vbs_v2::cinder::CinderSourceApi,
    &crate::cbr_v3::source_api::CbrSourceApi,
];

/// The source API of this name, as configuration and ledger spell it.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static dyn SourceApi> {
    ALL.iter().copied().find(|source_api| source_api.source_api() == name)
}

/// The names of all source APIs.
#[must_use]
pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|source_api| source_api.source_api()).collect()
}

/// What a place of a native API is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Begins a restore.
    Restore,
    /// Asks whether something may be done, without doing it.
    Ask,
    /// One restore, by the handle that this compatibility endpoint gave out.
    Restored,
    /// The restores of a project.
    RestoredList,
    /// One backup.
    Backup,
    /// Several backups.
    BackupList,
    /// The disk that a restore overwrites.
    Disk,
    /// Several disks.
    DiskList,
    /// Which versions of the API there are.
    Versions,
    /// A read that another place would take for its own.
    PassOn,
}

/// One place of a native API.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The method.
    pub method: &'static str,
    /// The path, with `{project_id}` and, where it names one thing, `{id}`; the label of metrics and spans.
    pub template: &'static str,
    /// What it is for.
    pub act: Act,
    /// Which of several forms of the same act this is, for the compatibility endpoint's own use.
    pub form: Form,
}

/// The forms in which source APIs have the same act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The source API's own.
    Own,
    /// That of OpenStack's block storage, which VBS serves as well.
    Cinder,
}

impl Place {
    /// A place in the source API's own form.
    pub(crate) const fn new(method: &'static str, template: &'static str, act: Act) -> Self {
        Self { method, template, act, form: Form::Own }
    }

    /// A place in the form of OpenStack's block storage.
    pub(crate) const fn cinder(method: &'static str, template: &'static str, act: Act) -> Self {
        Self { method, template, act, form: Form::Cinder }
    }
}

/// What stands in a path.
#[derive(Clone, Debug)]
pub struct Named {
    /// The project.
    pub project: ProjectId,
    /// The one thing that the path names, where it names one.
    pub id: Option<Id>,
}

/// What a native request to restore asks for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The canonical request, in the source API's own names of backups.
    pub request: RestoreRequest,
    /// What the canonical request has no place for and answers repeat; null when there is nothing.
    pub echo: Value,
}

/// What a native question asks.
#[derive(Clone, Debug)]
pub enum Question {
    /// May these restores be done? Each is answered for itself.
    Restorable(Vec<RestoreRequest>),
    /// Something that this gateway does not know; it is passed on.
    PassOn,
}

/// The answer to one of the questions of [`Question::Restorable`].
#[derive(Clone, Debug)]
pub struct Verdict<'a> {
    /// What was asked.
    pub request: &'a RestoreRequest,
    /// The obstacle: a code and words. None when it may be done.
    pub obstacle: Option<(String, String)>,
}

/// A restore as the ledger has it.
#[derive(Clone, Copy, Debug)]
pub struct RestoreView<'a> {
    /// What was asked.
    pub intent: &'a Intent,
    /// What became of it.
    pub state: &'a State,
}

/// An answer in a source API.
#[derive(Clone, Debug, PartialEq)]
pub struct Native {
    /// HTTP status.
    pub status: u16,
    /// JSON body; none is an empty one.
    pub body: Option<Value>,
}

impl Native {
    /// An answer with a body.
    #[must_use]
    pub const fn new(status: u16, body: Value) -> Self {
        Self { status, body: Some(body) }
    }
}

/// How a restore stands, in as many words as the old source APIs have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not sent yet.
    Waiting,
    /// Sent; it may be running, and nobody knows better.
    Running,
    /// Done.
    Done,
    /// Ended in any other way.
    Failed,
}

impl Stage {
    /// The stage of a state. An unknown outcome runs on: there is no word for it, and both others would be lies.
    #[must_use]
    pub const fn of(state: &State) -> Self {
        match state.status {
            Status::Accepted | Status::Checking => Self::Waiting,
            Status::Submitting | Status::Running | Status::Unknown => Self::Running,
            Status::Succeeded => Self::Done,
            Status::Failed | Status::Rejected | Status::NotApplied | Status::Cancelled | Status::Expired => {
                Self::Failed
            }
        }
    }
}

/// One native API, as its clients know it.
pub trait SourceApi: Send + Sync + 'static {
    /// Its name in configuration, ledger and answers.
    fn source_api(&self) -> &'static str;

    /// The generation whose names its clients have for backups, and whose upstream knows what the gateway does not.
    fn generation(&self) -> &'static str;

    /// The day on which clouds closed what it speaks to new projects, as `YYYY-MM-DD`; none where none has.
    fn closed_on(&self) -> Option<&'static str>;

    /// The kinds of target that it has words for.
    fn targets(&self) -> &'static [TargetKind];

    /// Whether its restore call says this member of the canonical request, of those that not every source API has.
    fn says(&self, _member: &str) -> bool {
        false
    }

    /// How many segments stand before the project in its paths: those of its generation.
    fn project_segment(&self) -> usize {
        crate::by_name(self.generation()).map_or(0, Generation::project_segment)
    }

    /// The project in one of its paths.
    fn project_in<'p>(&self, path: &'p str) -> Option<&'p str> {
        crate::by_name(self.generation())?.project_in(path)
    }

    /// Its places. What is not here is passed on if it is a read.
    fn places(&self) -> &'static [Place];

    /// The header in which its clients look for the ID of a request, besides `X-Request-Id`.
    fn request_id_header(&self) -> Option<&'static str> {
        None
    }

    /// Whether its clients can read `Retry-After` on an answer with this status.
    fn allows_retry_after(&self, _status: u16) -> bool {
        true
    }

    /// Which service of a cloud a read at one of its paths is for.
    fn service(&self, _path: &str) -> Host {
        Host::Backup
    }

    /// A native request to restore, strictly read.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`] with a pointer for every fault.
    fn restore(&self, form: Form, named: &Named, body: Value) -> Result<Wanted, Problem>;

    /// The answer to a request to restore that was taken in.
    fn taken(&self, form: Form, told: RestoreView<'_>) -> Native;

    /// One restore.
    fn restored(&self, told: RestoreView<'_>) -> Native;

    /// What of its own list the compatibility endpoint's upstream, `home`, is asked for to fill a page: its query. None where a page shows
    /// the restores of the gateway alone.
    ///
    /// # Errors
    /// When a filter cannot be understood.
    fn others(
        &self,
        _query: &str,
        _told: &[RestoreView<'_>],
        _home: Option<&str>,
    ) -> Result<Option<String>, Problem> {
        Ok(None)
    }

    /// Whether an answer to what [`SourceApi::others`] asks is such a list.
    fn is_list(&self, _others: &Value) -> bool {
        true
    }

    /// A page of restores: those of the gateway, newest first, then those of [`SourceApi::others`].
    ///
    /// # Errors
    /// When a filter cannot be understood.
    fn restored_list(
        &self,
        _query: &str,
        _told: &[RestoreView<'_>],
        _home: Option<&str>,
        _others: Option<Value>,
    ) -> Result<Native, Problem> {
        Err(not_here())
    }

    /// A native question.
    ///
    /// # Errors
    /// As [`Compatibility endpoint::restore`].
    fn ask(&self, _named: &Named, _body: &Value) -> Result<Question, Problem> {
        Err(not_here())
    }

    /// The answer to one.
    fn answer(&self, _verdicts: &[Verdict<'_>]) -> Native {
        self.refuse(&Refusal::before(&not_here()))
    }

    /// A backup, in its own names, out of what another generation tells of it.
    fn backup(&self, form: Form, named: &Named, backup: &Backup) -> Value;

    /// Shows in a backup what a restore does to it that its cloud does not show by itself.
    fn restoring(&self, form: Form, backup: &mut Value, told: RestoreView<'_>);

    /// Whether a backup shows by itself that its restore has failed, or that it is anything but at rest. What the cloud
    /// says of that is the better word.
    fn is_plain(&self, backup: &Value) -> bool {
        let status = lenient::text(backup, &[self.backups().1, "status"]).unwrap_or_default();
        status.eq_ignore_ascii_case("available")
    }

    /// What a list of its backups is a member of, and what one backup alone is.
    fn backups(&self) -> (&'static str, &'static str) {
        ("backups", "backup")
    }

    /// Shows in a disk what a restore does to it. The cloud's own word is the better one once that has ended well.
    fn overwriting(&self, _disk: &mut Value, _told: RestoreView<'_>) {}

    /// The disk that a restore overwrites, out of what the ledger tells of that, where no cloud can be asked.
    fn disk(&self, _named: &Named, _told: RestoreView<'_>) -> Native {
        self.refuse(&Refusal::before(&not_here()))
    }

    /// Which versions of this API there are; `base` is where the compatibility endpoint is.
    fn versions(&self, base: &str) -> Native;

    /// A refusal in the source API's own form.
    fn refuse(&self, refusal: &Refusal<'_>) -> Native;
}

/// What is at none of a compatibility endpoint's places.
#[must_use]
pub fn not_here() -> Problem {
    Problem::new(Code::NotFound, "this compatibility endpoint has nothing at this path")
}

/// A refusal on its way to a client that knows one source API.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// Why.
    pub problem: &'a Problem,
    /// Whether it answers a request to restore.
    pub restores: bool,
    /// Whether such a request has gone to a cloud.
    pub sent: bool,
    /// The gateway's id of the request.
    pub request_id: Option<&'a str>,
}

impl<'a> Refusal<'a> {
    /// A refusal before anything was sent.
    #[must_use]
    pub const fn before(problem: &'a Problem) -> Self {
        Self { problem, restores: false, sent: false, request_id: None }
    }

    /// The status. Released clients send a request to restore again on 401, 429, 502 and 504, and one of them
    /// breaks on any 500, so a refusal of one has none of these; but 401 tells a client whose token has
    /// run out to get a new one, which is as it should be while nothing was sent. What the source API's own generation refused
    /// keeps the status that it was refused with.
    #[must_use]
    pub fn status(&self, own: &[&str]) -> u16 {
        let problem = self.problem;
        let said = self.said(own).and_then(|said| said.status);
        match said.filter(|status| (400..500).contains(status)).unwrap_or(problem.status()) {
            408 => 400,
            401 if self.restores && self.sent => 403,
            429 | 502 | 504 if self.restores => 503,
            500 => 503,
            // These services know no 422; what they find wrong is 400.
            422 => 400,
            status => status,
        }
    }

    /// The code: the source API's own where its own generation said it (`own` are the beginnings of such codes), else
    /// one that belongs to no service.
    #[must_use]
    pub fn code(&self, own: &[&str]) -> String {
        match self.said(own).and_then(|said| said.code.clone()) {
            Some(code) => code,
            None => format!("Gateway.{}", self.problem.code.as_str()),
        }
    }

    /// What the source API's own generation said, if it was that.
    fn said(&self, own: &[&str]) -> Option<&UpstreamError> {
        self.problem.upstream.as_ref().filter(|upstream| {
            upstream.code.as_deref().is_some_and(|code| own.iter().any(|own| code.starts_with(own)))
        })
    }

    /// What to tell a person: the words of the source API's own generation as they are, else the gateway's, with the
    /// place of each fault.
    #[must_use]
    pub fn message(&self, own: &[&str]) -> String {
        let problem = self.problem;
        if let Some(message) = self.said(own).and_then(|said| said.message.clone()) {
            return message;
        }
        let mut message = problem.detail.clone();
        for fault in problem.errors.iter().take(8) {
            message.push_str(&format!("; {} {}", fault.pointer, fault.detail));
        }
        // The place of a fault is named by whoever wrote it, and programs print this.
        message.replace(char::is_control, "\u{fffd}")
    }
}

/// The body that every released client shows: the nested form first, which the older ones look for, then the flat one.
#[must_use]
pub(crate) fn both_forms(refusal: &Refusal<'_>, own: &[&str]) -> Value {
    let (code, message) = (refusal.code(own), refusal.message(own));
    let mut body = json!({
        "error": {"message": message, "code": code},
        "error_code": code,
        "error_msg": message,
    });
    if let Some(id) = refusal.request_id {
        body["request_id"] = json!(id);
    }
    body
}

/// Code and words of a restore that ended badly, for the members that a source API has for them.
#[must_use]
pub(crate) fn why(state: &State, own: &[&str]) -> (String, String) {
    let fallback;
    let problem = match &state.error {
        Some(problem) => problem,
        None => {
            let code = if state.status == Status::Expired { Code::Expired } else { Code::RestoreFailed };
            fallback =
                Problem::new(code, format!("the restore is {}", state.status.as_str())).effect(Effect::None);
            &fallback
        }
    };
    let refusal = Refusal { problem, restores: false, sent: true, request_id: None };
    (refusal.code(own), refusal.message(own))
}

/// A document of versions in the one form that no released client breaks on: a list in the manner of OpenStack.
#[must_use]
pub(crate) fn version_list(base: &str, ids: &[&str]) -> Native {
    let base = base.trim_end_matches('/');
    let version = |id: &&str| {
        let href = format!("{base}/{}/", id.split('.').next().unwrap_or(id));
        json!({"id": id, "status": "CURRENT", "links": [{"rel": "self", "href": href}]})
    };
    Native::new(300, json!({ "versions": ids.iter().map(version).collect::<Vec<_>>() }))
}

/// A time as CSBS, CBR and block storage write it: microseconds, no zone. The one form that their released clients
/// read; UTC is meant.
#[must_use]
pub(crate) fn naive(time: Timestamp) -> String {
    time.to_jiff().strftime("%Y-%m-%dT%H:%M:%S.%6f").to_string()
}

/// A time as jobs have it: milliseconds and a `Z`.
#[must_use]
pub(crate) fn zulu(time: Timestamp) -> String {
    time.to_jiff().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// The one thing that the path names.
///
/// # Errors
/// [`Code::InvalidParameter`] where it names none.
pub(crate) fn one(named: &Named) -> Result<Id, Problem> {
    named.id.clone().ok_or_else(|| Problem::new(Code::InvalidParameter, "the path names no backup"))
}

/// A schema of a native body, compiled when it is first asked for.
pub(crate) fn compiled(name: &str, text: &str) -> Validator {
    restore_model::schema::compile(text).unwrap_or_else(|error| {
        // The text is part of the binary and every test run compiles it.
        panic!("the built-in schema {name} does not compile: {error}")
    })
}
