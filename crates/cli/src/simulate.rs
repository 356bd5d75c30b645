//! `simulate`: runs the simulated clouds, for trials and for the CI of a team.

use std::net::SocketAddr;
use std::process::ExitCode;

use restore_simulator::Simulator;

use super::StopSignal;

#[derive(clap::Args)]
pub(super) struct Options {
    /// Address and port of the simulated clouds
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// Duration of a restore
    #[arg(long, default_value_t = 3, value_name = "SECONDS")]
    restore_seconds: u64,
}

pub(super) async fn run(options: Options) -> ExitCode {
    if !options.listen.ip().is_loopback() {
        eprintln!(
            "error: --listen needs a loopback address, because the token of the simulated clouds is public"
        );
        return ExitCode::from(2);
    }
    let world = restore_simulator::Options {
        restore_seconds: options.restore_seconds,
        ..restore_simulator::Options::default()
    };
    let clouds = match Simulator::start(options.listen, world).await {
        Ok(clouds) => clouds,
        Err(error) => {
            eprintln!("error: cannot listen on {}: {error}", options.listen);
            return ExitCode::FAILURE;
        }
    };
    println!("simulated clouds on {}  (token: demo-token; control API: {}/_sim)", clouds.url(), clouds.url());
    StopSignal::listen().received().await;
    clouds.stop().await;
    ExitCode::SUCCESS
}
