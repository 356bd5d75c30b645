//! The command line: one program, one file per command or group.
//!
//! Exit codes: 0 done; 1 a restore failed, or a check found an error; 2 the command line is wrong; 3 rejected before anything
//! was sent or changed; 4 the outcome of a restore is not known yet; 5 no connection to the gateway; 78 the configuration has
//! errors.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::output::print_text;
use restore_config::{self as config, Config, Environment, Faults, Source};
use restore_gateway::Again;

mod admin;
mod call;
mod check_config;
mod client;
mod compat;
mod demo;
mod dependencies;
mod generate;
mod id_mapping;
mod init;
mod ledger;
mod offline;
mod output;
mod process_memory;
mod restore;
mod routes;
mod serve;
mod simulate;

/// Exit code for a configuration with errors (`EX_CONFIG`).
const CONFIG: u8 = 78;
/// Default path of the configuration file.
const DEFAULT_PATH: &str = "restore-gateway.toml";

/// One API for restoring cloud backups, each restore at most once.
#[derive(Parser)]
#[command(
    name = "restore-gateway",
    version = restore_gateway::version(),
    about = "One API for restoring cloud backups, each restore at most once",
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 a restore failed, or a check found an error; 2 the command line is wrong; \
                  3 rejected, or ended before anything was changed; 4 the outcome of a restore is not known yet; 5 no \
                  connection to the gateway; 78 the configuration has errors."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Errors only on standard error, without informational lines
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// One line per HTTP exchange on standard error: method, path, status, duration, request ID
    #[arg(short, long, global = true)]
    verbose: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway
    Serve(serve::Options),
    /// Run a gateway and simulated clouds on loopback, and restore once through CBR, CSBS and VBS
    Demo(demo::Options),
    /// Run the simulated clouds
    Simulate(simulate::Options),
    /// Write a first configuration file of at most ten lines
    Init(init::Options),
    /// Report every error of a configuration file, and check what it refers to
    CheckConfig(check_config::Options),
    /// Show what a configuration key means
    Explain {
        /// Name of the key, such as submit.max_attempts
        key: String,
    },
    /// Submit restores, follow them and decide about them, through a running gateway
    #[command(subcommand)]
    Restore(Box<restore::Restore>),
    /// Show which route matches a request, and run tests of the routes
    #[command(subcommand)]
    Routes(routes::Routes),
    /// Map backup IDs of one generation to another
    #[command(subcommand)]
    IdMapping(id_mapping::IdMapping),
    /// Show source APIs and the users of compatibility endpoints
    #[command(subcommand)]
    Compat(compat::Compat),
    /// Check whether a running gateway is alive or ready
    CheckHealth(admin::CheckHealth),
    /// Inspect or end recovery mode
    #[command(subcommand)]
    Recovery(admin::Recovery),
    /// Export, check or vacuum a ledger
    #[command(subcommand)]
    Ledger(ledger::Command),
    /// Print keys, schemas, documents, completions and manual pages
    #[command(subcommand)]
    Generate(generate::Generate),
}

#[derive(clap::Args)]
struct ConfigFile {
    /// Path of the configuration file
    #[arg(short, long, env = "RESTORE_GATEWAY_CONFIG", default_value = DEFAULT_PATH, value_name = "FILE")]
    config: PathBuf,
}

impl ConfigFile {
    fn source(&self) -> Result<Source, String> {
        let name = self.config.display().to_string();
        let text =
            std::fs::read_to_string(&self.config).map_err(|error| format!("cannot read {name}: {error}"))?;
        Ok(Source { mode: restore_config::mode(&self.config), ..Source::new(name, text) })
    }

    /// Advice for a missing file.
    fn help(&self) -> String {
        format!(
            "`restore-gateway init sidecar --file {}` writes a first file; service and migration are other templates",
            self.config.display()
        )
    }

    /// The reload function of a running gateway; none for a pipe, which can be read only once.
    fn reload(&self) -> Option<Again> {
        let (this, file) = (Self { config: self.config.clone() }, self.config.clone());
        if !file.is_file() {
            return None;
        }
        let load = move || {
            // Reading a pipe would block until its writer closes it.
            if this.config.exists() && !this.config.is_file() {
                return Err(format!("{} is not a file", this.config.display()));
            }
            let source = this.source()?;
            match read(&source) {
                Ok((config, warnings)) if warnings.is_empty() => Ok(config),
                Ok((config, warnings)) => {
                    tracing::warn!(warnings = warnings.render_human(false), "configuration has warnings");
                    Ok(config)
                }
                Err(faults) => Err(faults.render_human(false)),
            }
        };
        Some(Again { file, load: Arc::new(load) })
    }

    /// Loads the configuration and prints its errors and warnings.
    fn load(&self) -> Result<Config, ExitCode> {
        let source = self.source().map_err(|why| {
            eprintln!("error: {why}\nhelp: {}", self.help());
            ExitCode::from(CONFIG)
        })?;
        match read(&source) {
            Ok((config, warnings)) => {
                print_faults(&warnings);
                Ok(config)
            }
            Err(faults) => {
                print_faults(&faults);
                Err(ExitCode::from(CONFIG))
            }
        }
    }
}

/// Loads a configuration with the environment of this process; returns it with its warnings.
fn read(source: &Source) -> Result<(Config, Faults), Faults> {
    read_in(source, &config::read_environment())
}

/// Loads a configuration with this environment; returns it with its warnings.
fn read_in(source: &Source, environment: &Environment) -> Result<(Config, Faults), Faults> {
    config::load(source, environment, &restore_generations::names())
}

fn print_faults(faults: &Faults) {
    use std::io::IsTerminal;
    if !faults.is_empty() {
        eprint!("{}", faults.render_human(std::io::stderr().is_terminal()));
    }
}

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Arguments { command, quiet, verbose } = Arguments::parse();
    output::set_verbosity(quiet, verbose);
    match command {
        Command::Serve(options) => with_runtime(serve::run(options)),
        Command::Demo(options) => with_runtime(demo::run(options)),
        Command::Simulate(options) => with_runtime(simulate::run(options)),
        Command::Init(options) => init::run(&options),
        Command::CheckConfig(options) => with_runtime(check_config::run(options)),
        Command::Explain { key } => explain(&key),
        Command::Restore(command) => with_runtime(restore::run(*command)),
        Command::Routes(command) => with_runtime(routes::run(command)),
        Command::IdMapping(command) => with_runtime(id_mapping::run(command)),
        Command::Compat(command) => with_runtime(compat::run(command)),
        Command::CheckHealth(options) => with_runtime(admin::check_health(options)),
        Command::Recovery(command) => with_runtime(admin::recovery(command)),
        Command::Ledger(command) => with_runtime(ledger::run(command)),
        Command::Generate(command) => generate::run(command),
    }
}

fn with_runtime(run: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(run);
            // The command is done; a file read that hangs must not delay the exit.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            eprintln!("error: cannot start the async runtime: {error}");
            ExitCode::FAILURE
        }
    }
}

/// SIGTERM and SIGINT, caught from the moment this is made; before that they end the process.
struct StopSignal(std::io::Result<(Signal, Signal)>);

impl StopSignal {
    /// Installs the handlers; needs a runtime.
    fn listen() -> Self {
        Self(
            signal(SignalKind::terminate())
                .and_then(|terminate| Ok((terminate, signal(SignalKind::interrupt())?))),
        )
    }

    /// Waits for the first signal.
    async fn received(&mut self) {
        match &mut self.0 {
            Ok((terminate, interrupt)) => {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            }
            // Without handlers the signal ends the process.
            Err(_) => std::future::pending().await,
        }
    }
}

fn explain(key: &str) -> ExitCode {
    match config::explain(key) {
        Some(text) => print_text(&text),
        None => {
            match config::nearest_key(key) {
                Some(nearest) => eprintln!("error: no key {key}; did you mean {nearest}?"),
                None => eprintln!("error: no key {key}"),
            }
            ExitCode::from(2)
        }
    }
}
