//! Operations: maintenance of the ledger, and the decisions of operators.
//!
//! Stands above the dispatcher and the poller.

mod decisions;
mod maintenance;

pub(crate) use decisions::Decisions;
pub use decisions::Resolution;
pub(crate) use maintenance::Maintenance;
