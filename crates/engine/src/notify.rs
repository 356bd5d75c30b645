//! Telling others what becomes of restores.

use restore_model::EventKind;

/// What others can be told of, in the order of a restore's life.
pub const OCCASIONS: &[&str] = &[
    "accepted",
    "running",
    "unknown",
    "needs_operator",
    "overdue",
    "succeeded",
    "failed",
    "rejected",
    "not_applied",
    "cancelled",
    "expired",
];

/// The occasion that an event is, one of [`OCCASIONS`]; `None` for what only its history tells.
#[must_use]
pub const fn occasion(event: &EventKind) -> Option<&'static str> {
    Some(match event {
        EventKind::Started { .. } => "running",
        EventKind::Unsure { .. } => "unknown",
        EventKind::Accepted
        | EventKind::NeedsOperator { .. }
        | EventKind::Overdue
        | EventKind::Succeeded
        | EventKind::Failed { .. }
        | EventKind::Rejected { .. }
        | EventKind::NotApplied
        | EventKind::Cancelled
        | EventKind::Expired => event.as_str(),
        _ => return None,
    })
}
