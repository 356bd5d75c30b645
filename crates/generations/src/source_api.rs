//! Compatibility endpoints: a native API as its programs know it, both ways. A native request becomes the canonical
//! request. The state of a restore is shown in the native format, whichever generation carried it out.
//!
//! A source API is a file `source_api.rs` in the folder of its generation, and one line in [`ALL`]. It is as pure as
//! the rest of the crate: paths and bodies in, paths and bodies out. Other crates select restore, upstream and caller.

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

/// The source API with this name, as configuration and ledger spell it.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static dyn SourceApi> {
    ALL.iter().copied().find(|source_api| source_api.source_api() == name)
}

/// The names of all source APIs.
#[must_use]
pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|source_api| source_api.source_api()).collect()
}

/// The purpose of an operation of a native API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Begins a restore.
    Restore,
    /// Checks if a restore is possible, without doing it.
    Ask,
    /// Reads one restore, by the task ID that this compatibility endpoint returned.
    Restored,
    /// Lists the restores of a project.
    RestoredList,
    /// Reads one backup.
    Backup,
    /// Lists backups.
    BackupList,
    /// Reads the disk that a restore overwrites.
    Disk,
    /// Lists disks.
    DiskList,
    /// Lists the versions of the API.
    Versions,
    /// A proxied read whose path would otherwise match another operation.
    PassOn,
}

/// One operation of a native API.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The method.
    pub method: &'static str,
    /// The path, with `{project_id}` and, where it names one thing, `{id}`; the label of metrics and spans.
    pub template: &'static str,
    /// The purpose.
    pub act: Act,
    /// The form, if the same purpose has several. Only the compatibility endpoint uses it.
    pub form: Form,
}

/// The forms in which source APIs have the same purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The source API's own form.
    Own,
    /// The form of OpenStack block storage, which VBS serves, too.
    Cinder,
}

impl Place {
    /// Creates an operation in the source API's own form.
    pub(crate) const fn new(method: &'static str, template: &'static str, act: Act) -> Self {
        Self { method, template, act, form: Form::Own }
    }

    /// Creates an operation in the form of OpenStack block storage.
    pub(crate) const fn cinder(method: &'static str, template: &'static str, act: Act) -> Self {
        Self { method, template, act, form: Form::Cinder }
    }
}

/// The parameters of a path.
#[derive(Clone, Debug)]
pub struct Named {
    /// The project.
    pub project: ProjectId,
    /// The ID of one resource, if the path has one.
    pub id: Option<Id>,
}

/// A native restore request, translated.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The canonical request, with the backup IDs of the source API.
    pub request: RestoreRequest,
    /// Members that the canonical request does not have and that answers repeat; null if there are none.
    pub echo: Value,
}

/// A native check request, translated.
#[derive(Clone, Debug)]
pub enum Question {
    /// A check of these restores, each with a result of its own.
    Restorable(Vec<RestoreRequest>),
    /// A request that the gateway does not know; it is forwarded.
    PassOn,
}

/// The result for one restore of [`Question::Restorable`].
#[derive(Clone, Debug)]
pub struct Verdict<'a> {
    /// The restore request.
    pub request: &'a RestoreRequest,
    /// The obstacle: a code and a text. `None` if the restore is possible.
    pub obstacle: Option<(String, String)>,
}

/// A restore as the ledger stores it.
#[derive(Clone, Copy, Debug)]
pub struct RestoreView<'a> {
    /// The request.
    pub intent: &'a Intent,
    /// The current state.
    pub state: &'a State,
}

/// An answer in the format of a source API.
#[derive(Clone, Debug, PartialEq)]
pub struct Native {
    /// HTTP status.
    pub status: u16,
    /// JSON body; `None` for an empty one.
    pub body: Option<Value>,
}

impl Native {
    /// Creates an answer with a body.
    #[must_use]
    pub const fn new(status: u16, body: Value) -> Self {
        Self { status, body: Some(body) }
    }
}

/// The state of a restore, reduced to the states that the old source APIs have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not sent yet.
    Waiting,
    /// Sent; it may be running, or its state is unknown.
    Running,
    /// Succeeded.
    Done,
    /// Ended in any other way.
    Failed,
}

impl Stage {
    /// Returns the stage of a state. An unknown outcome counts as running: the source APIs have no name for it, and
    /// success or failure would be false.
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
    /// Its name in configuration, ledger and responses.
    fn source_api(&self) -> &'static str;

    /// The generation whose backup IDs its clients use. The upstream of that generation answers proxied reads.
    fn generation(&self) -> &'static str;

    /// The day on which clouds closed this API to new projects, as `YYYY-MM-DD`; `None` if no cloud has.
    fn closed_on(&self) -> Option<&'static str>;

    /// The kinds of target that it can express.
    fn targets(&self) -> &'static [TargetKind];

    /// Returns true if its restore call contains this member of the canonical request. Only members that not every
    /// source API has are in question.
    fn says(&self, _member: &str) -> bool {
        false
    }

    /// Number of segments before the project in its paths, as in its generation.
    fn project_segment(&self) -> usize {
        crate::by_name(self.generation()).map_or(0, Generation::project_segment)
    }

    /// Returns the project of one of its paths.
    fn project_in<'p>(&self, path: &'p str) -> Option<&'p str> {
        crate::by_name(self.generation())?.project_in(path)
    }

    /// Its operations. The gateway proxies any other read.
    fn places(&self) -> &'static [Place];

    /// The header in which its clients expect the request ID, besides `X-Request-Id`.
    fn request_id_header(&self) -> Option<&'static str> {
        None
    }

    /// Returns true if its clients can read `Retry-After` on an answer with this status.
    fn allows_retry_after(&self, _status: u16) -> bool {
        true
    }

    /// Returns the service of a cloud that serves a read of this path.
    fn service(&self, _path: &str) -> Host {
        Host::Backup
    }

    /// Parses a native restore request strictly.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`] with a pointer for every error.
    fn restore(&self, form: Form, named: &Named, body: Value) -> Result<Wanted, Problem>;

    /// Returns the answer to an accepted restore request.
    fn taken(&self, form: Form, told: RestoreView<'_>) -> Native;

    /// Returns one restore in the native format.
    fn restored(&self, told: RestoreView<'_>) -> Native;

    /// Returns the query for the own list of the compatibility endpoint's upstream, `home`, to fill a page. `None` if a
    /// page shows only the restores of the gateway.
    ///
    /// # Errors
    /// If a filter is invalid.
    fn others(
        &self,
        _query: &str,
        _told: &[RestoreView<'_>],
        _home: Option<&str>,
    ) -> Result<Option<String>, Problem> {
        Ok(None)
    }

    /// Returns true if an answer to the query of [`SourceApi::others`] is such a list.
    fn is_list(&self, _others: &Value) -> bool {
        true
    }

    /// Returns a page of restores: those of the gateway, newest first, then those of [`SourceApi::others`].
    ///
    /// # Errors
    /// If a filter is invalid.
    fn restored_list(
        &self,
        _query: &str,
        _told: &[RestoreView<'_>],
        _home: Option<&str>,
        _others: Option<Value>,
    ) -> Result<Native, Problem> {
        Err(not_here())
    }

    /// Parses a native check request.
    ///
    /// # Errors
    /// As [`SourceApi::restore`].
    fn ask(&self, _named: &Named, _body: &Value) -> Result<Question, Problem> {
        Err(not_here())
    }

    /// Returns the answer to a native check request.
    fn answer(&self, _verdicts: &[Verdict<'_>]) -> Native {
        self.refuse(&Refusal::before(&not_here()))
    }

    /// Returns a backup in the native format, from the data of another generation.
    fn backup(&self, form: Form, named: &Named, backup: &Backup) -> Value;

    /// Adds the effect of a restore to a backup if the cloud does not show it.
    fn restoring(&self, form: Form, backup: &mut Value, told: RestoreView<'_>);

    /// Returns true if a backup shows neither a failed restore nor any activity by itself. Otherwise the cloud's own
    /// state takes precedence.
    fn is_plain(&self, backup: &Value) -> bool {
        let status = lenient::text(backup, &[self.backups().1, "status"]).unwrap_or_default();
        status.eq_ignore_ascii_case("available")
    }

    /// The member names for a list of backups and for a single backup.
    fn backups(&self) -> (&'static str, &'static str) {
        ("backups", "backup")
    }

    /// Adds the effect of a restore to a disk. The cloud's own state takes precedence once the restore has succeeded.
    fn overwriting(&self, _disk: &mut Value, _told: RestoreView<'_>) {}

    /// Returns the disk that a restore overwrites, from the data of the ledger. It is used if no cloud can be read.
    fn disk(&self, _named: &Named, _told: RestoreView<'_>) -> Native {
        self.refuse(&Refusal::before(&not_here()))
    }

    /// Returns the versions of this API; `base` is the address of the compatibility endpoint.
    fn versions(&self, base: &str) -> Native;

    /// Returns a rejection in the format of the source API.
    fn refuse(&self, refusal: &Refusal<'_>) -> Native;
}

/// Returns the problem for a path that a compatibility endpoint does not have.
#[must_use]
pub fn not_here() -> Problem {
    Problem::new(Code::NotFound, "this compatibility endpoint has nothing at this path")
}

/// A rejection for a client of one source API.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// The reason.
    pub problem: &'a Problem,
    /// True if it answers a restore request.
    pub restores: bool,
    /// True if the gateway has sent the restore to a cloud.
    pub sent: bool,
    /// The gateway's ID of the request.
    pub request_id: Option<&'a str>,
}

impl<'a> Refusal<'a> {
    /// Creates a rejection before anything was sent.
    #[must_use]
    pub const fn before(problem: &'a Problem) -> Self {
        Self { problem, restores: false, sent: false, request_id: None }
    }

    /// Returns the status. Released clients repeat a restore request on 401, 429, 502 and 504, and one of them fails on
    /// any 500. So a rejected restore request has none of these, with one exception: while nothing was sent, 401 makes
    /// a client with an expired token get a new one. Otherwise a 4xx status of the source API's own
    /// generation stays unchanged.
    #[must_use]
    pub fn status(&self, own: &[&str]) -> u16 {
        let problem = self.problem;
        let said = self.said(own).and_then(|said| said.status);
        match said.filter(|status| (400..500).contains(status)).unwrap_or(problem.status()) {
            408 => 400,
            401 if self.restores && self.sent => 403,
            429 | 502 | 504 if self.restores => 503,
            500 => 503,
            // These services do not use 422; an invalid request is a 400.
            422 => 400,
            status => status,
        }
    }

    /// Returns the code: the source API's own if its own generation returned it (`own` has the prefixes of such codes),
    /// otherwise one that belongs to no service.
    #[must_use]
    pub fn code(&self, own: &[&str]) -> String {
        match self.said(own).and_then(|said| said.code.clone()) {
            Some(code) => code,
            None => format!("Gateway.{}", self.problem.code.as_str()),
        }
    }

    /// Returns the error of the source API's own generation, if there is one.
    fn said(&self, own: &[&str]) -> Option<&UpstreamError> {
        self.problem.upstream.as_ref().filter(|upstream| {
            upstream.code.as_deref().is_some_and(|code| own.iter().any(|own| code.starts_with(own)))
        })
    }

    /// Returns the text for a person: the unchanged message of the source API's own generation, otherwise the
    /// gateway's, with the location of each error.
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
        // The client chose the location of an error, and programs print it.
        message.replace(char::is_control, "\u{fffd}")
    }
}

/// The body that every released client shows: first the nested form, which the older ones read, then the flat one.
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

/// Code and text of an unsuccessful restore, for the members that a source API has for them.
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

/// A version document in the only format that all released clients accept: a list in the style of OpenStack.
#[must_use]
pub(crate) fn version_list(base: &str, ids: &[&str]) -> Native {
    let base = base.trim_end_matches('/');
    let version = |id: &&str| {
        let href = format!("{base}/{}/", id.split('.').next().unwrap_or(id));
        json!({"id": id, "status": "CURRENT", "links": [{"rel": "self", "href": href}]})
    };
    Native::new(300, json!({ "versions": ids.iter().map(version).collect::<Vec<_>>() }))
}

/// A time in the format of CSBS, CBR and block storage: microseconds, no zone, in UTC. Their released clients read no
/// other format.
#[must_use]
pub(crate) fn naive(time: Timestamp) -> String {
    time.to_jiff().strftime("%Y-%m-%dT%H:%M:%S.%6f").to_string()
}

/// A time in the format of jobs: milliseconds and a `Z`.
#[must_use]
pub(crate) fn zulu(time: Timestamp) -> String {
    time.to_jiff().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// Returns the ID in the path.
///
/// # Errors
/// [`Code::InvalidParameter`] if the path has none.
pub(crate) fn one(named: &Named) -> Result<Id, Problem> {
    named.id.clone().ok_or_else(|| Problem::new(Code::InvalidParameter, "the path names no backup"))
}

/// A schema of a native body, compiled at first use.
pub(crate) fn compiled(name: &str, text: &str) -> Validator {
    restore_model::schema::compile(text).unwrap_or_else(|error| {
        // The text is part of the binary and every test run compiles it.
        panic!("the built-in schema {name} does not compile: {error}")
    })
}
