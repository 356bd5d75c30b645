//! Where a ledger is kept, as settings and the command line name it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a ledger is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerUrl {
    /// `memory:`, gone with the process.
    Memory,
    /// `sqlite:PATH`.
    Sqlite(PathBuf),
}

/// A text that names no ledger of this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a ledger is \"memory:\" or \"sqlite:PATH\"")]
pub struct InvalidLedgerUrl;

impl FromStr for LedgerUrl {
    type Err = InvalidLedgerUrl;

    fn from_str(text: &str) -> Result<Self, InvalidLedgerUrl> {
        match text.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            _ => Err(InvalidLedgerUrl),
        }
    }
}

impl fmt::Display for LedgerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
        }
    }
}
