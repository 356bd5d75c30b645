//! The questions of "may this restore be done?", and how each went.

use restore_model::Code;

use crate::call::Reply;
use crate::{classify, codes, errors};

/// One question of a restore check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// A stable word.
    pub name: &'static str,
    /// How it went.
    pub result: CheckResult,
    /// The code the upstream would refuse with.
    pub upstream_code: Option<String>,
    /// A few words for a person.
    pub detail: Option<String>,
    /// Whether a restore must not be sent where this could not be asked.
    pub is_required: bool,
    /// The class of the refusal, where the upstream has no code for it.
    pub code: Option<Code>,
}

/// How a question of a restore check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckResult {
    /// Nothing stands against it.
    Passed,
    /// The restore would be refused.
    Failed,
    /// It could not be asked.
    NotRun,
}

impl CheckResult {
    /// The public word.
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
    /// A question that went well.
    #[must_use]
    pub const fn passed(name: &'static str) -> Self {
        let (is_required, code) = (false, None);
        Self { name, result: CheckResult::Passed, upstream_code: None, detail: None, is_required, code }
    }

    /// A question that found an obstacle, with the code the upstream would name.
    pub fn failed(name: &'static str, code: &str, detail: impl Into<String>) -> Self {
        Self {
            name,
            result: CheckResult::Failed,
            upstream_code: (!code.is_empty()).then(|| code.to_owned()),
            detail: Some(detail.into()),
            ..Self::passed(name)
        }
    }

    /// A question that could not be asked, and why.
    pub fn not_run(name: &'static str, why: impl Into<String>) -> Self {
        Self { result: CheckResult::NotRun, detail: Some(why.into()), ..Self::passed(name) }
    }

    /// The same question, without an answer to which a restore must not be sent.
    #[must_use]
    pub(crate) fn required(self, code: Code) -> Self {
        Self { is_required: true, code: Some(code), ..self }
    }

    /// What an answer that is no success says of a thing the restore needs: an obstacle when it is
    /// not there or the generation is closed to the project, under the upstream's own code or the
    /// one given; otherwise nothing.
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

    /// What an answer that is no success says to the question itself: an obstacle where the upstream
    /// names one by a code of the table; anything else is no answer.
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

    /// Passed or failed by a condition.
    pub fn of(name: &'static str, holds: bool, code: &str, detail: impl Into<String>) -> Self {
        if holds { Self::passed(name) } else { Self::failed(name, code, detail) }
    }
}
