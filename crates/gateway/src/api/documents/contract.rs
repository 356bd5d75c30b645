//! The OpenAPI document as it is served: self-contained, so that generators and linters need no second request.
//!
//! Its source is `openapi.json`, which refers to the JSON Schemas by their paths. Here each schema and each of its
//! definitions becomes one member of `#/components/schemas`. A JSON Schema describes a target with `if` and `then`, which
//! gives the better error messages. Here that becomes `oneOf` with a `discriminator`, because generators make types only of
//! that form. Tests hold both forms to the same documents.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use restore_model::schema;
use serde_json::{Map, Value, json};

/// The document, as text.
pub(crate) static CONTRACT: LazyLock<String> = LazyLock::new(|| {
    let contract = bundle(super::OPENAPI, schema::ALL);
    // Its parts are in the binary, and every test run bundles them.
    let contract =
        contract.unwrap_or_else(|error| panic!("the built-in contract cannot be bundled: {error}"));
    format!("{contract:#}\n")
});

/// The document with the schemas in it.
fn bundle(openapi: &str, schemas: &[(&str, &str)]) -> Result<Value, BundleError> {
    let mut contract: Value = serde_json::from_str(openapi)?;
    let (mut components, mut names) = (Map::new(), BTreeMap::new());
    for (path, text) in schemas {
        let mut schema: Value = serde_json::from_str(text)?;
        let title = schema["title"].as_str().unwrap_or(path).to_owned();
        names.insert(format!("/schemas/{path}"), title.clone());
        let definitions = schema.as_object_mut().and_then(|members| {
            members.remove("$schema");
            members.remove("$id");
            members.remove("$defs")
        });
        let definitions = definitions.and_then(|definitions| definitions.as_object().cloned());
        let named = definitions.into_iter().flatten().map(|(key, definition)| (pascal(&key), definition));
        for (name, mut schema) in named.chain([(title, schema)]) {
            schema = discriminated(schema);
            refer(&mut schema, &|path| path.strip_prefix("#/$defs/").map(pascal));
            if let Some(members) = schema.as_object_mut() {
                members.remove("title");
            }
            // One name means one thing in all schemas.
            if components.get(&name).is_some_and(|other| *other != schema) {
                return Err(BundleError::Differs(name));
            }
            components.insert(name, schema);
        }
    }
    refer(&mut contract, &|path| names.get(path).cloned());
    contract["components"]["schemas"] = Value::Object(components);
    Ok(contract)
}

/// Why the document cannot be made: a mistake in the sources.
#[derive(Debug, thiserror::Error)]
enum BundleError {
    #[error("a part is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("two schemas define {0} differently")]
    Differs(String),
}

/// `restoreId` as `RestoreId`.
fn pascal(key: &str) -> String {
    let mut letters = key.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// Replaces each reference for which there is a name by a reference to that component.
fn refer(value: &mut Value, name_of: &dyn Fn(&str) -> Option<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(path)) = members.get_mut("$ref")
                && let Some(name) = name_of(path)
            {
                *path = format!("#/components/schemas/{name}");
            }
            members.values_mut().for_each(|member| refer(member, name_of));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| refer(item, name_of)),
        _ => {}
    }
}

/// A schema that selects another one by a constant member (`allOf` of `if` and `then`), as `oneOf` with a discriminator;
/// any other schema as it is.
fn discriminated(schema: Value) -> Value {
    let choices =
        schema["allOf"].as_array().map(|choices| choices.iter().map(choice).collect::<Option<Vec<_>>>());
    let Some(Some(choices)) = choices else { return schema };
    let Some((property, _, _)) = choices.first() else { return schema };
    let mapping: Map<String, Value> = choices
        .iter()
        .map(|(_, constant, definition)| {
            (constant.clone(), format!("#/components/schemas/{}", pascal(definition)).into())
        })
        .collect();
    let one_of: Vec<Value> =
        choices.iter().map(|(_, _, definition)| json!({"$ref": format!("#/$defs/{definition}")})).collect();
    json!({
        "description": schema["description"],
        "oneOf": one_of,
        "discriminator": {"propertyName": property, "mapping": mapping},
    })
}

/// The member, the constant and the definition of one `if` and `then`.
fn choice(choice: &Value) -> Option<(String, String, String)> {
    let (property, schema) = choice["if"]["properties"].as_object()?.iter().next()?;
    let definition = choice["then"]["$ref"].as_str()?.strip_prefix("#/$defs/")?;
    Some((property.clone(), schema["const"].as_str()?.to_owned(), definition.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every reference of the document leads to a part of it.
    #[test]
    fn the_contract_refers_only_to_itself() {
        fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
            match value {
                Value::Object(members) => {
                    found.extend(members.get("$ref").and_then(Value::as_str));
                    members.values().for_each(|member| references(member, found));
                }
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let contract: Value = serde_json::from_str(&CONTRACT).unwrap();
        let mut found = Vec::new();
        references(&contract, &mut found);
        assert!(found.len() > 100);
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads out"));
            assert!(contract.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
    }

    /// The served schema of a request and the contract accept the same targets.
    #[test]
    fn both_forms_of_a_target_accept_the_same_requests() {
        let contract: Value = serde_json::from_str(&CONTRACT).unwrap();
        let whole = json!({
            "$ref": "#/components/schemas/RestoreRequest", "components": contract["components"],
        });
        let bundled = schema::compile(&whole.to_string()).unwrap();
        let served = schema::compile(schema::text("restore-request").unwrap()).unwrap();
        let pairs = json!([{"backup_id": "b", "volume_id": "v"}]);
        let targets = [
            (json!({"type": "volume", "volume_id": "v"}), true),
            (json!({"type": "resource", "resource_id": "r", "destination_path": "/a"}), true),
            (json!({"type": "server", "server_id": "s", "power_on": true, "volumes": pairs}), true),
            (json!({"type": "server", "server_id": "s", "power_on": true, "volumes": []}), false),
            (json!({"type": "server", "volume_id": "v"}), false),
            (json!({"type": "volume", "volume_id": "v", "server_id": "s"}), false),
            (json!({"type": "disk", "volume_id": "v"}), false),
            (json!({"volume_id": "v"}), false),
            (json!({}), false),
            (json!("v"), false),
        ];
        for (target, valid) in targets {
            let request = json!({
                "project_id": "0a1b2c3d4e5f60718293a4b5c6d7e8f9", "source": {"backup_id": "b"}, "target": target,
            });
            assert_eq!((served.is_valid(&request), bundled.is_valid(&request)), (valid, valid), "{request}");
        }
    }

    #[test]
    fn two_schemas_with_one_name_are_an_error() {
        let schemas =
            [("one", r#"{"title": "A", "$defs": {"b": {"type": "string"}}}"#), ("two", r#"{"title": "B"}"#)];
        assert!(matches!(bundle("{}", &schemas), Err(BundleError::Differs(name)) if name == "B"));
    }
}
