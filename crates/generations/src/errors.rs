//! Reads every form of error body, distinguished by structure and never by host. It makes two judgements: one about the
//! answer to a read, one about the answer to a restore call.
//!
//! A read changes nothing, so its status alone may decide. The answer to a restore call is a rejection only with
//! positive proof: the cloud's own error format, with a code or a status that rejects. Proxies, load balancers and
//! firewalls write 4xx answers of their own after the cloud has accepted.

use restore_model::{Code, Effect, Problem, Retry, UpstreamError};
use serde_json::Value;

use crate::call::Reply;
use crate::codes::{self, Hint};
use crate::lenient::{as_text, cut};

mod signature;

pub use signature::SignatureRefusal;

/// Maximum wait that the gateway forwards to a caller, in seconds.
const MAX_RETRY_AFTER: u32 = 3_600;
/// Maximum nesting depth of an error body.
const MAX_WRAPPING: usize = 3;
/// The statuses with which a cloud rejects a call with an unknown code. All others prove nothing, or come from
/// intermediaries.
const REFUSING: [u16; 17] =
    [400, 401, 403, 404, 405, 406, 409, 411, 413, 414, 415, 421, 422, 425, 428, 429, 431];
/// The error names of OpenStack's services (cloud APIs 1.6, E5).
const FAULTS: [&str; 15] = [
    "badMediaType",
    "badMethod",
    "badRequest",
    "buildInProgress",
    "computeFault",
    "conflictingRequest",
    "upstream_forbidden",
    "gone",
    "itemNotFound",
    "notAcceptable",
    "notImplemented",
    "overLimit",
    "requestEntityTooLarge",
    "serviceUnavailable",
    "upstream_unauthorized",
];
/// The error name of a rate limit or a quota.
const OVER_LIMIT: &str = "overLimit";
/// The error name of a missing resource.
const NOT_FOUND: &str = "itemNotFound";

/// Meaning of an answer without success for its call.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Rejected; nothing was changed.
    Refused(Problem),
    /// It may have been applied; the problem contains the upstream's error.
    Ambiguous(Problem),
}

impl Verdict {
    /// The problem, whichever it is.
    #[must_use]
    pub fn into_problem(self) -> Problem {
        match self {
            Self::Refused(problem) | Self::Ambiguous(problem) => problem,
        }
    }

    /// The class of the rejection, if it is one.
    #[must_use]
    pub const fn refusal(&self) -> Option<Code> {
        match self {
            Self::Refused(problem) => Some(problem.code),
            Self::Ambiguous(_) => None,
        }
    }
}

/// Content of an answer, and whether it is the cloud's own.
#[derive(Default)]
struct Said {
    error: UpstreamError,
    /// True if the body has a format that the clouds' services, their API gateways and their IAM write. Any
    /// intermediary can write the other formats.
    of_the_cloud: bool,
    /// The member that contains the error.
    fault: Option<String>,
    /// The wait beside the error, unchanged.
    wait: Option<String>,
}

/// Reads code, message and request ID from any answer.
#[must_use]
pub fn read(reply: &Reply) -> UpstreamError {
    said(reply).error
}

fn said(reply: &Reply) -> Said {
    let mut said = match reply.json() {
        Some(value) => read_json(&value).unwrap_or_default(),
        None => Said {
            error: UpstreamError { message: plain_text(&reply.body), ..UpstreamError::default() },
            ..Said::default()
        },
    };
    said.error.status = Some(reply.status);
    said.error.request_id = said.error.request_id.or_else(|| reply.request_id.clone());
    said.wait = said.wait.or_else(|| reply.retry_after.clone());
    said
}

/// True if a read found that the resource does not exist. A missing path is different: an API gateway that does not
/// know the path answers 404, too. Proxies answer 404 with pages. A service without running workers reports that the
/// workers could not be found.
#[must_use]
pub fn not_there(reply: &Reply) -> bool {
    let said = said(reply);
    let page = reply.json().is_none() && !reply.body.iter().all(u8::is_ascii_whitespace);
    reply.status == 404 && !page && !of_api_gateway(&said) && !lacks_a_service(&said)
}

fn of_api_gateway(said: &Said) -> bool {
    said.error.code.as_ref().is_some_and(|code| code.starts_with("APIG"))
}

/// Block storage without a running backup service: a 404 that concerns neither a backup nor a volume.
fn lacks_a_service(said: &Said) -> bool {
    let message = said.error.message.as_deref().unwrap_or_default();
    said.fault.as_deref() == Some(NOT_FOUND) && message.starts_with("Service ")
}

/// Judges the answer to a read without success. Its status decides if no code does.
#[must_use]
pub fn classify(reply: &Reply) -> Verdict {
    let said = said(reply);
    let (class, hint) = class(&said).unwrap_or_else(|| by_status(reply.status));
    verdict(said, class, hint)
}

/// Judges the answer to a restore call without success. It is a rejection only with proof.
#[must_use]
pub fn of_restore(reply: &Reply) -> Verdict {
    let said = said(reply);
    match class(&said) {
        Some((class, hint)) => verdict(said, class, hint),
        None => match by_status(reply.status) {
            // An overloaded server may have started the restore before it failed.
            (class, Hint::Ambiguous) => verdict(said, class, Hint::Ambiguous),
            // The table knows this code only under other statuses, so it contradicts this status.
            _ if said.error.code.as_deref().is_some_and(codes::is_known) => unproven(said),
            (class, hint) if said.of_the_cloud && REFUSING.contains(&reply.status) => {
                verdict(said, class, hint)
            }
            _ => unproven(said),
        },
    }
}

/// Returns the class of the rejection if it is proven that nothing was started. Then the restore call may be sent
/// again.
#[must_use]
pub fn refusal(reply: &Reply) -> Option<Code> {
    if (200..300).contains(&reply.status) {
        return None;
    }
    of_restore(reply).refusal()
}

/// Judges an error under a success status; only its code decides. `None` if the table does not have it.
pub(crate) fn under_success(reply: &Reply) -> Option<Verdict> {
    let said = said(reply);
    let (class, hint) = class(&said)?;
    Some(verdict(said, class, hint))
}

/// A rejection with an unknown code that has other proof.
pub(crate) fn uncatalogued(reply: &Reply) -> Verdict {
    verdict(said(reply), Code::UpstreamBadRequest, Hint::No)
}

/// Class and hint of the cloud's error, if code or error name decide alone.
fn class(said: &Said) -> Option<(Code, Hint)> {
    let status = said.error.status.unwrap_or(0);
    if said.of_the_cloud && said.fault.as_deref() == Some(OVER_LIMIT) && matches!(status, 413 | 429) {
        // A wait of 0 in a 413 means a quota: no wait helps.
        let quota = status == 413 && said.wait.as_deref().is_some_and(|wait| wait.trim() == "0");
        return Some(if quota {
            (Code::UpstreamBadRequest, Hint::No)
        } else {
            (Code::UpstreamThrottled, Hint::Later)
        });
    }
    if status == 404 && lacks_a_service(said) {
        return Some((Code::UpstreamUnavailable, Hint::Later));
    }
    let row = codes::find(said.error.code.as_deref()?, status)?;
    Some((row.class, row.hint))
}

fn verdict(said: Said, class: Code, hint: Hint) -> Verdict {
    let problem = Problem::new(class, format!("the upstream says {}", words(&said.error)));
    let wait = said.wait.as_deref().and_then(|seconds| seconds.trim().parse::<u32>().ok());
    let problem = problem.upstream(said.error);
    match (hint, wait) {
        (Hint::No | Hint::Auth | Hint::Reroute, _) => Verdict::Refused(problem.retry(Retry::Never)),
        // A wait from the upstream is better than a guess; a date or an unreadable value is neither.
        (Hint::Later | Hint::Bounded, Some(wait)) => {
            Verdict::Refused(problem.after(wait.min(MAX_RETRY_AFTER)))
        }
        (Hint::Later | Hint::Bounded, None) => Verdict::Refused(problem.retry(Retry::Later)),
        (Hint::Ambiguous, _) => Verdict::Ambiguous(problem.effect(Effect::Possible).retry(Retry::Never)),
    }
}

/// A status that looks like a rejection, without the cloud's own error format.
fn unproven(said: Said) -> Verdict {
    let status = said.error.status.unwrap_or(0);
    let detail = format!(
        "the answer (HTTP status {status}) does not prove that the cloud refused the restore: {}",
        words(&said.error)
    );
    let problem = Problem::new(Code::UpstreamInvalidResponse, detail).upstream(said.error);
    Verdict::Ambiguous(problem.effect(Effect::Possible).retry(Retry::Never))
}

fn words(error: &UpstreamError) -> String {
    match (&error.code, &error.message) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.clone(),
        (None, Some(message)) => message.clone(),
        (None, None) => format!("HTTP status {} without a word", error.status.unwrap_or(0)),
    }
}

/// The class of a status without a known code.
const fn by_status(status: u16) -> (Code, Hint) {
    match status {
        401 => (Code::UpstreamUnauthorized, Hint::Auth),
        403 => (Code::UpstreamForbidden, Hint::No),
        404 => (Code::UpstreamNotFound, Hint::No),
        408 => (Code::UpstreamUnavailable, Hint::Ambiguous),
        409 => (Code::UpstreamBusy, Hint::Later),
        429 => (Code::UpstreamThrottled, Hint::Later),
        400..=499 => (Code::UpstreamBadRequest, Hint::No),
        503 => (Code::UpstreamUnavailable, Hint::Ambiguous),
        // A redirect is not an acceptance, and not a proof of a rejection.
        200..=399 => (Code::UpstreamInvalidResponse, Hint::Ambiguous),
        _ => (Code::UpstreamError, Hint::Ambiguous),
    }
}

/// Codes with which the clouds' API gateways reject a token or a signature (cloud APIs 1.8). Some use status 403, and
/// some bodies are not readable otherwise.
const NOT_ACCEPTED: [&[u8]; 2] = [b"APIGW.0301", b"APIG.0301"];

/// True if an API gateway of the clouds rejected the token or the signature of a call.
pub(crate) fn refuses_credential(reply: &Reply) -> bool {
    let is_named =
        || NOT_ACCEPTED.iter().any(|code| reply.body.windows(code.len()).any(|part| part == *code));
    reply.status == 401 || (reply.status == 403 && is_named())
}

/// The rejection of a call's signature, with the time of the upstream's clock; `None` if it is something else.
#[must_use]
pub(crate) fn signature_refusal(reply: &Reply) -> Option<SignatureRefusal> {
    if (200..300).contains(&reply.status) {
        return None;
    }
    let said = said(reply);
    let (class, _) = class(&said).unwrap_or_else(|| by_status(reply.status));
    // Some API gateways reject a signature with 403 and the code of a 401.
    (class == Code::UpstreamUnauthorized).then(|| signature::read(said.error.message.as_deref()?)).flatten()
}

/// Tries the formats in the order that distinguishes them.
fn read_json(value: &Value) -> Option<Said> {
    if let Some(message) = text_of(value) {
        return Some(Said::of_anybody(message));
    }
    wrapped(value, None, 0).or_else(|| {
        let message =
            ["message", "msg", "detail", "error"].iter().find_map(|name| text_of(value.get(name)?))?;
        Some(Said::of_anybody(message))
    })
}

impl Said {
    fn of_anybody(message: String) -> Self {
        Self {
            error: UpstreamError { message: Some(message), ..UpstreamError::default() },
            ..Self::default()
        }
    }
}

/// A text, or the texts of a list.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(_) => as_text(value),
        Value::Array(items) => {
            let texts: Vec<String> = items.iter().filter_map(text_of).collect();
            (!texts.is_empty()).then(|| cut(&texts.join("; ")))
        }
        _ => None,
    }
}

fn wrapped(value: &Value, fault: Option<&str>, depth: usize) -> Option<Said> {
    let object = value.as_object()?;
    let member = |name: &str| object.get(name).and_then(as_text);
    let words = |name: &str| object.get(name).and_then(text_of);
    let found = |code: Option<String>, message: Option<String>, of_the_cloud: bool| Said {
        error: UpstreamError { status: None, code, message, request_id: member("request_id") },
        of_the_cloud,
        fault: fault.map(str::to_owned),
        wait: member("retryAfter"),
    };
    if object.contains_key("error_code") || object.contains_key("error_msg") {
        let (code, message) = (member("error_code"), words("error_msg"));
        if code.is_some() || message.is_some() {
            let both = object.contains_key("error_code") && object.contains_key("error_msg");
            let of_the_cloud = code.as_deref().map_or(both, is_of_a_cloud);
            return Some(found(code, message, of_the_cloud));
        }
    }
    if let Some(code) = member("code").filter(|code| !means_success(code)) {
        let message = words("message").or_else(|| words("title"));
        // Any server may write a status or a name beside a text. Block storage names the error, and IAM adds a title.
        let titled = object.contains_key("title");
        let of_the_cloud = message.is_some()
            && (is_of_a_cloud(&code)
                || (depth > 0 && (titled || fault.is_some_and(|name| FAULTS.contains(&name)))));
        return Some(found(Some(code), message, of_the_cloud));
    }
    if depth > 0
        && let Some(message) = words("message")
    {
        return Some(found(None, Some(message), false));
    }
    if depth == MAX_WRAPPING {
        return None;
    }
    let inside = object.iter().filter(|(_, inner)| inner.is_object());
    inside.into_iter().find_map(|(name, inner)| wrapped(inner, Some(name), depth + 1))
}

/// True for a code in the clouds' format, such as `BackupService.2010`: a service, a dot, digits.
fn is_of_a_cloud(code: &str) -> bool {
    code.split_once('.').is_some_and(|(service, number)| {
        !service.is_empty()
            && service.bytes().all(|byte| byte.is_ascii_alphabetic())
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Some services put the HTTP status, or 0, under `code` in a success.
fn means_success(code: &str) -> bool {
    code.parse::<u16>().is_ok_and(|code| code == 0 || (200..300).contains(&code))
}

/// A page or plain text, without tags. Other bytes, such as those of an unknown content encoding, are not text.
fn plain_text(body: &[u8]) -> Option<String> {
    let body = &body[..body.len().min(16 * 1024)];
    if body.iter().any(|byte| byte.is_ascii_control() && !byte.is_ascii_whitespace()) {
        return None;
    }
    let text = String::from_utf8_lossy(body);
    let mut plain = String::new();
    let mut inside = false;
    for c in text.chars() {
        match c {
            '<' => inside = true,
            '>' if inside => {
                inside = false;
                plain.push(' ');
            }
            c if !inside => plain.push(c),
            _ => {}
        }
    }
    let plain = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    (!plain.is_empty()).then(|| cut(&plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &str) -> Reply {
        Reply {
            status,
            body: body.as_bytes().to_vec().into(),
            request_id: Some("req-header".to_owned()),
            ..Reply::default()
        }
    }

    /// Shape, status, body, code, message.
    type Shape = (&'static str, u16, &'static str, Option<&'static str>, Option<&'static str>);

    #[test]
    fn all_twelve_shapes_are_read() {
        let rows: &[Shape] = &[
            (
                "E1",
                400,
                r#"{"error_code":"BackupService.2010","error_msg":"busy"}"#,
                Some("BackupService.2010"),
                Some("busy"),
            ),
            (
                "E2",
                401,
                r#"{"error_code":"APIGW.0301","error_msg":"token expires","request_id":"5f1d"}"#,
                Some("APIGW.0301"),
                Some("token expires"),
            ),
            (
                "E3",
                400,
                r#"{"error":{"code":"VolumeBackup.0205","message":"in use"}}"#,
                Some("VolumeBackup.0205"),
                Some("in use"),
            ),
            (
                "E4",
                400,
                r#"{"code":"VolumeBackup.0209","message":"small"}"#,
                Some("VolumeBackup.0209"),
                Some("small"),
            ),
            ("E5", 404, r#"{"itemNotFound":{"code":404,"message":"gone"}}"#, Some("404"), Some("gone")),
            (
                "E6",
                401,
                r#"{"error":{"code":401,"message":"wrong","title":"Unauthorized"}}"#,
                Some("401"),
                Some("wrong"),
            ),
            (
                "E7",
                403,
                r#"{"error_code":"IAM.0003","error_msg":"policy","encoded_authorization_message":"x"}"#,
                Some("IAM.0003"),
                Some("policy"),
            ),
            (
                "E8",
                400,
                r#"{"error":{"error_code":"CSBS.6018","error_msg":"partial"}}"#,
                Some("CSBS.6018"),
                Some("partial"),
            ),
            ("E9", 400, r#"{"msg":"no"}"#, None, Some("no")),
            ("E9", 400, r#""just text""#, None, Some("just text")),
            (
                "E10",
                502,
                "<html><h1>502 Bad Gateway</h1><hr>nginx</html>",
                None,
                Some("502 Bad Gateway nginx"),
            ),
            ("E11", 500, "", None, None),
            ("E12", 404, r#"{"count":0,"operation_logs":[]}"#, None, None),
        ];
        for (shape, status, body, code, message) in rows {
            let error = read(&reply(*status, body));
            assert_eq!(error.code.as_deref(), *code, "{shape}");
            assert_eq!(error.message.as_deref(), *message, "{shape}");
            let expected = if *shape == "E2" { "5f1d" } else { "req-header" };
            assert_eq!(error.request_id.as_deref(), Some(expected), "{shape}");
        }
    }

    #[test]
    fn the_table_beats_the_status() {
        let refused = |status, code: &str| match classify(&reply(
            status,
            &format!(r#"{{"error_code":"{code}","error_msg":"m"}}"#),
        )) {
            Verdict::Refused(problem) => problem.code,
            Verdict::Ambiguous(problem) => panic!("{code} is ambiguous: {problem}"),
        };
        assert_eq!(refused(500, "CSBS.6019"), Code::TargetIncompatible);
        assert_eq!(refused(500, "BackupService.7009"), Code::UpstreamBusy);
        assert_eq!(refused(500, "BackupService.9998"), Code::UpstreamUnauthorized);
        assert_eq!(refused(400, "CSBS.6000"), Code::TargetNotFound);
        assert_eq!(refused(400, "BackupService.4008"), Code::GenerationRetired);
    }

    fn refused(status: u16, body: &str) -> Option<Code> {
        of_restore(&reply(status, body)).refusal()
    }

    /// F49: only the cloud's own error format proves that nothing was started, whichever host answered.
    #[test]
    fn f49_a_status_without_the_clouds_words_refuses_no_restore() {
        let bodies = [
            "",
            "{}",
            "[]",
            "null",
            "<html><h1>no</h1></html>",
            r#"{"error_code":"BackupService.2010","error_msg":"bu"#,
            r#"{"message":"no"}"#,
            r#"{"msg":"no"}"#,
            r#"{"detail":"no"}"#,
            r#"{"error":"no"}"#,
            r#"{"code":400,"message":"no"}"#,
            r#"{"error":{"message":"no"}}"#,
            r#"{"error":{"code":429,"message":"no","status":"RESOURCE_EXHAUSTED"}}"#,
            r#"{"fault":{"code":"900800","message":"no","description":"no"}}"#,
            r#"{"code":"E_PROXY","message":"no"}"#,
            r#"{"error_code":"too_many","error_msg":"no"}"#,
            r#"{"error_msg":"no"}"#,
            r#"{"error_code":"no"}"#,
            r#""no""#,
            r#"["volume is in use"]"#,
            r#"{"count":0,"operation_logs":[]}"#,
        ];
        for status in 300..600 {
            for body in bodies {
                let verdict = of_restore(&reply(status, body));
                let Verdict::Ambiguous(problem) = verdict else { panic!("{status} {body}: {verdict:?}") };
                assert_eq!((problem.effect, problem.retry), (Effect::Possible, Retry::Never), "{status}");
            }
        }
    }

    #[test]
    fn f49_a_code_that_is_not_catalogued_refuses_under_the_statuses_of_refusals_alone() {
        let shapes = [
            r#"{"error_code":"CSBS.4711","error_msg":"m"}"#,
            r#"{"error":{"code":"VolumeBackup.4711","message":"m"}}"#,
            r#"{"code":"VBS.4711","message":"m"}"#,
            r#"{"badRequest":{"code":400,"message":"m"}}"#,
            r#"{"error":{"code":401,"message":"m","title":"t"}}"#,
            r#"{"error":{"error_code":"X.1","error_msg":"m"}}"#,
            r#"{"error_code":"","error_msg":"The token must be updated."}"#,
        ];
        for status in 300..600 {
            for body in shapes {
                assert_eq!(refused(status, body).is_some(), REFUSING.contains(&status), "{status} {body}");
            }
        }
        // A code of the table decides alone. A code that is not a rejection is none under any status.
        assert_eq!(
            refused(499, r#"{"error_code":"BackupService.2010","error_msg":"m"}"#),
            Some(Code::UpstreamBusy)
        );
        assert_eq!(refused(400, r#"{"error_code":"CSBS.9999","error_msg":"m"}"#), None);
        assert_eq!(
            refused(494, r#"{"error_code":"APIGW.0201","error_msg":"m"}"#),
            Some(Code::UpstreamBadRequest)
        );
        assert_eq!(refused(504, r#"{"error_code":"APIGW.0201","error_msg":"m"}"#), None);
        // The table has it under other statuses, with different meanings.
        assert_eq!(refused(429, r#"{"error_code":"APIGW.0201","error_msg":"Backend timeout"}"#), None);
    }

    #[test]
    fn f49_every_row_of_the_table_refuses_or_not_as_it_says() {
        for row in codes::all() {
            let status = match row.status {
                codes::Under::Status(status) => status,
                codes::Under::Refusal | codes::Under::Any => 400,
            };
            let body = format!(r#"{{"error_code":"{}","error_msg":"m"}}"#, row.code);
            assert_eq!(refused(status, &body).is_some(), row.hint != Hint::Ambiguous, "{}", row.code);
        }
    }

    #[test]
    fn a_read_is_judged_by_its_status() {
        for (status, body) in
            [(500, ""), (502, "<html>"), (503, ""), (504, ""), (408, ""), (500, "{}"), (303, ""), (599, "x")]
        {
            assert!(matches!(classify(&reply(status, body)), Verdict::Ambiguous(_)), "{status}");
        }
        for status in [400, 401, 403, 404, 405, 409, 413, 429] {
            assert!(matches!(classify(&reply(status, "")), Verdict::Refused(_)), "{status}");
        }
    }

    #[test]
    fn what_is_not_there_is_so_in_the_services_own_words() {
        for body in [
            "",
            r#"{"error_code":"BackupService.6200","error_msg":"m"}"#,
            r#"{"itemNotFound":{"code":404,"message":"Backup b1 could not be found."}}"#,
        ] {
            assert!(not_there(&reply(404, body)), "{body}");
        }
        for body in [
            "<html>404</html>",
            r#"{"error_code":"BackupServ"#,
            r#"{"error_code":"APIGW.0101","error_msg":"m"}"#,
            r#"{"itemNotFound":{"code":404,"message":"Service cinder-backup could not be found."}}"#,
        ] {
            assert!(!not_there(&reply(404, body)), "{body}");
        }
        let away = r#"{"itemNotFound":{"code":404,"message":"Service cinder-backup could not be found."}}"#;
        assert_eq!(refused(404, away), Some(Code::UpstreamUnavailable));
    }

    #[test]
    fn a_limit_is_of_a_rate_unless_no_wait_helps() {
        let body = |wait: &str| format!(r#"{{"overLimit":{{"code":413,"message":"m"{wait}}}}}"#);
        let verdict = |status, wait, header: Option<&str>| {
            let reply = Reply { retry_after: header.map(str::to_owned), ..reply(status, &body(wait)) };
            let Verdict::Refused(problem) = of_restore(&reply) else { panic!("{wait}") };
            (problem.code, problem.retry, problem.retry_after)
        };
        let throttled = |after| (Code::UpstreamThrottled, Retry::Later, after);
        for status in [413, 429] {
            assert_eq!(verdict(status, "", None), throttled(None));
            assert_eq!(verdict(status, r#","retryAfter":"30""#, None), throttled(Some(30)));
            assert_eq!(verdict(status, r#","retryAfter":30"#, None), throttled(Some(30)));
            assert_eq!(verdict(status, "", Some("7")), throttled(Some(7)));
        }
        let quota = (Code::UpstreamBadRequest, Retry::Never, None);
        assert_eq!(verdict(413, r#","retryAfter":"0""#, None), quota);
        assert_eq!(verdict(413, r#","retryAfter":0"#, None), quota);
        assert_eq!(verdict(413, "", Some("0")), quota);
    }

    #[test]
    fn a_list_of_texts_keeps_its_words() {
        for (body, words) in [
            (r#"["volume is in use"]"#, "volume is in use"),
            (r#"["a", 7, "b"]"#, "a; b"),
            (r#"{"message":["a","b"]}"#, "a; b"),
            (r#"{"error_code":"X.1","error_msg":["a","b"]}"#, "a; b"),
            (r#"{"error":"in use"}"#, "in use"),
        ] {
            assert_eq!(read(&reply(400, body)).message.as_deref(), Some(words), "{body}");
        }
    }

    #[test]
    fn a_wait_that_the_upstream_names_is_passed_on_within_bounds() {
        let wait = |status, retry_after: &str| {
            let reply = Reply { retry_after: Some(retry_after.to_owned()), ..reply(status, "") };
            classify(&reply).into_problem().retry_after
        };
        assert_eq!(wait(429, "7"), Some(7));
        assert_eq!(wait(429, "1000000000"), Some(MAX_RETRY_AFTER));
        assert_eq!(wait(429, "soon"), None);
        assert_eq!(wait(403, "7"), None, "a refusal for good is not to be waited out");
    }

    #[test]
    fn what_an_upstream_says_is_cut_and_cleaned() {
        let long = format!(r#"{{"error_code":"X","error_msg":"{}\n\u001b[31m"}}"#, "é".repeat(2_000));
        let error = read(&reply(400, &long));
        assert_eq!(error.message.unwrap().chars().count(), crate::lenient::MAX_TEXT);
        let short = read(&reply(400, r#"{"error_code":"X","error_msg":"a\r\nb"}"#));
        assert_eq!(short.message.as_deref(), Some("a  b"));
    }
}
