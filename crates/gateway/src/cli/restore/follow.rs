//! Waiting for the end of a restore: a bar on a terminal, a line of JSON per change otherwise. It only reads, so it may be
//! ended and begun again at any time.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use http::Method;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::{OPEN, Output, of_a_read, passes, show};
use crate::cli::client::Gateway;

/// Asked to wait so long for the end, and shown as it is after that.
const WAIT: &str = "wait=1";
/// For an answer to that.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries while the gateway does not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// Waits, and ends as the restore does.
pub(super) async fn to_the_end(
    gateway: &Gateway,
    id: &str,
    known: Option<Value>,
    timeout: Option<u64>,
    output: Output,
) -> Result<ExitCode, ExitCode> {
    let end = timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let bar = Bar::new(output);
    let path = format!("/api/v1/restores/{id}");
    let mut last: Option<Value> = None;
    let mut next = known;
    loop {
        let restore = match next.take() {
            Some(restore) => restore,
            None => match gateway.ask(Method::GET, &path, &[("prefer", WAIT)], None, PATIENCE).await {
                Ok(said) if passes(&said) => {
                    bar.note(&format!("{}; the restore goes on without us", said.status));
                    if late(end) {
                        return Ok(given_up(&bar, id));
                    }
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Ok(said) => of_a_read(said)?,
                Err(silence) => {
                    bar.note(&format!("no answer ({}); the restore goes on without us", silence.why));
                    if late(end) {
                        return Ok(given_up(&bar, id));
                    }
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        };
        let changed = last.as_ref().is_none_or(|last| show::differs(last, &restore));
        bar.show(&restore);
        if changed && output == Output::Json {
            show::one(&restore, output);
        }
        if show::is_final(&restore) {
            bar.end();
            if output == Output::Text {
                show::one(&restore, output);
            }
            return Ok(show::code(&restore));
        }
        last = Some(restore);
        if late(end) {
            return Ok(given_up(&bar, id));
        }
    }
}

fn late(end: Option<Instant>) -> bool {
    end.is_some_and(|end| Instant::now() >= end)
}

fn given_up(bar: &Bar, id: &str) -> ExitCode {
    bar.end();
    eprintln!("it has not ended yet and goes on; wait for it with: restore-gateway restore wait {id}");
    ExitCode::from(OPEN)
}

/// The bar; hidden where nobody looks.
struct Bar(ProgressBar);

impl Bar {
    fn new(output: Output) -> Self {
        let seen = output == Output::Text && std::io::stderr().is_terminal();
        let bar = if seen { ProgressBar::new(100) } else { ProgressBar::hidden() };
        let style =
            ProgressStyle::with_template("{spinner} {wide_bar} {percent:>3} %  {elapsed_precise}  {msg}");
        // The template is part of the program, and a test of the command shows it.
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(250));
        Self(bar)
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
        // Where the cloud tells no percentage there is none: a bar must not make one up.
        self.0.set_position(restore["progress"].as_u64().unwrap_or(0));
        self.0.set_message(message);
    }

    fn note(&self, text: &str) {
        if self.0.is_hidden() {
            eprintln!("{text}");
        } else {
            self.0.println(text);
        }
    }

    fn end(&self) {
        self.0.finish_and_clear();
    }
}
