//! `serve`: runs the gateway until SIGTERM or SIGINT.

use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{ConfigFile, StopSignal};
use restore_gateway::Gateway;

#[derive(clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    file: ConfigFile,
    /// Recovery mode: no restore is sent until `restore-gateway recovery confirm`
    ///
    /// Use it if the database comes from an older backup.
    #[arg(long, env = "RESTORE_GATEWAY_RECOVERY")]
    recovery: bool,
    /// Point at which tests kill the process
    #[arg(long, env = restore_engine::crash::VARIABLE, hide = true)]
    crash_at: Option<String>,
}

/// Reloads the configuration on each SIGHUP; the gateway logs the result.
async fn reload_on_signal(gateway: &Gateway, hangup: std::io::Result<Signal>) {
    if let Ok(mut hangup) = hangup {
        while hangup.recv().await.is_some() {
            let _ = gateway.reload().await;
        }
    }
    std::future::pending::<()>().await;
}

pub(super) async fn run(options: Options) -> ExitCode {
    let armed = options.crash_at.as_deref().map_or(Ok(()), restore_engine::crash::arm);
    if let Err(why) = armed {
        eprintln!("error: {why}");
        return ExitCode::FAILURE;
    }
    // First: without a handler this signal ends the process.
    let hangup = signal(SignalKind::hangup());
    // Before the first secret is read.
    super::process_memory::keep_memory_private();
    let config = match options.file.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    // Before the first caller connects: without a handler the signal would cut its request off.
    let mut stop = StopSignal::listen();
    let mut start = restore_gateway::Start::new().recovery(options.recovery);
    if let Some(reload) = options.file.reload() {
        start = start.again(reload);
    }
    let started = tokio::select! {
        started = Gateway::start_with(&config, start) => started,
        () = stop.received() => {
            super::output::info("stop signal received during the start");
            return ExitCode::SUCCESS;
        }
    };
    let gateway = match started {
        Ok(gateway) => gateway,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    tokio::select! {
        () = stop.received() => {}
        () = reload_on_signal(&gateway, hangup) => {}
    }
    tracing::info!("stop signal received, shutting down");
    let in_time = gateway.stop().await;
    tracing::info!(in_time, "stopped");
    ExitCode::SUCCESS
}
