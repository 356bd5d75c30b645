//! Retry, under invariant I2: a restore call is repeated only with stored proof that the last attempt was not applied,
//! a limited number of times, within one deadline, and each repetition is written before it is made. `Retry-After` is
//! honoured up to a maximum. A response is proof only in the cloud's own words (`restore_generations::errors`): a proxy
//! that answers 401 or 429 may have forwarded the restore.
//!
//! After a rate limit without `Retry-After` the few attempts are spread over the deadline, because such limits last for
//! seconds up to a minute.
//!
//! A read may be repeated freely. It is repeated once, if its connection proved dead before or while it was written;
//! more would not help, because the caller reads again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use http::{StatusCode, header};
use restore_generations::errors;
use restore_model::{Code, Proof, Timestamp};
use tokio::time::Instant;
use tower::ServiceExt;

use super::translate::{self, http_date};
use super::{Future, Inner, Middleware, Purpose};
use crate::fault::{Fault, FaultKind};
use crate::stack::{UpstreamRequest, UpstreamResponse};

/// Wait before the first repetition where nobody names one; doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The pause after the first rate limit that names none, and the longest one.
const PAUSE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));

/// How often and how long a restore may be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetryLimits {
    pub(crate) sends: u32,
    pub(crate) deadline: Duration,
    pub(crate) retry_after_cap: Duration,
    /// True if the credential is renewed after a 401.
    pub(crate) renews: bool,
}

/// The layer.
#[derive(Clone)]
pub(crate) struct RetryLayer(RetryLimits);

impl RetryLayer {
    /// Repeats within these limits.
    pub(crate) const fn new(limits: RetryLimits) -> Self {
        Self(limits)
    }
}

impl Middleware for RetryLayer {
    fn call<S: Inner>(&self, inner: &mut S, request: UpstreamRequest) -> Future {
        let limits = self.0;
        let ready = inner.clone();
        let mut inner = std::mem::replace(inner, ready);
        Box::pin(async move {
            let begun = Instant::now();
            let mut request = request;
            loop {
                let purpose = purpose(&request);
                let again = request.clone();
                let result = inner.call(request).await;
                let Some((proof, wait)) = repeatable(&result, &purpose, limits) else { return result };
                // A further attempt begins within the deadline, and may then take its own time.
                if begun.elapsed() + wait > limits.deadline {
                    return result;
                }
                tokio::time::sleep(wait).await;
                if purpose.restores
                    && let Some(journal) = &purpose.journal
                    && let Err(problem) = journal.again(proof, purpose.attempt + 1).await
                {
                    let mut fault = Fault::not_sent(FaultKind::NotJournalled, problem.detail.clone());
                    fault.problem = Some(Box::new(problem));
                    return Err(fault);
                }
                request = again;
                let renewed = purpose.renewed || proof == Proof::Unauthorized;
                request.extensions_mut().insert(Purpose { attempt: purpose.attempt + 1, renewed, ..purpose });
                inner.ready().await?;
            }
        })
    }
}

fn purpose(request: &UpstreamRequest) -> Purpose {
    request.extensions().get::<Purpose>().cloned().unwrap_or_else(|| Purpose::of(""))
}

/// The proof that allows a repetition, and how long to wait before it.
fn repeatable(
    result: &Result<UpstreamResponse, Fault>,
    purpose: &Purpose,
    limits: RetryLimits,
) -> Option<(Proof, Duration)> {
    let backoff = FIRST_WAIT * 2_u32.saturating_pow(purpose.attempt.saturating_sub(1).min(8));
    if !purpose.restores {
        return match result {
            Err(fault)
                if purpose.attempt == 1
                    && matches!(fault.kind, FaultKind::NeverWritten | FaultKind::Broken) =>
            {
                Some((Proof::NeverWritten, Duration::ZERO))
            }
            Ok(answer) => unauthorized(answer, purpose, limits),
            Err(_) => None,
        };
    }
    if purpose.journal.is_none() || purpose.attempt >= limits.sends {
        return None;
    }
    let refusal = result.as_ref().ok().and_then(refusal);
    match result {
        Err(fault) => match fault.kind {
            FaultKind::NeverWritten => Some((Proof::NeverWritten, Duration::ZERO)),
            FaultKind::StreamRefused => Some((Proof::StreamRefused, backoff)),
            FaultKind::Connect => Some((Proof::NotConnected, backoff)),
            // A certificate does not mend itself within a minute.
            _ => None,
        },
        Ok(answer) => match refusal {
            Some((Code::UpstreamThrottled, Some(wait))) => {
                Some((Proof::Throttled, wait.min(limits.retry_after_cap)))
            }
            Some((Code::UpstreamThrottled, None)) => {
                Some((Proof::Throttled, pause(purpose.attempt, limits.deadline)))
            }
            Some((Code::UpstreamUnauthorized, _)) => unauthorized(answer, purpose, limits),
            _ => None,
        },
    }
}

/// The class of a refusal that is proven, and the wait that it names.
fn refusal(answer: &UpstreamResponse) -> Option<(Code, Option<Duration>)> {
    let reply = translate::reply(answer.clone());
    let code = errors::refusal(&reply)?;
    let beside = || errors::of_restore(&reply).into_problem().retry_after;
    let named = retry_after(answer).or_else(|| beside().map(|seconds| Duration::from_secs(seconds.into())));
    Some((code, named))
}

/// The pause after an attempt that met a rate limit: growing, so long that what is left of the
/// deadline allows for it, and at random up to half of it shorter, so that those who were refused
/// together do not come again together.
fn pause(attempt: u32, deadline: Duration) -> Duration {
    let (whole, share) = if attempt == 1 { (PAUSE.0, deadline / 8) } else { (PAUSE.1, deadline / 3) };
    let whole = whole.min(share);
    let random = u32::try_from(RandomState::new().hash_one(attempt) % 1_000).unwrap_or(0);
    whole - whole * random / 2_000
}

/// A 401 is repeated once, with a token that was fetched since: a token may be ended early.
fn unauthorized(
    answer: &UpstreamResponse,
    purpose: &Purpose,
    limits: RetryLimits,
) -> Option<(Proof, Duration)> {
    let again = answer.status() == StatusCode::UNAUTHORIZED && limits.renews && !purpose.renewed;
    again.then_some((Proof::Unauthorized, Duration::ZERO))
}

pub(crate) fn retry_after<B>(response: &http::Response<B>) -> Option<Duration> {
    let header = |name| response.headers().get(name)?.to_str().ok().map(str::trim);
    wait(header(header::RETRY_AFTER)?, || http_date(header(header::DATE)?))
}

/// `Retry-After` in seconds, or as a date measured against the upstream's own clock; a date in
/// the past means now.
pub(crate) fn wait(value: &str, now: impl FnOnce() -> Option<Timestamp>) -> Option<Duration> {
    if value.bytes().all(|b| b.is_ascii_digit()) && !value.is_empty() {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let until: Timestamp = http_date(value)?;
    Some(Duration::from_micros(u64::try_from(until.micros_since(now()?)).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;

    use super::*;
    use bytes::Bytes;

    fn throttled(retry_after: &str) -> UpstreamResponse {
        http::Response::builder()
            .status(429)
            .header("date", "Sun, 22 Nov 2026 10:00:00 GMT")
            .header("retry-after", retry_after)
            .body(Bytes::new())
            .unwrap()
    }

    fn restoring(attempt: u32) -> Purpose {
        struct Open;
        impl crate::Journal for Open {
            fn may_write(&self) -> Result<(), &'static str> {
                Ok(())
            }
            fn again(&self, _: Proof, _: u32) -> BoxFuture<'_, Result<(), restore_model::Problem>> {
                Box::pin(std::future::ready(Ok(())))
            }
        }
        Purpose { attempt, renewed: false, journal: Some(std::sync::Arc::new(Open)), ..Purpose::of("p") }
    }

    const LIMITS: RetryLimits = RetryLimits {
        sends: 3,
        deadline: Duration::from_secs(120),
        retry_after_cap: Duration::from_secs(30),
        renews: true,
    };

    fn answer(status: u16, body: &'static str) -> Result<UpstreamResponse, Fault> {
        Ok(http::Response::builder().status(status).body(Bytes::from_static(body.as_bytes())).unwrap())
    }

    /// F49: a second send needs the cloud's own words.
    #[test]
    fn f49_a_refusal_of_somebody_else_repeats_no_restore() {
        for status in [401, 403, 404, 408, 413, 429, 499, 500, 502, 503] {
            for body in ["", "{}", "<html>Too Many Requests</html>", r#"{"message":"slow down"}"#] {
                let again = repeatable(&answer(status, body), &restoring(1), LIMITS);
                assert!(again.is_none(), "{status} {body}: {again:?}");
            }
        }
        let proven =
            |status, body| repeatable(&answer(status, body), &restoring(1), LIMITS).map(|(proof, _)| proof);
        let throttled = r#"{"error_code":"APIGW.0308","error_msg":"m"}"#;
        assert_eq!(proven(429, throttled), Some(Proof::Throttled));
        let refused = r#"{"error_code":"APIGW.0301","error_msg":"m"}"#;
        assert_eq!(proven(401, refused), Some(Proof::Unauthorized));
        assert_eq!(proven(413, r#"{"overLimit":{"code":413,"message":"m"}}"#), Some(Proof::Throttled));
        let quota = r#"{"overLimit":{"code":413,"message":"m","retryAfter":"0"}}"#;
        assert_eq!(proven(413, quota), None);
    }

    #[test]
    fn the_sends_after_a_rate_limit_without_a_wait_are_spread_over_the_deadline() {
        let limited = answer(429, r#"{"error_code":"APIGW.0308","error_msg":"m"}"#);
        for seconds in [1, 10, 120, 3_600] {
            let limits = RetryLimits { deadline: Duration::from_secs(seconds), ..LIMITS };
            let pauses = [1, 2].map(|attempt| repeatable(&limited, &restoring(attempt), limits).unwrap().1);
            assert!(pauses[0] < pauses[1], "{pauses:?}");
            assert!(pauses[0] + pauses[1] < limits.deadline / 2, "{pauses:?}");
            assert!(pauses[0] + pauses[1] > Duration::from_secs(15).min(limits.deadline / 8), "{pauses:?}");
        }
        assert!(repeatable(&limited, &restoring(3), LIMITS).is_none(), "three sends at most");
        let named = answer(429, r#"{"overLimit":{"code":429,"message":"m","retryAfter":"7"}}"#);
        let wait = repeatable(&named, &restoring(1), LIMITS).map(|(_, wait)| wait);
        assert_eq!(wait, Some(Duration::from_secs(7)));
    }

    #[test]
    fn retry_after_in_every_form() {
        let read = |text| retry_after(&throttled(text));
        assert_eq!(read("2"), Some(Duration::from_secs(2)));
        assert_eq!(read("1000000000"), Some(Duration::from_secs(1_000_000_000)));
        assert_eq!(read("99999999999999999999999"), Some(Duration::from_secs(u64::MAX)));
        assert_eq!(read("Sun, 22 Nov 2026 10:00:07 GMT"), Some(Duration::from_secs(7)));
        assert_eq!(read("Sun, 22 Nov 2020 10:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
        assert_eq!(read("-1"), None);
    }
}
