//! Callers: how they show who they are, what they may do, and what strangers cannot.

pub(crate) mod callers;
pub(crate) mod issuers;
pub(crate) mod one_reader;
pub(crate) mod providers;
pub(crate) mod signatures;
pub(crate) mod strangers;
pub(crate) mod tls;
pub(crate) mod tokens;
