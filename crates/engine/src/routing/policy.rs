//! Times and limits of the engine, from the configuration.

use std::time::Duration;

/// How the engine goes about its work.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How long a submit waits for the upstream's answer before it says `submitting`.
    pub answer: Duration,
    /// How long nobody may carry on with a restore that was not sent before it expires.
    pub unsent: Duration,
    /// Between two reads of one restore; `None` is the generation's own rhythm.
    pub interval: Option<Duration>,
    /// How long what was read on demand counts as fresh.
    pub status_cache: Duration,
    /// How long absence must last before a restore counts as not applied, past the send's deadline.
    pub settle: Duration,
    /// How long a state that never changed still counts as not begun.
    pub grace: Duration,
    /// Time for which an unknown outcome is polled before it needs an operator.
    pub unknown: Duration,
    /// Longest time of one send.
    pub send: Duration,
    /// Idempotency keys that one caller may have at once.
    pub max_keys_per_caller: usize,
    /// How long ended restores are kept; `None` for ever.
    pub retention: Option<Duration>,
    /// How often it is looked for restores that another process left behind, and for what is to be
    /// forgotten, where the ledger is shared.
    pub takeover_interval: Duration,
}
