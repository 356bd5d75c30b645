//! The contract that a gateway serves, and what it says of any one answer.

use std::collections::{BTreeSet, HashMap};

use jsonschema::{PatternOptions, Validator};
use serde_json::{Value, json};

use crate::http_client::Answer;
use crate::world::World;

/// Where the schemas of the document stand.
const SCHEMAS: &str = "#/components/schemas/";

/// The document, with every schema it names.
pub struct Contract {
    /// As served.
    pub document: Value,
    schemas: HashMap<String, Validator>,
}

impl Contract {
    /// As a gateway serves it.
    ///
    /// # Panics
    /// When the document is not served, or a schema in it cannot be understood.
    pub async fn served(world: &World) -> Self {
        let answer = world.get("/openapi.json").await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
        let document = answer.json();
        let mut schemas = HashMap::new();
        for reference in references(&document).into_iter().filter(|name| name.starts_with(SCHEMAS)) {
            let schema =
                json!({"$ref": reference, "components": {"schemas": document["components"]["schemas"]}});
            schemas.insert(reference, compiled(&schema));
        }
        assert!(schemas.len() >= 7, "{:?}", schemas.keys());
        Self { document, schemas }
    }

    /// Every operation: method and path.
    #[must_use]
    pub fn operations(&self) -> Vec<(String, String)> {
        let mut operations = Vec::new();
        for (path, item) in self.document["paths"].as_object().into_iter().flatten() {
            for method in item.as_object().into_iter().flatten().map(|(name, _)| name) {
                if method != "parameters" {
                    operations.push((method.to_uppercase(), path.clone()));
                }
            }
        }
        operations
    }

    /// The operations whose answer ends by itself: all but the streams.
    #[must_use]
    pub fn calls(&self) -> Vec<(String, String)> {
        let mut operations = self.operations();
        operations.retain(|(method, path)| {
            self.operation(method, path)["responses"]["200"]["content"]["text/event-stream"].is_null()
        });
        operations
    }

    /// One operation.
    #[must_use]
    pub fn operation(&self, method: &str, template: &str) -> &Value {
        &self.document["paths"][template][method.to_lowercase()]
    }

    /// What stands behind a reference within the document; anything else is itself.
    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        let reference = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
        reference.and_then(|pointer| self.document.pointer(pointer)).unwrap_or(value)
    }

    /// Whether an answer is one that the document describes: its status by number, its type, its headers and its
    /// body.
    ///
    /// # Errors
    /// What the document does not describe.
    pub fn check(&self, method: &str, template: &str, answer: &Answer) -> Result<(), String> {
        let what = format!("{method} {template} {}", answer.status);
        let operation = self.operation(method, template);
        if !operation.is_object() {
            return Err(format!("{what}: no such operation"));
        }
        // `default` is for what nobody foresaw, and a test foresees it.
        let response = self.resolved(&operation["responses"][answer.status.to_string()]);
        if !response.is_object() {
            let listed: Vec<_> =
                operation["responses"].as_object().into_iter().flatten().map(|(status, _)| status).collect();
            return Err(format!("{what} is none of {listed:?}: {}", answer.text()));
        }
        let kind = answer.header("content-type").split(';').next().unwrap_or_default();
        if response["content"].is_null() {
            if !answer.body.is_empty() || !kind.is_empty() {
                return Err(format!("{what} has no body: {}", answer.text()));
            }
        } else {
            let schema = &response["content"][kind]["schema"];
            if !schema.is_object() {
                return Err(format!("{what} is not described as {kind:?}"));
            }
            if answer.status >= 400 && kind != "application/problem+json" {
                return Err(format!("{what} is no problem but {kind:?}"));
            }
            if kind.ends_with("json") {
                self.fits(schema, answer).map_err(|why| format!("{what}: {why}\n{}", answer.text()))?;
            }
        }
        for (name, header) in response["headers"].as_object().into_iter().flatten() {
            let value = answer.header(name);
            let header = self.resolved(header);
            if value.is_empty() && header["required"] == true {
                return Err(format!("{what}: no {name}"));
            }
            let number = header["schema"]["type"] == "integer";
            if number && !value.is_empty() && value.parse::<u64>().is_err() {
                return Err(format!("{what}: {name} is no number: {value:?}"));
            }
        }
        if answer.header("x-request-id").is_empty() {
            return Err(format!("{what}: no X-Request-Id"));
        }
        Ok(())
    }

    fn fits(&self, schema: &Value, answer: &Answer) -> Result<(), String> {
        let body: Value = serde_json::from_slice(&answer.body).map_err(|why| why.to_string())?;
        let inline;
        let validator = match schema["$ref"].as_str() {
            Some(reference) => &self.schemas[reference],
            None => {
                inline = compiled(schema);
                &inline
            }
        };
        let faults: Vec<String> = validator.iter_errors(&body).map(|fault| fault.to_string()).collect();
        if faults.is_empty() { Ok(()) } else { Err(format!("does not fit {schema}: {faults:?}")) }
    }
}

/// Formats included, which a validator leaves out unless it is told.
fn compiled(schema: &Value) -> Validator {
    let options = jsonschema::options().with_pattern_options(PatternOptions::regex());
    options.should_validate_formats(true).build(schema).unwrap_or_else(|why| panic!("{schema}: {why}"))
}

fn references(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, value)| match value {
                Value::String(text) if name == "$ref" => BTreeSet::from([text.clone()]),
                other => references(other),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => BTreeSet::new(),
    }
}
