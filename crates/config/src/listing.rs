//! Every key in one Markdown page: the output of `explain` for each, in the order of the list.

use super::Config;
use super::at_start::is_at_start;
use super::environment::twin;
use super::keys::{Key, Preset};
use super::kinds::Kind;

/// Returns the page.
pub fn listing() -> String {
    let mut page = String::new();
    tables(Config::KEYS, "", &mut page);
    page
}

/// Writes a heading and the keys for every table, followed by its nested tables.
fn tables(keys: &[Key], path: &str, page: &mut String) {
    let (inner, plain): (Vec<_>, Vec<_>) =
        keys.iter().partition(|key| matches!(key.kind, Kind::Table(_) | Kind::Tables(_)));
    if !plain.is_empty() {
        page.push_str("| key | value | default | variable | change |\n|---|---|---|---|---|\n");
    }
    for key in plain {
        let full = format!("{path}{}", key.name);
        let preset = match key.preset {
            Preset::Required => "required".to_owned(),
            Preset::Absent => "absent".to_owned(),
            Preset::Value(text) => format!("`{}`", key.kind.lex(text)),
        };
        let change = if is_at_start(&full.replace("[0]", "")) { "restart" } else { "running" };
        page.push_str(&format!(
            "| **{}**<br>{} | {} | {} | `{}` | {change} |\n",
            key.name,
            cell(&key.about()),
            cell(&key.kind.describe()),
            cell(&preset),
            twin(&full),
        ));
    }
    for key in inner {
        let (heading, keys, inside) = match key.kind {
            Kind::Table(keys) => (format!("[{path}{}]", key.name), keys, format!("{path}{}.", key.name)),
            Kind::Tables(keys) => {
                (format!("[[{path}{}]]", key.name), keys, format!("{path}{}[0].", key.name))
            }
            _ => continue,
        };
        page.push_str(&format!("\n## {}\n\n{}\n\n", heading.replace("[0]", ""), key.about()));
        tables(keys, &inside, page);
    }
}

/// Escapes a text, so that it neither ends a table cell nor contains markup.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('\n', " ")
}
