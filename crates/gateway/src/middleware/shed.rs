//! Load shedding: a request beyond the limit of requests in progress is rejected at once with `Retry-After`, before its
//! body is read. So is every request while the process holds its maximum of memory. Without it memory would grow with
//! the number of callers.
//!
//! A request holds its [`Place`] until its response is written or its connection ends: the bytes of the response hold
//! it (`answer::Body`), so a reader that does not read takes no memory of others. A request that only waits for the end
//! of a restore exchanges its place for one among the waiting requests. A rejected request releases its place and takes
//! one among the rejections, if there is one; otherwise the rejection has no body.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Request;
use restore_model::{Code, Problem};

use super::stages::{Identified, Seated, SeatedSender};
use super::{Future, Inner, Middleware, share};
use crate::server::heads;
use crate::server::memory::Memory;
use crate::web::answer::{Answer, Failure};
use crate::web::pool::{Full, Held, Neighbour, Pool, Share};

/// Answers up to this size are counted by their places alone.
const SMALL: usize = 64 * 1024;
/// Bytes of larger answers at once where memory has no ceiling.
const LARGE_ANSWERS: usize = 256 * 1024 * 1024;

/// The key of `limits` for places.
const PLACES: &str = "max_in_flight";

/// How many places there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Requests that are worked on, or whose answer is being written; and as many refusals that are being written.
    pub(crate) work: usize,
    /// Requests that wait.
    pub(crate) waits: usize,
    /// Bytes of memory; 0 is no ceiling.
    pub(crate) memory: usize,
    /// Share of one peer in each.
    pub(crate) share: Share,
}

impl Sizes {
    /// A quarter of the memory is for answers that nobody has read yet.
    const fn answers(&self) -> usize {
        match self.memory / 4 {
            0 => LARGE_ANSWERS,
            quarter => quarter,
        }
    }
}

/// The pools that some listeners share. Clones are one.
#[derive(Clone)]
pub(crate) struct Places {
    work: Pool,
    waits: Pool,
    refusals: Pool,
    /// Bytes of answers that are not small.
    answers: Pool,
    /// Bytes of heads that are not whole.
    heads: Pool,
}

impl Places {
    /// So many of each.
    pub(crate) fn new(sizes: Sizes) -> Self {
        let pool = |most| Pool::new(most, sizes.share);
        Self {
            work: pool(sizes.work),
            waits: pool(sizes.waits),
            refusals: pool(sizes.work),
            answers: pool(sizes.answers()),
            heads: pool(heads::bytes(sizes.memory)),
        }
    }

    /// So many of each from now on.
    pub(crate) fn resize(&self, sizes: Sizes) {
        self.work.resize(sizes.work, sizes.share);
        self.waits.resize(sizes.waits, sizes.share);
        self.refusals.resize(sizes.work, sizes.share);
        self.answers.resize(sizes.answers(), sizes.share);
        self.heads.resize(heads::bytes(sizes.memory), sizes.share);
    }

    /// Bytes of heads that are not whole.
    pub(crate) fn heads(&self) -> Pool {
        self.heads.clone()
    }

    /// Lets an answer hold its place until it was written.
    ///
    /// # Errors
    /// There is no room for a response of this size. A response about a change is sent all the same.
    pub(crate) fn answer(&self, mut answer: Answer, place: Place, changes: bool) -> Result<Answer, Failure> {
        let weight = answer.body().weight();
        if weight <= SMALL {
            answer.body_mut().hold(place);
            return Ok(answer);
        }
        match self.answers.take_many(place.0.peer, weight) {
            Ok(bytes) => answer.body_mut().hold((place, bytes)),
            Err(_) if changes => answer.body_mut().hold(place),
            Err(_) => {
                let detail = "unread responses use all memory reserved for them: read them, or request less";
                let failure = Failure::from(Problem::new(Code::Overloaded, detail).after(1));
                return Err(failure.at_limit("max_memory_bytes"));
            }
        }
        Ok(answer)
    }

    /// A place for a request from there.
    ///
    /// # Errors
    /// Which limit is reached.
    pub(crate) fn enter(&self, peer: Neighbour) -> Result<Place, Failure> {
        let held = self.work.take(peer).map_err(|full| {
            let detail = match full {
                Full::All => "too many requests are being worked on",
                Full::Share => "this address has as many requests under way as one address may have",
            };
            let failure = Failure::from(Problem::new(Code::Overloaded, detail).after(1)).closing();
            failure.at_limit(full.limit(PLACES))
        })?;
        let holding = Mutex::new(Holding { held, share: None });
        Ok(Place(Arc::new(Taken { holding, peer, waits: self.waits.clone() })))
    }

    /// Lets a failure hold a place among the refusals; where there is none, it is one without a body.
    pub(crate) fn refuse(&self, failure: &mut Failure, peer: Neighbour) {
        if failure.seat.is_some() || failure.bare {
            return;
        }
        match self.refusals.take(peer) {
            Ok(seat) => failure.seat = Some(seat),
            Err(full) => {
                failure.limit.get_or_insert(full.limit(PLACES));
                // What waits for its turn then is small.
                failure.problem.errors = Vec::new();
                failure.problem.upstream = None;
                failure.bare = true;
            }
        }
    }
}

/// A request's place among those worked on; given back when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Place(Arc<Taken>);

struct Taken {
    holding: Mutex<Holding>,
    peer: Neighbour,
    waits: Pool,
}

struct Holding {
    held: Held,
    /// The same, among those of its caller, once it is known whose it is.
    share: Option<share::Held>,
}

impl Place {
    fn holding(&self) -> MutexGuard<'_, Holding> {
        self.0.holding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many places are free besides.
    pub(crate) fn free(&self) -> usize {
        self.holding().held.pool().free()
    }

    /// True if it is counted among those of its caller.
    pub(crate) fn is_counted(&self) -> bool {
        self.holding().share.is_some()
    }

    /// Counts it.
    pub(crate) fn count(&self, share: share::Held) {
        self.holding().share = Some(share);
    }

    /// Gives the place back for one among those that wait. False where too many wait: then this one is not to.
    pub(crate) fn waits(&self) -> bool {
        let Ok(seat) = self.0.waits.take(self.0.peer) else { return false };
        *self.holding() = Holding { held: seat, share: None };
        true
    }
}

/// The layer.
#[derive(Clone)]
pub(crate) struct ShedLayer {
    places: Places,
    memory: Memory,
}

impl ShedLayer {
    /// Lets in whom there is a place for, over all connections, and nobody above the ceiling.
    pub(crate) const fn new(places: Places, memory: Memory) -> Self {
        Self { places, memory }
    }
}

impl Middleware<Identified> for ShedLayer {
    type Passed = Seated;

    fn call<S: Inner<Seated>>(&self, inner: &mut S, request: Request<Identified>) -> Future {
        if self.memory.is_over() {
            let detail = "the gateway holds as much memory as it may; nothing was started";
            let failure = Failure::from(Problem::new(Code::Overloaded, detail).after(5)).closing();
            return Box::pin(std::future::ready(Err(failure.at_limit("max_memory_bytes"))));
        }
        let peer = request.body().arrival.neighbour();
        let place = match self.places.enter(peer) {
            Ok(place) => place,
            Err(failure) => return Box::pin(std::future::ready(Err(failure))),
        };
        let places = self.places.clone();
        let changes = request.body().found.changes();
        let seat = place.clone();
        let call = inner.call(request.map(|stage| stage.by(|sender| SeatedSender { sender, place: seat })));
        Box::pin(async move {
            let mut answered = match call.await {
                Ok(answer) => places.answer(answer, place, changes),
                Err(failure) => Err(failure),
            };
            if let Err(failure) = &mut answered {
                places.refuse(failure, peer);
            }
            answered
        })
    }
}
