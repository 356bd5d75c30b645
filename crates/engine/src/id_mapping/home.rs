//! The source lookup: the backup according to the caller's own generation, and the consequence of each result, in one
//! table ([`LookupResult::row`]). A failed read proves nothing, so it must never make the proof of an ID easier. The
//! gateway waits for a temporary error to pass, and a person must fix a permanent one.

use restore_generations::{Backup, Reply, Verdict, classify, errors};
use restore_model::{Code, Effect, Id, Problem, Retry};
use restore_upstream::{Fault, FaultKind};

/// Seconds after which a fault that passes may have passed.
const PASSES: u32 = 5;
/// Advice that always applies.
const BY_TABLE: &str = "or write both ids into the file of id_mapping.file";

/// Result of the lookup at the caller's own generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LookupResult {
    /// It reports the backup.
    Told,
    /// It knows no such backup.
    NoSuchBackup,
    /// The configuration has no upstream of that generation.
    NoUpstream,
    /// The generation is closed to the project.
    Closed,
    /// The API itself is not there any more.
    NoSuchApi,
    /// The configuration has upstreams of that generation, and do not say which is meant.
    SeveralUpstreams,
    /// The upstream was taken out of the configuration since the restore was accepted.
    TakenOut,
    /// The caller has no permission for that upstream, so the gateway did not read it.
    NotAllowed,
    /// Nothing to ask with: it takes the caller's token, and there is none.
    NoToken,
    /// The configuration leaves no way to ask: there is no endpoint.
    NoWay,
    /// The gateway's credential there is for another project.
    OutOfScope,
    /// The token, or the gateway's own credential, was refused.
    Unauthorized,
    /// The caller may not read it.
    Forbidden,
    /// It refuses the question for another reason that does not pass.
    Refused,
    /// It was asked too often.
    Throttled,
    /// It is busy or has failed inside.
    Failed,
    /// It answers with something that is no backup, or another one.
    Unreadable,
    /// No answer: no connection, no time, an open breaker.
    NoAnswer,
}

/// Consequence of a lookup result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follows {
    /// IDs are proven against its report.
    Compare,
    /// There is nothing to compare with, for good: a name must be proven by what the request itself names.
    ByRequest,
    /// Refused until it can be asked; asking again helps.
    Later,
    /// Refused until somebody has mended it.
    Never,
}

impl LookupResult {
    /// The table: what follows, and what to do about it.
    const fn row(self) -> (Follows, &'static str) {
        match self {
            Self::Told => (Follows::Compare, ""),
            Self::NoSuchBackup => (Follows::ByRequest, "it knows no such backup"),
            Self::NoUpstream => (Follows::ByRequest, "no upstream of it is configured"),
            Self::Closed => (Follows::ByRequest, "it is closed to this project"),
            Self::NoSuchApi => (Follows::ByRequest, "its API is not there any more"),
            Self::SeveralUpstreams => (Follows::Never, "name the one to ask in compat_endpoints[].upstream"),
            Self::TakenOut => (Follows::Never, "send the request again: the configuration has changed"),
            Self::NotAllowed => (Follows::Never, "have a policy allow this caller that upstream"),
            Self::NoToken => {
                (Follows::Never, "send a token that it takes, give that upstream a credential of its own")
            }
            Self::NoWay => (Follows::Never, "add its endpoint to the configuration"),
            Self::OutOfScope => {
                (Follows::Never, "name an upstream for this project in compat_endpoints[].upstream")
            }
            Self::Unauthorized => (Follows::Never, "bring a token that it takes"),
            Self::Forbidden => (Follows::Never, "ask for the permission to read backups there"),
            Self::Refused => (Follows::Never, "see its words"),
            Self::Throttled | Self::Failed | Self::NoAnswer => {
                (Follows::Later, "try again later; if it persists, repair that upstream")
            }
            Self::Unreadable => (Follows::Later, "try again later; if it persists, check the endpoint"),
        }
    }

    /// Classifies a response to the read of this backup. `read` is the backup that the generation found in it.
    pub(super) fn of(reply: &Reply, id: &Id, read: Option<&Backup>) -> Self {
        if reply.status == 200 {
            let same = read.is_some_and(|read| read.id.parse::<Id>().is_ok_and(|read| read.is_same(id)));
            return if same { Self::Told } else { Self::Unreadable };
        }
        let problem = match classify(reply) {
            Verdict::Ambiguous(_) if (200..400).contains(&reply.status) => return Self::Unreadable,
            Verdict::Ambiguous(_) => return Self::Failed,
            Verdict::Refused(problem) => problem,
        };
        let is_404 = reply.status == 404;
        match problem.code {
            Code::GenerationRetired => Self::Closed,
            Code::UpstreamMisconfigured if is_404 => Self::NoSuchApi,
            Code::BackupNotFound if reply.status < 500 => Self::NoSuchBackup,
            // A bare 404 may be anybody's on the way there.
            Code::UpstreamNotFound if is_404 && has_words(reply) => Self::NoSuchBackup,
            _ if is_404 => Self::Unreadable,
            Code::UpstreamUnauthorized | Code::CredentialFailed => Self::Unauthorized,
            Code::UpstreamThrottled => Self::Throttled,
            Code::UpstreamForbidden if problem.retry != Retry::Later => Self::Forbidden,
            _ if problem.retry == Retry::Later => Self::Failed,
            _ => Self::Refused,
        }
    }

    /// Why no answer came.
    pub(super) const fn without(fault: &Fault) -> Self {
        match fault.kind {
            FaultKind::NoEndpoint => Self::NoWay,
            FaultKind::OutOfScope => Self::OutOfScope,
            _ => Self::NoAnswer,
        }
    }
}

/// True if a service speaks in it, as against a page of whatever stands before one.
fn has_words(reply: &Reply) -> bool {
    let said = errors::read(reply);
    reply.json().is_some() && (said.code.is_some() || said.message.is_some())
}

/// The backup according to the caller's own generation.
#[derive(Clone, Debug)]
pub(super) enum Home {
    /// The backup.
    Tells(Box<Backup>),
    /// Nothing, for good: why.
    Silent(String),
    /// It could not be asked, or not be understood: why, and the refusal.
    Unread(String, Box<Problem>),
}

impl Home {
    /// What follows where it does not tell of the backup. `what` says in words what was heard, `problem` is the one behind
    /// it where there is one.
    pub(super) fn untold(result: LookupResult, what: &str, problem: Option<Problem>) -> Self {
        let (follows, advice) = result.row();
        let what = if what.is_empty() { advice.to_owned() } else { what.to_owned() };
        if matches!(follows, Follows::Compare | Follows::ByRequest) {
            return Self::Silent(what);
        }
        let detail = format!("{what}; nothing was sent: {advice}, {BY_TABLE}");
        // The response is in the detail only: a compatibility endpoint would return it as the response to the restore.
        let refusal = match (follows, result, problem) {
            (Follows::Later, _, problem) => {
                let said = problem.and_then(|problem| problem.retry_after);
                Problem::new(Code::BackupLookupFailed, detail).after(said.unwrap_or(PASSES))
            }
            // Who asks can mend these, and programs know them by their own words.
            (
                _,
                LookupResult::Unauthorized | LookupResult::Forbidden | LookupResult::OutOfScope,
                Some(problem),
            ) => Problem { detail, upstream: None, ..problem.effect(Effect::None) },
            _ => Problem::new(Code::BackupIdUnmapped, detail),
        };
        Self::Unread(what, Box::new(refusal))
    }

    /// The backup, if the lookup found it.
    pub(super) fn backup(&self) -> Option<&Backup> {
        match self {
            Self::Tells(backup) => Some(backup),
            Self::Silent(_) | Self::Unread(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use restore_model::TargetKind;

    use super::*;

    fn answer(status: u16, body: &str) -> LookupResult {
        let reply = Reply { status, body: body.as_bytes().to_vec().into(), ..Reply::default() };
        LookupResult::of(&reply, &"b".parse().unwrap(), None)
    }

    fn backup(id: &str) -> Backup {
        Backup {
            id: id.to_owned(),
            name: String::new(),
            status: "available".to_owned(),
            kind: Some(TargetKind::Volume),
            resource_id: "v".to_owned(),
            resource_name: String::new(),
            checkpoint_id: None,
            created_at: None,
            updated_at: None,
            size_gb: None,
            zone: String::new(),
            disks: Vec::new(),
        }
    }

    /// Every row, and that the proof is an easier one for none of those that may pass.
    #[test]
    fn what_could_not_be_read_never_makes_the_proof_an_easier_one() {
        use Follows::{ByRequest, Compare, Later, Never};
        let rows = [
            (LookupResult::Told, Compare),
            (LookupResult::NoSuchBackup, ByRequest),
            (LookupResult::NoUpstream, ByRequest),
            (LookupResult::Closed, ByRequest),
            (LookupResult::NoSuchApi, ByRequest),
            (LookupResult::SeveralUpstreams, Never),
            (LookupResult::TakenOut, Never),
            (LookupResult::NotAllowed, Never),
            (LookupResult::NoToken, Never),
            (LookupResult::NoWay, Never),
            (LookupResult::OutOfScope, Never),
            (LookupResult::Unauthorized, Never),
            (LookupResult::Forbidden, Never),
            (LookupResult::Refused, Never),
            (LookupResult::Throttled, Later),
            (LookupResult::Failed, Later),
            (LookupResult::Unreadable, Later),
            (LookupResult::NoAnswer, Later),
        ];
        for (result, follows) in rows {
            assert_eq!(result.row().0, follows, "{result:?}");
            let home = Home::untold(result, "", None);
            match follows {
                Compare => {}
                ByRequest => assert!(matches!(home, Home::Silent(_)), "{result:?}"),
                Later | Never => {
                    let Home::Unread(_, problem) = home else { panic!("{result:?}: {home:?}") };
                    assert_eq!(problem.effect, Effect::None, "{result:?}");
                    assert_eq!(problem.retry_after.is_some(), follows == Later, "{result:?}");
                    let code =
                        if follows == Later { Code::BackupLookupFailed } else { Code::BackupIdUnmapped };
                    assert_eq!(problem.code, code, "{result:?}");
                    assert!(problem.detail.contains("nothing was sent: "), "{problem}");
                    assert!(problem.detail.contains("id_mapping.file"), "{problem}");
                }
            }
        }
    }

    #[test]
    fn an_answer_is_what_its_code_and_status_say() {
        let code = |code: &str| format!(r#"{{"error_code":"{code}","error_msg":"m"}}"#);
        let rows: &[(u16, String, LookupResult)] = &[
            (400, code("BackupService.4003"), LookupResult::Closed),
            (403, code("BackupService.4008"), LookupResult::Closed),
            // A balancer's word is none of the service's.
            (504, code("BackupService.4008"), LookupResult::Failed),
            (404, code("APIGW.0101"), LookupResult::NoSuchApi),
            (404, code("APIG.0101"), LookupResult::NoSuchApi),
            (502, code("APIGW.0103"), LookupResult::Refused),
            (404, code("CSBS.3001"), LookupResult::NoSuchBackup),
            (400, code("VolumeBackup.0111"), LookupResult::NoSuchBackup),
            (500, code("VolumeBackup.0111"), LookupResult::Refused),
            (404, r#"{"itemNotFound":{"code":404,"message":"gone"}}"#.to_owned(), LookupResult::NoSuchBackup),
            (404, String::new(), LookupResult::Unreadable),
            (404, "<html>nginx</html>".to_owned(), LookupResult::Unreadable),
            (404, code("IAM.0002"), LookupResult::Unreadable),
            (401, String::new(), LookupResult::Unauthorized),
            (500, code("BackupService.9998"), LookupResult::Unauthorized),
            (403, String::new(), LookupResult::Forbidden),
            (403, code("IAM.0003"), LookupResult::Forbidden),
            (403, code("VolumeBackup.0041"), LookupResult::Failed),
            (429, String::new(), LookupResult::Throttled),
            (409, String::new(), LookupResult::Failed),
            (408, String::new(), LookupResult::Failed),
            (500, String::new(), LookupResult::Failed),
            (502, "<html>".to_owned(), LookupResult::Failed),
            (503, code("VolumeBackup.0900"), LookupResult::Failed),
            (504, String::new(), LookupResult::Failed),
            (400, String::new(), LookupResult::Refused),
            (405, String::new(), LookupResult::Refused),
            (410, String::new(), LookupResult::Refused),
            (301, String::new(), LookupResult::Unreadable),
            (200, "{".to_owned(), LookupResult::Unreadable),
            (204, String::new(), LookupResult::Unreadable),
            (302, String::new(), LookupResult::Unreadable),
        ];
        for (status, body, result) in rows {
            assert_eq!(answer(*status, body), *result, "{status} {body}");
        }
    }

    #[test]
    fn a_backup_is_reported_only_if_it_is_the_requested_one() {
        let reply = Reply { status: 200, ..Reply::default() };
        let result =
            |asked: &str, read: &str| LookupResult::of(&reply, &asked.parse().unwrap(), Some(&backup(read)));
        assert_eq!(result("C0-FFEE", "c0ffee"), LookupResult::Told);
        assert_eq!(result("c0ffee", "c0ffef"), LookupResult::Unreadable);
    }
}
