//! WHAT a restore is: the canonical request, the states it goes through, the problems that can
//! end it, and the JSON Schemas of all of them.
//!
//! This crate stands at the bottom of the line: every other crate of the gateway may import it,
//! it imports none of them. It does no I/O and has no `async`; time comes in through [`Clock`].
//!
//! | module | question it answers |
//! |---|---|
//! | [`id`] | which names are safe to put into a path? |
//! | [`json`] | is this text one JSON value without surprises? |
//! | [`schema`] | does the value say what a restore must say, and where does it not? |
//! | [`request`] | what is to be restored onto what? |
//! | [`event`], [`state`] | what happened, and what is therefore true? |
//! | [`problem`] | what went wrong, was anything changed, and may one try again? |
//! | [`restore`] | what is a caller shown? |

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
