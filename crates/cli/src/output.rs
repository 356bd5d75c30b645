//! Standard output and informational lines on standard error.
//!
//! A reader that closes the pipe is no failure. Any other write error is one, and the command reports it.

use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

static QUIET: AtomicBool = AtomicBool::new(false);
static VERBOSE: AtomicBool = AtomicBool::new(false);

/// Sets how much goes to standard error; called once, before any command runs.
pub(super) fn set_verbosity(quiet: bool, verbose: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
    VERBOSE.store(verbose, Ordering::Relaxed);
}

/// True with `--quiet`: no informational lines.
pub(super) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// True with `--verbose`: one line per HTTP exchange.
pub(super) fn is_verbose() -> bool {
    VERBOSE.load(Ordering::Relaxed)
}

/// Prints an informational line to standard error, unless `--quiet`.
pub(super) fn info(text: &str) {
    if !is_quiet() {
        eprintln!("{text}");
    }
}

/// Output format of a command.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Text for people
    Text,
    /// JSON for programs
    Json,
}

impl Format {
    /// The requested format; by default text on a terminal and JSON elsewhere.
    pub(super) fn or_by_terminal(asked: Option<Self>) -> Self {
        let default = if std::io::stdout().is_terminal() { Self::Text } else { Self::Json };
        asked.unwrap_or(default)
    }
}

/// Result of a write that did not fail.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Everything was written.
    All,
    /// The reader closed its end.
    ReaderClosed,
}

/// Writes the whole text and flushes it.
///
/// # Errors
/// The reason, for a person.
pub(super) fn write(out: &mut impl Write, text: &str) -> Result<Written, String> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Written::All),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Written::ReaderClosed),
        Err(error) => Err(format!("standard output: {error}")),
    }
}

/// Prints a text that ends with a newline to standard output. Reports a failure itself, so that a command with an exit
/// code of its own can ignore this one.
pub(super) fn print_text(text: &str) -> ExitCode {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    match write(&mut std::io::stdout().lock(), &format!("{text}{end}")) {
        Ok(_) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Prints JSON, indented or on one line.
pub(super) fn print_json(value: &Value, indented: bool) -> ExitCode {
    print_text(&json_text(value, indented))
}

/// JSON with terminal control characters escaped; a program reads the same value.
fn json_text(value: &Value, indented: bool) -> String {
    let text = if indented { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    let mut shown = String::new();
    for c in text.unwrap_or_default().chars() {
        // A newline separates values here; inside a string it is written `\n`.
        if is_control(c) && c != '\n' {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| shown.push_str(&format!("\\u{unit:04x}")));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A foreign text without terminal control characters, which could rewrite what a terminal shows.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| !is_control(*c)).collect()
}

/// Control characters, and those that change the direction of a text.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Lines of a table whose columns are as wide as their widest cell, without trailing blanks.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Fails(ErrorKind);

    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn write_to_a_closed_pipe_is_no_error() {
        assert_eq!(write(&mut Vec::new(), "text"), Ok(Written::All));
        assert_eq!(write(&mut Fails(ErrorKind::BrokenPipe), "text"), Ok(Written::ReaderClosed));
        let full = write(&mut Fails(ErrorKind::StorageFull), "text").expect_err("a full disk");
        assert!(full.starts_with("standard output: "), "{full}");
    }

    #[test]
    fn output_has_no_terminal_control_characters() {
        assert_eq!(plain("a\u{1b}[2Kb\r\n\u{9b}c\u{202e}d é"), "a[2Kbcd é");
        let value = json!({ "a": "x\u{1b}\u{9b}\u{7f}\u{202e}\ny é" });
        for indented in [true, false] {
            let text = json_text(&value, indented);
            assert!(text.chars().all(|c| !is_control(c) || (indented && c == '\n')), "{text:?}");
            assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), value);
        }
    }

    #[test]
    fn table_columns_align_without_trailing_blanks() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        let text = table(&[row(["ID", "WHY", "NEXT"]), row(["1", "a long reason", ""])]);
        assert_eq!(text, "ID  WHY            NEXT\n1   a long reason\n");
    }
}
