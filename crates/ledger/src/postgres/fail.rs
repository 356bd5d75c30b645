//! Meaning of a database failure for a group.

use crate::LedgerError;
use crate::group::Failure;

/// The reason why a group was not committed.
#[derive(Debug)]
pub(super) enum Failed {
    /// A reason that a retry does not change.
    For(Failure),
    /// A conflict with another transaction; a retry may succeed.
    Crossed(String),
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self::For(failure)
    }
}

impl From<LedgerError> for Failed {
    fn from(error: LedgerError) -> Self {
        Self::For(Failure::Within(error))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape map_err wants")]
pub(super) fn failed(error: sqlx::Error) -> Failed {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    match code.as_deref() {
        // Serialization failure or deadlock. A unique violation means that another process has written a row that did
        // not exist when it was read.
        Some("40001" | "40P01" | "23505") => Failed::Crossed(error.to_string()),
        // Rejected by a constraint or a trigger, or not representable: one write of the group.
        Some(code) if ["22", "23", "P0"].iter().any(|class| code.starts_with(class)) => {
            LedgerError::Corrupt(error.to_string()).into()
        }
        _ => Failure::Down(error.to_string()).into(),
    }
}
