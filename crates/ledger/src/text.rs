//! Documents as the databases store them: text, so that a read returns the written bytes.

use restore_model::RestoreId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{LedgerError, Position};

pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, LedgerError> {
    serde_json::from_str(text).map_err(|error| LedgerError::Corrupt(error.to_string()))
}

pub(crate) fn parse_id(text: &str) -> Result<RestoreId, LedgerError> {
    text.parse().map_err(|_| LedgerError::Corrupt("a restore id that is none".to_owned()))
}

pub(crate) fn parse_position(text: &str) -> Result<Position, LedgerError> {
    text.parse().map_err(|_| LedgerError::Corrupt("a position that is none".to_owned()))
}

pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, LedgerError> {
    serde_json::to_string(value).map_err(|error| LedgerError::Corrupt(error.to_string()))
}

/// Converts a limit for SQL.
pub(crate) fn size(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Converts a count that SQL stores in more bits than necessary.
pub(crate) fn number(kept: i64) -> Result<u32, LedgerError> {
    u32::try_from(kept).map_err(|_| LedgerError::Corrupt("a number that is out of range".to_owned()))
}
