//! The reader of error bodies, and the judgement over them: was the call refused, or may it have been applied?

use restore_generations::{Verdict, classify, codes, errors};
use restore_model::{Effect, Retry, problem::Problem};

use crate::script;
use crate::wording;

pub(crate) const MAX_LEN: usize = 8 * 1024;

pub(crate) fn run(data: &[u8]) {
    let reply = script::reply(data);
    let read = errors::read(&reply);
    assert_eq!(read.status, Some(reply.status));
    for text in [&read.code, &read.message, &read.request_id].into_iter().flatten() {
        wording::said(text);
    }

    let verdict = classify(&reply);
    assert_eq!(verdict, classify(&reply), "one answer, two verdicts");
    match &verdict {
        Verdict::Refused(problem) => {
            assert!(wording::may_refuse(reply.status, read.code.as_deref()), "{problem:?}");
            assert_eq!(problem.effect, Effect::None);
            assert_ne!(problem.retry, Retry::Now);
            assert!(problem.retry_after.is_none_or(|seconds| seconds <= 3_600), "{:?}", problem.retry_after);
            assert!(problem.retry_after.is_none() || problem.retry == Retry::Later);
        }
        Verdict::Ambiguous(problem) => {
            assert!(!wording::may_refuse(reply.status, read.code.as_deref()), "{problem:?}");
            assert_eq!((problem.effect, problem.retry), (Effect::Possible, Retry::Never));
        }
    }
    if let Verdict::Refused(problem) = errors::of_restore(&reply) {
        assert!(wording::may_refuse_a_restore(reply.status, read.code.as_deref()), "{problem:?}");
        assert!(read.code.is_some() || read.message.is_some(), "a refusal without a word: {problem:?}");
    }
    let problem = verdict.into_problem();
    wording::problem(&problem);
    assert_ne!(problem.status(), 504, "clients resend on it by themselves");
    let written = serde_json::to_vec(&problem).unwrap_or_else(|why| panic!("{problem:?}: {why}"));
    let again: Problem = serde_json::from_slice(&written).unwrap_or_else(|why| panic!("{problem:?}: {why}"));
    assert_eq!(again, problem, "it is kept as it was");

    // Two names of one thing.
    if let Some(rest) = read.code.as_deref().and_then(|code| code.strip_prefix("APIG.")) {
        let alias = codes::find(&format!("APIGW.{rest}"), reply.status);
        assert_eq!(read.code.as_deref().and_then(|code| codes::find(code, reply.status)), alias);
    }
}
