//! From the configuration to running parts: what is made at the start, what is made again at a reload, and what is read
//! again when a file changes. The only room that knows all others.

pub(crate) mod access;
pub(crate) mod build_error;
pub(crate) mod credentials;
pub(crate) mod pairs;
pub(crate) mod reload;
pub(crate) mod rotation;
pub(crate) mod rules;
pub(crate) mod serving;
pub mod upstreams;
