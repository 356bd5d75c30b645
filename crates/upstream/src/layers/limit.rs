//! Concurrency limit: so many calls to one upstream at once. Further calls wait for a place, and those that wait too
//! long are rejected before anything is sent. Without the limit a stalled upstream would fill the memory. A call that
//! has found its place is still rejected if the breaker opened meanwhile.
//!
//! Nobody takes all places: checks and proxied reads have a quarter of them, attempts five eighths, polls at least the
//! rest and any free one. Within each kind one caller has half, so the next caller finds a place however slow the
//! upstream is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::breaker::Breaker;
use super::{Future, Inner, Middleware, Purpose};
use crate::Behalf;
use crate::fault::{Fault, FaultKind};
use crate::stack::UpstreamRequest;

/// Configuration and the semaphores of all clones.
#[derive(Clone)]
pub(crate) struct LimitLayer {
    places: Arc<Semaphore>,
    restores: Class,
    questions: Class,
    patience: Duration,
    breaker: Breaker,
}

/// Calls of one kind: so many of all callers together, and so many of each.
#[derive(Clone)]
struct Class {
    all: Arc<Semaphore>,
    each: usize,
    own: Arc<Mutex<HashMap<Arc<str>, Weak<Semaphore>>>>,
}

/// The places that one call holds.
type Places = Vec<OwnedSemaphorePermit>;

impl Class {
    fn new(all: usize) -> Self {
        let all = all.max(1);
        Self { all: Arc::new(Semaphore::new(all)), each: (all / 2).max(1), own: Arc::default() }
    }

    /// The places of one caller; forgotten when none of its calls holds or wants one.
    fn of(&self, caller: &Arc<str>) -> Arc<Semaphore> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = own.get(caller).and_then(Weak::upgrade) {
            return places;
        }
        own.retain(|_, places| places.strong_count() > 0);
        let places = Arc::new(Semaphore::new(self.each));
        own.insert(Arc::clone(caller), Arc::downgrade(&places));
        places
    }
}

impl LimitLayer {
    /// `most` calls at once; others wait at most `patience`.
    pub(crate) fn new(most: usize, patience: Duration, breaker: Breaker) -> Self {
        let most = most.max(1);
        Self {
            places: Arc::new(Semaphore::new(most)),
            restores: Class::new(most * 5 / 8),
            questions: Class::new(most / 4),
            patience,
            breaker,
        }
    }

    /// A place for a call: first among its caller's, then among those of its kind, then at all.
    async fn places(&self, behalf: &Behalf) -> Option<Places> {
        let class = match behalf {
            Behalf::Poll => None,
            Behalf::Restore(caller) => Some((&self.restores, caller)),
            Behalf::Question(caller) => Some((&self.questions, caller)),
        };
        let mut held = Vec::with_capacity(3);
        if let Some((class, caller)) = class {
            held.push(class.of(caller).acquire_owned().await.ok()?);
            held.push(Arc::clone(&class.all).acquire_owned().await.ok()?);
        }
        held.push(Arc::clone(&self.places).acquire_owned().await.ok()?);
        Some(held)
    }
}

impl Middleware for LimitLayer {
    fn call<S: Inner>(&self, inner: &mut S, request: UpstreamRequest) -> Future {
        let limit = self.clone();
        let ready = inner.clone();
        let mut inner = std::mem::replace(inner, ready);
        Box::pin(async move {
            let purpose = request.extensions().get::<Purpose>();
            let behalf = purpose.map(|purpose| purpose.behalf.clone()).unwrap_or_default();
            let Ok(Some(_places)) = tokio::time::timeout(limit.patience, limit.places(&behalf)).await else {
                let detail = "too many calls to this upstream are under way";
                return Err(Fault::not_sent(FaultKind::Overloaded, detail));
            };
            limit.breaker.admit_still()?;
            inner.call(request).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(caller: &str) -> Behalf {
        Behalf::Question(caller.into())
    }

    fn layer(most: usize) -> LimitLayer {
        LimitLayer::new(most, Duration::from_secs(5), Breaker::new(5, Duration::from_secs(10)))
    }

    fn restore(caller: &str) -> Behalf {
        Behalf::Restore(caller.into())
    }

    /// F52: whoever asks as much as it may, the others find a place at once.
    #[tokio::test(start_paused = true)]
    async fn f52_the_calls_of_one_caller_leave_places_for_all_others() {
        for most in [2, 4, 8, 64] {
            let limit = layer(most);
            let soon = async |behalf: &Behalf| {
                let wait = Duration::from_millis(1);
                tokio::time::timeout(wait, limit.places(behalf)).await.ok().flatten()
            };
            let mut held = Vec::new();
            for _ in 0..most * 2 {
                held.extend(soon(&question("greedy")).await);
            }
            let questions = held.len();
            assert!(questions >= 1 && questions <= (most / 2).max(1), "{questions} of {most}");
            assert!(soon(&Behalf::Poll).await.is_some(), "{most}: a poll");
            assert!(soon(&restore("other")).await.is_some(), "{most}: a restore");
            assert_eq!(soon(&question("other")).await.is_some(), most >= 8, "{most}: a question");
            if most >= 8 {
                for _ in 0..most * 2 {
                    held.extend(soon(&restore("greedy")).await);
                }
                assert!(soon(&Behalf::Poll).await.is_some(), "{most}: a poll beside both");
                assert!(soon(&restore("other")).await.is_some(), "{most}: a restore beside both");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_of_callers_that_have_no_calls() {
        let limit = layer(64);
        for number in 0..1_000 {
            drop(limit.places(&question(&format!("caller {number}"))).await);
        }
        assert!(limit.questions.own.lock().unwrap().len() <= 1);
    }
}
