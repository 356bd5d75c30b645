//! `serve`: the gateway itself, until SIGTERM or SIGINT.

use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{SettingsFile, ToldToStop};
use restore_gateway::Gateway;

#[derive(clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    file: SettingsFile,
    /// Start in recovery mode, because the ledger is an older copy of itself: nothing is sent until
    /// `restore-gateway recovery confirm`
    #[arg(long, env = "RESTORE_GATEWAY_RECOVERY")]
    recovery: bool,
    /// Of tests: where the process is to be killed
    #[arg(long, env = restore_engine::crash::VARIABLE, hide = true)]
    crash_at: Option<String>,
}

/// Loads the settings whenever SIGHUP comes; what comes of it is logged there.
async fn reload_when_told(gateway: &Gateway, told: std::io::Result<Signal>) {
    if let Ok(mut told) = told {
        while told.recv().await.is_some() {
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
    // Before anything else: until somebody listens, this signal ends the process.
    let told_to_reload = signal(SignalKind::hangup());
    // Before the first secret is read.
    super::private::keep_memory_private();
    let settings = match options.file.load() {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    // Before the first caller is let in, who could be cut off without the drain.
    let mut stop = ToldToStop::listen();
    let mut start = restore_gateway::Start::new().recovery(options.recovery);
    if let Some(again) = options.file.again() {
        start = start.again(again);
    }
    let started = tokio::select! {
        started = Gateway::start_with(&settings, start) => started,
        () = stop.told() => {
            eprintln!("told to stop before it was up");
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
        () = stop.told() => {}
        () = reload_when_told(&gateway, told_to_reload) => {}
    }
    tracing::info!("told to stop; draining");
    let in_time = gateway.stop().await;
    tracing::info!(in_time, "stopped");
    ExitCode::SUCCESS
}
