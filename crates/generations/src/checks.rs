//! The questions of a check ("may this restore be done?") and their results.

use restore_model::Code;

use crate::call::Reply;
use crate::{classify, codes, errors};

/// One question of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// A stable name.
    pub name: &'static str,
    /// Its result.
    pub result: CheckResult,
    /// The code that the upstream would reject the restore with.
    pub upstream_code: Option<String>,
    /// A short text for a person.
    pub detail: Option<String>,
    /// True if a restore must not be sent while this check has no result.
    pub is_required: bool,
    /// The class of the rejection, if the upstream has no code for it.
    pub code: Option<Code>,
}

/// Result of one question of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckResult {
    /// No obstacle.
    Passed,
    /// The upstream would reject the restore.
    Failed,
    /// The check was not possible.
    NotRun,
}

impl CheckResult {
    /// The public name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NotRun => "not_run",
        }
    }
}

impl Check {
    /// A passed check.
    #[must_use]
    pub const fn passed(name: &'static str) -> Self {
        let (is_required, code) = (false, None);
        Self { name, result: CheckResult::Passed, upstream_code: None, detail: None, is_required, code }
    }

    /// A check that found an obstacle, with the code that the upstream would use.
    pub fn failed(name: &'static str, code: &str, detail: impl Into<String>) -> Self {
        Self {
            name,
            result: CheckResult::Failed,
            upstream_code: (!code.is_empty()).then(|| code.to_owned()),
            detail: Some(detail.into()),
            ..Self::passed(name)
        }
    }

    /// A check that was not possible, with the reason.
    pub fn not_run(name: &'static str, why: impl Into<String>) -> Self {
        Self { result: CheckResult::NotRun, detail: Some(why.into()), ..Self::passed(name) }
    }

    /// The same check, marked as required: without a result the restore must not be sent.
    #[must_use]
    pub(crate) fn required(self, code: Code) -> Self {
        Self { is_required: true, code: Some(code), ..self }
    }

    /// Result for something that the restore needs, from an answer without success. It is an obstacle if the thing does
    /// not exist or if the generation is closed to the project. The code is the upstream's own or `code`. Otherwise the
    /// check has no result.
    pub(crate) fn unfound(name: &'static str, code: &str, reply: &Reply) -> Self {
        let problem = classify(reply).into_problem();
        if !errors::not_there(reply)
            && !matches!(problem.code, Code::BackupNotFound | Code::GenerationRetired)
        {
            return Self::not_run(name, problem.detail);
        }
        let said = problem.upstream.and_then(|said| said.code);
        let said = said.filter(|said| codes::find(said, reply.status).is_some());
        Self::failed(name, said.as_deref().unwrap_or(code), problem.detail)
    }

    /// Result of the check call itself, from an answer without success. It is an obstacle if the upstream names one by
    /// a code of the table. Otherwise the check has no result.
    pub(crate) fn refused(name: &'static str, reply: &Reply) -> Self {
        let verdict = classify(reply);
        let code = errors::read(reply).code.filter(|code| codes::find(code, reply.status).is_some());
        match (verdict.refusal(), code) {
            (Some(class), Some(code)) if class.is_obstacle() => {
                Self::failed(name, &code, verdict.into_problem().detail)
            }
            _ => Self::not_run(name, verdict.into_problem().detail),
        }
    }

    /// Passed or failed, depending on `holds`.
    pub fn of(name: &'static str, holds: bool, code: &str, detail: impl Into<String>) -> Self {
        if holds { Self::passed(name) } else { Self::failed(name, code, detail) }
    }
}
