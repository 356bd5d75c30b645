//! The command line: what commands ask, print and return.

pub(crate) mod client;
pub(crate) mod client_answers;
pub(crate) mod client_output;
