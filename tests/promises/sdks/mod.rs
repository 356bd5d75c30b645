//! Released SDKs of other people, unmodified. Needs Python and Node with the pinned packages.

pub(crate) mod clouds;
pub(crate) mod endpoints;
pub(crate) mod habits;
pub(crate) mod reads;
