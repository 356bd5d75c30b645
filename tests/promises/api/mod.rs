//! The canonical API: its contract, its documents, event streams, webhooks, limits.

pub(crate) mod contract;
pub(crate) mod documents;
pub(crate) mod limits;
pub(crate) mod streams;
pub(crate) mod webhooks;
