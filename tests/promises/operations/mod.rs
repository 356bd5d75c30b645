//! Running the gateway: operators, configuration, reload, rotation, metrics, traces, alerts, deployment.

pub(crate) mod alerts;
pub(crate) mod config_tools;
pub(crate) mod confinement;
pub(crate) mod console_access;
pub(crate) mod deploy;
pub(crate) mod metrics;
pub(crate) mod operator;
pub(crate) mod reload;
pub(crate) mod rotation;
pub(crate) mod traces;
