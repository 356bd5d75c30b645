//! Hostile peers: floods, slow clients, malformed and huge requests, memory, secrets.

pub(crate) mod amplification;
pub(crate) mod canary;
pub(crate) mod canary_callers;
pub(crate) mod connections;
pub(crate) mod fairness;
pub(crate) mod floods;
pub(crate) mod framing;
pub(crate) mod input;
pub(crate) mod load;
pub(crate) mod memory;
pub(crate) mod patterns;
pub(crate) mod slow;
pub(crate) mod soak;
