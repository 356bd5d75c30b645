//! Waiting for the end of a restore: a bar on a terminal, a line of JSON per change otherwise. It only reads, so it may be
//! ended and begun again at any time.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use http::Method;
use indicatif::{ProgressBar, ProgressStyle};
use restore_model::RestoreId;
use serde_json::Value;

use super::{Output, PAUSE, TRIES, show};
use crate::ToldToStop;
use crate::answers::{Matter, OPEN, Restore, judge, passes, refused, unreached};
use crate::client::Gateway;
use crate::out::plain;

/// Asked to wait so long for the end, and shown as it is after that.
const WAIT: &str = "wait=1";
/// For an answer to that.
const PATIENCE: Duration = Duration::from_secs(30);

/// When waiting ends, if ever.
#[derive(Clone, Copy)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    /// So many seconds from now; so many that no clock reaches them are none.
    pub(super) fn after(seconds: Option<u64>) -> Self {
        Self(seconds.and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds))))
    }

    pub(super) fn is_past(self) -> bool {
        self.0.is_some_and(|end| Instant::now() >= end)
    }

    /// How long an answer is waited for: until then and no longer than this, but long enough to be told anything.
    pub(super) fn patience(self, most: Duration) -> Duration {
        self.left(most).max(Duration::from_secs(1))
    }

    /// What is left until then, and no more than this.
    pub(super) fn left(self, most: Duration) -> Duration {
        self.0.map_or(most, |end| end.saturating_duration_since(Instant::now()).min(most))
    }
}

/// Waits, and ends as the restore does.
pub(super) async fn to_the_end(
    gateway: &Gateway,
    id: RestoreId,
    known: Option<Restore>,
    deadline: Deadline,
    output: Output,
) -> Result<ExitCode, ExitCode> {
    let mut stop = ToldToStop::listen();
    let bar = Bar::new(output);
    if known.is_some() && output == Output::Text {
        // Whoever looks away now finds it again by this.
        bar.note(&format!("restore {id}"));
    }
    // Without an answer of a gateway so far there may be none; after one it will be back.
    let looks =
        Looks { gateway, id, deadline, bar: &bar, heard: known.is_some(), tries: 0, noted: String::new() };
    let code = tokio::select! {
        code = follow(looks, known, output) => code,
        () = stop.told() => Err(given_up(&bar, id)),
    };
    bar.end();
    code
}

async fn follow(
    mut looks: Looks<'_>,
    mut known: Option<Restore>,
    output: Output,
) -> Result<ExitCode, ExitCode> {
    let mut last: Option<Restore> = None;
    loop {
        let restore = match known.take() {
            Some(restore) => restore,
            None => looks.next().await?,
        };
        let changed = last.as_ref().is_none_or(|last| show::differs(last, &restore));
        looks.bar.show(&restore.body);
        let needs_person = restore.body["needs_operator"] == true;
        // What a person must end is not waited for: that person may be the one who waits.
        if restore.status.is_final() || needs_person {
            looks.bar.end();
            if changed || output == Output::Text {
                show::print(&restore, output);
            }
            if needs_person && output == Output::Json {
                let id = restore.id;
                eprintln!("a person must look at the target: restore-gateway restore resolve {id}");
            }
            return Ok(restore.code());
        }
        if changed && output == Output::Json {
            show::print(&restore, output);
        }
        last = Some(restore);
        if looks.deadline.is_past() {
            return Err(given_up(looks.bar, looks.id));
        }
    }
}

/// One look after the other at a restore, over answers that do not come.
struct Looks<'a> {
    gateway: &'a Gateway,
    id: RestoreId,
    deadline: Deadline,
    bar: &'a Bar,
    /// Whether a gateway has answered so far.
    heard: bool,
    /// How often it was asked in vain.
    tries: u32,
    /// What was told last of why no answer comes: once, and not every second.
    noted: String,
}

impl Looks<'_> {
    /// The restore as it is now, or as it is when it changes. An error is the exit code of what was printed.
    async fn next(&mut self) -> Result<Restore, ExitCode> {
        let path = format!("/api/v1/restores/{}", self.id);
        let matter = Matter::Look(self.id);
        loop {
            // The first is answered at once, so that a short time is enough to hear of the restore.
            let wait: &[_] = if self.heard { &[("prefer", WAIT)] } else { &[] };
            let patience = self.deadline.patience(PATIENCE);
            let said = match self.gateway.ask(Method::GET, &path, wait, None, patience).await {
                Ok(said) if !passes(&said) => {
                    let judged =
                        self.bar.aside(|| judge(self.gateway, said, &matter, Restore::about(self.id)));
                    (self.heard, self.tries, self.noted) = (true, 0, String::new());
                    return judged;
                }
                said => said,
            };
            // A gateway that is not well is one.
            self.heard |= said.as_ref().is_ok_and(|said| said.body["code"].is_string());
            self.tries += 1;
            let hopeless = !self.heard && self.tries >= TRIES;
            if !hopeless && !self.deadline.is_past() {
                let why = match &said {
                    Ok(said) => said.status.to_string(),
                    Err(silence) => format!("no answer ({})", plain(&silence.why)),
                };
                if self.noted != why {
                    self.bar.note(&format!("{why}; what becomes of the restore does not depend on this"));
                    self.noted = why;
                }
                tokio::time::sleep(self.deadline.left(PAUSE)).await;
            }
            if hopeless || self.deadline.is_past() {
                self.bar.end();
                return Err(match said {
                    _ if self.heard => given_up(self.bar, self.id),
                    Ok(said) => refused(self.gateway, &said, &matter),
                    Err(silence) => unreached(self.gateway, &silence, &matter),
                });
            }
        }
    }
}

fn given_up(bar: &Bar, id: RestoreId) -> ExitCode {
    bar.end();
    eprintln!(
        "its end is not known yet and does not depend on this command; wait for it with: restore-gateway restore wait {id}"
    );
    ExitCode::from(OPEN)
}

/// The bar; hidden where nobody looks.
struct Bar(ProgressBar);

/// Where the cloud tells no percentage there is none: a bar must not make one up.
const UNMEASURED: &str = "{spinner} {elapsed_precise}  {msg}";
const MEASURED: &str = "{spinner} {wide_bar} {percent:>3} %  {elapsed_precise}  {msg}";

/// How a restore is drawn, and how far it is.
fn drawn(restore: &Value) -> (&'static str, u64) {
    restore["progress"].as_u64().map_or((UNMEASURED, 0), |percent| (MEASURED, percent))
}

impl Bar {
    fn new(output: Output) -> Self {
        let seen = output == Output::Text && std::io::stderr().is_terminal();
        let bar = Self(if seen { ProgressBar::new(100) } else { ProgressBar::hidden() });
        bar.draw(UNMEASURED);
        bar.0.enable_steady_tick(Duration::from_millis(250));
        bar
    }

    fn draw(&self, template: &str) {
        // The templates are part of the program, and a test of the command shows them.
        let style = ProgressStyle::with_template(template);
        self.0.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    }

    fn show(&self, restore: &Value) {
        let mut message = restore["status"].as_str().unwrap_or_default().to_owned();
        for (flag, words) in
            [("overdue", "longer than usual"), ("needs_operator", "a person must look at it")]
        {
            if restore[flag] == true {
                message = format!("{message}, {words}");
            }
        }
        let (template, percent) = drawn(restore);
        self.draw(template);
        self.0.set_position(percent);
        self.0.set_message(message);
    }

    fn note(&self, text: &str) {
        if self.0.is_hidden() {
            eprintln!("{text}");
        } else {
            self.0.println(text);
        }
    }

    /// Lets something be printed where the bar is.
    fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
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
    fn no_number_of_seconds_is_too_large() {
        let forever = Deadline::after(Some(u64::MAX));
        assert!(!forever.is_past());
        assert_eq!(forever.left(PATIENCE), PATIENCE);
        assert_eq!(Deadline::after(None).left(PATIENCE), PATIENCE);
        let past = Deadline::after(Some(0));
        assert!(past.is_past() && past.left(PATIENCE).is_zero());
        assert_eq!(past.patience(PATIENCE), Duration::from_secs(1), "one look is one look");
        assert!(Deadline::after(Some(2)).left(PATIENCE) <= Duration::from_secs(2));
    }

    #[test]
    fn no_percentage_is_made_up() {
        for template in [UNMEASURED, MEASURED] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
        assert_eq!(drawn(&json!({ "progress": 40 })), (MEASURED, 40));
        for restore in [json!({ "progress": null }), json!({})] {
            let (template, _) = drawn(&restore);
            assert!(!template.contains("percent") && !template.contains("bar"), "{template}");
        }
    }
}
