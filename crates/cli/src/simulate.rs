//! `simulate`: the simulated clouds alone, for trying the gateway or a team's own CI.

use std::net::SocketAddr;
use std::process::ExitCode;

use restore_simulator::Simulator;

use super::ToldToStop;

#[derive(clap::Args)]
pub(super) struct Options {
    /// Address and port
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// Seconds that a restore lasts
    #[arg(long, default_value_t = 3)]
    restore_seconds: u64,
}

pub(super) async fn run(options: Options) -> ExitCode {
    if !options.listen.ip().is_loopback() {
        eprintln!("error: the simulated clouds take a well-known token and listen on loopback only");
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
    println!(
        "simulated clouds on {}  (token: demo-token; what they did: {}/_sim)",
        clouds.url(),
        clouds.url()
    );
    ToldToStop::listen().told().await;
    clouds.stop().await;
    ExitCode::SUCCESS
}
