//! A ration of refusals: so many requests a second are refused for what they are or for who sends them; more wait for
//! their refusal, up to a second. Whoever sends such requests as fast as they are answered is slowed down by it, and the
//! processor stays free for others. What waits has nothing but its connection: body and place are given back.
//!
//! Not for what a cloud or the ledger says, nor for answers that tell a caller to come back later: those are cheap and wanted
//! at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use tokio::time::Instant;
use tower::{Layer, Service};

use super::Future;
use crate::answer::{Answer, Failure};

/// What may be refused at once after a quiet time, as so much of the ration.
const SAVED: Duration = Duration::from_secs(1);
/// No refusal waits longer.
const LONGEST: Duration = Duration::from_secs(1);

/// The layer.
#[derive(Clone)]
pub(crate) struct RationLayer(Option<Arc<Ration>>);

struct Ration {
    /// Between two refusals.
    apart: Duration,
    /// When the next one may be given.
    next: Mutex<Instant>,
}

impl RationLayer {
    /// So many refusals a second, over all connections; 0 is no limit.
    pub(crate) fn per_second(refusals: u32) -> Self {
        Self((refusals > 0).then(|| {
            let apart = Duration::from_secs(1) / refusals;
            Arc::new(Ration { apart, next: Mutex::new(Instant::now()) })
        }))
    }
}

impl Ration {
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
}

/// Whether a failure is about the request itself, or about who sends it, and nothing of a restore.
const fn is_rationed(failure: &Failure) -> bool {
    failure.restore.is_none()
        && !failure.sent
        && matches!(failure.problem.status(), 400 | 401 | 408 | 413 | 415 | 421 | 422 | 431)
}

impl<S> Layer<S> for RationLayer {
    type Service = Rationed<S>;

    fn layer(&self, inner: S) -> Rationed<S> {
        Rationed { inner, ration: self.0.clone() }
    }
}

/// The service.
#[derive(Clone)]
pub(crate) struct Rationed<S> {
    inner: S,
    ration: Option<Arc<Ration>>,
}

impl<S, B> Service<Request<B>> for Rationed<S>
where
    S: Service<Request<B>, Response = Answer, Error = Failure, Future = Future>,
{
    type Response = Answer;
    type Error = Failure;
    type Future = Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Future {
        let call = self.inner.call(request);
        let Some(ration) = self.ration.clone() else { return call };
        Box::pin(async move {
            let refused = match call.await {
                Err(failure) if is_rationed(&failure) => failure,
                answered => return answered,
            };
            let wait = ration.wait();
            if wait.is_zero() {
                return Err(refused);
            }
            tokio::time::sleep(wait).await;
            // What it reached before is what it is about.
            Err(if refused.limit.is_some() { refused } else { refused.at_limit("refusals_per_second") })
        })
    }
}

#[cfg(test)]
mod tests {
    use restore_model::{Code, Problem, RestoreId, Timestamp};

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
        ];
        for code in rationed {
            assert!(is_rationed(&failure(code)), "{code:?}");
        }
        let at_once =
            [Code::RestoreNotFound, Code::NotAllowed, Code::TargetBusy, Code::RateLimited, Code::Overloaded];
        for code in at_once {
            assert!(!is_rationed(&failure(code)), "{code:?}");
        }
        let mut of_a_restore = failure(Code::InvalidRequest);
        of_a_restore.restore = Some(RestoreId::at(Timestamp::from_micros(0)));
        assert!(!is_rationed(&of_a_restore));
        let mut sent = failure(Code::InvalidRequest);
        sent.sent = true;
        assert!(!is_rationed(&sent));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_of_the_ration_is_given_at_once_and_the_rest_in_turn() {
        let ration = RationLayer::per_second(10).0.unwrap();
        tokio::time::advance(Duration::from_secs(60)).await;
        let waits: Vec<u128> = (0..30).map(|_| ration.wait().as_millis()).collect();
        assert!(waits[..11].iter().all(|wait| *wait == 0), "{waits:?}");
        assert_eq!(waits[11..21], [100, 200, 300, 400, 500, 600, 700, 800, 900, 1000]);
        assert!(waits[21..].iter().all(|wait| *wait == 1000), "nobody waits longer: {waits:?}");
        // Those who waited longest took nothing from who comes later.
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(ration.wait() <= Duration::from_millis(100));
        assert!(RationLayer::per_second(0).0.is_none());
    }
}
