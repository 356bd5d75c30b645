//! What holds of every text and path that comes out, whatever went in.

use restore_generations::{Call, Check, CheckResult, Found, Outcome, Reading, codes};
use restore_model::{Effect, Id, Problem, Retry};

/// Longest text that is made out of what a cloud says, in characters: a sentence around a few texts of 512.
const MAX_TEXT: usize = 8 * 1024;
/// Longest text of a cloud that is kept as it is.
const MAX_SAID: usize = 512;

/// A text that goes into ledger, logs and answers: bounded, and without anything that breaks a line.
pub(crate) fn clean(text: &str) {
    assert!(text.chars().count() <= MAX_TEXT, "{} characters", text.chars().count());
    assert!(!text.chars().any(char::is_control), "a control character in {text:?}");
}

/// What a cloud said, word for word.
pub(crate) fn said(text: &str) {
    assert!(text.chars().count() <= MAX_SAID, "{} characters of a cloud", text.chars().count());
    clean(text);
}

/// A problem made of what a cloud said.
pub(crate) fn problem(problem: &Problem) {
    clean(&problem.detail);
    assert!(problem.errors.is_empty(), "a cloud knows no pointers of ours: {problem:?}");
    if let Some(upstream) = &problem.upstream {
        for text in [&upstream.code, &upstream.message, &upstream.request_id].into_iter().flatten() {
            said(text);
        }
    }
}

/// A path of a call: the template with safe characters in its placeholders, and nothing that leads elsewhere.
pub(crate) fn safe_path(call: &Call) {
    let (path, query) = call.path.split_once('?').unwrap_or((&call.path, ""));
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-".contains(&byte);
    assert!(path.starts_with('/') && path.bytes().all(allowed), "{path}");
    assert!(!path.contains("//"), "{path}");
    let (segments, template) = (path.split('/'), call.template.split('/'));
    assert_eq!(segments.clone().count(), template.clone().count(), "{path} is no {}", call.template);
    for (segment, template) in segments.zip(template) {
        assert!(template.starts_with('{') || segment == template, "{path} is no {}", call.template);
    }
    // Queries are ours but for a time and a number.
    assert!(query.bytes().all(|b| b.is_ascii_alphanumeric() || b"=&_:-".contains(&b)), "{query}");
    if let Some(body) = &call.body {
        assert!(serde_json::from_slice::<serde_json::Value>(body).is_ok(), "a body that is no JSON");
    }
}

/// Whether the rules let the answer to a read, of this status and with this code, count as a refusal. Written from the
/// rule and not from the code: a refusal is a catalogued code that says so, or a 4xx that is no timeout.
pub(crate) fn may_refuse(status: u16, code: Option<&str>) -> bool {
    match code.and_then(|code| codes::find(code, status)) {
        Some(row) => row.hint != codes::Hint::Ambiguous,
        None => (400..500).contains(&status) && status != 408,
    }
}

/// The same for the answer to a restore call. Without a catalogued code, an answer of the cloud's under a status with
/// which servers refuse before they act, and never one of those that a client's hanging up or a timeout brings. VBS
/// refuses under a success as well, with a code of its own.
pub(crate) fn may_refuse_a_restore(status: u16, code: Option<&str>) -> bool {
    if (200..300).contains(&status)
        && code.is_some_and(|code| code.starts_with("VBS.") || code.starts_with("VolumeBackup."))
    {
        return true;
    }
    let catalogued = code.and_then(|code| codes::find(code, status)).is_some();
    may_refuse(status, code)
        && (catalogued || !matches!(status, 402 | 407 | 408 | 410 | 412 | 440 | 444 | 460 | 499))
}

/// What an answer to a restore call was taken for.
pub(crate) fn outcome(status: u16, outcome: &Outcome) {
    let success = (200..300).contains(&status);
    match outcome {
        Outcome::Started { task, status: word, anomaly } => {
            assert!(success, "{status} started a restore");
            if let Some(task) = task {
                assert!(task.id.parse::<Id>().is_ok(), "{task:?}");
            }
            word.iter().for_each(|word| said(word));
            anomaly.iter().for_each(|anomaly| clean(anomaly));
        }
        Outcome::Failed(why) => {
            assert!(success, "{status} told of a restore that failed");
            assert_ne!(why.effect, Effect::None, "it was accepted: {why:?}");
            problem(why);
        }
        Outcome::Refused(why) => {
            let code = why.upstream.as_ref().and_then(|said| said.code.as_deref());
            assert!(may_refuse_a_restore(status, code), "{status} {code:?} is no refusal");
            assert_eq!(why.effect, Effect::None);
            assert_ne!(why.retry, Retry::Now);
            problem(why);
        }
        Outcome::Unsure { reason, problem: why } => {
            assert_eq!((why.effect, why.retry), (Effect::Possible, Retry::Never), "{why:?}");
            clean(reason);
            problem(why);
        }
    }
}

/// What a round of reads was taken for.
pub(crate) fn reading(reading: &Reading) {
    match &reading.found {
        Found::Failed(why) => problem(why),
        Found::Lost(why) | Found::Unreadable { reason: why, .. } => clean(why),
        Found::Running | Found::Succeeded | Found::Absent | Found::Nothing => {}
    }
    if let Some(task) = &reading.task {
        assert!(task.id.parse::<Id>().is_ok(), "{task:?}");
    }
    reading.status.iter().for_each(|status| said(status));
    reading.anomaly.iter().for_each(|anomaly| clean(anomaly));
    assert!(reading.progress.is_none_or(|progress| progress <= 100), "{:?}", reading.progress);
    assert!(!reading.evidence.is_empty());
}

/// The answers to "may this restore be done?".
pub(crate) fn checks(checks: &[Check]) {
    assert!(!checks.is_empty(), "a check that asks nothing");
    for check in checks {
        assert!(!check.name.is_empty());
        assert!(check.result != CheckResult::Passed || check.detail.is_none(), "{check:?}");
        check.detail.iter().for_each(|detail| clean(detail));
        check.upstream_code.iter().for_each(|code| said(code));
    }
}
