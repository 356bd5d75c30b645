//! `restore submit`: asks for confirmation, sends the request with an idempotency key, and waits for the end. A request
//! that may have been sent is repeated with the same key, which cannot start a second restore. The command prints
//! "nothing was sent" only if that is certain.

use std::process::ExitCode;

use http::Method;
use restore_model::Status;
use serde_json::Value;

use super::wait::Deadline;
use super::{Connection, PAUSE, TIMEOUT, TRIES, confirm, request, show, wait};
use crate::call::{
    Purpose, Restore, UNKNOWN, USAGE, expect, is_transient, print_problem, report_no_response,
};
use crate::client::Gateway;
use crate::output::{info, plain};

pub(super) async fn run(
    request: request::RequestArgs,
    yes: bool,
    key: Option<String>,
    timeout: Option<Option<u64>>,
    connection: Connection,
) -> Result<ExitCode, ExitCode> {
    let key = match key {
        None => uuid::Uuid::new_v4().to_string(),
        Some(key) if !key.is_empty() && http::HeaderValue::from_str(&key).is_ok() => key,
        Some(_) => {
            eprintln!("error: --key is empty or no valid header value; nothing was sent");
            return Err(ExitCode::from(USAGE));
        }
    };
    let body = request.read(yes)?;
    let gateway = connection.gateway()?;
    if !yes {
        confirm::ask(&gateway, &body).await?;
    }
    info(&format!("idempotency key: {key}"));
    let deadline = Deadline::after(timeout.flatten());
    let restore = send(&gateway, &body, &key, deadline).await?;
    if timeout.is_some() {
        return wait::until_final(&gateway, restore.id, Some(restore), deadline, connection.output()).await;
    }
    // An accepted restore is enough. But one that has already ended without success is a failure, and the effect of an
    // unknown one is not known.
    let code = show::one(&restore, connection.output());
    Ok(if restore.status.is_final() || restore.status == Status::Unknown { code } else { ExitCode::SUCCESS })
}

/// Sends the request until the gateway accepts or rejects it.
async fn send(gateway: &Gateway, body: &Value, key: &str, deadline: Deadline) -> Result<Restore, ExitCode> {
    let headers = [("idempotency-key", key)];
    let purpose = Purpose::Query;
    let mut tries = 0;
    // True if an earlier try may have reached the gateway.
    let mut sent = false;
    let response = loop {
        tries += 1;
        let again = tries < TRIES;
        let timeout = deadline.timeout(TIMEOUT);
        let why = match gateway.send(Method::POST, "/api/v1/restores", &headers, Some(body), timeout).await {
            // The response is about this try only: the gateway may have accepted an earlier one.
            Ok(response)
                if (sent || response.body["effect"].is_null()) && is_transient(&response) && again =>
            {
                if deadline.is_past() {
                    print_problem(gateway, &response, true);
                    return Err(not_known(key));
                }
                format!("HTTP status {}", response.status)
            }
            Ok(response) if sent && !response.status.is_success() => {
                print_problem(gateway, &response, true);
                return Err(not_known(key));
            }
            Ok(response) => break response,
            Err(lost) if lost.sent && again && !deadline.is_past() => {
                format!("no response ({})", plain(&lost.why))
            }
            Err(lost) => {
                let code = report_no_response(gateway, &lost, &purpose);
                if lost.sent || sent {
                    return Err(not_known(key));
                }
                eprintln!("nothing was sent");
                return Err(code);
            }
        };
        sent = true;
        info(&format!("{why}; sending again with the same key"));
        tokio::time::sleep(deadline.left(PAUSE)).await;
    };
    expect(gateway, response, &purpose, Restore::any).inspect_err(|code| {
        if *code == ExitCode::from(UNKNOWN) {
            not_known(key);
        }
    })
}

/// Prints that the outcome is not known, and the next action.
fn not_known(key: &str) -> ExitCode {
    eprintln!("it is not known whether the gateway accepted the restore; submit it again with --key {key}");
    ExitCode::from(UNKNOWN)
}
