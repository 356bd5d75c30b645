//! Rate limit per caller, where the settings ask for one. A caller is told apart by its token, and
//! without one by its address; behind a sidecar's loopback all callers without a token are one.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::task::{Context, Poll};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::{HeaderMap, Request};
use restore_model::{Code, Problem};
use tower::{Layer, Service};

use super::Future;
use crate::answer::{Answer, Failure};
use crate::connection::Peer;

/// Callers that are remembered before those that have been quiet are forgotten.
const MAX_CALLERS: usize = 10_000;

/// The layer.
#[derive(Clone)]
pub(crate) struct RateLayer(Option<Arc<Limits>>);

struct Limits {
    limiter: DefaultKeyedRateLimiter<u64>,
    clock: DefaultClock,
    hash: RandomState,
}

impl RateLayer {
    /// `per_second` requests, `burst` at once; 0 per second is no limit.
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        Self(NonZeroU32::new(per_second).map(|rate| {
            let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
            let quota = Quota::per_second(rate).allow_burst(burst);
            let limiter = RateLimiter::keyed(quota);
            Arc::new(Limits { limiter, clock: DefaultClock::default(), hash: RandomState::new() })
        }))
    }
}

impl Limits {
    fn admit(&self, headers: &HeaderMap, address: Option<IpAddr>) -> Result<(), Failure> {
        let key = match headers.get("x-auth-token") {
            Some(token) => self.hash.hash_one(token.as_bytes()),
            None => self.hash.hash_one(address),
        };
        if self.limiter.len() > MAX_CALLERS {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(&key).map_err(|refused| {
            let wait = refused.wait_time_from(self.clock.now()).as_secs_f32().ceil();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a few seconds, never negative"
            )]
            let wait = (wait as u32).max(1);
            Problem::new(Code::RateLimited, "this caller sends faster than limits.rate_per_second")
                .after(wait)
                .into()
        })
    }
}

impl<S> Layer<S> for RateLayer {
    type Service = Rate<S>;

    fn layer(&self, inner: S) -> Rate<S> {
        Rate { inner, limits: self.0.clone() }
    }
}

/// The service.
#[derive(Clone)]
pub(crate) struct Rate<S> {
    inner: S,
    limits: Option<Arc<Limits>>,
}

impl<S, B> Service<Request<B>> for Rate<S>
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
        if let Some(limits) = &self.limits {
            let address = request.extensions().get::<Peer>().map(|peer| peer.0.ip());
            if let Err(failure) = limits.admit(request.headers(), address) {
                return Box::pin(std::future::ready(Err(failure.closing())));
            }
        }
        self.inner.call(request)
    }
}
