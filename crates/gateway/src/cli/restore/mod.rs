//! `restore`: a client of a running gateway. What it asks can be asked again: a submit always carries an
//! `Idempotency-Key`, which is told before it is sent.
//!
//! Exit codes: 0 it succeeded, or what was asked is done; 1 the restore failed, or could not be called off any more; 2 the command line is wrong, or nobody
//! confirmed; 3 refused or ended before anything was changed; 4 the end is not known yet; 5 the gateway was not reached.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use http::{Method, Uri};
use restore_model::RestoreId;
use serde_json::{Value, json};

use super::client::{Gateway, Said, Silence, print_refusal};
use super::{operate, print_text};

mod confirm;
mod follow;
mod request;
mod show;

pub(super) const FAILED: u8 = 1;
pub(super) const USAGE: u8 = 2;
pub(super) const REFUSED: u8 = 3;
pub(super) const OPEN: u8 = 4;
pub(super) const UNREACHED: u8 = 5;

/// Longest wait for an answer that does not wait for anything itself.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a submit that got no answer is asked again, with its key.
const TRIES: u32 = 5;

/// Where the gateway is, and who asks.
#[derive(clap::Args)]
pub(super) struct Way {
    /// URL of the gateway's API
    #[arg(long, env = "RESTORE_GATEWAY_URL", default_value = "http://127.0.0.1:8080")]
    gateway: Uri,
    /// IAM token for the project, where the gateway has no credential of its own
    #[arg(long, env = "RESTORE_GATEWAY_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// API key, where the gateway has callers
    #[arg(long, env = "RESTORE_GATEWAY_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// PEM file of authorities to trust, besides the system's
    #[arg(long)]
    ca_file: Option<PathBuf>,
    /// What is printed: words for people, or JSON, one value per line. Without it, words on a terminal
    #[arg(long, value_enum)]
    output: Option<Output>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

impl Way {
    fn gateway(&self) -> Result<Gateway, ExitCode> {
        let headers = [("x-auth-token", self.token.as_deref()), ("x-api-key", self.api_key.as_deref())];
        Gateway::at(&self.gateway, self.ca_file.clone(), &headers).map_err(|why| {
            eprintln!("error: {why}");
            ExitCode::from(USAGE)
        })
    }

    fn output(&self) -> Output {
        let guess = if std::io::stdout().is_terminal() { Output::Text } else { Output::Json };
        self.output.unwrap_or(guess)
    }
}

#[derive(clap::Subcommand)]
#[command(
    after_help = "Exit codes: 0 it succeeded, or what was asked is done; 1 the restore failed, or could not be called off any more; 2 the command line \
                        is wrong, or nobody confirmed; 3 refused or ended before anything was changed; 4 the end is \
                        not known yet; 5 the gateway was not reached."
)]
pub(super) enum Restore {
    /// Restore: shows what is overwritten by what, asks, and sends it once
    Submit {
        #[command(flatten)]
        request: request::Asked,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Idempotency key: the same one asks for the same restore. Without it, a new one is made
        #[arg(long)]
        key: Option<String>,
        /// Return once the restore is taken in
        #[arg(long)]
        no_wait: bool,
        /// Seconds to wait for its end at most
        #[arg(long, value_name = "SECONDS")]
        timeout: Option<u64>,
        #[command(flatten)]
        way: Way,
    },
    /// Ask whether a restore could be done; changes nothing
    Check {
        #[command(flatten)]
        request: request::Asked,
        #[command(flatten)]
        way: Way,
    },
    /// Show what the gateway would send; nothing is sent
    Preview {
        #[command(flatten)]
        request: request::Asked,
        #[command(flatten)]
        way: Way,
    },
    /// Show one restore as it is now
    Status {
        /// The restore
        id: RestoreId,
        #[command(flatten)]
        way: Way,
    },
    /// Wait for the end of a restore
    Wait {
        /// The restore
        id: RestoreId,
        /// Seconds to wait at most
        #[arg(long, value_name = "SECONDS")]
        timeout: Option<u64>,
        #[command(flatten)]
        way: Way,
    },
    /// List restores, newest first
    List {
        #[command(flatten)]
        filter: show::Filter,
        #[command(flatten)]
        way: Way,
    },
    /// Call a restore off, which is possible until it is sent
    Cancel {
        /// The restore
        id: RestoreId,
        #[command(flatten)]
        way: Way,
    },
    /// End a restore that waits for a person, on your word, by the admin listener
    Resolve(operate::Resolve),
    /// Print one restore with its whole history, as JSON
    Export {
        /// The restore
        id: RestoreId,
        #[command(flatten)]
        way: Way,
    },
}

pub(super) async fn run(command: Restore) -> ExitCode {
    let done = match command {
        Restore::Submit { request, yes, key, no_wait, timeout, way } => {
            submit(request, yes, key, (!no_wait).then_some(timeout), way).await
        }
        Restore::Check { request, way } => check(request, way).await,
        Restore::Preview { request, way } => preview(request, way).await,
        Restore::Status { id, way } => status(id, &way).await,
        Restore::Wait { id, timeout, way } => wait(id, timeout, &way).await,
        Restore::List { filter, way } => list(filter, way).await,
        Restore::Cancel { id, way } => cancel(id, way).await,
        Restore::Resolve(options) => return operate::resolve(options).await,
        Restore::Export { id, way } => export(id, way).await,
    };
    done.unwrap_or_else(|code| code)
}

/// An exchange whose answer is what was asked for.
async fn get(gateway: &Gateway, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ExitCode> {
    let said = gateway
        .ask(method, path, &[], body, PATIENCE)
        .await
        .map_err(|silence| unreached(gateway, &silence))?;
    good(said)
}

/// What was asked for, or the code of its refusal. Only the gateway's own word that nothing was changed is believed: a
/// page of something before it says nothing of what has gone through.
fn good(said: Said) -> Result<Value, ExitCode> {
    answered(said, |refusal| match refusal["effect"].as_str() {
        Some("none") => REFUSED,
        Some("done") => FAILED,
        _ => OPEN,
    })
}

/// The restore that was read. That it could not be read says nothing of how it stands.
fn of_a_read(said: Said) -> Result<Value, ExitCode> {
    answered(said, |_| OPEN)
}

/// A good answer, or the code of what was printed in its place.
fn answered(said: Said, code: impl Fn(&Value) -> u8) -> Result<Value, ExitCode> {
    if said.status.is_success() && said.body.is_object() {
        return Ok(said.body);
    }
    print_refusal(&said);
    Err(ExitCode::from(code(&said.body)))
}

/// Whether asking again may bring another answer.
fn passes(said: &Said) -> bool {
    matches!(said.status.as_u16(), 408 | 425 | 429 | 500..)
}

fn unreached(gateway: &Gateway, silence: &Silence) -> ExitCode {
    eprintln!("error: {}: {}", gateway.base(), silence.why);
    eprintln!("help: --gateway or RESTORE_GATEWAY_URL says where the gateway is");
    ExitCode::from(UNREACHED)
}

async fn submit(
    asked: request::Asked,
    yes: bool,
    key: Option<String>,
    wait: Option<Option<u64>>,
    way: Way,
) -> Result<ExitCode, ExitCode> {
    let body = asked.read(yes)?;
    let gateway = way.gateway()?;
    if !yes {
        confirm::ask(&gateway, &body).await?;
    }
    let key = key.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    eprintln!("idempotency key: {key}");
    if http::HeaderValue::from_str(&key).is_err() {
        eprintln!("error: --key cannot be sent in a header; nothing was sent");
        return Err(ExitCode::from(USAGE));
    }
    let headers = [("idempotency-key", key.as_str())];
    let mut tries = 0;
    // Whether one of them may have come through.
    let mut sent = false;
    let said = loop {
        tries += 1;
        match gateway.ask(Method::POST, "/api/v1/restores", &headers, Some(&body), PATIENCE).await {
            // Said of this try alone: one before it may have been taken in.
            Ok(said) if (sent || said.body["effect"].is_null()) && passes(&said) && tries < TRIES => {
                sent = true;
                eprintln!("{} in between; asking again with the same key", said.status);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Ok(said) if sent && !said.status.is_success() => {
                print_refusal(&said);
                return Err(not_known(&key));
            }
            Ok(said) => break said,
            // The same key is the same restore, so asking again cannot begin another one.
            Err(silence) if silence.sent && tries < TRIES => {
                sent = true;
                eprintln!("no answer ({}); asking again with the same key", silence.why);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(silence) => {
                let code = unreached(&gateway, &silence);
                if silence.sent || sent {
                    return Err(not_known(&key));
                }
                eprintln!("nothing was sent");
                return Err(code);
            }
        }
    };
    let restore = good(said).inspect_err(|code| {
        if *code == ExitCode::from(OPEN) {
            not_known(&key);
        }
    })?;
    let id = restore["id"].as_str().unwrap_or_default().to_owned();
    match wait {
        Some(timeout) => follow::to_the_end(&gateway, &id, Some(restore), timeout, way.output()).await,
        None => {
            show::one(&restore, way.output());
            // Taken in is what was asked for; what has ended badly already is said.
            Ok(if show::is_final(&restore) { show::code(&restore) } else { ExitCode::SUCCESS })
        }
    }
}

/// Says that nobody knows, and what to do.
fn not_known(key: &str) -> ExitCode {
    eprintln!("it is not known whether the restore was taken in; ask again with --key {key}");
    ExitCode::from(OPEN)
}

async fn check(asked: request::Asked, way: Way) -> Result<ExitCode, ExitCode> {
    let body = asked.read(true)?;
    let report = get(&way.gateway()?, Method::POST, "/api/v1/restore-checks", Some(&body)).await?;
    match way.output() {
        Output::Json => print_line(&report),
        Output::Text => confirm::print_report(&report),
    }
    Ok(match report["restorable"].as_bool() {
        Some(true) => ExitCode::SUCCESS,
        Some(false) => ExitCode::from(REFUSED),
        None => ExitCode::from(OPEN),
    })
}

async fn preview(asked: request::Asked, way: Way) -> Result<ExitCode, ExitCode> {
    let body = asked.read(true)?;
    let preview = get(&way.gateway()?, Method::POST, "/api/v1/restore-previews", Some(&body)).await?;
    print_value(&preview, way.output());
    Ok(ExitCode::SUCCESS)
}

async fn status(id: RestoreId, way: &Way) -> Result<ExitCode, ExitCode> {
    let gateway = way.gateway()?;
    let path = format!("/api/v1/restores/{id}");
    let said = gateway.ask(Method::GET, &path, &[], None, PATIENCE).await;
    let restore = of_a_read(said.map_err(|silence| unreached(&gateway, &silence))?)?;
    show::one(&restore, way.output());
    Ok(show::code(&restore))
}

async fn wait(id: RestoreId, timeout: Option<u64>, way: &Way) -> Result<ExitCode, ExitCode> {
    follow::to_the_end(&way.gateway()?, &id.to_string(), None, timeout, way.output()).await
}

async fn list(filter: show::Filter, way: Way) -> Result<ExitCode, ExitCode> {
    let (gateway, output) = (way.gateway()?, way.output());
    let mut table = show::Table::new(output);
    let mut before: Option<String> = None;
    loop {
        let page =
            get(&gateway, Method::GET, &filter.path(before.as_deref(), table.left(&filter)), None).await?;
        for restore in page["restores"].as_array().into_iter().flatten() {
            table.row(restore);
        }
        before = page["next"].as_str().map(str::to_owned);
        if before.is_none() || table.left(&filter) == Some(0) {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

async fn cancel(id: RestoreId, way: Way) -> Result<ExitCode, ExitCode> {
    let restore = get(&way.gateway()?, Method::DELETE, &format!("/api/v1/restores/{id}"), None).await?;
    show::one(&restore, way.output());
    Ok(ExitCode::SUCCESS)
}

async fn export(id: RestoreId, way: Way) -> Result<ExitCode, ExitCode> {
    let gateway = way.gateway()?;
    let restore = get(&gateway, Method::GET, &format!("/api/v1/restores/{id}"), None).await?;
    let events = get(&gateway, Method::GET, &format!("/api/v1/restores/{id}/events"), None).await?;
    print_value(&json!({"restore": restore, "events": events["events"]}), way.output());
    Ok(ExitCode::SUCCESS)
}

/// JSON: for people over several lines, for programs on one.
fn print_value(value: &Value, output: Output) {
    match output {
        Output::Text => drop(print_text(&serde_json::to_string_pretty(value).unwrap_or_default())),
        Output::Json => print_line(value),
    }
}

fn print_line(value: &Value) {
    let _ = print_text(&value.to_string());
}
