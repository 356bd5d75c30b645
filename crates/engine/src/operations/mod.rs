//! Keeps the engine in operation: forgets what is old, and carries out what people decide.
//!
//! Stands above the dispatcher and the poller.

mod decisions;
mod maintenance;

pub(crate) use decisions::Decisions;
pub use decisions::Resolution;
pub(crate) use maintenance::Maintenance;
