//! `ledger`: works on a ledger without a gateway. `export` and `check` only read, and may run while a gateway has the ledger
//! open.

use std::process::ExitCode;
use std::sync::Arc;

use restore_ledger::{Ledger, LedgerError, LedgerUrl};
use serde_json::json;

use super::output::{self, Written, print_text};
use super::{CONFIG, ConfigFile};

/// Restores per read.
const PAGE: usize = 200;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Print the audit trail as JSON lines, one event each
    ///
    /// The first event of a restore has its request.
    Export(ConfigFile),
    /// Compare the history of every restore with its stored state
    Check(ConfigFile),
    /// Return free space to the file system; stop every gateway that has a SQLite ledger open
    Vacuum(ConfigFile),
}

pub(super) async fn run(command: Command) -> ExitCode {
    let (Command::Export(file) | Command::Check(file) | Command::Vacuum(file)) = &command;
    let config = match file.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    let (url, open) = (&config.ledger.url, restore_gateway::ledger_options(&config));
    if matches!(url, LedgerUrl::Memory) {
        eprintln!(
            "error: the configuration keeps the ledger in memory; there is no ledger outside the gateway"
        );
        return ExitCode::from(CONFIG);
    }
    // One message for all three commands, instead of that of the database.
    if let LedgerUrl::Sqlite(path) = url
        && !path.exists()
    {
        eprintln!("error: {url}: there is no such file");
        return ExitCode::FAILURE;
    }
    let done = match &command {
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
        match output::write(&mut out, &lines) {
            Ok(Written::All) => {}
            Ok(Written::ReaderClosed) => return Ok(ExitCode::SUCCESS),
            // A truncated trail must not look complete.
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
        print_text(&format!("{} restores, {} events, {} errors", found.restores, found.events, found.faults));
    Ok(if found.faults == 0 { printed } else { ExitCode::FAILURE })
}
