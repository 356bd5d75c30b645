//! `restore submit`: asks the person, sends it with its key, and follows it. What may have been sent is asked again with the
//! same key, which cannot begin another restore; and nobody is told that nothing was changed who cannot know.

use std::process::ExitCode;

use http::Method;
use serde_json::Value;

use super::follow::Deadline;
use super::{PATIENCE, PAUSE, TRIES, Way, confirm, follow, request, show};
use crate::answers::{Matter, OPEN, Restore, USAGE, judge, passes, print_refusal, unreached};
use crate::client::Gateway;
use crate::out::plain;

pub(super) async fn run(
    asked: request::Asked,
    yes: bool,
    key: Option<String>,
    wait: Option<Option<u64>>,
    way: Way,
) -> Result<ExitCode, ExitCode> {
    let key = match key {
        None => uuid::Uuid::new_v4().to_string(),
        Some(key) if !key.is_empty() && http::HeaderValue::from_str(&key).is_ok() => key,
        Some(_) => {
            eprintln!("error: --key is empty or cannot be sent in a header; nothing was sent");
            return Err(ExitCode::from(USAGE));
        }
    };
    let body = asked.read(yes)?;
    let gateway = way.gateway()?;
    if !yes {
        confirm::ask(&gateway, &body).await?;
    }
    eprintln!("idempotency key: {key}");
    let deadline = Deadline::after(wait.flatten());
    let restore = taken_in(&gateway, &body, &key, deadline).await?;
    if wait.is_some() {
        return follow::to_the_end(&gateway, restore.id, Some(restore), deadline, way.output()).await;
    }
    // Taken in is what was asked for; what has ended badly already is said.
    let code = show::one(&restore, way.output());
    Ok(if restore.status.is_final() { code } else { ExitCode::SUCCESS })
}

/// Sends it until it is taken in or refused.
async fn taken_in(
    gateway: &Gateway,
    body: &Value,
    key: &str,
    deadline: Deadline,
) -> Result<Restore, ExitCode> {
    let headers = [("idempotency-key", key)];
    let matter = Matter::Question;
    let mut tries = 0;
    // Whether one of them may have come through.
    let mut sent = false;
    let said = loop {
        tries += 1;
        let again = tries < TRIES;
        let patience = deadline.patience(PATIENCE);
        let why = match gateway.ask(Method::POST, "/api/v1/restores", &headers, Some(body), patience).await {
            // Said of this try alone: one before it may have been taken in.
            Ok(said) if (sent || said.body["effect"].is_null()) && passes(&said) && again => {
                if deadline.is_past() {
                    print_refusal(gateway, &said, true);
                    return Err(not_known(key));
                }
                format!("{} in between", said.status)
            }
            Ok(said) if sent && !said.status.is_success() => {
                print_refusal(gateway, &said, true);
                return Err(not_known(key));
            }
            Ok(said) => break said,
            Err(silence) if silence.sent && again && !deadline.is_past() => {
                format!("no answer ({})", plain(&silence.why))
            }
            Err(silence) => {
                let code = unreached(gateway, &silence, &matter);
                if silence.sent || sent {
                    return Err(not_known(key));
                }
                eprintln!("nothing was sent");
                return Err(code);
            }
        };
        sent = true;
        eprintln!("{why}; asking again with the same key");
        tokio::time::sleep(deadline.left(PAUSE)).await;
    };
    judge(gateway, said, &matter, Restore::any).inspect_err(|code| {
        if *code == ExitCode::from(OPEN) {
            not_known(key);
        }
    })
}

/// Says that nobody knows, and what to do.
fn not_known(key: &str) -> ExitCode {
    eprintln!("it is not known whether the restore was taken in; ask again with --key {key}");
    ExitCode::from(OPEN)
}
