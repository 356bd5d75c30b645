//! Rejection throttle: so many requests per second are rejected at once for their form or their sender; further
//! rejections wait up to a second. So a sender of invalid requests at full speed slows down, and the processor stays
//! free for others. A waiting rejection holds only its connection: body and place are released.
//!
//! It does not apply to outcomes of restores, or to responses that ask a known caller to retry later: those are cheap
//! and wanted at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use restore_model::Code;
use tokio::time::Instant;

use super::{Future, Result};
use crate::web::answer::Failure;

/// Rejections that may be sent at once after a quiet time, as a part of the rate.
const SAVED: Duration = Duration::from_secs(1);
/// No refusal waits longer.
const LONGEST: Duration = Duration::from_secs(1);

/// Hands out so many refusals a second, over all connections; 0 is no limit. For tower's `map_future`: it stands where
/// its calls have given back all they held.
pub(crate) fn per_second(refusals: u32) -> impl Fn(Future) -> Future + Clone {
    let rejection_throttle = RejectionThrottle::per_second(refusals).map(Arc::new);
    move |call| match rejection_throttle.clone() {
        Some(rejection_throttle) => Box::pin(async move { rejection_throttle.give(call.await).await }),
        None => call,
    }
}

struct RejectionThrottle {
    /// Between two refusals.
    apart: Duration,
    /// When the next one may be given.
    next: Mutex<Instant>,
}

impl RejectionThrottle {
    fn per_second(refusals: u32) -> Option<Self> {
        let apart = Duration::from_secs(1).checked_div(refusals)?;
        Some(Self { apart, next: Mutex::new(Instant::now()) })
    }

    /// How long this refusal waits.
    fn wait(&self) -> Duration {
        let now = Instant::now();
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = (*next).max(now.checked_sub(SAVED).unwrap_or(now));
        let wait = turn.saturating_duration_since(now);
        if wait < LONGEST {
            *next = turn + self.apart;
        }
        wait.min(LONGEST)
    }

    /// Gives an answer: a refusal in its turn, any other at once.
    async fn give(&self, answered: Result) -> Result {
        let refused = match answered {
            Err(failure) if is_throttled(&failure) => failure,
            answered => return answered,
        };
        let wait = self.wait();
        if wait.is_zero() {
            return Err(refused);
        }
        tokio::time::sleep(wait).await;
        // What it reached before is what it is about.
        Err(if refused.limit.is_some() { refused } else { refused.at_limit("rejections_per_second") })
    }
}

/// True if a failure is about the request itself, or about who sends it, and nothing of a restore.
const fn is_throttled(failure: &Failure) -> bool {
    failure.restore.is_none()
        && !failure.sent
        && (matches!(failure.problem.status(), 400 | 401 | 408 | 413 | 415 | 422)
            // A stranger causes as many of these as there are made-up tokens, while no provider answers.
            || matches!(failure.problem.code, Code::IdentityUnavailable))
}

#[cfg(test)]
mod tests {
    use restore_model::{Problem, RestoreId, Timestamp};

    use super::*;

    #[test]
    fn what_is_about_the_request_or_its_sender_is_rationed_and_nothing_of_a_restore() {
        let failure = |code| Failure::from(Problem::new(code, "for a test"));
        let rationed = [
            Code::MalformedRequest,
            Code::InvalidJson,
            Code::InvalidRequest,
            Code::BodyTooLarge,
            Code::UnsupportedMediaType,
            Code::RequestTimeout,
            Code::Unauthenticated,
            Code::IdentityUnavailable,
        ];
        for code in rationed {
            assert!(is_throttled(&failure(code)), "{code:?}");
        }
        let at_once =
            [Code::RestoreNotFound, Code::Forbidden, Code::TargetBusy, Code::RateLimited, Code::Overloaded];
        for code in at_once {
            assert!(!is_throttled(&failure(code)), "{code:?}");
        }
        let mut of_a_restore = failure(Code::InvalidRequest);
        of_a_restore.restore = Some(RestoreId::at(Timestamp::from_micros(0)));
        assert!(!is_throttled(&of_a_restore));
        let mut sent = failure(Code::InvalidRequest);
        sent.sent = true;
        assert!(!is_throttled(&sent));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_of_the_ration_is_given_at_once_and_the_rest_in_turn() {
        let rejection_throttle = RejectionThrottle::per_second(10).unwrap();
        tokio::time::advance(Duration::from_secs(60)).await;
        let waits: Vec<u128> = (0..30).map(|_| rejection_throttle.wait().as_millis()).collect();
        assert!(waits[..11].iter().all(|wait| *wait == 0), "{waits:?}");
        assert_eq!(waits[11..21], [100, 200, 300, 400, 500, 600, 700, 800, 900, 1000]);
        assert!(waits[21..].iter().all(|wait| *wait == 1000), "nobody waits longer: {waits:?}");
        // Those who waited longest took nothing from who comes later.
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(rejection_throttle.wait() <= Duration::from_millis(100));
        assert!(RejectionThrottle::per_second(0).is_none());
    }
}
