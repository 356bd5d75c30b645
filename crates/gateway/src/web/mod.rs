//! HTTP for all modules of the gateway: the destination of a request, its peer, and responses and problems. It imports
//! no other module of the gateway.

pub(crate) mod answer;
pub mod destination;
pub(crate) mod names;
pub(crate) mod pool;
