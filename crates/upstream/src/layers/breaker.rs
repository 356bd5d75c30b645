//! Circuit breaker: after several consecutive failures the gateway does not call an upstream for a while, and then
//! tries one call. A rejection by the breaker proves that nothing was sent.
//!
//! This is our own code, of a page: our [`Fault`] decides what counts as a failure, `/readyz` and a metric show the
//! state, and it uses the clock of the runtime, which tests can pause.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Future, Inner, Middleware};
use crate::fault::{Fault, FaultKind};
use crate::stack::{UpstreamRequest, UpstreamResponse};

/// True if calls are let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// Calls are refused.
    Open,
    /// One call is let through to see.
    HalfOpen,
}

#[derive(Debug, Default)]
struct Counts {
    failures: u32,
    open_until: Option<Instant>,
    trying: bool,
}

impl Counts {
    fn refusal(&self) -> Fault {
        let detail =
            format!("the upstream failed {} times in a row and is left alone for a while", self.failures);
        Fault::not_sent(FaultKind::Breaker, detail)
    }
}

/// The breaker of one upstream.
#[derive(Clone, Debug)]
pub(crate) struct Breaker {
    inner: Arc<Mutex<Counts>>,
    limit: u32,
    open: Duration,
}

impl Breaker {
    /// Opens after `limit` failures in a row, for `open`; never when `limit` is 0.
    pub(crate) fn new(limit: u32, open: Duration) -> Self {
        Self { inner: Arc::default(), limit, open }
    }

    /// The present state.
    pub(crate) fn state(&self) -> BreakerState {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match inner.open_until {
            None => BreakerState::Closed,
            Some(until) if Instant::now() < until => BreakerState::Open,
            Some(_) => BreakerState::HalfOpen,
        }
    }

    /// Lets a call through, or not; says whether it is the trial of a half-open breaker.
    fn admit(&self) -> Result<bool, Fault> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(until) = inner.open_until else { return Ok(false) };
        if Instant::now() < until || inner.trying {
            return Err(inner.refusal());
        }
        inner.trying = true;
        Ok(true)
    }

    /// Refuses a call that was let through if the breaker has opened since.
    pub(crate) fn admit_still(&self) -> Result<(), Fault> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match inner.open_until {
            Some(until) if Instant::now() < until => Err(inner.refusal()),
            _ => Ok(()),
        }
    }

    fn note(&self, failed: bool) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if !failed {
            inner.failures = 0;
            inner.open_until = None;
            return;
        }
        inner.failures = inner.failures.saturating_add(1);
        if self.limit > 0 && inner.failures >= self.limit {
            inner.open_until = Some(Instant::now() + self.open);
        }
    }
}

/// Gives the trial back when its call has ended, or is dropped before it does.
struct Trial<'a>(&'a Breaker, bool);

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if self.1 {
            self.0.inner.lock().unwrap_or_else(PoisonError::into_inner).trying = false;
        }
    }
}

/// The layer.
#[derive(Clone)]
pub(crate) struct BreakerLayer(Breaker);

impl BreakerLayer {
    /// Guards calls with this breaker.
    pub(crate) fn new(breaker: Breaker) -> Self {
        Self(breaker)
    }
}

impl Middleware for BreakerLayer {
    fn call<S: Inner>(&self, inner: &mut S, request: UpstreamRequest) -> Future {
        let breaker = self.0.clone();
        let admitted = breaker.admit();
        let call = admitted.map(|trial| (trial, inner.call(request)));
        Box::pin(async move {
            let (trial, call) = call?;
            let _trial = Trial(&breaker, trial);
            let result = call.await;
            if let Some(failed) = failed(&result) {
                breaker.note(failed);
            }
            result
        })
    }
}

/// True if the upstream failed; `None` where the result says nothing of it, as after a call that the
/// gateway kept back.
fn failed(result: &Result<UpstreamResponse, Fault>) -> Option<bool> {
    use FaultKind as Kind;
    match result {
        // Any answer that an upstream gives in its own words shows that it is there.
        Ok(response) => Some(matches!(response.status().as_u16(), 502..=504)),
        Err(fault) => match fault.kind {
            Kind::Connect | Kind::Tls | Kind::Timeout | Kind::Broken => Some(true),
            Kind::TooLarge | Kind::StreamRefused => Some(false),
            Kind::NoEndpoint
            | Kind::NoCredential
            | Kind::OutOfScope
            | Kind::Overloaded
            | Kind::Breaker
            | Kind::NeverWritten
            | Kind::Withheld
            | Kind::NotJournalled => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stalled upstream: calls that the gateway keeps back meanwhile do not close the breaker.
    #[tokio::test(start_paused = true)]
    async fn what_the_gateway_keeps_back_says_nothing_of_the_upstream() {
        let breaker = Breaker::new(2, Duration::from_secs(10));
        for kind in [FaultKind::Timeout, FaultKind::Withheld, FaultKind::Overloaded, FaultKind::Timeout] {
            if let Some(failed) = failed(&Err(Fault::not_sent(kind, ""))) {
                breaker.note(failed);
            }
        }
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn opens_after_failures_in_a_row_and_tries_again_once() {
        let breaker = Breaker::new(2, Duration::from_secs(10));
        breaker.note(true);
        breaker.note(false);
        breaker.note(true);
        assert_eq!(breaker.state(), BreakerState::Closed);
        breaker.note(true);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert_eq!(breaker.admit().unwrap_err().kind, FaultKind::Breaker);
        assert_eq!(breaker.admit_still().unwrap_err().kind, FaultKind::Breaker, "one from before it opened");

        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert!(breaker.admit().unwrap(), "a trial");
        assert!(breaker.admit().is_err(), "one trial at a time");
        assert!(breaker.admit_still().is_ok(), "the trial goes on");
        // A call from before the breaker opened ends late: the trial is still the only one.
        breaker.note(true);
        assert!(breaker.admit().is_err());
        breaker.note(false);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }
}
