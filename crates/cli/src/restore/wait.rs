//! Waits for the end of a restore: a progress bar on a terminal, otherwise a line of JSON per change. It only reads, so
//! it can be stopped and started again at any time.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use http::Method;
use indicatif::{ProgressBar, ProgressStyle};
use restore_model::RestoreId;
use serde_json::Value;

use super::{PAUSE, TRIES, show};
use crate::StopSignal;
use crate::call::{Purpose, Restore, UNKNOWN, expect, is_transient, report_no_response, report_rejection};
use crate::client::Gateway;
use crate::output::{Format, is_quiet, plain};

/// Value of `Prefer`: how long the gateway waits for a change.
const PREFER_WAIT: &str = "wait=1";
/// Timeout of one poll.
const TIMEOUT: Duration = Duration::from_secs(30);

/// End of the wait, if there is one.
#[derive(Clone, Copy)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    /// The deadline after so many seconds; none if the clock cannot represent it.
    pub(super) fn after(seconds: Option<u64>) -> Self {
        Self(seconds.and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds))))
    }

    pub(super) fn is_past(self) -> bool {
        self.0.is_some_and(|end| Instant::now() >= end)
    }

    /// Timeout of a request: at most `most`, and long enough for any response.
    pub(super) fn timeout(self, most: Duration) -> Duration {
        self.left(most).max(Duration::from_secs(1))
    }

    /// Time until the deadline, at most `most`.
    pub(super) fn left(self, most: Duration) -> Duration {
        self.0.map_or(most, |end| end.saturating_duration_since(Instant::now()).min(most))
    }
}

/// Waits for a final status; returns its exit code.
pub(super) async fn until_final(
    gateway: &Gateway,
    id: RestoreId,
    known: Option<Restore>,
    deadline: Deadline,
    output: Format,
) -> Result<ExitCode, ExitCode> {
    let mut stop = StopSignal::listen();
    let bar = Bar::new(output);
    if known.is_some() && output == Format::Text {
        // The ID lets a user find the restore again after an interruption.
        bar.note(&format!("restore {id}"));
    }
    // Before the first response the URL may be wrong. After one, the gateway is only temporarily unreachable.
    let poller = Poller {
        gateway,
        id,
        deadline,
        bar: &bar,
        connected: known.is_some(),
        tries: 0,
        reported: String::new(),
    };
    let code = tokio::select! {
        code = poll(poller, known, output) => code,
        () = stop.received() => Err(report_stop(&bar, id)),
    };
    bar.end();
    code
}

async fn poll(
    mut poller: Poller<'_>,
    mut known: Option<Restore>,
    output: Format,
) -> Result<ExitCode, ExitCode> {
    let mut last: Option<Restore> = None;
    loop {
        let restore = match known.take() {
            Some(restore) => restore,
            None => poller.next().await?,
        };
        let changed = last.as_ref().is_none_or(|last| show::differs(last, &restore));
        poller.bar.show(&restore.body);
        let needs_operator = restore.body["needs_operator"] == true;
        // Only an operator can end such a restore, perhaps the user of this command.
        if restore.status.is_final() || needs_operator {
            poller.bar.end();
            if changed || output == Format::Text {
                show::print(&restore, output);
            }
            if needs_operator && output == Format::Json {
                let id = restore.id;
                eprintln!(
                    "an operator must check the target, then run: restore-gateway restore resolve {id} --as …"
                );
            }
            return Ok(restore.code());
        }
        if changed && output == Format::Json {
            show::print(&restore, output);
        }
        last = Some(restore);
        if poller.deadline.is_past() {
            return Err(report_stop(poller.bar, poller.id));
        }
    }
}

/// Polls one restore, and survives missing responses.
struct Poller<'a> {
    gateway: &'a Gateway,
    id: RestoreId,
    deadline: Deadline,
    bar: &'a Bar,
    /// True after the first response of a gateway.
    connected: bool,
    /// Failed tries since the last response.
    tries: u32,
    /// The last reported reason of a failure, so that it is printed once.
    reported: String,
}

impl Poller<'_> {
    /// The restore now, or after its next change. An error is the exit code of what was printed.
    async fn next(&mut self) -> Result<Restore, ExitCode> {
        let path = format!("/api/v1/restores/{}", self.id);
        let purpose = Purpose::Inspect(self.id);
        loop {
            // The first poll does not wait, so that a short timeout is enough for a response.
            let wait: &[_] = if self.connected { &[("prefer", PREFER_WAIT)] } else { &[] };
            let timeout = self.deadline.timeout(TIMEOUT);
            let outcome = match self.gateway.send(Method::GET, &path, wait, None, timeout).await {
                Ok(response) if !is_transient(&response) => {
                    let result = self
                        .bar
                        .suspend(|| expect(self.gateway, response, &purpose, Restore::with_id(self.id)));
                    (self.connected, self.tries, self.reported) = (true, 0, String::new());
                    return result;
                }
                outcome => outcome,
            };
            // An error with a problem code comes from a gateway.
            self.connected |= outcome.as_ref().is_ok_and(|response| response.body["code"].is_string());
            self.tries += 1;
            let hopeless = !self.connected && self.tries >= TRIES;
            if !hopeless && !self.deadline.is_past() {
                let why = match &outcome {
                    Ok(response) => format!("HTTP status {}", response.status),
                    Err(lost) => format!("no response ({})", plain(&lost.why)),
                };
                if self.reported != why {
                    self.bar.note(&format!("{why}; polling again, without an effect on the restore"));
                    self.reported = why;
                }
                tokio::time::sleep(self.deadline.left(PAUSE)).await;
            }
            if hopeless || self.deadline.is_past() {
                self.bar.end();
                return Err(match outcome {
                    _ if self.connected => report_stop(self.bar, self.id),
                    Ok(response) => report_rejection(self.gateway, &response, &purpose),
                    Err(lost) => report_no_response(self.gateway, &lost, &purpose),
                });
            }
        }
    }
}

fn report_stop(bar: &Bar, id: RestoreId) -> ExitCode {
    bar.end();
    eprintln!(
        "the end of the restore is not known yet; it does not depend on this command; continue with: restore-gateway restore wait {id}"
    );
    ExitCode::from(UNKNOWN)
}

/// Progress bar; hidden without a terminal.
struct Bar(ProgressBar);

/// Template without a percentage, if the cloud reports none.
const UNMEASURED: &str = "{spinner} {elapsed_precise}  {msg}";
const MEASURED: &str = "{spinner} {wide_bar} {percent:>3} %  {elapsed_precise}  {msg}";

/// Template and percentage for a restore.
fn template_of(restore: &Value) -> (&'static str, u64) {
    restore["progress"].as_u64().map_or((UNMEASURED, 0), |percent| (MEASURED, percent))
}

impl Bar {
    fn new(output: Format) -> Self {
        let visible = output == Format::Text && std::io::stderr().is_terminal();
        let bar = Self(if visible { ProgressBar::new(100) } else { ProgressBar::hidden() });
        bar.draw(UNMEASURED);
        bar.0.enable_steady_tick(Duration::from_millis(250));
        bar
    }

    fn draw(&self, template: &str) {
        // The templates are constants, and a test parses them.
        let style = ProgressStyle::with_template(template);
        self.0.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    }

    fn show(&self, restore: &Value) {
        let mut message = restore["status"].as_str().unwrap_or_default().to_owned();
        for (flag, words) in [("overdue", "overdue"), ("needs_operator", "needs an operator")] {
            if restore[flag] == true {
                message = format!("{message}, {words}");
            }
        }
        let (template, percent) = template_of(restore);
        self.draw(template);
        self.0.set_position(percent);
        self.0.set_message(message);
    }

    fn note(&self, text: &str) {
        if is_quiet() {
            return;
        }
        if self.0.is_hidden() {
            eprintln!("{text}");
        } else {
            self.0.println(text);
        }
    }

    /// Hides the bar while something is printed.
    fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }

    fn end(&self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn deadline_accepts_any_number_of_seconds() {
        let forever = Deadline::after(Some(u64::MAX));
        assert!(!forever.is_past());
        assert_eq!(forever.left(TIMEOUT), TIMEOUT);
        assert_eq!(Deadline::after(None).left(TIMEOUT), TIMEOUT);
        let past = Deadline::after(Some(0));
        assert!(past.is_past() && past.left(TIMEOUT).is_zero());
        assert_eq!(past.timeout(TIMEOUT), Duration::from_secs(1), "enough for one poll");
        assert!(Deadline::after(Some(2)).left(TIMEOUT) <= Duration::from_secs(2));
    }

    #[test]
    fn bar_without_progress_has_no_percentage() {
        for template in [UNMEASURED, MEASURED] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
        assert_eq!(template_of(&json!({ "progress": 40 })), (MEASURED, 40));
        for restore in [json!({ "progress": null }), json!({})] {
            let (template, _) = template_of(&restore);
            assert!(!template.contains("percent") && !template.contains("bar"), "{template}");
        }
    }
}
