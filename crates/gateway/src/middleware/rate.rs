//! Rate limit per caller. A known caller is counted by its name, any other sender by its address, because anyone can
//! invent a token per request. Behind a sidecar's loopback all unknown senders are one. A signed request is counted
//! after the verification of its signature, so nobody can use up the rate of another access key. So the layer stands in
//! the stack twice, and each request counts in one of them.
//!
//! Every response to a limited caller has `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10):
//! the quota `q` of requests in a window of `w` seconds; `r` remaining requests, and `t` seconds until all of them are
//! available again.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use http::{HeaderValue, Request};
use restore_engine::Caller;
use restore_model::{Code, Problem};

use super::stages::{Sent, Stage};
use super::{Future, Inner, Middleware};
use crate::web::answer::{Failure, Standing};
use crate::web::pool::Neighbour;

/// Callers that are remembered before those that have been quiet are forgotten.
const MAX_CALLERS: usize = 10_000;

/// How fast a caller may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Requests per second; 0 is no limit.
    pub(crate) per_second: u32,
    /// Requests at once.
    pub(crate) burst: u32,
}

/// The layer.
#[derive(Clone)]
pub(crate) struct RateLayer {
    limits: Arc<Limits>,
    /// True if it counts those who sign, or all others.
    signed: bool,
}

struct Limits {
    general: Option<Limit>,
    /// By the name of the caller in the configuration.
    own: HashMap<String, Limit>,
    hash: RandomState,
}

type Limiter = RateLimiter<u64, DefaultKeyedStateStore<u64>, DefaultClock, StateInformationMiddleware>;

struct Limit {
    rate: NonZeroU32,
    burst: NonZeroU32,
    limiter: Limiter,
    clock: DefaultClock,
    policy: HeaderValue,
}

impl RateLayer {
    /// The rate of everybody, and of those who have one of their own.
    pub(crate) fn new(general: Rate, own: impl IntoIterator<Item = (String, Rate)>) -> Self {
        let own = own.into_iter().filter_map(|(name, rate)| Some((name, Limit::new(rate)?))).collect();
        let limits = Limits { general: Limit::new(general), own, hash: RandomState::new() };
        Self { limits: Arc::new(limits), signed: false }
    }

    /// The same limits, for those who sign.
    pub(crate) fn for_signed(&self) -> Self {
        Self { limits: Arc::clone(&self.limits), signed: true }
    }
}

impl Limit {
    fn new(rate: Rate) -> Option<Self> {
        let burst = NonZeroU32::new(rate.burst).unwrap_or(NonZeroU32::MIN);
        let rate = NonZeroU32::new(rate.per_second)?;
        let quota = Quota::per_second(rate).allow_burst(burst);
        let window = burst.get().div_ceil(rate.get());
        let policy = HeaderValue::try_from(format!("\"caller\";q={burst};w={window}")).ok()?;
        let limiter = RateLimiter::keyed(quota).with_middleware::<StateInformationMiddleware>();
        Some(Self { rate, burst, limiter, clock: DefaultClock::default(), policy })
    }

    fn standing(&self, remaining: u32) -> Standing {
        let used = self.burst.get().saturating_sub(remaining);
        let text = format!("\"caller\";r={remaining};t={}", used.div_ceil(self.rate.get()));
        let state = HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("\"caller\""));
        Standing { policy: self.policy.clone(), state }
    }

    fn admit(&self, key: u64) -> Result<Standing, Failure> {
        if self.limiter.len() > MAX_CALLERS {
            self.limiter.retain_recent();
        }
        match self.limiter.check_key(&key) {
            Ok(state) => Ok(self.standing(state.remaining_burst_capacity())),
            Err(refused) => {
                let wait = refused.wait_time_from(self.clock.now()).as_secs_f32().ceil();
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a few seconds, never negative"
                )]
                let wait = (wait as u32).max(1);
                let detail = "this caller sends faster than its rate allows; nothing was sent";
                let mut failure = Failure::from(Problem::new(Code::RateLimited, detail).after(wait));
                failure.standing = Some(self.standing(0));
                Err(failure.at_limit("rate_per_second"))
            }
        }
    }
}

impl Limits {
    fn admit(&self, caller: Option<&Caller>, address: IpAddr) -> Result<Option<Standing>, Failure> {
        let name = caller.and_then(Caller::name);
        // All callers that one entry of the configuration stands for have its rate, each for itself.
        let own = name.and_then(|name| self.own.get(name.split('/').next().unwrap_or_default()));
        let Some(limit) = own.or(self.general.as_ref()) else { return Ok(None) };
        let key = match name {
            Some(name) => self.hash.hash_one(name),
            None => self.hash.hash_one(Neighbour::from(address)),
        };
        limit.admit(key).map(Some)
    }
}

impl<W: Sent + Send + 'static, B: Send + 'static> Middleware<Stage<W, B>> for RateLayer {
    type Passed = Stage<W, B>;

    fn call<S: Inner<Stage<W, B>>>(&self, inner: &mut S, request: Request<Stage<W, B>>) -> Future {
        let stage = request.body();
        let unlimited = self.limits.general.is_none() && self.limits.own.is_empty();
        if unlimited || stage.sender.is_signed() != self.signed {
            return inner.call(request);
        }
        let address = stage.arrival.peer.address.ip();
        match self.limits.admit(stage.sender.caller(), address) {
            Err(failure) => Box::pin(std::future::ready(Err(failure.closing()))),
            Ok(None) => inner.call(request),
            Ok(Some(standing)) => {
                let answer = inner.call(request);
                Box::pin(async move {
                    match answer.await {
                        Ok(mut answer) => {
                            standing.tell(answer.headers_mut());
                            Ok(answer)
                        }
                        Err(mut failure) => {
                            failure.standing = Some(standing);
                            Err(failure)
                        }
                    }
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use restore_upstream::Token;

    use super::*;

    fn limits() -> Limits {
        let general = Limit::new(Rate { per_second: 1, burst: 2 });
        Limits { general, own: HashMap::new(), hash: RandomState::new() }
    }

    #[test]
    fn made_up_tokens_of_one_address_share_one_rate() {
        let limits = limits();
        let ask = |token: &str, address: &str| {
            let token = Token::from_header(&HeaderValue::try_from(token).unwrap());
            limits.admit(Some(&Caller::anyone(token)), address.parse().unwrap()).is_ok()
        };
        assert!(ask("one", "192.0.2.1") && ask("two", "192.0.2.1"));
        assert!(!ask("three", "192.0.2.1"), "a new token is no new caller");
        assert!(!ask("four", "::ffff:192.0.2.1"), "nor is another spelling of the address");
        assert!(ask("one", "192.0.2.2"), "another address is one");
        assert!(ask("one", "2001:db8::1") && ask("two", "2001:db8::2"));
        assert!(!ask("three", "2001:db8::3"), "a network is one neighbour");
        assert!(ask("one", "2001:db8:0:1::1"));
    }
}
