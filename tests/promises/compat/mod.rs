//! Compatibility endpoints: programs that speak one API keep it, whichever generation carries their restores out.

pub(crate) mod basics;
pub(crate) mod callers;
pub(crate) mod ids;
pub(crate) mod lists;
pub(crate) mod matrix;
pub(crate) mod outcomes;
pub(crate) mod per_disk;
pub(crate) mod reads;
pub(crate) mod refusals;
pub(crate) mod usage;
