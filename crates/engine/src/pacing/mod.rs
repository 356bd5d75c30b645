//! Paces the calls to an upstream: the rate, the turns of callers and projects, and the order of the reads of one
//! question. It knows restores by ID only. Stands below everything that calls an upstream.

mod quota;
mod reads;
mod upstream_queue;

pub(crate) use quota::asked_enough;
pub(crate) use reads::Reads;
pub(crate) use upstream_queue::UpstreamQueue;
