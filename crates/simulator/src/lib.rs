//! Simulated clouds: the four backup APIs, block storage and identity of a fictional region, on one listener.
//!
//! For trials and tests of the gateway without a cloud. The simulator validates requests strictly and answers in the
//! documented formats. It derives every rejection from the state of one small world, and keeps a record of the restores
//! that were really applied. It imports no crate of this workspace, on purpose: shared types would share their
//! mistakes.
//!
//! One request passes, in this order: `listener` (sockets) → `service` (record, faults) → `access` (tokens, and `aksk`:
//! signatures) → `routes` (one table) → the cloud's own file (`csbs`, `cbr`, `vbs`, `cinder`, `evs`, `iam`) → `world`
//! and `restores` (state, computed from the clock, never by polling). `control` is the API for people and tests:
//! `/_sim/*`.

mod access;
mod aksk;
mod answer;
mod behaviour;
mod call;
mod cbr;
mod cbr_backups;
mod cbr_tasks;
mod cinder;
mod clock;
mod control;
mod csbs;
mod csbs_items;
mod evs;
mod faults;
mod iam;
mod ids;
mod in_memory;
mod journal;
mod listener;
mod outgoing;
mod restores;
mod routes;
mod service;
mod socket;
mod vbs;
mod vbs_restore;
mod world;

pub use clock::{Clock, SystemClock};
pub use in_memory::InMemory;
pub use listener::{Options, Simulator};
