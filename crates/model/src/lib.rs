//! The model of a restore: the canonical request, its states, the problems that can end it, and the JSON Schemas of all
//! of them.
//!
//! This crate is the lowest layer: every other crate of the gateway may import it, and it imports none of them. It does
//! no I/O and has no `async`; [`Clock`] provides the time.
//!
//! | module | content |
//! |---|---|
//! | [`id`] | identifiers that are safe in a path |
//! | [`json`] | strict parsing of one JSON value |
//! | [`schema`] | validation of a value against its schema, with the location of each error |
//! | [`request`] | the canonical request: a backup and its target |
//! | [`event`], [`state`] | the events of a restore, and the state that follows |
//! | [`problem`] | errors, their effect in the cloud, and the advice for a retry |
//! | [`restore`] | a restore as callers see it |

pub mod clock;
pub mod event;
pub mod id;
pub mod json;
pub mod problem;
pub mod request;
pub mod restore;
pub mod schema;
pub mod state;

pub use clock::{Clock, SystemClock, Timestamp};
pub use event::{Cause, Event, EventKind, Evidence, Proof, ResolvedAs, StepOutcome, Strength, TaskRef};
pub use id::{Id, InvalidId, ProjectId, RestoreId};
pub use problem::{Code, Effect, Fault, Problem, Retry, UpstreamError};
pub use request::{Mapping, RestoreRequest, Source, Target, TargetKind};
pub use restore::{CANONICAL, Intent, Origin, Restore, RoutePin};
pub use state::{IllegalMove, State, Status, Step, StepStatus};
