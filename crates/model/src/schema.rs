//! The JSON Schemas of the canonical API. They validate requests at run time, OpenAPI refers to them, and the tests
//! check every response against them. One source, in `schemas/`.
//!
//! Compiled once, offline, with the linear regular-expression engine. So no schema can make the gateway fetch a URL or
//! spend more than linear time on a text (cases S33).

use std::sync::LazyLock;

use jsonschema::PatternOptions;
pub use jsonschema::Validator;
use jsonschema::error::ValidationErrorKind;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::problem::{Code, Fault, Problem};
use crate::request::RestoreRequest;

/// Maximum number of errors in one response; more are not useful, and the response stays small.
pub const MAX_FAULTS: usize = 100;

/// The longest list that the schema of a request allows: the mappings of a server.
const MAX_ITEMS: usize = 128;

macro_rules! schemas {
    ($($name:literal),* $(,)?) => {
        /// Every schema: its name in `/schemas/{name}` and its text.
        pub const ALL: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../schemas/", $name, ".json")))),*];
    };
}

schemas![
    "restore-request",
    "restore",
    "restore-list",
    "restore-events",
    "restore-check",
    "restore-preview",
    "compat-preview-request",
    "capabilities",
    "problem",
];

/// Returns the text of the schema with this name.
#[must_use]
pub fn text(name: &str) -> Option<&'static str> {
    ALL.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// Compiles a schema with the settings of this module: offline, linear.
///
/// # Errors
/// If the text is not JSON or not a schema, or if it refers to something outside itself.
pub fn compile(text: &str) -> Result<Validator, String> {
    let schema: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    jsonschema::options()
        .with_pattern_options(PatternOptions::regex())
        .build(&schema)
        .map_err(|error| error.to_string())
}

static RESTORE_REQUEST: LazyLock<Validator> = LazyLock::new(|| {
    compile(include_str!("../schemas/restore-request.json")).unwrap_or_else(|error| {
        // The text is part of the binary and every test run compiles it.
        panic!("the built-in schema restore-request does not compile: {error}")
    })
});

/// Compiles the run-time schemas now instead of at the first request.
pub fn warm_up() {
    LazyLock::force(&RESTORE_REQUEST);
}

/// Creates a typed request from a JSON value. There is no other way to create one.
///
/// # Errors
/// [`Code::InvalidRequest`] with a JSON Pointer for every error, at most [`MAX_FAULTS`].
pub fn parse_restore(value: Value) -> Result<RestoreRequest, Problem> {
    let request: RestoreRequest = parse(&RESTORE_REQUEST, value)?;
    let faults = request.faults();
    if faults.is_empty() { Ok(request) } else { Err(invalid(faults)) }
}

/// Creates a typed value from a JSON value that matches a schema; the compatibility endpoints parse their bodies with
/// it.
///
/// # Errors
/// As [`parse_restore`].
pub fn parse<T: DeserializeOwned>(validator: &Validator, mut value: Value) -> Result<T, Problem> {
    if !validator.is_valid(&value) {
        shorten(&mut value);
        return Err(invalid(faults(validator, &value)));
    }
    serde_json::from_value(value)
        .map_err(|error| invalid(vec![Fault::at("", format!("schema and type disagree: {error}"))]))
}

/// Checks what a schema cannot express, for a request that was translated from another format: each disk occurs once.
/// `place` is the location of the list of disks in that format, as a JSON Pointer.
///
/// # Errors
/// As [`parse_restore`].
pub fn consistent(request: RestoreRequest, place: &str) -> Result<RestoreRequest, Problem> {
    let mut faults = request.faults();
    if faults.is_empty() {
        return Ok(request);
    }
    for fault in &mut faults {
        fault.pointer = fault.pointer.replacen("/target/volumes", place, 1);
        fault.detail = fault.detail.replacen("/target/volumes", place, 1);
    }
    Err(invalid(faults))
}

/// Shortens lists to one item more than any list may have. Further items add nothing to the response, and the validator
/// creates all errors of a list, with some hundred bytes each, before it returns the first.
fn shorten(value: &mut Value) {
    match value {
        Value::Array(items) => {
            items.truncate(MAX_ITEMS + 1);
            items.iter_mut().for_each(shorten);
        }
        Value::Object(members) => members.values_mut().for_each(shorten),
        _ => {}
    }
}

fn invalid(mut faults: Vec<Fault>) -> Problem {
    faults.truncate(MAX_FAULTS);
    let count = faults.len();
    let count = if count >= MAX_FAULTS { format!("at least {MAX_FAULTS}") } else { count.to_string() };
    let detail = format!("{count} fault(s) in the request; nothing was sent");
    Problem::new(Code::InvalidRequest, detail).faults(faults)
}

/// Returns every error of `value`, at most [`MAX_FAULTS`], in the order of the schema, each once. No error repeats a
/// value of the document.
#[must_use]
pub fn faults(validator: &Validator, value: &Value) -> Vec<Fault> {
    let mut faults: Vec<Fault> = Vec::new();
    for error in validator.iter_errors(value) {
        let place = error.instance_path().to_string();
        let mut add = |fault: Fault| {
            if !faults.contains(&fault) {
                faults.push(fault);
            }
        };
        match error.kind() {
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                add(Fault::at(member(&place, name), "is required and missing"));
            }
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                for name in unexpected.iter().take(MAX_FAULTS) {
                    add(Fault::at(member(&place, name), "is not a known member"));
                }
            }
            _ => add(Fault::at(place, error.masked_with("the value").to_string())),
        }
        if faults.len() >= MAX_FAULTS {
            faults.truncate(MAX_FAULTS);
            break;
        }
    }
    faults
}

/// Returns the pointer to a member, escaped as in RFC 6901 and shortened, because the name comes from a client.
fn member(place: &str, name: &str) -> String {
    let name: String = name.chars().take(64).collect();
    format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pointers(value: Value) -> Vec<String> {
        parse_restore(value).expect_err("faults").errors.into_iter().map(|fault| fault.pointer).collect()
    }

    fn server() -> Value {
        json!({
            "project_id": "0a1b2c3d4e5f60718293a4b5c6d7e8f9",
            "source": {"backup_id": "0f9e8d7c-6b5a-4948-8372-615049382716"},
            "target": {"type": "server", "server_id": "7d2f6c1e-3b0a-4c55-9a51-0f6c2b9e8d14", "power_on": true,
                "volumes": [{"backup_id": "5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b01",
                             "volume_id": "c0ffee00-1111-4222-8333-444455556666"}]},
        })
    }

    #[test]
    fn every_schema_compiles_and_is_named_after_its_file() {
        for (name, text) in ALL {
            compile(text).unwrap_or_else(|error| panic!("{name}: {error}"));
            let schema: Value = serde_json::from_str(text).unwrap();
            assert_eq!(schema["$id"], format!("urn:restore-gateway:schema:{name}:1"));
        }
    }

    /// No text can make a pattern take more than linear time: an expression that needs backtracking does not compile.
    #[test]
    fn s33_only_linear_patterns_compile() {
        for pattern in ["(?=a)a", "(a)\\\\1", "(?<!b)a"] {
            let schema = format!(r#"{{"type": "string", "pattern": "{pattern}"}}"#);
            assert!(compile(&schema).is_err(), "{pattern} needs backtracking");
        }
        let nested = compile(r#"{"type": "string", "pattern": "^(a+)+$"}"#).unwrap();
        assert!(!nested.is_valid(&json!("a".repeat(100_000) + "b")));
    }

    /// A schema that refers outside itself is rejected; nothing is ever fetched for one.
    #[test]
    fn references_outside_are_refused() {
        for uri in ["http://127.0.0.1:1/schema.json", "file:///etc/hostname"] {
            assert!(compile(&format!(r#"{{"$ref": "{uri}"}}"#)).is_err(), "{uri}");
        }
    }

    #[test]
    fn a_good_request_becomes_a_type() {
        let request = parse_restore(server()).unwrap();
        assert_eq!(serde_json::to_value(&request).unwrap(), server());
    }

    #[test]
    fn every_fault_is_reported_with_its_place() {
        let mut value = server();
        value["project_id"] = json!("nope");
        value["endpoint"] = json!("http://169.254.169.254/");
        value["source"]["backup_id"] = json!("../../x");
        value["target"].as_object_mut().unwrap().remove("power_on");
        value["target"]["volumes"][0]["volume_id"] = json!("a/b");
        value["target"]["volumes"][0]["size"] = json!(1);
        let mut found = pointers(value);
        found.sort();
        assert_eq!(
            found,
            [
                "/endpoint",
                "/project_id",
                "/source/backup_id",
                "/target/power_on",
                "/target/volumes/0/size",
                "/target/volumes/0/volume_id",
            ]
        );
    }

    #[test]
    fn messages_never_repeat_a_value() {
        let mut value = server();
        value["source"]["backup_id"] = json!("SECRET/VALUE");
        value["target"]["power_on"] = json!("SECRET");
        let problem = parse_restore(value).unwrap_err();
        assert!(!serde_json::to_string(&problem).unwrap().contains("SECRET"), "{problem:?}");
    }

    #[test]
    fn a_target_is_never_guessed() {
        assert_eq!(pointers(json!({})), ["/project_id", "/source", "/target"]);
        let mut value = server();
        value["target"] = json!({"volume_id": "v"});
        assert_eq!(pointers(value.clone()), ["/target/type"]);
        value["target"] = json!({"type": "volume", "volume_id": "v", "server_id": "s"});
        assert_eq!(pointers(value.clone()), ["/target/server_id"]);
        value["target"] = json!({"type": "bucket"});
        assert_eq!(pointers(value), ["/target/type"]);
    }

    #[test]
    fn the_list_of_faults_is_bounded() {
        let mut value = server();
        value["target"]["volumes"] = Value::Array(vec![json!({}); 100_000]);
        assert_eq!(parse_restore(value).unwrap_err().errors.len(), MAX_FAULTS);

        // Errors that no schema can express count as well.
        let mut value = server();
        let mapping = json!({"backup_id": "a", "volume_id": "a"});
        value["target"]["volumes"] = Value::Array(vec![mapping; MAX_ITEMS]);
        let problem = parse_restore(value).unwrap_err();
        assert_eq!(problem.errors.len(), MAX_FAULTS);
        assert!(problem.detail.starts_with("at least 100 fault(s)"), "{}", problem.detail);
    }

    #[test]
    fn the_end_of_a_list_that_is_too_long_is_not_looked_at_and_the_length_is_told() {
        let schema: Value = serde_json::from_str(text("restore-request").unwrap()).unwrap();
        assert_eq!(schema["$defs"]["server"]["properties"]["volumes"]["maxItems"], MAX_ITEMS);
        let mut value = server();
        let mapping = |n: usize| json!({"backup_id": format!("b{n}"), "volume_id": format!("v{n}")});
        let mut volumes: Vec<_> = (0..1_000).map(mapping).collect();
        volumes[900] = json!("../..");
        value["target"]["volumes"] = Value::Array(volumes);
        assert_eq!(pointers(value), ["/target/volumes"]);
    }
}
