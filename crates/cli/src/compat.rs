//! `compat`: source APIs at each generation, and their remaining users.

use std::process::ExitCode;

use restore_generations::matrix::{self, Fate};
use restore_generations::source_api;
use serde_json::{Value, json};

use super::admin;
use super::output::{Format, print_json, print_text};

#[derive(clap::Subcommand)]
pub(super) enum Compat {
    /// Show what each source API can do at each generation
    Capabilities(Options),
    /// Show who still uses a compatibility endpoint, for what, since when
    Usage(admin::Usage),
}

#[derive(clap::Args)]
pub(super) struct Options {
    /// Output format
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
}

pub(super) async fn run(command: Compat) -> ExitCode {
    match command {
        Compat::Capabilities(options) => capabilities(&options),
        Compat::Usage(options) => admin::usage(options).await,
    }
}

/// Needs no configuration: the generations describe themselves.
fn capabilities(options: &Options) -> ExitCode {
    match options.output {
        Format::Text => print_text(&text()),
        Format::Json => print_json(&every_pair(), true),
    }
}

fn every_pair() -> Value {
    let pairs = source_api::ALL.iter().flat_map(|endpoint| {
        restore_generations::ALL.iter().map(|generation| {
            let cells = matrix::cells(*endpoint, *generation);
            json!({
                "source_api": endpoint.source_api(),
                "generation": generation.name(),
                "targets": cells.iter().map(restore_engine::cell).collect::<Vec<_>>(),
            })
        })
    });
    json!({ "pairs": pairs.collect::<Vec<_>>() })
}

fn text() -> String {
    let mut text = format!("{:<10} {:<9} {:<9} {}\n", "SOURCE API", "TO", "TARGET", "VERDICT");
    for endpoint in source_api::ALL {
        for generation in restore_generations::ALL {
            let cells = matrix::cells(*endpoint, *generation);
            for cell in cells.iter().filter(|cell| cell.verdict != Fate::Unspeakable) {
                let (target, verdict) = (cell.target.as_str(), cell.verdict.as_str().replace('_', " "));
                let (source_api, to) = (endpoint.source_api(), generation.name());
                text.push_str(&format!("{source_api:<10} {to:<9} {target:<9} {verdict}\n"));
                let conditions = cell.conditions.iter().map(|condition| format!("  if {condition}\n"));
                let lost = cell.lost.iter().map(|loss| format!("  drops {loss}\n"));
                text.extend(conditions.chain(lost));
            }
        }
    }
    text
}
