//! The first stage of a request: what the listener and its connection know before any layer has read it.

use std::sync::Arc;

use hyper::body::Incoming;

use crate::server::certificate::Certificate;
use crate::server::connection::{Framing, Peer};
use crate::web::destination::Destination;
use crate::web::pool::Neighbour;

/// The way a request arrived.
pub(crate) struct Arrival {
    /// Host and port that it is addressed to. The request itself holds neither.
    pub(crate) destination: Destination,
    /// The other end of its connection.
    pub(crate) peer: Peer,
    /// The verdict of the connection on its raw head.
    pub(crate) framing: Framing,
    /// The client certificate of its connection.
    pub(crate) certificate: Option<Arc<Certificate>>,
}

impl Arrival {
    /// The peer, as one that shares places with others of its network.
    pub(crate) fn neighbour(&self) -> Neighbour {
        Neighbour::from(self.peer.address)
    }
}

/// The body of a request that a listener hands over: every request has its arrival, by its type.
pub(crate) struct Arrived {
    /// The way it arrived.
    pub(crate) arrival: Arrival,
    /// Its bytes, unread.
    pub(crate) body: Incoming,
}
