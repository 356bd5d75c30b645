//! What a failure of the database means for a group.

use crate::LedgerError;
use crate::group::Failure;

/// Why a group was not committed.
#[derive(Debug)]
pub(super) enum Failed {
    /// For a reason that stays.
    For(Failure),
    /// Another transaction came in between; tried again it may go well.
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
        // Serialization failure, deadlock; and a unique violation means that another process has
        // written what was not there when it was looked up.
        Some("40001" | "40P01" | "23505") => Failed::Crossed(error.to_string()),
        // Refused by a constraint, not representable, or refused by a trigger: one of the group.
        Some(code) if ["22", "23", "P0"].iter().any(|class| code.starts_with(class)) => {
            LedgerError::Corrupt(error.to_string()).into()
        }
        _ => Failure::Down(error.to_string()).into(),
    }
}
