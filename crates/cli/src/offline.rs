//! Work under a configuration file without a running gateway: an engine that stores nothing, and previews.

use std::io::Read;
use std::process::ExitCode;

use http::Uri;
use restore_engine::{Caller, Engine};
use restore_generations::{SourceApi, source_api};
use restore_model::{Problem, schema};
use serde_json::Value;

use super::call::REJECTED;
use super::output::print_json;
use restore_config::Config;
use restore_gateway::{StartError, endpoints, native_body, preview_body};

/// Prints the upstream request for a restore request. Rejects what the gateway would reject before its first byte.
pub(super) async fn preview(
    config: &Config,
    source_api: Option<&str>,
    path: Option<Uri>,
    request: Value,
) -> ExitCode {
    let engine = match engine(config).await {
        Ok(engine) => engine,
        Err(code) => return code,
    };
    let endpoint = match source_api.map(|name| (name, source_api::by_name(name))) {
        Some((name, None)) => {
            eprintln!("error: no source API {name}; use one of {}", source_api::names().join(", "));
            return ExitCode::from(2);
        }
        Some((_, Some(endpoint))) => Some((endpoint, path.unwrap_or_default())),
        None => None,
    };
    match preview_of(config, &engine, endpoint, request).await {
        Ok(body) => print_json(&body, true),
        Err(problem) => reject(&problem),
    }
}

/// Prints a problem; returns the exit code.
pub(super) fn reject(problem: &Problem) -> ExitCode {
    let body = restore_gateway::problem_body(problem, "", None);
    eprintln!("{}", serde_json::to_string_pretty(&body).unwrap_or_default());
    ExitCode::from(REJECTED)
}

/// The preview; for a request of a source API with its canonical request.
async fn preview_of(
    config: &Config,
    engine: &Engine,
    endpoint: Option<(&'static dyn SourceApi, Uri)>,
    request: Value,
) -> Result<Value, Problem> {
    let caller = Caller::anyone(None);
    let Some((endpoint, path)) = endpoint else {
        let request = schema::parse_restore(request)?;
        return Ok(preview_body(&engine.preview(&request, None, &caller).await?));
    };
    let request = endpoints::read(endpoint, &path, request)?;
    let origin = endpoints::origin(config, endpoint);
    let preview = engine.preview(&request, Some(&origin), &caller).await?;
    Ok(native_body(&preview, &origin, &request))
}

/// An engine under this configuration that stores nothing; prints errors.
pub(super) async fn engine(config: &Config) -> Result<Engine, ExitCode> {
    restore_gateway::offline::engine(config).await.map_err(|error| {
        eprintln!("error: {error}");
        if matches!(error, StartError::Setup(_)) { ExitCode::from(super::CONFIG) } else { ExitCode::FAILURE }
    })
}

/// Content of a file, or of standard input for `-`.
pub(super) fn read_file(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    if path.as_os_str() == "-" {
        let mut text = Vec::new();
        std::io::stdin().lock().read_to_end(&mut text)?;
        return Ok(text);
    }
    std::fs::read(path)
}
