//! `routes`: which rule takes a request and why, and a team's own tests of its routes, for its CI. Nothing is sent.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use restore_engine::{Caller, Engine};
use restore_generations::source_api;
use restore_model::{Code, Problem, RestoreRequest, json as strict, schema};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{SettingsFile, preview, print_text};
use restore_config::Settings;
use restore_gateway::endpoints;
use restore_gateway::{native_body, preview_body};

/// Exit code for a request that no route takes.
const REFUSED: u8 = 3;

#[derive(clap::Subcommand)]
pub(super) enum Routes {
    /// Show what each rule says to a request, and which one takes it
    #[command(
        after_help = "Exit codes: 0 a route takes it; 2 the command line is wrong; 3 none does, so that the restore would \
                            be refused; 78 the settings have faults."
    )]
    Test {
        #[command(flatten)]
        file: SettingsFile,
        /// A canonical restore request; - is standard input
        request: PathBuf,
        /// As if it had come through a compatibility endpoint of this source API
        #[arg(long)]
        source_api: Option<String>,
    },
    /// Run tests of the routes: requests, and what must become of each
    #[command(
        after_help = "Exit codes: 0 all pass; 1 some fail; 2 the command line or a file of tests is wrong; 78 the settings \
                            have faults."
    )]
    Verify {
        #[command(flatten)]
        file: SettingsFile,
        /// Files of tests, JSON: {"tests": [{"name", "request", "source_api"?, "path"?, "expect" | "refused"}]}
        #[arg(required = true)]
        tests: Vec<PathBuf>,
    },
}

pub(super) async fn run(command: Routes) -> ExitCode {
    let (Routes::Test { file, .. } | Routes::Verify { file, .. }) = &command;
    let settings = match file.load() {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let engine = match preview::engine(&settings).await {
        Ok(engine) => engine,
        Err(code) => return code,
    };
    match command {
        Routes::Test { request, source_api, .. } => {
            test(&settings, &engine, &request, source_api.as_deref()).await
        }
        Routes::Verify { tests, .. } => verify(&settings, &engine, &tests).await,
    }
}

fn wrong(why: &str) -> ExitCode {
    eprintln!("error: {why}");
    ExitCode::from(2)
}

async fn test(settings: &Settings, engine: &Engine, file: &Path, source_api: Option<&str>) -> ExitCode {
    let origin = match source_api.map(|name| (name, source_api::by_name(name))) {
        Some((unknown, None)) => {
            return wrong(&format!("no source API {unknown}; there are {}", source_api::names().join(", ")));
        }
        Some((_, Some(endpoint))) => Some(endpoints::origin(settings, endpoint)),
        None => None,
    };
    let text = match preview::read(file) {
        Ok(text) => text,
        Err(error) => return wrong(&format!("cannot read {}: {error}", file.display())),
    };
    let request = strict::read(&text)
        .map_err(|fault| Problem::new(Code::InvalidJson, fault.to_string()))
        .and_then(schema::parse_restore);
    let request: RestoreRequest = match request {
        Ok(request) => request,
        Err(problem) => {
            let body = restore_gateway::problem_body(&problem, "", None);
            eprintln!("{}", serde_json::to_string_pretty(&body).unwrap_or_default());
            return ExitCode::from(REFUSED);
        }
    };
    // A route takes what its upstream may not be able to express.
    let refused = engine.preview(&request, origin.as_ref(), &Caller::anyone(None)).await.err();
    let mut taken = false;
    let mut lines = Vec::new();
    for (index, (upstream, said)) in engine.routes().consider(&request, source_api).enumerate() {
        let line = match (said, taken) {
            (Ok(why), false) => {
                taken = true;
                let refusal = refused
                    .as_ref()
                    .map(|problem| format!(", and refuses it: {} {}", problem.code.as_str(), problem.detail));
                format!("takes it: {why}{}", refusal.unwrap_or_default())
            }
            (Ok(_), true) => "would take it, and comes later".to_owned(),
            (Err(why), _) => format!("does not: {why}"),
        };
        lines.push(format!("routes[{index}] to {upstream} {line}"));
    }
    if !taken {
        lines
            .push(format!("no route takes it: the restore would be refused with {}", Code::NoRoute.as_str()));
    }
    let printed = print_text(&lines.join(
        "
",
    ));
    if taken && refused.is_none() { printed } else { ExitCode::from(REFUSED) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tests {
    tests: Vec<Test>,
}

/// One request, and what must become of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    name: String,
    /// Canonical, or of `source_api` where there is a `path`.
    request: Value,
    source_api: Option<String>,
    path: Option<String>,
    /// Any part of what `preview` prints.
    expect: Option<Value>,
    /// The code of the problem that it is refused with.
    refused: Option<String>,
}

async fn verify(settings: &Settings, engine: &Engine, files: &[PathBuf]) -> ExitCode {
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
            match outcome(settings, engine, test).await {
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
        return wrong("there is no test in these files");
    }
    if failed == 0 { printed } else { ExitCode::FAILURE }
}

/// What is otherwise than the test says; an error is the test's own fault.
async fn outcome(settings: &Settings, engine: &Engine, test: &Test) -> Result<Vec<String>, String> {
    let became = became(settings, engine, test).await?;
    let mut faults = Vec::new();
    match (&test.expect, &test.refused) {
        (Some(expected), None) => match became {
            Ok(body) => differences("", expected, &body, &mut faults),
            Err(problem) => {
                faults.push(format!("refused with {}: {}", problem.code.as_str(), problem.detail));
            }
        },
        (None, Some(code)) => match became {
            Err(problem) if problem.code.as_str() == code => {}
            Err(problem) => {
                faults.push(format!(
                    "refused with {}, not {code}: {}",
                    problem.code.as_str(),
                    problem.detail
                ));
            }
            Ok(body) => {
                let way = body["route"]["upstream"].as_str().unwrap_or_default();
                faults.push(format!("not refused with {code}, but sent to {way}"));
            }
        },
        _ => return Err("a test has `expect` or `refused`, and not both".to_owned()),
    }
    Ok(faults)
}

/// What `preview` shows of the request.
async fn became(settings: &Settings, engine: &Engine, test: &Test) -> Result<Result<Value, Problem>, String> {
    let caller = Caller::anyone(None);
    let endpoint = match &test.source_api {
        None if test.path.is_some() => return Err("a `path` is of a `source_api`".to_owned()),
        None => None,
        Some(name) => {
            let none = || format!("no source API {name}; there are {}", source_api::names().join(", "));
            Some(source_api::by_name(name).ok_or_else(none)?)
        }
    };
    let request = test.request.clone();
    let (request, origin) = match (endpoint, &test.path) {
        (Some(endpoint), Some(path)) => {
            let path = path.parse().map_err(|_| format!("`{path}` is no path"))?;
            (endpoints::read(endpoint, &path, request), Some(endpoints::origin(settings, endpoint)))
        }
        (endpoint, _) => {
            (schema::parse_restore(request), endpoint.map(|endpoint| endpoints::origin(settings, endpoint)))
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

/// Where what is there differs from what is expected. Members that are not expected may be anything; lists are
/// compared whole.
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
