//! `preview`: what a request would send under a settings file, without a running gateway. Fails
//! where the real call would fail before its first byte.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use http::Uri;
use restore_engine::{Caller, Engine};
use restore_generations::{SourceApi, source_api};
use restore_model::{Problem, json, schema};
use serde_json::Value;

use super::{SettingsFile, print_text};
use restore_config::Settings;
use restore_gateway::{StartError, endpoints, native_body, preview_body};

#[derive(clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    file: SettingsFile,
    /// A restore request, canonical or of the source API; - is standard input
    request: PathBuf,
    /// The source API that it is in: shows what it becomes
    #[arg(long, requires = "path")]
    source_api: Option<String>,
    /// The source API's own path that it would be posted to, without a compatibility endpoint's prefix
    #[arg(long, requires = "source_api")]
    path: Option<Uri>,
}

/// Exit code for a request that would be refused.
const REFUSED: u8 = 3;

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
    let endpoint = match options.source_api.as_deref().map(|name| (name, source_api::by_name(name))) {
        Some((name, None)) => {
            eprintln!("error: no source API {name}; there are {}", source_api::names().join(", "));
            return ExitCode::from(2);
        }
        Some((_, Some(endpoint))) => Some((endpoint, options.path.unwrap_or_default())),
        None => None,
    };
    match shown(&settings, &engine, endpoint, &text).await {
        Ok(body) => print_text(&serde_json::to_string_pretty(&body).unwrap_or_default()),
        Err(problem) => {
            let body = restore_gateway::problem_body(&problem, "", None);
            eprintln!("{}", serde_json::to_string_pretty(&body).unwrap_or_default());
            ExitCode::from(REFUSED)
        }
    }
}

/// What a request would send; of a native one also what it asks for, and whether the names in it are those of the call.
async fn shown(
    settings: &Settings,
    engine: &Engine,
    endpoint: Option<(&'static dyn SourceApi, Uri)>,
    text: &[u8],
) -> Result<Value, Problem> {
    let value = json::read(text)
        .map_err(|fault| Problem::new(restore_model::Code::InvalidJson, fault.to_string()))?;
    let caller = Caller::anyone(None);
    let Some((endpoint, path)) = endpoint else {
        let request = schema::parse_restore(value)?;
        return Ok(preview_body(&engine.preview(&request, None, &caller).await?));
    };
    let request = endpoints::read(endpoint, &path, value)?;
    let origin = endpoints::origin(settings, endpoint);
    let preview = engine.preview(&request, Some(&origin), &caller).await?;
    Ok(native_body(&preview, &origin, &request))
}

/// An engine that keeps nothing, under this configuration; errors are printed here.
pub(super) async fn engine(settings: &Settings) -> Result<Engine, ExitCode> {
    restore_gateway::offline::engine(settings).await.map_err(|error| {
        eprintln!("error: {error}");
        if matches!(error, StartError::Setup(_)) { ExitCode::from(super::CONFIG) } else { ExitCode::FAILURE }
    })
}

/// What a file holds; - is standard input.
pub(super) fn read(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    if path.as_os_str() == "-" {
        let mut text = Vec::new();
        std::io::stdin().lock().read_to_end(&mut text)?;
        return Ok(text);
    }
    std::fs::read(path)
}
