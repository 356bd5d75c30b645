//! Standard output. Everything that a command prints goes through here, so that one rule holds: a reader that has gone
//! away has had enough, which is no failure; what cannot be written for another reason is one, and is said.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use serde_json::Value;

/// What became of something that was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It was.
    All,
    /// Nobody reads any more.
    NobodyReads,
}

/// Writes all of it, at once.
///
/// # Errors
/// What stands against it, for a person.
pub(super) fn write(out: &mut impl Write, text: &str) -> Result<Written, String> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Written::All),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Written::NobodyReads),
        Err(error) => Err(format!("standard output: {error}")),
    }
}

/// Prints a text to standard output, with the end of a line at its end. Failure is said here, so that a command with an exit
/// code of its own need not look at this one.
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

/// Prints JSON: over several lines for people, on one for programs.
pub(super) fn print_json(value: &Value, lines: bool) -> ExitCode {
    print_text(&json_text(value, lines))
}

/// JSON without a character that a terminal obeys; to a program it is the same.
fn json_text(value: &Value, lines: bool) -> String {
    let text = if lines { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    let mut shown = String::new();
    for c in text.unwrap_or_default().chars() {
        // The ends of lines are between the values: within a text they are written `\n`.
        if obeyed(c) && c != '\n' {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| shown.push_str(&format!("\\u{unit:04x}")));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Somebody else's words for a terminal: without what it obeys, which could rewrite what stands there.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| !obeyed(*c)).collect()
}

/// Control characters, and those that turn the direction of a text.
fn obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
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
    fn only_a_reader_that_went_away_is_no_failure() {
        assert_eq!(write(&mut Vec::new(), "text"), Ok(Written::All));
        assert_eq!(write(&mut Fails(ErrorKind::BrokenPipe), "text"), Ok(Written::NobodyReads));
        let full = write(&mut Fails(ErrorKind::StorageFull), "text").expect_err("it was not written");
        assert!(full.starts_with("standard output: "), "{full}");
    }

    #[test]
    fn a_terminal_is_told_nothing_that_it_obeys() {
        assert_eq!(plain("a\u{1b}[2Kb\r\n\u{9b}c\u{202e}d é"), "a[2Kbcd é");
        let value = json!({ "a": "x\u{1b}\u{9b}\u{7f}\u{202e}\ny é" });
        for lines in [true, false] {
            let text = json_text(&value, lines);
            assert!(text.chars().all(|c| !obeyed(c) || (lines && c == '\n')), "{text:?}");
            assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), value);
        }
    }
}
