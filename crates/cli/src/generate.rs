//! `generate`: files that the program creates from its own definitions.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;
use restore_config as config;

use super::Arguments;
use super::output::print_text;

mod reference;

/// Name of the program.
const NAME: &str = "restore-gateway";

#[derive(clap::Subcommand)]
pub(super) enum Generate {
    /// Print a new API key for a caller, and its hash for the configuration
    ApiKey,
    /// Print a JSON Schema of the API or of the configuration
    Schema {
        /// Name of the schema; without it, the command lists all names
        name: Option<String>,
    },
    /// Print the OpenAPI document
    Openapi,
    /// Print the default configuration with comments
    DefaultConfig,
    /// Print shell completions
    Completions {
        /// Name of the shell
        shell: Shell,
    },
    /// Print a page of the reference as Markdown
    Reference(reference::Options),
    /// Write the manual pages to a directory
    Man {
        /// Directory for the pages
        directory: PathBuf,
    },
}

pub(super) fn run(command: Generate) -> ExitCode {
    match command {
        Generate::ApiKey => api_key(),
        Generate::Schema { name } => schema(name.as_deref()),
        Generate::Openapi => print_text(restore_gateway::openapi()),
        Generate::DefaultConfig => print_text(config::DEFAULT_TOML),
        Generate::Completions { shell } => completions(shell),
        Generate::Reference(options) => reference::run(&options),
        Generate::Man { directory } => manual(&directory),
    }
}

/// Prints a key once; the program does not store it.
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
                eprintln!("error: no schema {name}; run the command without a name to list all");
                ExitCode::from(2)
            }
        },
    }
}

fn completions(shell: Shell) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), NAME, &mut text);
    let text = String::from_utf8_lossy(&text);
    print_text(&if shell == Shell::Bash { with_fixed_names(&text) } else { text.into_owned() })
}

/// Fixes bash completions after the first word. The generator writes function names as `restore__gateway__subcmd__…`,
/// but its cases begin with `restore__subcmd__gateway__…`: it mistakes the dash in the program's name for a space.
fn with_fixed_names(text: &str) -> String {
    text.replace("restore__subcmd__gateway", "restore__gateway")
}

fn manual(directory: &Path) -> ExitCode {
    let written = std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Arguments::command(), directory));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}
