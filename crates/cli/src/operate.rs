//! `attention`, `health`, `resolve`, `recovery` and `usage`: what a person decides or should know, by a running gateway's
//! admin listener.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use http::{Method, Uri};
use restore_model::{ProjectId, RestoreId, Timestamp};
use serde_json::{Value, json};

use super::answers::{Asked, FAILED, Matter, Restore, USAGE, refused, unreached};
use super::client::{Gateway, Listener};
use super::out::print_json;

/// Longest wait for the gateway.
const PATIENCE: Duration = Duration::from_secs(30);

/// Exit codes of what asks.
const OF_A_QUESTION: &str = "Exit codes: 0 it is answered; 2 the command line is wrong; 3 the gateway refused to answer; \
                             4 the answer is none of a gateway; 5 the gateway was not reached.";
/// Exit codes of what decides.
const OF_A_DECISION: &str = "Exit codes: 0 it is decided; 2 the command line is wrong; 3 refused, and nothing was decided; \
                             4 it is not known whether it was recorded, or the restore may still settle by itself; \
                             5 the gateway was not reached.";

/// Where the admin listener is.
#[derive(clap::Args)]
pub(super) struct At {
    /// URL of the gateway's admin listener
    #[arg(long, env = "RESTORE_CLIENT_ADMIN_URL", default_value = "http://127.0.0.1:8081")]
    admin: Uri,
    /// API key of a caller of the admin listener, where it has callers
    #[arg(long, env = "RESTORE_CLIENT_API_KEY", hide_env_values = true)]
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
#[command(after_help = OF_A_DECISION)]
pub(super) struct Resolve {
    /// The restore
    id: RestoreId,
    /// What you found when you looked at the target: was it overwritten by this restore?
    #[arg(long = "as", value_enum)]
    outcome: Outcome,
    /// End the restore although the gateway still reads it and does not ask for a decision yet
    #[arg(long = "override")]
    early: bool,
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
    /// It was in part: the restore began and failed, and ends as failed
    Failed,
}

#[derive(clap::Subcommand)]
pub(super) enum Recovery {
    /// Say whether the gateway is in recovery mode, and why
    #[command(after_help = OF_A_QUESTION)]
    Show {
        #[command(flatten)]
        at: At,
    },
    /// List what a cloud has restored since a time and the ledger does not know
    #[command(after_help = OF_A_QUESTION)]
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
        #[arg(long, env = "RESTORE_CLIENT_TOKEN", hide_env_values = true)]
        token: Option<String>,
        #[command(flatten)]
        at: At,
    },
    /// End recovery mode: restores are sent again
    #[command(after_help = OF_A_DECISION)]
    Confirm {
        #[command(flatten)]
        word: Word,
        #[command(flatten)]
        at: At,
    },
}

#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing waits; 1 somebody must look; 2 the command line is wrong; 3 the gateway refused to \
                  answer; 4 the answer is none of a gateway; 5 the gateway was not reached."
)]
pub(super) struct Attention {
    #[command(flatten)]
    at: At,
}

#[derive(clap::Args)]
#[command(after_help = OF_A_QUESTION)]
pub(super) struct Usage {
    #[command(flatten)]
    at: At,
}

#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 it lives, or is ready; 1 it is not ready; 2 the command line is wrong; 3 it refused to \
                  answer; 4 what answers is no gateway; 5 the gateway was not reached."
)]
pub(super) struct Health {
    /// Whether it could take a restore in, and not only whether it lives
    #[arg(long)]
    ready: bool,
    #[command(flatten)]
    at: At,
}

/// For images and units without another client; says why where it is not well.
pub(super) async fn health(options: Health) -> ExitCode {
    let (path, member) = if options.ready { ("/readyz", "ready") } else { ("/livez", "alive") };
    let gateway = match options.at.gateway() {
        Ok(gateway) => gateway,
        Err(code) => return code,
    };
    let matter = Matter::Question;
    let said = match gateway.ask(Method::GET, path, &[], None, PATIENCE).await {
        Ok(said) => said,
        Err(silence) => return unreached(&gateway, &silence, &matter),
    };
    // Not ready is 503 and no problem: it is the answer.
    match (said.body[member].as_bool(), said.status.is_success()) {
        (Some(well), good) if well == good => {
            // The code is about the gateway, also where nobody can read the words.
            print_json(&said.body, true);
            ExitCode::from(if well { 0 } else { FAILED })
        }
        _ => refused(&gateway, &said, &matter),
    }
}

pub(super) async fn usage(options: Usage) -> ExitCode {
    let known = |answer: &Value| answer["source_apis"].is_array();
    say(&options.at, Question::get("/usage", known)).await
}

/// Ends with failure when there is anything to attend to, so that a watchdog can call it.
pub(super) async fn attention(options: Attention) -> ExitCode {
    let known = |answer: &Value| {
        let whole = answer["needs_operator"].is_array() && answer["overdue"].is_array();
        whole && answer.get("recovery").is_some()
    };
    match ask(&options.at, Question::get("/attention", known)).await {
        Err(code) => code,
        Ok(found) => {
            let quiet = |list: &str| found[list].as_array().is_some_and(Vec::is_empty);
            let all_quiet = quiet("needs_operator") && quiet("overdue") && found["recovery"].is_null();
            print_json(&found, true);
            ExitCode::from(if all_quiet { 0 } else { FAILED })
        }
    }
}

pub(super) async fn resolve(options: Resolve) -> ExitCode {
    let Resolve { id, outcome, early, word, at } = options;
    let outcome = match outcome {
        Outcome::Applied => "applied",
        Outcome::NotApplied => "not_applied",
        Outcome::Failed => "failed",
    };
    let body = json!({ "as": outcome, "by": word.by, "reason": word.reason, "override": early });
    let path = format!("/restores/{id}/resolution");
    let ended = move |answer: &Value| {
        Restore::about(id)(answer.clone()).is_some_and(|restore| restore.status.is_final())
    };
    let look = format!("restore-gateway restore status {id}");
    say(&at, Question::post(&path, &body, look, ended)).await
}

pub(super) async fn recovery(command: Recovery) -> ExitCode {
    match command {
        Recovery::Show { at } => {
            say(&at, Question::get("/recovery", |answer| answer["recovery"].is_boolean())).await
        }
        Recovery::Survey { upstream, project, since, token, at } => {
            let base = "/recovery/unrecorded?".to_owned();
            let begin = base.len();
            let path: String = form_urlencoded::Serializer::for_suffix(base, begin)
                .append_pair("upstream", &upstream)
                .append_pair("project_id", project.as_str())
                .append_pair("since", &since.to_string())
                .finish();
            let question = Question::get(&path, |answer| answer["unrecorded"].is_array());
            say(&at, Question { token: token.as_deref(), ..question }).await
        }
        Recovery::Confirm { word, at } => {
            let body = json!({ "by": word.by, "reason": word.reason });
            let look = "restore-gateway recovery show".to_owned();
            say(
                &at,
                Question::post("/recovery/confirmation", &body, look, |answer| answer["recovery"] == false),
            )
            .await
        }
    }
}

/// What is asked of the admin listener.
struct Question<'a, K> {
    method: Method,
    path: &'a str,
    body: Option<&'a Value>,
    token: Option<&'a str>,
    matter: Matter,
    /// Whether an answer is of the kind asked for.
    known: K,
}

impl<'a, K: FnOnce(&Value) -> bool> Question<'a, K> {
    const fn get(path: &'a str, known: K) -> Self {
        Self { method: Method::GET, path, body: None, token: None, matter: Matter::Question, known }
    }

    /// A decision; `look` shows whether it was recorded.
    const fn post(path: &'a str, body: &'a Value, look: String, known: K) -> Self {
        let matter = Matter::Decision(look);
        Self { method: Method::POST, path, body: Some(body), token: None, matter, known }
    }
}

impl At {
    fn gateway(&self) -> Result<Gateway, ExitCode> {
        self.gateway_for(None)
    }

    fn gateway_for(&self, token: Option<&str>) -> Result<Gateway, ExitCode> {
        let headers = [("x-auth-token", token), ("x-api-key", self.api_key.as_deref())];
        Gateway::at(Listener::Admin, &self.admin, self.ca_file.clone(), &headers).map_err(|why| {
            eprintln!("error: {why}");
            ExitCode::from(USAGE)
        })
    }
}

/// Says one thing, prints the answer, and ends as it ended.
async fn say<K: FnOnce(&Value) -> bool>(at: &At, question: Question<'_, K>) -> ExitCode {
    let decides = matches!(question.matter, Matter::Decision(_));
    match ask(at, question).await {
        Ok(answer) => {
            let printed = print_json(&answer, true);
            // What is decided stays so, also where nobody can read of it.
            if decides { ExitCode::SUCCESS } else { printed }
        }
        Err(code) => code,
    }
}

/// One exchange; what went wrong is printed there.
async fn ask<K: FnOnce(&Value) -> bool>(at: &At, question: Question<'_, K>) -> Result<Value, ExitCode> {
    let Question { method, path, body, token, matter, known } = question;
    let gateway = at.gateway_for(token)?;
    let asked = Asked { method, path, body, matter, patience: PATIENCE };
    asked.of(&gateway, |answer| known(&answer).then_some(answer)).await
}
