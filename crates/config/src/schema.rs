//! Output of the list of keys: the JSON Schema of the file, and the page of one key.

use serde_json::{Map, Value, json};

use super::Config;
use super::at_start::is_at_start;
use super::environment::{path_of, paths, twin};
use super::keys::{Key, Preset};
use super::kinds::Kind;
use super::nearest::nearest;

/// Returns the JSON Schema of the file, as shipped in `config/restore-gateway.schema.json`.
pub fn schema() -> Value {
    let mut schema = of_table(Config::KEYS);
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "settings of restore-gateway".into();
    schema
}

/// Returns the schema of a table.
pub(super) fn of_table(keys: &[Key]) -> Value {
    let mut properties = Map::new();
    for key in keys {
        let mut schema = key.kind.schema();
        schema["description"] = key.about().into();
        if let Preset::Value(text) = key.preset {
            schema["default"] = key.kind.lex(text);
        }
        properties.insert(key.name.to_owned(), schema);
    }
    let required: Vec<_> =
        keys.iter().filter(|key| matches!(key.preset, Preset::Required)).map(|key| key.name).collect();
    let mut table = json!({"type": "object", "additionalProperties": false, "properties": properties});
    if !required.is_empty() {
        table["required"] = required.into();
    }
    table
}

/// Returns purpose, permitted values, default and variable of a key. The key is a path with or without index
/// (`upstreams[0].name`, `upstreams.name`), or its variable. `None` if there is no such key: [`nearest_key`] may find a
/// similar one.
pub fn explain(key: &str) -> Option<String> {
    let path = path_of(key, Config::KEYS).unwrap_or_else(|| key.to_owned());
    let names: Vec<_> = path.split('.').map(|part| part.split('[').next().unwrap_or(part)).collect();
    let (last, tables) = names.split_last()?;
    let mut keys = Config::KEYS;
    let mut full = String::new();
    for table in tables {
        let key = keys.iter().find(|key| key.name == *table)?;
        (keys, full) = match key.kind {
            Kind::Table(keys) => (keys, format!("{full}{}.", key.name)),
            Kind::Tables(keys) => (keys, format!("{full}{}[0].", key.name)),
            _ => return None,
        };
    }
    let key = keys.iter().find(|key| key.name == *last)?;
    full.push_str(key.name);
    Some(page(key, &full))
}

fn page(key: &Key, path: &str) -> String {
    let mut page = format!("{}\n\n{}\n\n", path.replace("[0]", "[]"), key.about());
    if let Kind::Table(keys) | Kind::Tables(keys) = key.kind {
        page.push_str(&format!("{}, keys:\n", key.kind.describe()));
        for key in keys {
            page.push_str(&format!("  {}: {}\n", key.name, key.about()));
        }
        return page;
    }
    let preset = match key.preset {
        Preset::Required => "required".to_owned(),
        Preset::Absent => "absent".to_owned(),
        Preset::Value(text) => key.kind.lex(text).to_string(),
    };
    page.push_str(&format!(
        "value:    {}\ndefault:  {preset}\nvariable: {}\nchange:   {}\n",
        key.kind.describe(),
        twin(path),
        if is_at_start(&path.replace("[0]", "")) {
            "needs a restart"
        } else {
            "taken while the gateway runs"
        }
    ));
    page
}

/// Returns the most similar key, if any is similar enough.
pub fn nearest_key(key: &str) -> Option<String> {
    let all: Vec<_> = paths(Config::KEYS, 0).iter().map(|path| path.replace("[0]", "")).collect();
    nearest(key, all.iter().map(String::as_str)).map(str::to_owned)
}
