//! Paces the calls to an upstream: how many it may get, whose turn it is, and the reads of one question in their order.
//! Knows no restores but their ids. Stands below everything that calls an upstream.

mod quota;
mod reads;
mod upstream_queue;

pub(crate) use quota::asked_enough;
pub(crate) use reads::Reads;
pub(crate) use upstream_queue::UpstreamQueue;
