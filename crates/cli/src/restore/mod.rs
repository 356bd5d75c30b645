//! `restore`: a client of a running gateway. What it asks can be asked again: a submit always carries an
//! `Idempotency-Key`, which is told before it is sent.
//!
//! Exit codes: 0 it succeeded, or what was asked is done; 1 the restore failed, or could not be called off any more; 2 the
//! command line is wrong, or nobody confirmed; 3 refused or ended before anything was changed; 4 the end is not known; 5 the
//! gateway was not reached.

use std::collections::HashSet;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use http::{Method, Uri};
use restore_model::{RestoreId, Status};
use serde_json::{Value, json};

use super::answers::{self, Asked, Matter, OPEN, REFUSED, USAGE, judge, refused};
use super::client::{Gateway, Listener};
use super::operate;
use super::out::print_json;

mod confirm;
mod follow;
mod request;
mod show;
mod submit;

/// Longest wait for an answer that does not wait for anything itself.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a gateway is asked in vain: a submit with its key, or a wait that never had an answer.
const TRIES: u32 = 5;
/// Between two of these.
const PAUSE: Duration = Duration::from_secs(1);

/// Where the gateway is, and who asks.
#[derive(clap::Args)]
pub(super) struct Way {
    /// URL of the gateway's API
    #[arg(long, env = "RESTORE_CLIENT_URL", default_value = "http://127.0.0.1:8080")]
    gateway: Uri,
    /// IAM token for the project, where the gateway has no credential of its own
    #[arg(long, env = "RESTORE_CLIENT_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// API key, where the gateway has callers
    #[arg(long, env = "RESTORE_CLIENT_API_KEY", hide_env_values = true)]
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
        Gateway::at(Listener::Api, &self.gateway, self.ca_file.clone(), &headers).map_err(|why| {
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
    after_help = "Exit codes: 0 it succeeded, or what was asked is done; 1 the restore failed, or could not be called off any \
                  more; 2 the command line is wrong, or nobody confirmed; 3 refused or ended before anything was changed; \
                  4 the end is not known; 5 the gateway was not reached."
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
        /// Seconds until it ends at most, from when it is sent; it goes on after that
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
    #[command(
        after_help = "Exit codes: 0 it is called off, now or before; 1 it had ended, and changed the target; 2 the command \
                      line is wrong; 3 it had ended otherwise without changing anything, or the gateway refused; 4 it goes \
                      on, or it is not known whether it was called off; 5 the gateway was not reached."
    )]
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
            submit::run(request, yes, key, (!no_wait).then_some(timeout), way).await
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

/// Something that is asked of the API, within the usual patience.
const fn asked<'a>(method: Method, path: &'a str, body: Option<&'a Value>, matter: Matter) -> Asked<'a> {
    Asked { method, path, body, matter, patience: PATIENCE }
}

/// An answer with a member that only this kind of answer has.
fn has(known: impl FnOnce(&Value) -> bool) -> impl FnOnce(Value) -> Option<Value> {
    move |answer| known(&answer).then_some(answer)
}

async fn look(gateway: &Gateway, id: RestoreId) -> Result<answers::Restore, ExitCode> {
    let path = format!("/api/v1/restores/{id}");
    asked(Method::GET, &path, None, Matter::Look(id)).of(gateway, answers::Restore::about(id)).await
}

async fn check(wanted: request::Asked, way: Way) -> Result<ExitCode, ExitCode> {
    let body = wanted.read(true)?;
    let question = asked(Method::POST, "/api/v1/restore-checks", Some(&body), Matter::Question);
    let report = question.of(&way.gateway()?, has(|report| report["checks"].is_array())).await?;
    match way.output() {
        Output::Json => print_json(&report, false),
        Output::Text => confirm::print_report(&report),
    };
    Ok(match report["restorable"].as_bool() {
        Some(true) => ExitCode::SUCCESS,
        Some(false) => ExitCode::from(REFUSED),
        None => ExitCode::from(OPEN),
    })
}

async fn preview(wanted: request::Asked, way: Way) -> Result<ExitCode, ExitCode> {
    let body = wanted.read(true)?;
    let question = asked(Method::POST, "/api/v1/restore-previews", Some(&body), Matter::Question);
    let preview = question.of(&way.gateway()?, has(|preview| preview["route"].is_object())).await?;
    Ok(print_json(&preview, way.output() == Output::Text))
}

async fn status(id: RestoreId, way: &Way) -> Result<ExitCode, ExitCode> {
    let restore = look(&way.gateway()?, id).await?;
    Ok(show::one(&restore, way.output()))
}

async fn wait(id: RestoreId, timeout: Option<u64>, way: &Way) -> Result<ExitCode, ExitCode> {
    let deadline = follow::Deadline::after(timeout);
    follow::to_the_end(&way.gateway()?, id, None, deadline, way.output()).await
}

async fn list(filter: show::Filter, way: Way) -> Result<ExitCode, ExitCode> {
    let (gateway, output) = (way.gateway()?, way.output());
    let mut table = show::Table::new(output);
    // Where pages began: one who is sent back to one of them would read for ever. A page may be empty and have a next
    // one, for a caller who may see little of much.
    let mut begun = HashSet::new();
    let mut before: Option<String> = None;
    loop {
        let path = filter.path(before.as_deref(), table.left(&filter));
        let page = asked(Method::GET, &path, None, Matter::Question).of(&gateway, Page::of).await?;
        let mut printed = ExitCode::SUCCESS;
        for restore in &page.restores {
            printed = table.row(restore);
            if printed != ExitCode::SUCCESS {
                return Ok(printed);
            }
        }
        let Some(next) = page.next else { return Ok(printed) };
        if table.left(&filter) == Some(0) {
            return Ok(printed);
        }
        if !begun.insert(next.clone()) {
            eprintln!("error: the pages of the list go in a circle; what is printed may not be all");
            return Ok(ExitCode::from(OPEN));
        }
        before = Some(next);
    }
}

/// A page of a list.
struct Page {
    restores: Vec<answers::Restore>,
    next: Option<String>,
}

impl Page {
    fn of(mut answer: Value) -> Option<Self> {
        let Value::Array(restores) = answer["restores"].take() else { return None };
        let restores = restores.into_iter().map(answers::Restore::any).collect::<Option<_>>()?;
        Some(Self { restores, next: answer["next_cursor"].as_str().map(str::to_owned) })
    }
}

async fn cancel(id: RestoreId, way: Way) -> Result<ExitCode, ExitCode> {
    let gateway = way.gateway()?;
    let path = format!("/api/v1/restores/{id}");
    let matter = Matter::Decision(format!("restore-gateway restore status {id}"));
    let said = match gateway.ask(Method::DELETE, &path, &[], None, PATIENCE).await {
        Ok(said) => said,
        Err(silence) => return Err(answers::unreached(&gateway, &silence, &matter)),
    };
    if !said.status.is_success() && said.body["code"] == "not_cancellable" {
        // What was asked for may be so already: by another call, or by this one whose answer was lost on its way.
        let again = gateway.ask(Method::GET, &path, &[], None, PATIENCE).await.ok();
        let restore = again.and_then(|said| answers::Restore::about(id)(said.body));
        if let Some(restore) = restore.filter(|restore| restore.status == Status::Cancelled) {
            eprintln!("it had been called off before");
            show::print(&restore, way.output());
            return Ok(ExitCode::SUCCESS);
        }
        return Err(refused(&gateway, &said, &matter));
    }
    let off = |body| answers::Restore::about(id)(body).filter(|it| it.status == Status::Cancelled);
    let restore = judge(&gateway, said, &matter, off)?;
    show::print(&restore, way.output());
    Ok(ExitCode::SUCCESS)
}

async fn export(id: RestoreId, way: Way) -> Result<ExitCode, ExitCode> {
    let gateway = way.gateway()?;
    let restore = look(&gateway, id).await?;
    let path = format!("/api/v1/restores/{id}/events");
    let events = asked(Method::GET, &path, None, Matter::Look(id));
    let events = events.of(&gateway, has(|answer| answer["events"].is_array())).await?;
    let whole = json!({"restore": restore.body, "events": events["events"]});
    Ok(print_json(&whole, way.output() == Output::Text))
}
