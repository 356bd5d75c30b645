//! The server below HTTP: sockets, TLS, connections and what they may hold. It hands each request to the inbound stack and
//! knows none of its layers.

pub(crate) mod arrival;
pub(crate) mod certificate;
pub(crate) mod connection;
pub(crate) mod connections;
pub mod descriptors;
pub(crate) mod frames;
pub(crate) mod heads;
pub(crate) mod listener;
pub(crate) mod memory;
pub(crate) mod tls;
