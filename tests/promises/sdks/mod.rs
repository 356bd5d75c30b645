//! Released SDKs of other people, unmodified, and clients that public generators make of the contract. Needs Python and Node
//! with the pinned packages.

pub(crate) mod clouds;
pub(crate) mod contract;
pub(crate) mod endpoints;
pub(crate) mod habits;
pub(crate) mod reads;
