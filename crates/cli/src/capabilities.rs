//! `capabilities`: what comes of each source API at each generation, without settings: they say it of themselves.

use std::process::ExitCode;

use restore_generations::matrix::{self, Fate};
use restore_generations::source_api;
use serde_json::{Value, json};

use super::print_text;

#[derive(clap::Args)]
pub(super) struct Options {
    /// How it is printed
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

pub(super) fn run(options: &Options) -> ExitCode {
    match options.format {
        Format::Text => print_text(&text()),
        Format::Json => print_text(&serde_json::to_string_pretty(&every_pair()).unwrap_or_default()),
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
    let mut text = format!("{:<10} {:<9} {:<9} {}\n", "DIALECT", "TO", "TARGET", "VERDICT");
    for endpoint in source_api::ALL {
        for generation in restore_generations::ALL {
            let cells = matrix::cells(*endpoint, *generation);
            for cell in cells.iter().filter(|cell| cell.verdict != Fate::Unspeakable) {
                let (target, verdict) = (cell.target.as_str(), cell.verdict.as_str().replace('_', " "));
                let (source_api, to) = (endpoint.source_api(), generation.name());
                text.push_str(&format!("{source_api:<10} {to:<9} {target:<9} {verdict}\n"));
                let conditions = cell.conditions.iter().map(|condition| format!("  if {condition}\n"));
                let lost = cell.lost.iter().map(|loss| format!("  lost {loss}\n"));
                text.extend(conditions.chain(lost));
            }
        }
    }
    text
}
