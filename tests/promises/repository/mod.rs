//! The repository itself: its documentation runs, its reference is current, its structure holds.

pub(crate) mod docs_commands;
pub(crate) mod docs_reference;
pub(crate) mod failure_cases;
pub(crate) mod first_minutes;
pub(crate) mod shipped;
pub(crate) mod structure;
mod words;
