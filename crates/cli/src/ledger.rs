//! `ledger`: look at a ledger without a gateway. `export` and `check` only read, and may run beside
//! a gateway that has the ledger open.

use std::process::ExitCode;
use std::sync::Arc;

use restore_ledger::{Ledger, LedgerError, LedgerUrl};
use serde_json::json;

use super::out::{self, Written, print_text};
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
    let (url, open) = (&settings.ledger.url, restore_gateway::ledger_options(&settings));
    if matches!(url, LedgerUrl::Memory) {
        eprintln!("error: the settings keep the ledger in memory: there is nothing outside the gateway");
        return ExitCode::from(CONFIG);
    }
    // All three say it alike, and not in the words of a database.
    if let LedgerUrl::Sqlite(path) = url
        && !path.exists()
    {
        eprintln!("error: {url}: there is no such file");
        return ExitCode::FAILURE;
    }
    let done = match &options.command {
        Command::Vacuum(_) => restore_ledger::vacuum(url, open).await.map(|()| ExitCode::SUCCESS),
        command => match restore_ledger::open_to_read(url, open).await {
            Err(error) => Err(error),
            Ok(ledger) => match command {
                Command::Check(_) => check(&ledger).await,
                _ => export(&ledger).await,
            },
        },
    };
    done.unwrap_or_else(|why| {
        eprintln!("error: {url}: {why}");
        ExitCode::FAILURE
    })
}

async fn export(ledger: &Arc<dyn Ledger>) -> Result<ExitCode, LedgerError> {
    let mut out = std::io::stdout().lock();
    let mut after = None;
    loop {
        let records = ledger.audit(after, PAGE).await?;
        let Some(last) = records.last() else { return Ok(ExitCode::SUCCESS) };
        after = Some(last.entry.intent.id);
        let mut lines = String::new();
        for record in &records {
            for event in &record.events {
                let mut line = json!({ "restore_id": record.entry.intent.id, "event": event });
                if event.seq == 1 {
                    line["intent"] = json!(*record.entry.intent);
                }
                lines.push_str(&format!("{line}\n"));
            }
        }
        match out::write(&mut out, &lines) {
            Ok(Written::All) => {}
            Ok(Written::NobodyReads) => return Ok(ExitCode::SUCCESS),
            // A trail that was cut off must not look like a whole one.
            Err(why) => {
                eprintln!("error: {why}");
                return Ok(ExitCode::FAILURE);
            }
        }
    }
}

async fn check(ledger: &Arc<dyn Ledger>) -> Result<ExitCode, LedgerError> {
    let print = |fault: &dyn std::fmt::Display| {
        print_text(&fault.to_string());
    };
    let found = restore_ledger::check(&**ledger, |fault| print(&fault)).await?;
    let printed =
        print_text(&format!("{} restores, {} events, {} faults", found.restores, found.events, found.faults));
    Ok(if found.faults == 0 { printed } else { ExitCode::FAILURE })
}
