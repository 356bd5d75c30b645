//! `check-config`: reports every error of a configuration file at once, in stages: syntax, meaning, files that it refers to,
//! and the systems that it needs. It starts nothing.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use restore_model::{Clock, SystemClock};
use serde_json::json;

use super::dependencies::{self, Check, Outcome};
use super::{CONFIG, ConfigFile, print_text};
use restore_config::{self as config, Config, Faults};
use restore_gateway::BuildErrors;
use restore_gateway::Rotation;
use restore_gateway::upstreams::{self, Built};

#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 no errors; 1 the configuration is valid, but a system that it needs is not available; \
                  78 the configuration has errors."
)]
pub(super) struct Options {
    /// Path of the configuration file; it overrides --config
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigFile,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// Errors instead of warnings
    #[arg(long)]
    deny_warnings: bool,
    /// No network checks: database, upstreams and IAM
    #[arg(long)]
    offline: bool,
    /// For a configuration of another machine, such as in CI: no network checks, and no secrets, certificates, keys and
    /// other files that it refers to
    #[arg(long)]
    elsewhere: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Text for people
    Text,
    /// JSON for programs
    Json,
    /// Annotations for GitHub workflows
    Github,
}

pub(super) async fn run(options: Options) -> ExitCode {
    let file = options.file.map_or(options.config, |config| ConfigFile { config });
    let source = file.source();
    let name = file.config.display().to_string();
    let mut environment = config::read_environment();
    if options.elsewhere {
        environment = environment.of_another_machine();
    }
    let loaded = match source {
        Ok(source) => super::read_in(&source, &environment),
        Err(why) => Err(Faults::unreadable(name.clone(), why, file.help())),
    };
    let (config, mut faults) = match loaded {
        Ok((config, warnings)) => (Some(config), warnings),
        Err(faults) => (None, faults),
    };
    let mut checks = Vec::new();
    if let Some(config) = config.as_ref().filter(|_| !options.elsewhere) {
        match usable(config) {
            Ok(_) if options.offline => {}
            Ok(built) => checks = dependencies::check(config, &built).await,
            Err(build_errors) => build_errors
                .iter()
                .for_each(|build_error| faults.refuse(&build_error.table, &build_error.why)),
        }
    }
    if options.deny_warnings {
        faults.deny_warnings();
    }
    let rejected = faults.has_errors();
    let missing = checks.iter().any(|check| check.outcome == Outcome::Failed);
    match options.output {
        Format::Text => {
            super::print_faults(&faults);
            let line = |check: &Check| {
                let word = match check.outcome {
                    Outcome::Ok => "ok     ",
                    Outcome::Failed => "FAILED ",
                    Outcome::Skipped => "skipped",
                };
                format!("{word} {}: {}", check.path, check.detail)
            };
            let mut lines: Vec<String> = checks.iter().map(line).collect();
            if !rejected && !missing {
                lines.push(format!("{name}: no errors"));
            }
            if !lines.is_empty() {
                print_text(&lines.join("\n"));
            }
        }
        Format::Json => {
            let mut report = faults.render_json();
            report["dependencies"] = json!(checks);
            print_text(&serde_json::to_string_pretty(&report).unwrap_or_default());
        }
        Format::Github => {
            let mut report = faults.render_github();
            for check in checks.iter().filter(|check| check.outcome == Outcome::Failed) {
                report.push_str(&config::github("dependencies", &check.path, &check.detail));
            }
            print_text(&report);
        }
    }
    match (rejected, missing) {
        (true, _) => ExitCode::from(CONFIG),
        (false, true) => ExitCode::FAILURE,
        (false, false) => ExitCode::SUCCESS,
    }
}

/// Builds everything that a start builds from a configuration and its files.
fn usable(config: &Config) -> Result<Built, BuildErrors> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut build_errors = BuildErrors::default();
    let built = build_errors.keep(upstreams::build(config, None, &clock, &mut Rotation::new()));
    build_errors.keep(restore_gateway::readable(config, &clock));
    match built {
        Some(built) => build_errors.or(built),
        None => Err(build_errors),
    }
}
