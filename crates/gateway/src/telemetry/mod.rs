//! Telemetry of the gateway: logs, metrics, traces. A failure here never affects a restore.

pub(crate) mod links;
pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod otlp;
mod restores;
pub(crate) mod stock;
pub(crate) mod traces;
