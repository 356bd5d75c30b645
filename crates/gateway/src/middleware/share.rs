//! A caller's share of the places for requests in progress, so that nobody takes all of them with slow requests. A
//! caller may hold as many places as are otherwise free: a single caller gets half of them, two get a third each, and
//! the next caller always finds one.
//!
//! Only known callers have a share. On a listener without callers all senders are one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Request;
use restore_engine::Caller;
use restore_model::{Code, Problem};

use super::stages::{Sent, Stage};
use super::{Future, Inner, Middleware};
use crate::web::answer::Failure;

/// How many places each caller holds.
#[derive(Clone, Default)]
pub(crate) struct ShareLayer(Arc<Mutex<HashMap<String, usize>>>);

impl ShareLayer {
    fn held(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one place more of a caller while so many are free; none where that is more than its share.
    fn take(&self, name: &str, free: usize) -> Option<Held> {
        let mut held = self.held();
        let own = held.get(name).copied().unwrap_or(0);
        if own > free {
            return None;
        }
        held.insert(name.to_owned(), own + 1);
        Some(Held { name: name.to_owned(), of: self.clone() })
    }
}

/// One place that a caller holds.
pub(crate) struct Held {
    name: String,
    of: ShareLayer,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.of.held();
        match held.get_mut(&self.name) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                held.remove(&self.name);
            }
        }
    }
}

impl<W: Sent + Send + 'static, B: Send + 'static> Middleware<Stage<W, B>> for ShareLayer {
    type Passed = Stage<W, B>;

    fn call<S: Inner<Stage<W, B>>>(&self, inner: &mut S, request: Request<Stage<W, B>>) -> Future {
        let sender = &request.body().sender;
        let (name, place) = (sender.caller().and_then(Caller::name), sender.place());
        if let Some(name) = name
            && !place.is_counted()
        {
            let Some(held) = self.take(name, place.free()) else {
                let detail = "this caller has as many requests under way as leave room for others";
                let failure = Failure::from(Problem::new(Code::Overloaded, detail).after(1));
                return Box::pin(std::future::ready(Err(failure.closing().at_limit("max_in_flight"))));
            };
            place.count(held);
        }
        inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_next_finds_a_place() {
        let layer = ShareLayer::default();
        let mut held = Vec::new();
        let mut free = 16;
        // Each takes all that it can get.
        for name in ["a", "b", "c"] {
            let before = free;
            while let Some(one) = layer.take(name, free - 1) {
                held.push(one);
                free -= 1;
            }
            assert!(free > 0 && free < before, "{name} got some, and left some: {free}");
        }
        let of_a = held.iter().filter(|one| one.name == "a").count();
        assert_eq!(of_a, 8, "one alone gets half");
        drop(held);
        assert!(layer.held().is_empty());
        assert!(layer.take("a", 0).is_some(), "the only place is anybody's");
    }
}
