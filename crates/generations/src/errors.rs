//! One reader for the twelve shapes of error body (wire reference 1.6), told apart by structure
//! and never by host, and one judgement over them: was the call refused, or may it have been
//! applied?

use restore_model::{Code, Effect, Problem, Retry, UpstreamError};
use serde_json::Value;

use crate::call::Reply;
use crate::codes::{self, Hint};
use crate::lenient::{as_text, cut};

/// Longest wait that is passed on to a caller, in seconds.
const MAX_RETRY_AFTER: u32 = 3_600;
/// How deeply a fault may be wrapped.
const MAX_WRAPPING: usize = 3;

/// What an answer that is no success means for the call it answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Refused; nothing was changed.
    Refused(Problem),
    /// It may have been applied; the problem tells what was said.
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
}

/// Reads code, message and request id out of any answer.
#[must_use]
pub fn read(reply: &Reply) -> UpstreamError {
    let mut error = match reply.json() {
        Some(value) => read_json(&value).unwrap_or_default(),
        None => UpstreamError { message: plain_text(&reply.body), ..UpstreamError::default() },
    };
    error.status = Some(reply.status);
    error.request_id = error.request_id.or_else(|| reply.request_id.clone());
    error
}

/// Whether a read found that the thing is not there, as against the path: an API gateway that does
/// not know the path answers 404, too.
pub(crate) fn not_there(reply: &Reply) -> bool {
    reply.status == 404 && !read(reply).code.is_some_and(|code| code.starts_with("APIG"))
}

/// Judges an answer that is no success.
#[must_use]
pub fn classify(reply: &Reply) -> Verdict {
    match judge(read(reply)) {
        // A wait that the upstream names is worth more than a guess; a date or nonsense is neither.
        Verdict::Refused(problem) if problem.retry == Retry::Later => {
            let seconds = reply.retry_after.as_deref().and_then(|seconds| seconds.parse::<u32>().ok());
            Verdict::Refused(match seconds {
                Some(seconds) => problem.after(seconds.min(MAX_RETRY_AFTER)),
                None => problem,
            })
        }
        verdict => verdict,
    }
}

/// Judges an error that is already read; its status decides where no code does.
#[must_use]
pub fn judge(error: UpstreamError) -> Verdict {
    let status = error.status.unwrap_or(0);
    let row = error.code.as_deref().and_then(|code| codes::find(code, status));
    let (class, hint) = match row {
        Some(row) => (row.class, row.hint),
        None => by_status(status),
    };
    let said = match (&error.code, &error.message) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.clone(),
        (None, Some(message)) => message.clone(),
        (None, None) => format!("HTTP status {status} without a word"),
    };
    let problem = Problem::new(class, format!("the upstream says {said}")).upstream(error);
    match hint {
        Hint::No | Hint::Auth | Hint::Reroute => Verdict::Refused(problem.retry(Retry::Never)),
        Hint::Later | Hint::Bounded => Verdict::Refused(problem.retry(Retry::Later)),
        Hint::Ambiguous => Verdict::Ambiguous(problem.effect(Effect::Possible).retry(Retry::Never)),
    }
}

/// The class of a status without a catalogued code. A 4xx is a refusal but for 408; a 5xx is not:
/// a balancer's 502 or 504 may hide an acceptance (wire reference 8.4).
const fn by_status(status: u16) -> (Code, Hint) {
    match status {
        401 => (Code::Unauthorized, Hint::Auth),
        403 => (Code::Forbidden, Hint::No),
        404 => (Code::UpstreamNotFound, Hint::No),
        408 => (Code::UpstreamUnavailable, Hint::Ambiguous),
        409 => (Code::ConflictBusy, Hint::Later),
        429 => (Code::Throttled, Hint::Later),
        400..=499 => (Code::BadRequest, Hint::No),
        // A redirect is no acceptance; 302 and 303 are what some servers answer after one.
        301 | 307 | 308 => (Code::BadUpstream, Hint::No),
        503 => (Code::UpstreamUnavailable, Hint::Ambiguous),
        200..=399 => (Code::BadUpstream, Hint::Ambiguous),
        _ => (Code::UpstreamError, Hint::Ambiguous),
    }
}

/// Shapes E1 to E9 in the order that tells them apart.
fn read_json(value: &Value) -> Option<UpstreamError> {
    if value.is_string() {
        return Some(UpstreamError { message: as_text(value), ..UpstreamError::default() });
    }
    wrapped(value, 0).or_else(|| {
        let message =
            ["error_msg", "message", "msg", "detail"].iter().find_map(|name| as_text(value.get(name)?))?;
        Some(UpstreamError { message: Some(message), ..UpstreamError::default() })
    })
}

fn wrapped(value: &Value, depth: usize) -> Option<UpstreamError> {
    let object = value.as_object()?;
    let member = |name: &str| object.get(name).and_then(as_text);
    let found = |code: Option<String>, message: Option<String>| UpstreamError {
        status: None,
        code,
        message,
        request_id: member("request_id"),
    };
    if let Some(code) = member("error_code") {
        return Some(found(Some(code), member("error_msg")));
    }
    if let Some(code) = member("code").filter(|code| !means_success(code)) {
        return Some(found(Some(code), member("message").or_else(|| member("title"))));
    }
    if depth > 0
        && let Some(message) = member("message").or_else(|| member("error_msg"))
    {
        return Some(found(None, Some(message)));
    }
    if depth == MAX_WRAPPING {
        return None;
    }
    object.values().filter(|inner| inner.is_object()).find_map(|inner| wrapped(inner, depth + 1))
}

/// Some services put the HTTP status, or 0, under `code` when all is well.
fn means_success(code: &str) -> bool {
    code.parse::<u16>().is_ok_and(|code| code == 0 || (200..300).contains(&code))
}

/// Shape E10: a page or plain text; tags are taken out.
fn plain_text(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(&body[..body.len().min(16 * 1024)]);
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
        assert_eq!(refused(500, "BackupService.7009"), Code::ConflictBusy);
        assert_eq!(refused(500, "BackupService.9998"), Code::Unauthorized);
        assert_eq!(refused(400, "CSBS.6000"), Code::TargetNotFound);
        assert_eq!(refused(400, "BackupService.4008"), Code::GenerationRetired);
    }

    #[test]
    fn only_a_refusal_is_a_refusal() {
        for (status, body) in
            [(500, ""), (502, "<html>"), (503, ""), (504, ""), (408, ""), (500, "{}"), (303, ""), (599, "x")]
        {
            assert!(matches!(classify(&reply(status, body)), Verdict::Ambiguous(_)), "{status}");
        }
        for status in [400, 401, 403, 404, 405, 409, 413, 429, 301, 307, 308] {
            assert!(matches!(classify(&reply(status, "")), Verdict::Refused(_)), "{status}");
        }
        let gateway = |status| classify(&reply(status, r#"{"error_code":"APIGW.0201","error_msg":"m"}"#));
        assert!(matches!(gateway(504), Verdict::Ambiguous(_)));
        assert!(matches!(gateway(413), Verdict::Refused(_)));
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
