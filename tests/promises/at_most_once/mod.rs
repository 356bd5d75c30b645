//! A restore is sent at most once, and its outcome is what the cloud did: duplicates, crashes, full disks, clocks, upgrades.

pub(crate) mod crash;
pub(crate) mod duplicates;
pub(crate) mod evidence;
pub(crate) mod full_disk;
pub(crate) mod lifecycle;
pub(crate) mod takeover;
pub(crate) mod upgrade;
