//! `ledger`: look at a ledger without a gateway. `export` and `check` only read, and may run beside
//! a gateway that has the ledger open.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use restore_ledger::Ledger;
use serde_json::json;

use super::{CONFIG, SettingsFile};

/// Restores read in one go.
const PAGE: usize = 200;

#[derive(clap::Args)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Print the audit trail as JSON lines: one event each, the first of a restore with what was asked
    Export(SettingsFile),
    /// Fold the history of every restore and compare it with what is stored
    Check(SettingsFile),
    /// Give back the room of what was forgotten; a SQLite ledger must not be open elsewhere
    Vacuum(SettingsFile),
}

pub(super) async fn run(options: Options) -> ExitCode {
    let (Command::Export(file) | Command::Check(file) | Command::Vacuum(file)) = &options.command;
    let settings = match file.load() {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let (url, open) = (&settings.ledger.url, crate::ledger_options(&settings));
    if matches!(url, restore_ledger::LedgerUrl::Memory) {
        eprintln!("error: the settings keep the ledger in memory: there is nothing outside the gateway");
        return ExitCode::from(CONFIG);
    }
    let done = match &options.command {
        Command::Vacuum(_) => restore_ledger::vacuum(url, open).await.map_err(|error| error.to_string()),
        command => match restore_ledger::open_to_read(url, open).await {
            Err(error) => Err(error.to_string()),
            Ok(ledger) => match command {
                Command::Check(_) => return check(&ledger).await,
                _ => export(&ledger).await,
            },
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {url}: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn export(ledger: &Arc<dyn Ledger>) -> Result<(), String> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut after = None;
    loop {
        let records = ledger.audit(after, PAGE).await.map_err(|error| error.to_string())?;
        let Some(last) = records.last() else { break };
        after = Some(last.entry.intent.id);
        for record in &records {
            for event in &record.events {
                let mut line = json!({ "restore_id": record.entry.intent.id, "event": event });
                if event.seq == 1 {
                    line["intent"] = json!(*record.entry.intent);
                }
                // A reader that has gone away has had enough.
                if writeln!(out, "{line}").is_err() {
                    return Ok(());
                }
            }
        }
    }
    out.flush().map_err(|error| error.to_string())
}

async fn check(ledger: &Arc<dyn Ledger>) -> ExitCode {
    let found = match restore_ledger::check(&**ledger, |fault| println!("{fault}")).await {
        Ok(found) => found,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("{} restores, {} events, {} faults", found.restores, found.events, found.faults);
    if found.faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
