//! `serve`: the gateway itself, until SIGTERM or SIGINT.

use std::process::ExitCode;

use super::{SettingsFile, told_to_stop};
use crate::Gateway;

pub(super) async fn run(file: &SettingsFile) -> ExitCode {
    let settings = match file.load() {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let gateway = match Gateway::start(&settings).await {
        Ok(gateway) => gateway,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    told_to_stop().await;
    tracing::info!("told to stop; draining");
    let in_time = gateway.stop().await;
    tracing::info!(in_time, "stopped");
    ExitCode::SUCCESS
}
