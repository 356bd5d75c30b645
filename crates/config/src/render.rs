//! Output of errors and warnings: for people in the style of rustc, for programs as JSON, for a build as annotations.

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde_json::{Value, json};

use super::faults::{Fault, Faults, Severity, counted};

impl Faults {
    /// Output for people. The caller decides about colour: only for a terminal.
    pub fn render_human(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut text = String::new();
        for fault in self {
            text.push_str(&renderer.render(&[self.group(fault)]));
            text.push_str("\n\n");
        }
        text.push_str(&counted(&self.faults));
        text.push('\n');
        text
    }

    fn group<'a>(&'a self, fault: &'a Fault) -> Group<'a> {
        let level = match fault.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(titled(fault)).id(fault.code.as_str()));
        match (&fault.variable, &fault.span) {
            (Some(variable), _) => {
                group = group.element(Level::NOTE.message(format!("set by the variable {variable}")));
            }
            (None, Some(span)) if !span.is_empty() => {
                let snippet = Snippet::source(self.text.as_str()).path(self.name.as_str());
                group = group.element(snippet.annotation(AnnotationKind::Primary.span(span.clone())));
            }
            (None, _) => {
                let origin = Origin::path(self.name.as_str());
                group = group.element(match (fault.line, fault.column) {
                    (Some(line), Some(column)) => origin.line(line).char_column(column),
                    _ => origin,
                });
            }
        }
        match &fault.help {
            Some(help) => group.element(Level::HELP.message(help.as_str())),
            None => group,
        }
    }

    /// Output for programs: the name of the file, the number of errors and warnings, and every finding.
    pub fn render_json(&self) -> Value {
        let number = |severity| self.iter().filter(|fault| fault.severity == severity).count();
        json!({
            "file": self.name,
            "errors": number(Severity::Error),
            "warnings": number(Severity::Warning),
            "faults": self.faults,
        })
    }

    /// Output for a build on GitHub: one annotation per line.
    pub fn render_github(&self) -> String {
        self.iter().map(|fault| self.annotation(fault) + "\n").collect()
    }

    fn annotation(&self, fault: &Fault) -> String {
        let command = match fault.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let place = match (fault.line, fault.column, &fault.variable) {
            (Some(line), Some(column), _) => {
                format!("file={},line={line},col={column},", property(&self.name))
            }
            (_, _, None) => format!("file={},", property(&self.name)),
            _ => String::new(),
        };
        let mut message = titled(fault);
        if let Some(variable) = &fault.variable {
            message.push_str(&format!(" (in the variable {variable})"));
        }
        if let Some(help) = &fault.help {
            message.push_str(&format!("\n{help}"));
        }
        format!("::{command} {place}title={}::{}", fault.code.as_str(), escaped(&message))
    }
}

/// An annotation without a location in a file.
pub fn github(title: &str, path: &str, message: &str) -> String {
    format!("::error title={}::{}\n", property(title), escaped(&format!("{path}: {message}")))
}

/// Path and message in one line.
fn titled(fault: &Fault) -> String {
    if fault.path.is_empty() { fault.message.clone() } else { format!("{}: {}", fault.path, fault.message) }
}

/// A message of a workflow command.
fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property of a workflow command.
fn property(text: &str) -> String {
    escaped(text).replace(':', "%3A").replace(',', "%2C")
}
