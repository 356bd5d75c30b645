//! What an answer of a gateway is worth: one way to ask and to judge for every command that speaks to one.
//!
//! A gateway may be behind something that answers in its place, gives up on what it has passed on, or is no gateway at all.
//! So only what a gateway would say counts: an answer has to be what was asked for, and that nothing was changed is
//! believed of nobody but the gateway itself.

use std::process::ExitCode;
use std::time::Duration;

use http::Method;
use restore_model::{RestoreId, Status};
use serde_json::Value;

use super::client::{Gateway, Said, Silence};
use super::out::plain;

/// Failed: a restore, or what was looked at.
pub(super) const FAILED: u8 = 1;
/// The command line is wrong, or nobody confirmed.
pub(super) const USAGE: u8 = 2;
/// Refused and nothing changed, on the gateway's own word.
pub(super) const REFUSED: u8 = 3;
/// The end is not known.
pub(super) const OPEN: u8 = 4;
/// The gateway was not reached.
pub(super) const UNREACHED: u8 = 5;

/// What it means when no answer comes, or none that counts.
pub(super) enum Matter {
    /// It changes nothing, whatever becomes of it.
    Question,
    /// It looks at a restore. That it could not be read says nothing of how it stands.
    Look(RestoreId),
    /// It decides something, which may be recorded although no answer says so; how to see whether it was.
    Decision(String),
}

/// One thing that is asked.
pub(super) struct Asked<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) body: Option<&'a Value>,
    pub(super) matter: Matter,
    /// Longest wait for the answer.
    pub(super) patience: Duration,
}

impl Asked<'_> {
    /// One exchange, whose answer has to be of this kind. What went wrong is printed here, and its exit code is the error.
    pub(super) async fn of<T>(
        self,
        gateway: &Gateway,
        kind: impl FnOnce(Value) -> Option<T>,
    ) -> Result<T, ExitCode> {
        let said = gateway.ask(self.method, self.path, &[], self.body, self.patience).await;
        match said {
            Ok(said) => judge(gateway, said, &self.matter, kind),
            Err(silence) => Err(unreached(gateway, &silence, &self.matter)),
        }
    }
}

/// What an answer brings when it is of the kind that was asked for; else it is printed, with the exit code as the error.
pub(super) fn judge<T>(
    gateway: &Gateway,
    said: Said,
    matter: &Matter,
    kind: impl FnOnce(Value) -> Option<T>,
) -> Result<T, ExitCode> {
    let status = said.status;
    if status.is_success() {
        let strange = Said { status, body: Value::Null };
        return kind(said.body).ok_or_else(|| refused(gateway, &strange, matter));
    }
    Err(refused(gateway, &said, matter))
}

/// Prints what was said instead of what was asked for; the exit code.
pub(super) fn refused(gateway: &Gateway, said: &Said, matter: &Matter) -> ExitCode {
    print_refusal(gateway, said, matches!(matter, Matter::Look(_)));
    let code = code_of(said, matter);
    if code == OPEN {
        match matter {
            Matter::Question => {}
            Matter::Look(id) => eprintln!("how the restore stands is not known; its id is {id}"),
            // The gateway has said itself what it knows.
            Matter::Decision(_) if said.body["effect"].is_string() => {}
            Matter::Decision(look) => may_be_recorded(look),
        }
    }
    ExitCode::from(code)
}

/// Only the gateway's own word that nothing was changed is believed, and only about what it was asked.
fn code_of(said: &Said, matter: &Matter) -> u8 {
    match (matter, said.body["effect"].as_str()) {
        (Matter::Look(_), _) => OPEN,
        (_, Some("none")) if !said.status.is_success() => REFUSED,
        (_, Some("done")) if !said.status.is_success() => FAILED,
        _ => OPEN,
    }
}

/// Prints that no answer came; the exit code.
pub(super) fn unreached(gateway: &Gateway, silence: &Silence, matter: &Matter) -> ExitCode {
    eprintln!("error: {}: {}", gateway.base(), plain(&silence.why));
    if let (Matter::Decision(look), true) = (matter, silence.sent) {
        may_be_recorded(look);
        return ExitCode::from(OPEN);
    }
    eprintln!("help: {}", gateway.listener().help());
    ExitCode::from(UNREACHED)
}

fn may_be_recorded(look: &str) {
    eprintln!("it may have been recorded all the same; look with: {look}");
}

/// What was refused, for a person. Of a look that failed it is not told what it changed, nor what it says of sending: that
/// is about the look, and would be read as if it were about the restore.
pub(super) fn print_refusal(gateway: &Gateway, said: &Said, look: bool) {
    eprint!("{}", refusal(gateway, said, look));
}

fn refusal(gateway: &Gateway, said: &Said, look: bool) -> String {
    let problem = &said.body;
    let Some(title) = problem["title"].as_str().filter(|_| !said.status.is_success()) else {
        return format!("error: {}\n", no_gateway(gateway, said));
    };
    let mut text = format!("error: {}\n", plain(title));
    let members: &[&str] = if look { &["code"] } else { &["detail", "effect", "restore"] };
    for member in members {
        if let Some(said) = problem[*member].as_str() {
            text.push_str(&format!("{member}: {}\n", plain(said)));
        }
    }
    for fault in problem["errors"].as_array().into_iter().flatten() {
        let part = |member: &str| plain(fault[member].as_str().unwrap_or_default());
        text.push_str(&format!("  {}: {}\n", part("pointer"), part("detail")));
    }
    text
}

/// Of an answer that no gateway gives.
pub(super) fn no_gateway(gateway: &Gateway, said: &Said) -> String {
    let (status, flag) = (said.status.as_u16(), gateway.listener().flag());
    format!("HTTP status {status} with something that is no answer of a gateway; is {flag} right?")
}

/// Whether asking again may bring another answer.
pub(super) fn passes(said: &Said) -> bool {
    matches!(said.status.as_u16(), 408 | 425 | 429 | 500..)
}

/// An answer that is a restore: it has an id and stands somewhere. The rest is as it came.
pub(super) struct Restore {
    pub(super) id: RestoreId,
    pub(super) status: Status,
    pub(super) body: Value,
}

impl Restore {
    /// Of any answer.
    pub(super) fn any(body: Value) -> Option<Self> {
        let id = body["id"].as_str()?.parse().ok()?;
        let status = Status::from_word(body["status"].as_str()?)?;
        Some(Self { id, status, body })
    }

    /// Of an answer that has to be about this one.
    pub(super) fn about(asked: RestoreId) -> impl FnOnce(Value) -> Option<Self> {
        move |body| Self::any(body).filter(|restore| restore.id == asked)
    }

    /// The exit code that tells how it stands.
    pub(super) fn code(&self) -> ExitCode {
        ExitCode::from(match self.status {
            Status::Succeeded => 0,
            Status::Failed => FAILED,
            status if status.is_final() => REFUSED,
            _ => OPEN,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Listener;
    use serde_json::json;

    const ID: &str = "0199a7c4-8d5e-7c21-9f0e-5b1f3a2d4c6e";

    fn said(status: u16, body: Value) -> Said {
        Said { status: http::StatusCode::from_u16(status).expect("a status"), body }
    }

    fn gateway() -> Gateway {
        let url = "http://127.0.0.1:9".parse().expect("a URL");
        Gateway::at(Listener::Admin, &url, None, &[]).expect("a gateway")
    }

    #[test]
    fn a_restore_has_an_id_and_stands_somewhere() {
        let good = json!({ "id": ID, "status": "running" });
        assert!(Restore::any(good.clone()).is_some());
        assert!(Restore::about(ID.parse().expect("an id"))(good.clone()).is_some());
        let other = "0199a7c4-8d5e-7c21-9f0e-5b1f3a2d4c6f".parse().expect("an id");
        assert!(Restore::about(other)(good).is_none(), "another one");
        for bad in [
            json!({ "message": "please log in" }),
            json!({ "status": "running" }),
            json!({ "id": "", "status": "running" }),
            json!({ "id": ID, "status": "paused" }),
            json!({ "id": ID }),
            json!([ID]),
            Value::Null,
        ] {
            assert!(Restore::any(bad.clone()).is_none(), "{bad}");
        }
    }

    #[test]
    fn nothing_was_changed_is_the_gateways_own_word_about_what_it_was_asked() {
        let decision = || Matter::Decision("look".to_owned());
        let look = || Matter::Look(ID.parse().expect("an id"));
        for (status, body, matter, code) in [
            (409, json!({ "effect": "none" }), decision(), REFUSED),
            (409, json!({ "effect": "possible" }), decision(), OPEN),
            (409, json!({ "effect": "done" }), decision(), FAILED),
            (504, Value::Null, decision(), OPEN),
            (200, json!({ "effect": "none" }), decision(), OPEN),
            (422, json!({ "effect": "none" }), Matter::Question, REFUSED),
            (200, Value::Null, Matter::Question, OPEN),
            (404, json!({ "effect": "none" }), look(), OPEN),
        ] {
            assert_eq!(code_of(&said(status, body.clone()), &matter), code, "{status} {body}");
        }
    }

    #[test]
    fn a_refusal_says_no_more_than_is_known_and_nothing_to_the_terminal() {
        let problem = json!({
            "title": "no such\u{1b}[2J restore", "detail": "nothing was sent", "effect": "none",
            "code": "restore_not_found",
        });
        let look = refusal(&gateway(), &said(404, problem.clone()), true);
        assert_eq!(look, "error: no such[2J restore\ncode: restore_not_found\n");
        let other = refusal(&gateway(), &said(404, problem.clone()), false);
        assert!(other.contains("effect: none") && other.contains("nothing was sent"), "{other}");
        for strange in [said(504, Value::Null), said(200, problem), said(401, json!({ "message": "x" }))] {
            let text = refusal(&gateway(), &strange, false);
            assert!(text.contains("no answer of a gateway; is --admin right?"), "{text}");
        }
    }
}
