//! The stages of a request in the inbound stack, as types. The body of an [`http::Request`] carries the stage, so a layer
//! takes a request of one stage and gives its inner service a request of the next. A layer that is left out or stands in
//! the wrong place does not compile, and no layer looks anything up that an earlier one may have forgotten.
//!
//! | stage | made by |
//! |---|---|
//! | [`Arrived`](crate::server::arrival::Arrived) | the listener |
//! | [`Routed`] | the layer `route` |
//! | [`Traced`] | the layer `trace` |
//! | [`Identified`] | the layer `caller` |
//! | [`Seated`] | the layer `shed` |
//! | [`Read`] | the layer `body` |
//! | [`Authenticated`] | the layer `signature`; the handler takes no other stage |

use bytes::Bytes;
use hyper::body::Incoming;
use restore_engine::{Caller, RequestContext};
use restore_upstream::TraceContext;

use super::shed::Place;
use super::signature::Verified;
use super::trace::Deferred;
use crate::auth::Sender;
use crate::dispatch::Found;
use crate::server::arrival::Arrival;

/// A request with its route.
pub(crate) struct Routed {
    pub(crate) arrival: Arrival,
    pub(crate) found: Found,
    pub(crate) body: Incoming,
}

/// A request with its route and its trace. `S` is what is known of its sender, `B` is its body.
pub(crate) struct Stage<S, B = Incoming> {
    pub(crate) arrival: Arrival,
    pub(crate) found: Found,
    pub(crate) trace: TraceContext,
    /// The trace that the sender names, until the sender is known.
    pub(crate) deferred: Option<Deferred>,
    pub(crate) sender: S,
    pub(crate) body: B,
}

/// A request whose sender nobody has looked for.
pub(crate) type Traced = Stage<()>;
/// A request whose head says who sent it.
pub(crate) type Identified = Stage<Sender>;
/// A request that has a place among those that are worked on.
pub(crate) type Seated = Stage<SeatedSender>;
/// A request whose body is read.
pub(crate) type Read = Stage<SeatedSender, Bytes>;
/// A request whose sender is known for certain.
pub(crate) type Authenticated = Stage<Verified, Bytes>;

/// The sender of a request that has a place.
pub(crate) struct SeatedSender {
    pub(crate) sender: Sender,
    pub(crate) place: Place,
}

/// The sender of a request, as far as it is known at a stage with a place.
pub(crate) trait Sent {
    /// The caller; `None` before its signature is verified.
    fn caller(&self) -> Option<&Caller>;
    /// True if a signature identifies the sender.
    fn is_signed(&self) -> bool;
    /// The place of the request.
    fn place(&self) -> &Place;
}

impl Sent for SeatedSender {
    fn caller(&self) -> Option<&Caller> {
        match &self.sender {
            Sender::Known(caller) => Some(caller),
            Sender::Signed(_) => None,
        }
    }

    fn is_signed(&self) -> bool {
        matches!(self.sender, Sender::Signed(_))
    }

    fn place(&self) -> &Place {
        &self.place
    }
}

impl<S, B> Stage<S, B> {
    /// The same request with another body, and the one it had.
    pub(crate) fn with_body<C>(self, next: C) -> (Stage<S, C>, B) {
        let Self { arrival, found, trace, deferred, sender, body } = self;
        (Stage { arrival, found, trace, deferred, sender, body: next }, body)
    }

    /// The same request, with more known of its sender.
    pub(crate) fn by<T>(self, next: impl FnOnce(S) -> T) -> Stage<T, B> {
        let Self { arrival, found, trace, deferred, sender, body } = self;
        Stage { arrival, found, trace, deferred, sender: next(sender), body }
    }
}

impl Arrival {
    /// Facts by which an auditor finds a request in other systems.
    pub(crate) fn request_context(
        &self,
        headers: &http::HeaderMap,
        trace: Option<&TraceContext>,
    ) -> RequestContext {
        RequestContext {
            request_id: headers.get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned),
            trace_id: trace.map(|trace| format!("{:032x}", trace.trace_id)),
            peer: Some(self.peer.address),
        }
    }
}
