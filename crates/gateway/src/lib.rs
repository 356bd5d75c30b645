//! gateway
pub mod settings;
