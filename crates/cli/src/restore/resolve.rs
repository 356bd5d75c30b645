//! `restore resolve`: records the decision of an operator, about the state that the command has shown.

use std::process::ExitCode;

use http::{Method, StatusCode};
use restore_model::RestoreId;
use serde_json::json;

use super::id::IdOrPrefix;
use super::show;
use crate::admin::{AdminConnection, Decision, TIMEOUT};
use crate::call::{self, Purpose, REJECTED, expect, print_problem, report_no_response};
use crate::client::{Gateway, Response};
use crate::output::{Format, info, print_json};

#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 recorded; 1 the restore had ended and changed the target; 2 the command line is wrong; 3 \
                  rejected, nothing was recorded; 4 not known whether it was recorded, or polls may still decide; 5 no \
                  connection to the gateway."
)]
pub(crate) struct Resolve {
    /// ID of the restore, or a unique prefix of it
    id: IdOrPrefix,
    /// Finding: did this restore overwrite the target?
    #[arg(long = "as", value_enum, value_name = "FINDING")]
    outcome: Outcome,
    /// Decision before the gateway asks for one
    #[arg(long = "override")]
    early: bool,
    #[command(flatten)]
    decision: Decision,
    #[command(flatten)]
    connection: AdminConnection,
    /// Output format; by default text on a terminal, otherwise JSON
    #[arg(long, value_enum)]
    output: Option<Format>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Outcome {
    /// It did: the restore ends as succeeded
    Applied,
    /// It did not: the restore ends as not applied, and the target is free
    NotApplied,
    /// It did in part: the restore began and failed
    Failed,
}

pub(super) async fn run(options: Resolve) -> Result<ExitCode, ExitCode> {
    let Resolve { id, outcome, early, decision, connection, output } = options;
    let outcome = match outcome {
        Outcome::Applied => "applied",
        Outcome::NotApplied => "not_applied",
        Outcome::Failed => "failed",
    };
    let output = Format::or_by_terminal(output);
    let gateway = connection.gateway()?;
    let id = id.find(&gateway).await?;
    let (shown, version) = read(&gateway, id).await.inspect_err(|_| eprintln!("no decision was sent"))?;
    info(&format!("{}\n", show::lines(&shown).join("\n")));

    let body = json!({ "as": outcome, "by": decision.by, "reason": decision.reason, "override": early });
    let path = format!("/restores/{id}/resolution");
    let purpose = Purpose::Decide(format!("restore-gateway restore status {id}"));
    // The gateway rejects a decision about an older state.
    let version: Vec<_> = version.iter().map(|version| ("if-match", version.as_str())).collect();
    let response = match gateway.send(Method::POST, &path, &version, Some(&body), TIMEOUT).await {
        Ok(response) => response,
        Err(lost) => return Err(report_no_response(&gateway, &lost, &purpose)),
    };
    if response.status == StatusCode::PRECONDITION_FAILED && response.body["code"] == "restore_changed" {
        return Err(report_change(&gateway, id, &response, output).await);
    }
    let resolved = |body| call::Restore::with_id(id)(body).filter(|restore| restore.status.is_final());
    let restore = expect(&gateway, response, &purpose, resolved)?;
    print(&restore, output);
    // The decision is recorded, even if standard output fails.
    Ok(ExitCode::SUCCESS)
}

fn print(restore: &call::Restore, output: Format) {
    match output {
        Format::Json => drop(print_json(&restore.body, true)),
        Format::Text => show::print(restore, output),
    }
}

/// The restore and its version.
async fn read(gateway: &Gateway, id: RestoreId) -> Result<(call::Restore, Option<String>), ExitCode> {
    let path = format!("/restores/{id}");
    let purpose = Purpose::Query;
    let response = match gateway.send(Method::GET, &path, &[], None, TIMEOUT).await {
        Ok(response) => response,
        Err(lost) => return Err(report_no_response(gateway, &lost, &purpose)),
    };
    let version = response.etag.clone();
    Ok((expect(gateway, response, &purpose, call::Restore::with_id(id))?, version))
}

/// Prints that the restore changed in the meantime, and its present state.
async fn report_change(gateway: &Gateway, id: RestoreId, problem: &Response, output: Format) -> ExitCode {
    print_problem(gateway, problem, false);
    eprintln!("the restore changed after this command read it; nothing was recorded; its present state:");
    if let Ok((restore, _)) = read(gateway, id).await {
        print(&restore, output);
    }
    ExitCode::from(REJECTED)
}
