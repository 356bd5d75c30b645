//! Commands that call the admin listener: `check-health`, `recovery` and `compat usage`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use http::{Method, Uri};
use restore_model::{ProjectId, Timestamp};
use serde_json::{Value, json};

use super::call::{Call, FAILED, Purpose, USAGE, report_no_response, report_rejection};
use super::client::{Gateway, Listener};
use super::output::print_json;

/// Timeout of a call.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// Exit codes of a query.
const QUERY_CODES: &str = "Exit codes: 0 done; 2 the command line is wrong; 3 the gateway rejected the request; \
                                      4 unexpected response; 5 no connection to the gateway.";
/// Exit codes of a decision.
const DECISION_CODES: &str = "Exit codes: 0 recorded; 2 the command line is wrong; 3 rejected, nothing was recorded; 4 not \
                              known whether it was recorded; 5 no connection to the gateway.";

/// Connection to the admin listener.
#[derive(clap::Args)]
pub(super) struct AdminConnection {
    /// URL of the admin listener
    #[arg(
        long,
        env = "RESTORE_CLIENT_ADMIN_URL",
        default_value = "http://127.0.0.1:8081",
        value_name = "URL"
    )]
    admin_url: Uri,
    /// API key of a caller, if the admin listener has callers
    #[arg(long, env = "RESTORE_CLIENT_API_KEY", hide_env_values = true, value_name = "KEY")]
    api_key: Option<String>,
    /// PEM file of certificate authorities to trust, besides those of the system
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

impl AdminConnection {
    /// The client; an invalid flag is reported here.
    pub(super) fn gateway(&self) -> Result<Gateway, ExitCode> {
        self.gateway_with(None)
    }

    fn gateway_with(&self, token: Option<&str>) -> Result<Gateway, ExitCode> {
        let headers = [("x-auth-token", token), ("x-api-key", self.api_key.as_deref())];
        Gateway::at(Listener::Admin, &self.admin_url, self.ca_file.clone(), &headers).map_err(|why| {
            eprintln!("error: {why}");
            ExitCode::from(USAGE)
        })
    }
}

/// Person and reason of a decision; the gateway keeps both permanently.
#[derive(clap::Args)]
pub(super) struct Decision {
    /// Name of the person who decides
    #[arg(long, value_name = "NAME")]
    pub(super) by: String,
    /// Reason for the decision
    #[arg(long, value_name = "WHY")]
    pub(super) reason: String,
}

#[derive(clap::Subcommand)]
pub(super) enum Recovery {
    /// Show whether the gateway is in recovery mode, and why
    #[command(after_help = QUERY_CODES)]
    Status {
        #[command(flatten)]
        connection: AdminConnection,
    },
    /// List restores of a cloud that the ledger does not know
    #[command(after_help = QUERY_CODES)]
    Audit {
        /// Name of an upstream whose generation lists restores
        #[arg(long)]
        upstream: String,
        /// ID of the cloud project
        #[arg(long)]
        project: ProjectId,
        /// Time of the database backup, such as 2026-11-22T10:00:00Z
        #[arg(long, value_name = "TIME")]
        since: Timestamp,
        /// IAM token of the project, if the gateway has no credential for the upstream
        #[arg(long, env = "RESTORE_CLIENT_TOKEN", hide_env_values = true)]
        token: Option<String>,
        #[command(flatten)]
        connection: AdminConnection,
    },
    /// End recovery mode; the gateway sends restores again
    #[command(after_help = DECISION_CODES)]
    Confirm {
        #[command(flatten)]
        decision: Decision,
        #[command(flatten)]
        connection: AdminConnection,
    },
}

#[derive(clap::Args)]
#[command(after_help = QUERY_CODES)]
pub(super) struct Usage {
    #[command(flatten)]
    connection: AdminConnection,
}

#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 alive, or ready; 1 not ready; 2 the command line is wrong; 3 the gateway rejected the \
                  request; 4 unexpected response; 5 no connection to the gateway."
)]
pub(super) struct CheckHealth {
    /// Check of readiness: the gateway could accept a restore now
    #[arg(long)]
    ready: bool,
    #[command(flatten)]
    connection: AdminConnection,
}

/// Checks liveness or readiness, for containers and units without another HTTP client.
pub(super) async fn check_health(options: CheckHealth) -> ExitCode {
    let (path, member) = if options.ready { ("/readyz", "ready") } else { ("/livez", "alive") };
    let gateway = match options.connection.gateway() {
        Ok(gateway) => gateway,
        Err(code) => return code,
    };
    let purpose = Purpose::Query;
    let response = match gateway.send(Method::GET, path, &[], None, TIMEOUT).await {
        Ok(response) => response,
        Err(lost) => return report_no_response(&gateway, &lost, &purpose),
    };
    // A gateway that is not ready answers 503 without a problem.
    match (response.body[member].as_bool(), response.status.is_success()) {
        (Some(healthy), success) if healthy == success => {
            // The exit code is about the gateway, even if standard output fails.
            print_json(&response.body, true);
            ExitCode::from(if healthy { 0 } else { FAILED })
        }
        _ => report_rejection(&gateway, &response, &purpose),
    }
}

pub(super) async fn usage(options: Usage) -> ExitCode {
    query(&options.connection, "/compat-usage", None, |answer| answer["source_apis"].is_array()).await
}

pub(super) async fn recovery(command: Recovery) -> ExitCode {
    match command {
        Recovery::Status { connection } => {
            query(&connection, "/recovery", None, |answer| answer["recovery"].is_boolean()).await
        }
        Recovery::Audit { upstream, project, since, token, connection } => {
            let base = "/recovery/audit?".to_owned();
            let begin = base.len();
            let path: String = form_urlencoded::Serializer::for_suffix(base, begin)
                .append_pair("upstream", &upstream)
                .append_pair("project_id", project.as_str())
                .append_pair("since", &since.to_string())
                .finish();
            query(&connection, &path, token.as_deref(), |answer| answer["unknown_to_ledger"].is_array()).await
        }
        Recovery::Confirm { decision, connection } => confirm(&decision, &connection).await,
    }
}

/// Prints the response to a GET.
async fn query(
    connection: &AdminConnection,
    path: &str,
    token: Option<&str>,
    expected: impl FnOnce(&Value) -> bool,
) -> ExitCode {
    let gateway = match connection.gateway_with(token) {
        Ok(gateway) => gateway,
        Err(code) => return code,
    };
    let call = Call { method: Method::GET, path, body: None, purpose: Purpose::Query, timeout: TIMEOUT };
    match call.send(&gateway, |answer| expected(&answer).then_some(answer)).await {
        Ok(answer) => print_json(&answer, true),
        Err(code) => code,
    }
}

async fn confirm(decision: &Decision, connection: &AdminConnection) -> ExitCode {
    let gateway = match connection.gateway() {
        Ok(gateway) => gateway,
        Err(code) => return code,
    };
    let body = json!({ "by": decision.by, "reason": decision.reason });
    let call = Call {
        method: Method::POST,
        path: "/recovery/confirmation",
        body: Some(&body),
        purpose: Purpose::Decide("restore-gateway recovery status".to_owned()),
        timeout: TIMEOUT,
    };
    match call.send(&gateway, |answer| (answer["recovery"] == false).then_some(answer)).await {
        Ok(answer) => {
            // The decision is recorded, even if standard output fails.
            print_json(&answer, true);
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}
