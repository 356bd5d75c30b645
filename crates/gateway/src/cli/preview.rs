//! `preview`: what a request would send under a settings file, without a running gateway. Fails
//! where the real call would fail before its first byte.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use restore_engine::{Decision, Engine, Witness};
use restore_ledger::{Entry, LedgerUrl};
use restore_model::{Clock, Event, Problem, SystemClock, json, schema};

use super::{SettingsFile, print_text};
use crate::rotation::Rotation;
use crate::settings::Settings;

#[derive(clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    file: SettingsFile,
    /// A canonical restore request; - is standard input
    request: PathBuf,
}

/// Exit code for a request that would be refused.
const REFUSED: u8 = 3;

struct Nobody;

impl Witness for Nobody {
    fn witness(&self, _: &Entry, _: &Event) {}
    fn decided(&self, _: &Decision<'_>) {}
}

pub(super) async fn run(options: Options) -> ExitCode {
    let settings = match options.file.load() {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let text = match read(&options.request) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("error: cannot read {}: {error}", options.request.display());
            return ExitCode::from(2);
        }
    };
    let engine = match engine(&settings).await {
        Ok(engine) => engine,
        Err(code) => return code,
    };
    let previewed = match json::read(&text) {
        Err(fault) => Err(Problem::new(restore_model::Code::InvalidJson, fault.to_string())),
        Ok(value) => match schema::parse_restore(value) {
            Err(problem) => Err(problem),
            Ok(request) => engine.preview(&request, &restore_engine::Caller::anyone(None)).await,
        },
    };
    match previewed {
        Ok(preview) => {
            let body = crate::api::inquiries::preview_body(&preview);
            print_text(&serde_json::to_string_pretty(&body).unwrap_or_default())
        }
        Err(problem) => {
            let body = crate::answer::problem_body(&problem, "", None);
            eprintln!("{}", serde_json::to_string_pretty(&body).unwrap_or_default());
            ExitCode::from(REFUSED)
        }
    }
}

/// An engine that keeps nothing, under these settings; faults are printed here.
pub(super) async fn engine(settings: &Settings) -> Result<Engine, ExitCode> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let routes = crate::upstreams::routes(settings, &clock, &mut Rotation::new()).map_err(|why| {
        eprintln!("error: {why}");
        ExitCode::from(super::CONFIG)
    })?;
    let ledger = restore_ledger::open(&LedgerUrl::Memory, restore_ledger::OpenOptions::default())
        .await
        .map_err(|error| {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        })?;
    Ok(Engine::new(ledger, routes, crate::policy(settings), clock, Arc::new(Nobody)))
}

fn read(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    if path.as_os_str() == "-" {
        let mut text = Vec::new();
        std::io::stdin().lock().read_to_end(&mut text)?;
        return Ok(text);
    }
    std::fs::read(path)
}
