//! `restore`: a client of a running gateway. Every command can be repeated: a submit always carries an `Idempotency-Key`, and
//! prints it before it sends the request.
//!
//! Exit codes: 0 succeeded, or done; 1 the restore failed, or can no longer be cancelled; 2 the command line is wrong, or the
//! user did not confirm; 3 rejected, or ended before anything was changed; 4 the outcome is not known; 5 no connection to the
//! gateway.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use http::{Method, Uri};
use restore_model::{RestoreId, Status};
use serde_json::{Value, json};

use super::call::{self, Call, Purpose, REJECTED, UNKNOWN, USAGE, expect, report_rejection};
use super::client::{Gateway, Listener};
use super::output::{Format, info, print_json, print_text};
use super::{ConfigFile, offline};
use id::IdOrPrefix;

mod confirm;
mod id;
mod request;
mod resolve;
mod show;
mod submit;
mod triage;
mod wait;

/// Timeout of a call that does not wait for a restore.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Number of tries of a submit, or of a wait without any response.
const TRIES: u32 = 5;
/// Pause between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// Connection to the API of the gateway.
#[derive(clap::Args)]
pub(super) struct Connection {
    /// URL of the gateway's API
    #[arg(long, env = "RESTORE_CLIENT_URL", default_value = "http://127.0.0.1:8080")]
    url: Uri,
    /// IAM token of the project, if the gateway has no credential
    #[arg(long, env = "RESTORE_CLIENT_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// API key of a caller, if the gateway has callers
    #[arg(long, env = "RESTORE_CLIENT_API_KEY", hide_env_values = true, value_name = "KEY")]
    api_key: Option<String>,
    /// PEM file of certificate authorities to trust, besides those of the system
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Output format; by default text on a terminal, otherwise JSON with one value per line
    #[arg(long, value_enum)]
    output: Option<Format>,
}

impl Connection {
    fn gateway(&self) -> Result<Gateway, ExitCode> {
        let headers = [("x-auth-token", self.token.as_deref()), ("x-api-key", self.api_key.as_deref())];
        Gateway::at(Listener::Api, &self.url, self.ca_file.clone(), &headers).map_err(|why| {
            eprintln!("error: {why}");
            ExitCode::from(USAGE)
        })
    }

    fn output(&self) -> Format {
        Format::or_by_terminal(self.output)
    }
}

#[derive(clap::Subcommand)]
#[command(
    after_help = "Exit codes: 0 succeeded, or done; 1 the restore failed, or can no longer be cancelled; 2 the command line is \
                  wrong, or the user did not confirm; 3 rejected, or ended before anything was changed; 4 the outcome is \
                  not known; 5 no connection to the gateway."
)]
pub(super) enum Restore {
    /// Submit a restore: show what it overwrites, ask for confirmation, send it, wait for its end
    Submit {
        #[command(flatten)]
        request: request::RequestArgs,
        /// Skip the confirmation
        #[arg(long)]
        yes: bool,
        /// Idempotency key: the same key returns the same restore; by default a new one
        #[arg(long)]
        key: Option<String>,
        /// Return after the gateway has accepted the restore
        #[arg(long)]
        no_wait: bool,
        /// Maximum wait after sending; the restore continues afterwards
        #[arg(long, value_name = "SECONDS")]
        timeout: Option<u64>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Check whether the cloud would accept a restore; changes nothing
    Check {
        #[command(flatten)]
        request: request::RequestArgs,
        #[command(flatten)]
        connection: Connection,
    },
    /// Preview the request to the cloud; sends nothing
    Preview {
        #[command(flatten)]
        request: request::RequestArgs,
        /// Preview from a configuration file, without a running gateway
        #[arg(long)]
        offline: bool,
        #[command(flatten)]
        file: ConfigFile,
        /// Source API of the request; needs --offline and --path
        #[arg(long, requires_all = ["path", "offline"])]
        source_api: Option<String>,
        /// Path of the request in the source API, without the prefix of the compatibility endpoint
        #[arg(long, requires = "source_api")]
        path: Option<Uri>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show the present state of a restore
    Status {
        /// ID of the restore, or a unique prefix of it
        id: IdOrPrefix,
        #[command(flatten)]
        connection: Connection,
    },
    /// Wait for the end of a restore
    Wait {
        /// ID of the restore, or a unique prefix of it
        id: IdOrPrefix,
        /// Longest wait
        #[arg(long, value_name = "SECONDS")]
        timeout: Option<u64>,
        #[command(flatten)]
        connection: Connection,
    },
    /// List restores, newest first
    List {
        #[command(flatten)]
        filter: show::Filter,
        #[command(flatten)]
        connection: Connection,
    },
    /// Cancel a restore that is not sent yet
    #[command(
        after_help = "Exit codes: 0 cancelled, now or before; 1 the restore had ended and changed the target; 2 the command \
                      line is wrong; 3 the restore had ended without a change, or the gateway rejected the request; 4 the \
                      restore continues, or the outcome is not known; 5 no connection to the gateway."
    )]
    Cancel {
        /// ID of the restore, or a unique prefix of it
        id: IdOrPrefix,
        #[command(flatten)]
        connection: Connection,
    },
    /// List restores that need an operator or are overdue, with the next command for each
    Triage(triage::Triage),
    /// Resolve a restore that needs an operator, by your decision
    Resolve(resolve::Resolve),
    /// Print a restore with its whole history
    Export {
        /// ID of the restore, or a unique prefix of it
        id: IdOrPrefix,
        #[command(flatten)]
        connection: Connection,
    },
}

pub(super) async fn run(command: Restore) -> ExitCode {
    let done = match command {
        Restore::Submit { request, yes, key, no_wait, timeout, connection } => {
            submit::run(request, yes, key, (!no_wait).then_some(timeout), connection).await
        }
        Restore::Check { request, connection } => check(request, connection).await,
        Restore::Preview { request, offline: true, file, source_api, path, .. } => {
            preview_offline(request, &file, source_api.as_deref(), path).await
        }
        Restore::Preview { request, connection, .. } => preview(request, connection).await,
        Restore::Status { id, connection } => status(&id, &connection).await,
        Restore::Wait { id, timeout, connection } => wait(&id, timeout, &connection).await,
        Restore::List { filter, connection } => list(filter, connection).await,
        Restore::Cancel { id, connection } => cancel(&id, &connection).await,
        Restore::Triage(options) => triage::run(options).await,
        Restore::Resolve(options) => resolve::run(options).await,
        Restore::Export { id, connection } => export(&id, &connection).await,
    };
    done.unwrap_or_else(|code| code)
}

/// A call with the usual timeout.
const fn call_to<'a>(method: Method, path: &'a str, body: Option<&'a Value>, purpose: Purpose) -> Call<'a> {
    Call { method, path, body, purpose, timeout: TIMEOUT }
}

/// Accepts a response that has a member of the expected form.
fn with(expected: impl FnOnce(&Value) -> bool) -> impl FnOnce(Value) -> Option<Value> {
    move |answer| expected(&answer).then_some(answer)
}

async fn read(gateway: &Gateway, id: RestoreId) -> Result<call::Restore, ExitCode> {
    let path = format!("/api/v1/restores/{id}");
    call_to(Method::GET, &path, None, Purpose::Inspect(id)).send(gateway, call::Restore::with_id(id)).await
}

async fn check(request: request::RequestArgs, connection: Connection) -> Result<ExitCode, ExitCode> {
    let body = request.read(true)?;
    let call = call_to(Method::POST, "/api/v1/restore-checks", Some(&body), Purpose::Query);
    let report = call.send(&connection.gateway()?, with(|report| report["checks"].is_array())).await?;
    match connection.output() {
        Format::Json => print_json(&report, false),
        Format::Text => confirm::print_report(&report),
    };
    Ok(match report["restorable"].as_bool() {
        Some(true) => ExitCode::SUCCESS,
        Some(false) => ExitCode::from(REJECTED),
        None => ExitCode::from(UNKNOWN),
    })
}

async fn preview(request: request::RequestArgs, connection: Connection) -> Result<ExitCode, ExitCode> {
    let body = request.read(true)?;
    let call = call_to(Method::POST, "/api/v1/restore-previews", Some(&body), Purpose::Query);
    let preview = call.send(&connection.gateway()?, with(|preview| preview["route"].is_object())).await?;
    Ok(print_json(&preview, connection.output() == Format::Text))
}

async fn preview_offline(
    request: request::RequestArgs,
    file: &ConfigFile,
    source_api: Option<&str>,
    path: Option<Uri>,
) -> Result<ExitCode, ExitCode> {
    let config = file.load()?;
    let body = request.read(true)?;
    Ok(offline::preview(&config, source_api, path, body).await)
}

async fn status(id: &IdOrPrefix, connection: &Connection) -> Result<ExitCode, ExitCode> {
    let gateway = connection.gateway()?;
    let restore = read(&gateway, id.find(&gateway).await?).await?;
    Ok(show::one(&restore, connection.output()))
}

async fn wait(id: &IdOrPrefix, timeout: Option<u64>, connection: &Connection) -> Result<ExitCode, ExitCode> {
    let deadline = wait::Deadline::after(timeout);
    let gateway = connection.gateway()?;
    let id = id.find(&gateway).await?;
    wait::until_final(&gateway, id, None, deadline, connection.output()).await
}

async fn list(filter: show::Filter, connection: Connection) -> Result<ExitCode, ExitCode> {
    let (gateway, output) = (connection.gateway()?, connection.output());
    let mut table = show::Table::new(output);
    let mut pages = Pages::default();
    loop {
        let path = filter.path(pages.cursor(), table.left(&filter));
        let page = pages.read(&gateway, &path).await?;
        let mut printed = ExitCode::SUCCESS;
        for restore in &page {
            printed = table.row(restore);
            if printed != ExitCode::SUCCESS {
                return Ok(printed);
            }
        }
        if pages.cursor().is_none() || table.left(&filter) == Some(0) {
            return Ok(printed);
        }
    }
}

/// Pages of a list of restores.
#[derive(Default)]
struct Pages {
    /// Cursors so far: a list that returns to one of them would never end. An empty page may have a next one, for a
    /// caller that may see few of many restores.
    seen: HashSet<String>,
    next: Option<String>,
}

impl Pages {
    /// Cursor of the next page; none after the last one.
    fn cursor(&self) -> Option<&str> {
        self.next.as_deref()
    }

    /// Reads one page.
    async fn read(&mut self, gateway: &Gateway, path: &str) -> Result<Vec<call::Restore>, ExitCode> {
        let parse = |mut answer: Value| {
            let Value::Array(restores) = answer["restores"].take() else { return None };
            let restores: Vec<_> = restores.into_iter().map(call::Restore::any).collect::<Option<_>>()?;
            Some((restores, answer["next_cursor"].as_str().map(str::to_owned)))
        };
        let (restores, next) = call_to(Method::GET, path, None, Purpose::Query).send(gateway, parse).await?;
        if let Some(next) = &next
            && !self.seen.insert(next.clone())
        {
            eprintln!("error: the gateway repeats a page of the list; the output may be incomplete");
            return Err(ExitCode::from(UNKNOWN));
        }
        self.next = next;
        Ok(restores)
    }
}

async fn cancel(id: &IdOrPrefix, connection: &Connection) -> Result<ExitCode, ExitCode> {
    let gateway = connection.gateway()?;
    let id = id.find(&gateway).await?;
    let path = format!("/api/v1/restores/{id}");
    let purpose = Purpose::Decide(format!("restore-gateway restore status {id}"));
    let response = match gateway.send(Method::DELETE, &path, &[], None, TIMEOUT).await {
        Ok(response) => response,
        Err(lost) => return Err(call::report_no_response(&gateway, &lost, &purpose)),
    };
    if !response.status.is_success() && response.body["code"] == "not_cancellable" {
        // It may be cancelled already: by another call, or by an earlier one whose response was lost.
        let again = gateway.send(Method::GET, &path, &[], None, TIMEOUT).await.ok();
        let restore = again.and_then(|response| call::Restore::with_id(id)(response.body));
        if let Some(restore) = restore.filter(|restore| restore.status == Status::Cancelled) {
            info("the restore was cancelled before");
            show::print(&restore, connection.output());
            return Ok(ExitCode::SUCCESS);
        }
        return Err(report_rejection(&gateway, &response, &purpose));
    }
    let cancelled = |body| call::Restore::with_id(id)(body).filter(|it| it.status == Status::Cancelled);
    let restore = expect(&gateway, response, &purpose, cancelled)?;
    show::print(&restore, connection.output());
    Ok(ExitCode::SUCCESS)
}

async fn export(id: &IdOrPrefix, connection: &Connection) -> Result<ExitCode, ExitCode> {
    let gateway = connection.gateway()?;
    let id = id.find(&gateway).await?;
    let restore = read(&gateway, id).await?;
    let path = format!("/api/v1/restores/{id}/events");
    let call = call_to(Method::GET, &path, None, Purpose::Inspect(id));
    let answer = call.send(&gateway, with(|answer| answer["events"].is_array())).await?;
    Ok(match connection.output() {
        Format::Json => print_json(&json!({"restore": restore.body, "events": answer["events"]}), false),
        Format::Text => print_text(&show::history(&restore, &answer["events"])),
    })
}
