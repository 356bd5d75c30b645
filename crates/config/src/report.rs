//! Collects errors and warnings while a file is read. It remembers the origin of every value, so that a rule that knows
//! only the path of a key can still point at its line.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Source;
use super::faults::{Code, Fault, Faults, Severity};
use super::secrets;

/// Origin of a value.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// The file, at these bytes.
    File(Range<usize>),
    /// This variable.
    Variable(String),
}

/// The origin of every value, by its path.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(BTreeMap<String, Origin>);

impl Places {
    /// Returns true if the file or the environment contains the path.
    pub(super) fn is_written(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// Creates an error at a path of this text.
    pub(super) fn fault(
        &self,
        text: &str,
        severity: Severity,
        path: String,
        code: Code,
        message: String,
        help: Option<String>,
    ) -> Fault {
        let (span, variable) = match self.origin(&path) {
            Some(Origin::File(span)) => (Some(span.clone()), None),
            Some(Origin::Variable(name)) => (None, Some(name.clone())),
            None => (Some(0..0), None),
        };
        let (line, column) = span.as_ref().map(|span| place(text, span.start)).unzip();
        Fault { severity, code, path, line, column, variable, message, help, span }
    }

    /// Returns the origin of a path, or else that of the enclosing table.
    fn origin(&self, path: &str) -> Option<&Origin> {
        let mut path = path;
        loop {
            if let Some(origin) = self.0.get(path) {
                return Some(origin);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }
}

/// The errors so far, and the origin of every value so far.
pub(super) struct Report<'a> {
    source: &'a Source,
    places: Places,
    secrets: Vec<Range<usize>>,
    faults: Vec<Fault>,
}

impl<'a> Report<'a> {
    pub(super) fn new(source: &'a Source) -> Self {
        Self { source, places: Places::default(), secrets: Vec::new(), faults: Vec::new() }
    }

    /// Records the origin of the value of a path.
    pub(super) fn written(&mut self, path: &str, origin: Origin) {
        self.places.0.insert(path.to_owned(), origin);
    }

    /// Returns true if there is an error at a path or within it.
    pub(super) fn is_faulty(&self, path: &str) -> bool {
        let within = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[']);
        self.faults.iter().any(|fault| fault.path.strip_prefix(path).is_some_and(within))
    }

    /// Returns the first of two paths that was written: an error about both points there.
    pub(super) fn first_written<'p>(&self, paths: [&'p str; 2]) -> &'p str {
        if self.places.is_written(paths[0]) { paths[0] } else { paths[1] }
    }

    /// Removes bytes from the text before it is shown.
    pub(super) fn strike(&mut self, span: Range<usize>) {
        self.secrets.push(span);
    }

    /// Removes the written value of a path from the text.
    pub(super) fn strike_at(&mut self, path: &str) {
        if let Some(Origin::File(span)) = self.places.0.get(path) {
            self.secrets.push(span.clone());
        }
    }

    pub(super) fn error(&mut self, path: &str, code: Code, message: impl Into<String>, help: Option<String>) {
        self.add(Severity::Error, path, code, message.into(), help);
    }

    pub(super) fn warning(
        &mut self,
        path: &str,
        code: Code,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.add(Severity::Warning, path, code, message.into(), help);
    }

    /// Adds a warning about a variable that belongs to no key.
    pub(super) fn of_variable(&mut self, name: &str, code: Code, message: String, help: String) {
        self.faults.push(Fault {
            severity: Severity::Warning,
            code,
            path: String::new(),
            line: None,
            column: None,
            variable: Some(name.to_owned()),
            message,
            help: Some(help),
            span: None,
        });
    }

    fn add(&mut self, severity: Severity, path: &str, code: Code, message: String, help: Option<String>) {
        let fault = self.places.fault(&self.source.text, severity, path.to_owned(), code, message, help);
        self.faults.push(fault);
    }

    /// Returns all errors and warnings, those of the file first and in its order.
    pub(super) fn finish(mut self) -> Faults {
        self.faults.sort_by_key(|fault| fault.span.as_ref().map_or(usize::MAX, |span| span.start));
        // An unclosed quote may have swallowed several lines of the file, with secrets.
        for span in self.faults.iter().filter_map(|fault| fault.span.clone()) {
            let inside = self.source.text.get(span.clone()).unwrap_or_default();
            if inside.starts_with("\"\"\"") || inside.starts_with("'''") {
                let places = secrets::in_broken(inside);
                self.secrets.extend(places.into_iter().map(|at| span.start + at.start..span.start + at.end));
            }
        }
        let text = struck(&self.source.text, &self.secrets);
        Faults { name: self.source.name.clone(), text, faults: self.faults, places: self.places }
    }
}

/// Returns line and column of a byte, both from 1, the column in characters.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

/// Returns the text with every character of the spans replaced by as many asterisks as it has bytes, so that all other
/// spans stay valid.
fn struck(text: &str, secrets: &[Range<usize>]) -> String {
    let hidden = |at: usize| secrets.iter().any(|span| span.contains(&at));
    text.char_indices().fold(String::with_capacity(text.len()), |mut shown, (at, c)| {
        if hidden(at) && c != '\n' {
            shown.extend(std::iter::repeat_n('*', c.len_utf8()));
        } else {
            shown.push(c);
        }
        shown
    })
}

#[cfg(test)]
mod tests {
    use super::{place, struck};

    #[test]
    fn counts_characters_and_strikes_bytes() {
        let text = "a = \"é\"\nb = \"ß!\"\n";
        assert_eq!(place(text, 0), (1, 1));
        assert_eq!(place(text, text.find("ß").unwrap()), (2, 6));
        let shown = struck(text, &[4..6, 6..8]);
        assert_eq!(shown, "a = ****\nb = \"ß!\"\n");
        assert_eq!(shown.len(), text.len());
    }
}
