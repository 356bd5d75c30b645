//! `routes`: shows which route matches a request, and runs a team's tests of its routes in CI. It sends nothing.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use restore_engine::{Caller, Engine};
use restore_generations::source_api;
use restore_model::{Code, Problem, RestoreRequest, json as strict, schema};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ConfigFile, offline, print_text};
use restore_config::Config;
use restore_gateway::endpoints;
use restore_gateway::{native_body, preview_body};

/// Exit code for a request that no route matches.
const REJECTED: u8 = 3;

#[derive(clap::Subcommand)]
pub(super) enum Routes {
    /// Show for each route whether it matches a request, and why
    #[command(
        after_help = "Exit codes: 0 a route matches; 2 the command line is wrong; 3 no route matches, or the gateway would \
                      reject the restore; 78 the configuration has errors."
    )]
    Test {
        #[command(flatten)]
        file: ConfigFile,
        /// File with a canonical restore request; - for standard input
        request: PathBuf,
        /// Source API of the compatibility endpoint that receives the request
        #[arg(long)]
        source_api: Option<String>,
    },
    /// Run tests of the routes: requests with their expected results
    #[command(
        after_help = "Exit codes: 0 all tests pass; 1 some fail; 2 the command line or a test file is wrong; 78 the \
                      configuration has errors."
    )]
    Verify {
        #[command(flatten)]
        file: ConfigFile,
        /// Test files, JSON: {"tests": [{"name", "request", "source_api"?, "path"?, "expect" | "refused"}]}
        #[arg(required = true)]
        tests: Vec<PathBuf>,
    },
}

pub(super) async fn run(command: Routes) -> ExitCode {
    let (Routes::Test { file, .. } | Routes::Verify { file, .. }) = &command;
    let config = match file.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    let engine = match offline::engine(&config).await {
        Ok(engine) => engine,
        Err(code) => return code,
    };
    match command {
        Routes::Test { request, source_api, .. } => {
            test(&config, &engine, &request, source_api.as_deref()).await
        }
        Routes::Verify { tests, .. } => verify(&config, &engine, &tests).await,
    }
}

fn wrong(why: &str) -> ExitCode {
    eprintln!("error: {why}");
    ExitCode::from(2)
}

async fn test(config: &Config, engine: &Engine, file: &Path, source_api: Option<&str>) -> ExitCode {
    let origin = match source_api.map(|name| (name, source_api::by_name(name))) {
        Some((unknown, None)) => {
            return wrong(&format!("no source API {unknown}; use one of {}", source_api::names().join(", ")));
        }
        Some((_, Some(endpoint))) => Some(endpoints::origin(config, endpoint)),
        None => None,
    };
    let text = match offline::read_file(file) {
        Ok(text) => text,
        Err(error) => return wrong(&format!("cannot read {}: {error}", file.display())),
    };
    let request = strict::read(&text)
        .map_err(|fault| Problem::new(Code::InvalidJson, fault.to_string()))
        .and_then(schema::parse_restore);
    let request: RestoreRequest = match request {
        Ok(request) => request,
        Err(problem) => return offline::reject(&problem),
    };
    // A route may match a request that its upstream cannot express.
    let refused = engine.preview(&request, origin.as_ref(), &Caller::anyone(None)).await.err();
    let mut matched = false;
    let mut lines = Vec::new();
    for (index, (upstream, verdict)) in engine.routes().consider(&request, source_api).enumerate() {
        let line = match (verdict, matched) {
            (Ok(why), false) => {
                matched = true;
                let refusal = refused.as_ref().map(|problem| {
                    format!(", but the upstream rejects it: {} {}", problem.code.as_str(), problem.detail)
                });
                format!("matches: {why}{}", refusal.unwrap_or_default())
            }
            (Ok(_), true) => "matches too, but comes later".to_owned(),
            (Err(why), _) => format!("does not match: {why}"),
        };
        lines.push(format!("routes[{index}] to {upstream} {line}"));
    }
    if !matched {
        lines.push(format!(
            "no route matches; the gateway would reject the restore with {}",
            Code::NoRoute.as_str()
        ));
    }
    let printed = print_text(&lines.join("\n"));
    if matched && refused.is_none() { printed } else { ExitCode::from(REJECTED) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tests {
    tests: Vec<Test>,
}

/// One request with its expected result.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    name: String,
    /// A canonical request, or with `path` one of `source_api`.
    request: Value,
    source_api: Option<String>,
    path: Option<String>,
    /// Any part of the output of `restore preview --offline`.
    expect: Option<Value>,
    /// The problem code of the rejection.
    refused: Option<String>,
}

async fn verify(config: &Config, engine: &Engine, files: &[PathBuf]) -> ExitCode {
    let (mut passed, mut failed) = (0_usize, 0_usize);
    for file in files {
        let tests: Tests = match std::fs::read(file).map_err(|error| error.to_string()).and_then(|text| {
            strict::read(&text)
                .map_err(|fault| fault.to_string())
                .and_then(|value| serde_json::from_value(value).map_err(|error| error.to_string()))
        }) {
            Ok(tests) => tests,
            Err(why) => return wrong(&format!("{}: {why}", file.display())),
        };
        for test in &tests.tests {
            let place = format!("{}: {}", file.display(), test.name);
            match outcome(config, engine, test).await {
                Err(why) => return wrong(&format!("{place}: {why}")),
                Ok(faults) if faults.is_empty() => {
                    passed += 1;
                    print_text(&format!("ok      {place}"));
                }
                Ok(faults) => {
                    failed += 1;
                    let faults = faults.iter().map(|fault| format!("\n        {fault}"));
                    print_text(&format!("FAILED  {place}{}", faults.collect::<String>()));
                }
            }
        }
    }
    let printed = print_text(&format!("{passed} passed, {failed} failed"));
    if passed + failed == 0 {
        return wrong("these files have no test");
    }
    if failed == 0 { printed } else { ExitCode::FAILURE }
}

/// Differences from the expectation; an error means that the test itself is invalid.
async fn outcome(config: &Config, engine: &Engine, test: &Test) -> Result<Vec<String>, String> {
    let result = preview(config, engine, test).await?;
    let mut faults = Vec::new();
    match (&test.expect, &test.refused) {
        (Some(expected), None) => match result {
            Ok(body) => differences("", expected, &body, &mut faults),
            Err(problem) => {
                faults.push(format!("rejected with {}: {}", problem.code.as_str(), problem.detail));
            }
        },
        (None, Some(code)) => match result {
            Err(problem) if problem.code.as_str() == code => {}
            Err(problem) => {
                faults.push(format!(
                    "rejected with {}, not {code}: {}",
                    problem.code.as_str(),
                    problem.detail
                ));
            }
            Ok(body) => {
                let upstream = body["route"]["upstream"].as_str().unwrap_or_default();
                faults.push(format!("not rejected with {code}, but sent to {upstream}"));
            }
        },
        _ => return Err("a test needs either `expect` or `refused`".to_owned()),
    }
    Ok(faults)
}

/// The preview of the request.
async fn preview(config: &Config, engine: &Engine, test: &Test) -> Result<Result<Value, Problem>, String> {
    let caller = Caller::anyone(None);
    let endpoint = match &test.source_api {
        None if test.path.is_some() => return Err("`path` needs `source_api`".to_owned()),
        None => None,
        Some(name) => {
            let none = || format!("no source API {name}; use one of {}", source_api::names().join(", "));
            Some(source_api::by_name(name).ok_or_else(none)?)
        }
    };
    let request = test.request.clone();
    let (request, origin) = match (endpoint, &test.path) {
        (Some(endpoint), Some(path)) => {
            let path = path.parse().map_err(|_| format!("`{path}` is no valid path"))?;
            (endpoints::read(endpoint, &path, request), Some(endpoints::origin(config, endpoint)))
        }
        (endpoint, _) => {
            (schema::parse_restore(request), endpoint.map(|endpoint| endpoints::origin(config, endpoint)))
        }
    };
    let request = match request {
        Ok(request) => request,
        Err(problem) => return Ok(Err(problem)),
    };
    let preview = match engine.preview(&request, origin.as_ref(), &caller).await {
        Ok(preview) => preview,
        Err(problem) => return Ok(Err(problem)),
    };
    Ok(Ok(match &origin {
        Some(origin) => native_body(&preview, origin, &request),
        None => preview_body(&preview),
    }))
}

/// Collects differences between expectation and result. Other members of an object are ignored; lists must be equal.
fn differences(place: &str, expected: &Value, found: &Value, faults: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(members), Value::Object(there)) => {
            for (name, member) in members {
                let at = format!("{place}/{name}");
                differences(&at, member, there.get(name).unwrap_or(&json!(null)), faults);
            }
        }
        (expected, found) if expected == found => {}
        (expected, found) => faults.push(format!("{place} is {found}, not {expected}")),
    }
}
