//! The command line: one binary, each command a file.
//!
//! Exit codes: 0 done; 1 a restore failed or a check found faults at run time; 2 the command line is
//! wrong; 3 refused before anything was sent or changed; 4 the end of a restore is not known yet; 5 the gateway was not
//! reached; 78 the settings have faults.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::out::print_text;
use restore_config::{self as config, Faults, Settings, Source};
use restore_gateway::Again;

mod answers;
mod capabilities;
mod check_config;
mod client;
mod demo;
mod ids;
mod init;
mod ledger;
mod operate;
mod out;
mod papers;
mod preview;
mod private;
mod reference;
mod restore;
mod routes;
mod serve;
mod simulate;
mod surroundings;

/// Exit code for settings with faults (`EX_CONFIG`).
const CONFIG: u8 = 78;
/// Where the settings are looked for when nothing is said.
const DEFAULT_PATH: &str = "restore-gateway.toml";

/// One restore request, every generation of backup API, at most once.
#[derive(Parser)]
#[command(
    name = "restore-gateway",
    version = restore_gateway::version(),
    about = "One restore request, every generation of backup API, at most once",
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 a restore failed, or a check found faults at run time; 2 the command line is wrong; \
                  3 refused before anything was sent or changed; 4 the end of a restore is not known yet; 5 the \
                  gateway was not reached; 78 the settings have faults."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway
    Serve(serve::Options),
    /// Run gateway and simulated clouds on loopback, restore once through each generation, stay up
    Demo(demo::Options),
    /// Run the simulated clouds alone
    Simulate(simulate::Options),
    /// Write a first settings file, of ten lines at most
    Init(init::Options),
    /// Report every fault of a settings file, and of what it needs around it
    CheckConfig(check_config::Options),
    /// Show what a request would send; nothing is sent
    Preview(preview::Options),
    /// Show what comes of each source API at each generation
    Capabilities(capabilities::Options),
    /// Ask a running gateway: submit, check, preview, status, wait, list, cancel, resolve, export
    #[command(subcommand)]
    Restore(restore::Restore),
    /// Which route takes a request and why; tests of routes, for CI
    #[command(subcommand)]
    Routes(routes::Routes),
    /// What backups are called by another generation than the one that made them
    #[command(subcommand)]
    Ids(ids::Ids),
    /// List what waits for a person or takes too long
    Attention(operate::Attention),
    /// Whether a running gateway lives, or is ready: for health checks of containers
    Health(operate::Health),
    /// Show who still asks in which source API, for what, since when
    Usage(operate::Usage),
    /// End a restore that waits for a person, on your word
    Resolve(operate::Resolve),
    /// Whether nothing is sent because the ledger may be an old copy, and the end of that
    #[command(subcommand)]
    Recovery(operate::Recovery),
    /// Make an API key for a caller: the key for its holder, its hash for the settings
    ApiKey,
    /// Look at a ledger: export, check, vacuum
    Ledger(ledger::Options),
    /// Print a JSON Schema: of the API, or of the settings
    Schema {
        /// Its name; without one, all names
        name: Option<String>,
    },
    /// Print the OpenAPI document
    Openapi,
    /// Print what a settings key means
    Explain {
        /// Such as submit.max_attempts
        key: String,
    },
    /// Print the commented default settings
    DefaultConfig,
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print a page of the reference, as Markdown
    Reference(reference::Options),
    /// Write the manual pages into a folder
    Man {
        /// The folder
        folder: PathBuf,
    },
}

#[derive(clap::Args)]
struct SettingsFile {
    /// The settings file
    #[arg(short, long, env = "RESTORE_GATEWAY_CONFIG", default_value = DEFAULT_PATH)]
    config: PathBuf,
}

impl SettingsFile {
    fn source(&self) -> Result<Source, String> {
        let name = self.config.display().to_string();
        let text =
            std::fs::read_to_string(&self.config).map_err(|error| format!("cannot read {name}: {error}"))?;
        Ok(Source { mode: restore_config::mode(&self.config), ..Source::new(name, text) })
    }

    /// What to do without them.
    fn help(&self) -> String {
        format!(
            "restore-gateway init sidecar -o {} writes a first one; service and migration are others",
            self.config.display()
        )
    }

    /// How a running gateway reads them again; a pipe is read once.
    fn again(&self) -> Option<Again> {
        let (this, file) = (Self { config: self.config.clone() }, self.config.clone());
        if !file.is_file() {
            return None;
        }
        let load = move || {
            // Reading a pipe would wait for its other end.
            if this.config.exists() && !this.config.is_file() {
                return Err(format!("{} is not a file", this.config.display()));
            }
            let source = this.source()?;
            match read(&source) {
                Ok((settings, warnings)) if warnings.is_empty() => Ok(settings),
                Ok((settings, warnings)) => {
                    tracing::warn!(warnings = warnings.render_human(false), "the settings have warnings");
                    Ok(settings)
                }
                Err(faults) => Err(faults.render_human(false)),
            }
        };
        Some(Again { file, load: Arc::new(load) })
    }

    /// Reads the settings; faults are printed here.
    fn load(&self) -> Result<Settings, ExitCode> {
        let source = self.source().map_err(|why| {
            eprintln!("error: {why}\nhelp: {}", self.help());
            ExitCode::from(CONFIG)
        })?;
        match read(&source) {
            Ok((settings, warnings)) => {
                print_faults(&warnings);
                Ok(settings)
            }
            Err(faults) => {
                print_faults(&faults);
                Err(ExitCode::from(CONFIG))
            }
        }
    }
}

/// Settings as this process would have them, and their warnings.
fn read(source: &Source) -> Result<(Settings, Faults), Faults> {
    config::load(source, &config::read_environment(), &restore_generations::names())
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
    match Arguments::parse().command {
        Command::Serve(options) => with_runtime(serve::run(options)),
        Command::Demo(options) => with_runtime(demo::run(options)),
        Command::Simulate(options) => with_runtime(simulate::run(options)),
        Command::Init(options) => init::run(&options),
        Command::CheckConfig(options) => with_runtime(check_config::run(options)),
        Command::Preview(options) => with_runtime(preview::run(options)),
        Command::Capabilities(options) => capabilities::run(&options),
        Command::Routes(command) => with_runtime(routes::run(command)),
        Command::Ids(command) => with_runtime(ids::run(command)),
        Command::Attention(options) => with_runtime(operate::attention(options)),
        Command::Health(options) => with_runtime(operate::health(options)),
        Command::Usage(options) => with_runtime(operate::usage(options)),
        Command::Resolve(options) => with_runtime(operate::resolve(options)),
        Command::Recovery(command) => with_runtime(operate::recovery(command)),
        Command::ApiKey => api_key(),
        Command::Ledger(options) => with_runtime(ledger::run(options)),
        Command::Schema { name } => schema(name.as_deref()),
        Command::Openapi => print_text(restore_gateway::OPENAPI),
        Command::Explain { key } => explain(&key),
        Command::Completions { shell } => papers::completions(shell),
        Command::Reference(options) => reference::run(&options),
        Command::Man { folder } => papers::manual(&folder),
        Command::Restore(command) => with_runtime(restore::run(command)),
        Command::DefaultConfig => print_text(config::DEFAULT_TOML),
    }
}

fn with_runtime(run: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(run);
            // What is to be finished was; a read of a file that hangs keeps nobody.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            eprintln!("error: no runtime: {error}");
            ExitCode::FAILURE
        }
    }
}

/// SIGTERM and SIGINT, heard from the moment this is made: until then they end the process.
struct ToldToStop(std::io::Result<(Signal, Signal)>);

impl ToldToStop {
    /// Begins to listen; needs a runtime.
    fn listen() -> Self {
        Self(
            signal(SignalKind::terminate())
                .and_then(|terminate| Ok((terminate, signal(SignalKind::interrupt())?))),
        )
    }

    /// Waits for the first of them.
    async fn told(&mut self) {
        match &mut self.0 {
            Ok((terminate, interrupt)) => {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            }
            // It has ended the process, then.
            Err(_) => std::future::pending().await,
        }
    }
}

/// The key is shown once and is nowhere kept.
fn api_key() -> ExitCode {
    match restore_gateway::new_key() {
        Ok((key, hash)) => print_text(&format!("key  = {key}\nkey_hash = \"{hash}\"")),
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn schema(name: Option<&str>) -> ExitCode {
    let known = restore_model::schema::ALL;
    match name {
        None => {
            let names: Vec<_> = known.iter().map(|(name, _)| *name).chain(["config"]).collect();
            print_text(&names.join("\n"))
        }
        Some("config") => print_text(&serde_json::to_string_pretty(&config::schema()).unwrap_or_default()),
        Some(name) => match restore_model::schema::text(name) {
            Some(text) => print_text(text),
            None => {
                eprintln!("error: no schema {name}; without a name all are listed");
                ExitCode::from(2)
            }
        },
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
