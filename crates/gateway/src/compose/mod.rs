//! From the configuration to running parts: parts that are built at the start, at a reload, and when a file changes.
//! The only module that knows all others.

pub(crate) mod access;
pub(crate) mod build_error;
pub(crate) mod credentials;
pub(crate) mod pairs;
pub(crate) mod reload;
pub(crate) mod rotation;
pub(crate) mod rules;
pub(crate) mod serving;
pub mod upstreams;
