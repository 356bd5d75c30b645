//! `attention`, `resolve`, `recovery` and `usage`: what a person decides or should know, by a running gateway's admin
//! listener.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use http::{Method, Uri};
use restore_model::{ProjectId, RestoreId, Timestamp};
use serde_json::{Value, json};

use super::client::{Gateway, print_refusal};
use super::print_text;

/// Longest wait for the gateway.
const PATIENCE: Duration = Duration::from_secs(30);
/// Exit code for what the gateway refused.
const REFUSED: u8 = 3;

/// Where the admin listener is.
#[derive(clap::Args)]
pub(super) struct At {
    /// URL of the gateway's admin listener
    #[arg(long, env = "RESTORE_GATEWAY_ADMIN", default_value = "http://127.0.0.1:8081")]
    admin: Uri,
    /// API key of a caller of the admin listener, where it has callers
    #[arg(long, env = "RESTORE_GATEWAY_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// PEM file of authorities to trust, besides the system's, where the listener speaks TLS
    #[arg(long)]
    ca_file: Option<PathBuf>,
}

/// Who decides, and why; kept for ever.
#[derive(clap::Args)]
pub(super) struct Word {
    /// Who decides: a name that others will know in a year
    #[arg(long)]
    by: String,
    /// On what grounds
    #[arg(long)]
    reason: String,
}

#[derive(clap::Args)]
pub(super) struct Resolve {
    /// The restore
    id: RestoreId,
    /// What you found when you looked at the target: was it overwritten by this restore?
    #[arg(long = "as", value_enum)]
    outcome: Outcome,
    #[command(flatten)]
    word: Word,
    #[command(flatten)]
    at: At,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Outcome {
    /// It was: the restore ends as succeeded
    Applied,
    /// It was not: the restore ends as not applied, and the target is free
    NotApplied,
}

#[derive(clap::Subcommand)]
pub(super) enum Recovery {
    /// Say whether the gateway is in recovery mode, and why
    Show {
        #[command(flatten)]
        at: At,
    },
    /// List what a cloud has restored since a time and the ledger does not know
    Survey {
        /// An upstream of the settings, of a generation that lists restores
        #[arg(long)]
        upstream: String,
        /// The cloud project
        #[arg(long)]
        project: ProjectId,
        /// When the copy of the ledger was made, such as 2026-11-22T10:00:00Z
        #[arg(long)]
        since: Timestamp,
        /// A token of the project, where the gateway has no credential of its own for the upstream
        #[arg(long, env = "RESTORE_GATEWAY_TOKEN", hide_env_values = true)]
        token: Option<String>,
        #[command(flatten)]
        at: At,
    },
    /// End recovery mode: restores are sent again
    Confirm {
        #[command(flatten)]
        word: Word,
        #[command(flatten)]
        at: At,
    },
}

#[derive(clap::Args)]
pub(super) struct Attention {
    #[command(flatten)]
    at: At,
}

#[derive(clap::Args)]
pub(super) struct Usage {
    #[command(flatten)]
    at: At,
}

#[derive(clap::Args)]
pub(super) struct Health {
    /// Whether it could take a restore in, and not only whether it lives
    #[arg(long)]
    ready: bool,
    #[command(flatten)]
    at: At,
}

/// For images and units without another client; says why where it is not well.
pub(super) async fn health(options: Health) -> ExitCode {
    let path = if options.ready { "/readyz" } else { "/livez" };
    say(&options.at, Method::GET, path, None).await
}

pub(super) async fn usage(options: Usage) -> ExitCode {
    say(&options.at, Method::GET, "/usage", None).await
}

/// Ends with failure when there is anything to attend to, so that a watchdog can call it.
pub(super) async fn attention(options: Attention) -> ExitCode {
    match ask(&options.at, Method::GET, "/attention", None, None).await {
        Err(code) => code,
        Ok(found) => {
            let printed = print(&found);
            let quiet = |list: &str| found[list].as_array().is_some_and(Vec::is_empty);
            let all_quiet = quiet("needs_operator") && quiet("overdue") && found["recovery"].is_null();
            if all_quiet { printed } else { ExitCode::FAILURE }
        }
    }
}

pub(super) async fn resolve(options: Resolve) -> ExitCode {
    let Resolve { id, outcome, word, at } = options;
    let outcome = match outcome {
        Outcome::Applied => "applied",
        Outcome::NotApplied => "not_applied",
    };
    let body = json!({ "as": outcome, "by": word.by, "reason": word.reason });
    say(&at, Method::POST, &format!("/restores/{id}/resolution"), Some(&body)).await
}

pub(super) async fn recovery(command: Recovery) -> ExitCode {
    match command {
        Recovery::Show { at } => say(&at, Method::GET, "/recovery", None).await,
        Recovery::Survey { upstream, project, since, token, at } => {
            let base = "/recovery/unrecorded?".to_owned();
            let begin = base.len();
            let path: String = form_urlencoded::Serializer::for_suffix(base, begin)
                .append_pair("upstream", &upstream)
                .append_pair("project_id", project.as_str())
                .append_pair("since", &since.to_string())
                .finish();
            let asked = ask(&at, Method::GET, &path, None, token.as_deref()).await;
            asked.map_or_else(|code| code, |answer| print(&answer))
        }
        Recovery::Confirm { word, at } => {
            let body = json!({ "by": word.by, "reason": word.reason });
            say(&at, Method::POST, "/recovery/confirmation", Some(&body)).await
        }
    }
}

/// Says one thing, prints the answer, and ends as it ended.
async fn say(at: &At, method: Method, path: &str, body: Option<&Value>) -> ExitCode {
    ask(at, method, path, body, None).await.map_or_else(|code| code, |answer| print(&answer))
}

fn print(answer: &Value) -> ExitCode {
    print_text(&serde_json::to_string_pretty(answer).unwrap_or_default())
}

/// One exchange; what went wrong is printed here.
async fn ask(
    at: &At,
    method: Method,
    path: &str,
    body: Option<&Value>,
    token: Option<&str>,
) -> Result<Value, ExitCode> {
    let headers = [("x-auth-token", token), ("x-api-key", at.api_key.as_deref())];
    let said = match Gateway::at(&at.admin, at.ca_file.clone(), &headers) {
        Ok(gateway) => gateway.ask(method, path, &[], body, PATIENCE).await.map_err(|silence| silence.why),
        Err(why) => Err(why),
    };
    match said {
        Ok(said) if said.status.is_success() => Ok(said.body),
        Ok(said) => {
            print_refusal(&said);
            Err(ExitCode::from(REFUSED))
        }
        Err(why) => {
            eprintln!("error: {}: {why}", at.admin);
            eprintln!("help: --admin or RESTORE_GATEWAY_ADMIN says where the admin listener is");
            Err(ExitCode::FAILURE)
        }
    }
}
