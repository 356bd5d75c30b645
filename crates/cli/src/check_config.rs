//! `check-config`: every fault of a settings file at once, in stages: what is written, what it means together, the files
//! it refers to, and, unless told otherwise, what it needs around it. Nothing is started.

use std::process::ExitCode;
use std::sync::Arc;

use restore_model::{Clock, SystemClock};
use serde_json::json;

use super::surroundings::{self, Look, Outcome};
use super::{CONFIG, SettingsFile, print_text};
use restore_config::{self as config, Faults, Settings};
use restore_gateway::Rotation;
use restore_gateway::Unfits;
use restore_gateway::upstreams::{self, Built};

#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 no faults; 1 the settings are good and something they need around them is \
                        not; 78 the settings have faults."
)]
pub(super) struct Options {
    #[command(flatten)]
    file: SettingsFile,
    /// How faults are printed
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// Treat warnings as faults
    #[arg(long)]
    deny_warnings: bool,
    /// Leave the ledger, the upstreams and IAM alone: nothing is dialled
    #[arg(long)]
    offline: bool,
    /// Leave the certificates of listeners and the keys of issuers unread as well: they are on another machine
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

pub(super) async fn run(options: Options) -> ExitCode {
    let source = options.file.source();
    let name = options.file.config.display().to_string();
    let loaded = match source {
        Ok(source) => super::read(&source),
        Err(why) => Err(Faults::unreadable(name.clone(), why, options.file.help())),
    };
    let (settings, mut faults) = match loaded {
        Ok((settings, warnings)) => (Some(settings), warnings),
        Err(faults) => (None, faults),
    };
    let mut looks = Vec::new();
    if let Some(settings) = &settings {
        match usable(settings, options.elsewhere) {
            Ok(_) if options.offline || options.elsewhere => {}
            Ok(built) => looks = surroundings::look(settings, &built).await,
            Err(unfits) => unfits.iter().for_each(|unfit| faults.refuse(&unfit.table, &unfit.why)),
        }
    }
    if options.deny_warnings {
        faults.deny_warnings();
    }
    let refused = faults.has_errors();
    let missing = looks.iter().any(|look| look.outcome == Outcome::Failed);
    match options.format {
        Format::Human => {
            super::print_faults(&faults);
            let line = |look: &Look| {
                let word = match look.outcome {
                    Outcome::Ok => "ok     ",
                    Outcome::Failed => "FAILED ",
                    Outcome::Skipped => "skipped",
                };
                format!("{word} {}: {}", look.path, look.detail)
            };
            let mut lines: Vec<String> = looks.iter().map(line).collect();
            if !refused && !missing {
                lines.push(format!("{name}: no faults"));
            }
            if !lines.is_empty() {
                print_text(&lines.join("\n"));
            }
        }
        Format::Json => {
            let mut told = faults.render_json();
            told["surroundings"] = json!(looks);
            print_text(&serde_json::to_string_pretty(&told).unwrap_or_default());
        }
        Format::Github => {
            let mut told = faults.render_github();
            for look in looks.iter().filter(|look| look.outcome == Outcome::Failed) {
                told.push_str(&config::github("surroundings", &look.path, &look.detail));
            }
            print_text(&told);
        }
    }
    match (refused, missing) {
        (true, _) => ExitCode::from(CONFIG),
        (false, true) => ExitCode::FAILURE,
        (false, false) => ExitCode::SUCCESS,
    }
}

/// Makes everything that the start makes of settings and the files they name.
fn usable(settings: &Settings, elsewhere: bool) -> Result<Built, Unfits> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut unfits = Unfits::default();
    let built = unfits.keep(upstreams::build(settings, None, &clock, &mut Rotation::new()));
    if !elsewhere {
        unfits.keep(restore_gateway::readable(settings, &clock));
    }
    match built {
        Some(built) => unfits.or(built),
        None => Err(unfits),
    }
}
