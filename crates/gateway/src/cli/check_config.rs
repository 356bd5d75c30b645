//! `check-config`: every fault of a settings file at once. Nothing is started, nothing is dialled.

use std::process::ExitCode;
use std::sync::Arc;

use restore_model::{Clock, SystemClock};

use super::{CONFIG, SettingsFile, print_text};
use crate::rotation::Rotation;
use crate::settings;

#[derive(clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    file: SettingsFile,
    /// How faults are printed
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// Treat warnings as faults
    #[arg(long)]
    deny_warnings: bool,
    /// Leave the certificates of listeners and the keys of issuers unread: they are on another machine
    #[arg(long)]
    elsewhere: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Human,
    /// For programs
    Json,
    /// Annotations of GitHub workflows
    Github,
}

pub(super) fn run(options: &Options) -> ExitCode {
    let source = match options.file.source() {
        Ok(source) => source,
        Err(why) => {
            eprintln!("error: {why}");
            return ExitCode::from(CONFIG);
        }
    };
    let loaded = settings::load(&source, &settings::read_environment(), &restore_generations::names());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (faults, refused) = match loaded {
        Ok((settings, warnings)) => match usable(&settings, &clock, options.elsewhere) {
            Ok(()) => {
                let refused = options.deny_warnings && !warnings.is_empty();
                (warnings, refused)
            }
            Err(why) => {
                eprintln!("error: {why}");
                return ExitCode::from(CONFIG);
            }
        },
        Err(faults) => (faults, true),
    };
    match options.format {
        Format::Human => {
            super::print_faults(&faults);
            if !refused {
                println!("{}: no faults", source.name);
            }
        }
        Format::Json => {
            print_text(&serde_json::to_string_pretty(&faults.render_json()).unwrap_or_default());
        }
        Format::Github => {
            print_text(&faults.render_github());
        }
    }
    if refused { ExitCode::from(CONFIG) } else { ExitCode::SUCCESS }
}

/// Makes everything that the start makes of settings and the files they name.
fn usable(settings: &settings::Settings, clock: &Arc<dyn Clock>, elsewhere: bool) -> Result<(), String> {
    crate::upstreams::build(settings, None, clock, &mut Rotation::new())?;
    if elsewhere { Ok(()) } else { crate::access::readable(settings, clock) }
}
