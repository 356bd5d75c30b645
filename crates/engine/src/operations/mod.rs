//! Keeps the engine in operation: takes over what other processes left, forgets what is old, and carries out what people
//! decide.
//!
//! Stands above the dispatcher and the poller.

mod decisions;
mod maintenance;
mod takeover;

pub(crate) use decisions::Decisions;
pub use decisions::Resolution;
pub(crate) use maintenance::Maintenance;
pub(crate) use takeover::Takeover;
