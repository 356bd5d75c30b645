//! HTTP as all rooms of the gateway need it: what a request is addressed to, who is at the other end of its connection,
//! and how an answer or a problem is written. Imports no other room.

pub(crate) mod answer;
pub mod destination;
pub(crate) mod names;
pub(crate) mod pool;
