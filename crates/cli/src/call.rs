//! Calls to a gateway, and the evaluation of their responses.
//!
//! A proxy may answer in place of the gateway, or the URL may be wrong. So a response counts only if it has the
//! expected form, and only the gateway itself can report that nothing was changed.

use std::process::ExitCode;
use std::time::Duration;

use http::Method;
use restore_model::{RestoreId, Status};
use serde_json::Value;

use super::client::{Gateway, NoResponse, Response};
use super::output::plain;

/// Exit code: a restore or a check failed.
pub(super) const FAILED: u8 = 1;
/// Exit code: the command line is wrong, or the user did not confirm.
pub(super) const USAGE: u8 = 2;
/// Exit code: rejected, and the gateway reports that nothing was changed.
pub(super) const REJECTED: u8 = 3;
/// Exit code: the outcome is not known.
pub(super) const UNKNOWN: u8 = 4;
/// Exit code: no connection to the gateway.
pub(super) const UNREACHABLE: u8 = 5;

/// Purpose of a call; it decides what a missing or unexpected response means.
pub(super) enum Purpose {
    /// Changes nothing.
    Query,
    /// Reads one restore. A failed read proves nothing about the restore.
    Inspect(RestoreId),
    /// Records a decision, perhaps even without a response. The string is the command that shows the result.
    Decide(String),
}

/// One call to a gateway.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) body: Option<&'a Value>,
    pub(super) purpose: Purpose,
    pub(super) timeout: Duration,
}

impl Call<'_> {
    /// Sends the call and parses the response. On failure it prints the reason; the error is the exit code.
    pub(super) async fn send<T>(
        self,
        gateway: &Gateway,
        parse: impl FnOnce(Value) -> Option<T>,
    ) -> Result<T, ExitCode> {
        match gateway.send(self.method, self.path, &[], self.body, self.timeout).await {
            Ok(response) => expect(gateway, response, &self.purpose, parse),
            Err(lost) => Err(report_no_response(gateway, &lost, &self.purpose)),
        }
    }
}

/// Parses a successful response of the expected form. Reports any other; the error is the exit code.
pub(super) fn expect<T>(
    gateway: &Gateway,
    response: Response,
    purpose: &Purpose,
    parse: impl FnOnce(Value) -> Option<T>,
) -> Result<T, ExitCode> {
    if response.status.is_success() {
        let unexpected =
            Response { body: Value::Null, etag: None, request_id: None, status: response.status };
        return parse(response.body).ok_or_else(|| report_rejection(gateway, &unexpected, purpose));
    }
    Err(report_rejection(gateway, &response, purpose))
}

/// Prints a rejection or an unexpected response; returns the exit code.
pub(super) fn report_rejection(gateway: &Gateway, response: &Response, purpose: &Purpose) -> ExitCode {
    print_problem(gateway, response, matches!(purpose, Purpose::Inspect(_)));
    let code = exit_code(response, purpose);
    if code == UNKNOWN {
        match purpose {
            Purpose::Query => {}
            Purpose::Inspect(id) => eprintln!("the state of the restore is not known; its ID is {id}"),
            // The gateway has reported the effect itself.
            Purpose::Decide(_) if response.body["effect"].is_string() => {}
            Purpose::Decide(check) => report_maybe_recorded(check),
        }
    }
    ExitCode::from(code)
}

/// Trusts `effect` only from a problem of the gateway, and only about the call itself.
fn exit_code(response: &Response, purpose: &Purpose) -> u8 {
    match (purpose, response.body["effect"].as_str()) {
        (Purpose::Inspect(_), _) => UNKNOWN,
        (_, Some("none")) if !response.status.is_success() => REJECTED,
        (_, Some("done")) if !response.status.is_success() => FAILED,
        _ => UNKNOWN,
    }
}

/// Prints the reason why no response arrived; returns the exit code.
pub(super) fn report_no_response(gateway: &Gateway, lost: &NoResponse, purpose: &Purpose) -> ExitCode {
    eprintln!("error: {}: {}", gateway.base(), plain(&lost.why));
    if let (Purpose::Decide(check), true) = (purpose, lost.sent) {
        report_maybe_recorded(check);
        return ExitCode::from(UNKNOWN);
    }
    eprintln!("help: {}", gateway.listener().help());
    ExitCode::from(UNREACHABLE)
}

fn report_maybe_recorded(check: &str) {
    eprintln!("the gateway may have recorded it; check with: {check}");
}

/// Prints a problem. For a failed read of a restore it leaves `detail` and `effect` out: they are about the read, and a
/// person would relate them to the restore.
pub(super) fn print_problem(gateway: &Gateway, response: &Response, is_read: bool) {
    eprint!("{}", problem_text(gateway, response, is_read));
}

fn problem_text(gateway: &Gateway, response: &Response, is_read: bool) -> String {
    let problem = &response.body;
    let Some(title) = problem["title"].as_str().filter(|_| !response.status.is_success()) else {
        return format!("error: {}\n", unexpected_response(gateway, response));
    };
    let mut text = format!("error: {}\n", plain(title));
    let members: &[&str] = if is_read { &["code"] } else { &["detail", "effect", "restore"] };
    for member in members {
        if let Some(value) = problem[*member].as_str() {
            text.push_str(&format!("{member}: {}\n", plain(value)));
        }
    }
    for error in problem["errors"].as_array().into_iter().flatten() {
        let part = |member: &str| plain(error[member].as_str().unwrap_or_default());
        text.push_str(&format!("  {}: {}\n", part("pointer"), part("detail")));
    }
    text
}

/// Message about a response that no gateway sends.
pub(super) fn unexpected_response(gateway: &Gateway, response: &Response) -> String {
    let (status, flag) = (response.status.as_u16(), gateway.listener().flag());
    format!("unexpected response with HTTP status {status}, not from a gateway; check {flag}")
}

/// True if a later try may get another response.
pub(super) fn is_transient(response: &Response) -> bool {
    matches!(response.status.as_u16(), 408 | 425 | 429 | 500..)
}

/// A response that is a restore: it has an ID and a known status. The body is unchanged.
pub(super) struct Restore {
    pub(super) id: RestoreId,
    pub(super) status: Status,
    pub(super) body: Value,
}

impl Restore {
    /// Parses any restore.
    pub(super) fn any(body: Value) -> Option<Self> {
        let id = body["id"].as_str()?.parse().ok()?;
        let status = Status::from_word(body["status"].as_str()?)?;
        Some(Self { id, status, body })
    }

    /// Parses the restore with this ID.
    pub(super) fn with_id(id: RestoreId) -> impl FnOnce(Value) -> Option<Self> {
        move |body| Self::any(body).filter(|restore| restore.id == id)
    }

    /// The exit code for its status.
    pub(super) fn code(&self) -> ExitCode {
        ExitCode::from(match self.status {
            Status::Succeeded => 0,
            Status::Failed => FAILED,
            status if status.is_final() => REJECTED,
            _ => UNKNOWN,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Listener;
    use serde_json::json;

    const ID: &str = "0199a7c4-8d5e-7c21-9f0e-5b1f3a2d4c6e";

    fn response(status: u16, body: Value) -> Response {
        let status = http::StatusCode::from_u16(status).expect("a status");
        Response { status, body, etag: None, request_id: None }
    }

    fn gateway() -> Gateway {
        let url = "http://127.0.0.1:9".parse().expect("a URL");
        Gateway::at(Listener::Admin, &url, None, &[]).expect("a gateway")
    }

    #[test]
    fn restore_needs_an_id_and_a_known_status() {
        let good = json!({ "id": ID, "status": "running" });
        assert!(Restore::any(good.clone()).is_some());
        assert!(Restore::with_id(ID.parse().expect("an id"))(good.clone()).is_some());
        let other = "0199a7c4-8d5e-7c21-9f0e-5b1f3a2d4c6f".parse().expect("an id");
        assert!(Restore::with_id(other)(good).is_none(), "another one");
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
    fn exit_code_trusts_only_the_gateways_effect() {
        let decide = || Purpose::Decide("check".to_owned());
        let inspect = || Purpose::Inspect(ID.parse().expect("an id"));
        for (status, body, purpose, code) in [
            (409, json!({ "effect": "none" }), decide(), REJECTED),
            (409, json!({ "effect": "possible" }), decide(), UNKNOWN),
            (409, json!({ "effect": "done" }), decide(), FAILED),
            (504, Value::Null, decide(), UNKNOWN),
            (200, json!({ "effect": "none" }), decide(), UNKNOWN),
            (422, json!({ "effect": "none" }), Purpose::Query, REJECTED),
            (200, Value::Null, Purpose::Query, UNKNOWN),
            (404, json!({ "effect": "none" }), inspect(), UNKNOWN),
        ] {
            assert_eq!(exit_code(&response(status, body.clone()), &purpose), code, "{status} {body}");
        }
    }

    #[test]
    fn problem_of_a_failed_read_has_no_effect() {
        let problem = json!({
            "title": "no such\u{1b}[2J restore", "detail": "nothing was sent", "effect": "none",
            "code": "restore_not_found",
        });
        let read = problem_text(&gateway(), &response(404, problem.clone()), true);
        assert_eq!(read, "error: no such[2J restore\ncode: restore_not_found\n");
        let other = problem_text(&gateway(), &response(404, problem.clone()), false);
        assert!(other.contains("effect: none") && other.contains("nothing was sent"), "{other}");
        let login = response(401, json!({ "message": "x" }));
        for strange in [response(504, Value::Null), response(200, problem), login] {
            let text = problem_text(&gateway(), &strange, false);
            assert!(text.contains("not from a gateway; check --admin-url"), "{text}");
        }
    }
}
