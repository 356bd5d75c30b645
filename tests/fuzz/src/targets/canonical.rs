//! The canonical request: bytes of a stranger, read and held against the schema.

use restore_model::schema::{self, MAX_FAULTS};
use restore_model::{Code, Effect, json};
use serde_json::Value;

pub(crate) const MAX_LEN: usize = 16 * 1024;

/// What an answer may weigh, per byte of the request and besides: far below the 100 times that are promised.
const PER_BYTE: usize = 64;
const BESIDES: usize = 1_024;

pub(crate) fn run(data: &[u8]) {
    match json::read(data) {
        Err(fault) => refused(data, &fault),
        Ok(value) => {
            assert_eq!(serde_json::from_slice::<Value>(data).ok().as_ref(), Some(&value), "two readers disagree");
            checked(data.len(), &value);
        }
    }
}

/// Text that is no JSON, or not only that.
fn refused(data: &[u8], fault: &json::InvalidJson) {
    let lines = data.split(|byte| *byte == b'\n').count();
    assert!((1..=lines).contains(&fault.line), "{fault} in {lines} line(s)");
    assert!(fault.column <= data.len() + 1, "{fault}");
    assert!(fault.message.chars().count() <= 1_024, "{}", fault.message.len());
    assert!(!fault.message.chars().any(char::is_control), "{:?}", fault.message);
    if serde_json::from_slice::<Value>(data).is_ok() {
        let why = ["duplicate member", "nested deeper", "number out of range"];
        assert!(why.iter().any(|why| fault.message.contains(why)), "{fault}");
    }
}

fn checked(length: usize, value: &Value) {
    let request = match schema::parse_restore(value.clone()) {
        Ok(request) => request,
        Err(problem) => {
            assert_eq!((problem.code, problem.status(), problem.effect), (Code::InvalidRequest, 422, Effect::None));
            assert!((1..=MAX_FAULTS).contains(&problem.errors.len()), "{} faults", problem.errors.len());
            for fault in &problem.errors {
                assert!(points_into(value, &fault.pointer), "{} leads nowhere", fault.pointer);
                assert!(!fault.detail.contains("schema and type disagree"), "{}", fault.detail);
                assert!(fault.detail.chars().count() <= 1_024, "{}", fault.detail.len());
                no_value_repeated(value, &fault.detail);
            }
            let written = serde_json::to_vec(&problem).unwrap_or_default().len();
            assert!(written <= BESIDES + PER_BYTE * length, "{written} bytes for {length}");
            return;
        }
    };
    // Nothing was lost, added or changed.
    let written = serde_json::to_value(&request).unwrap_or_default();
    assert_eq!(written, *value);
    let again = schema::parse_restore(written).unwrap_or_else(|why| panic!("not read again: {why:?}"));
    assert_eq!(again, request);
    assert_eq!(again.fingerprint(), request.fingerprint());
    assert_eq!(request.fingerprint().len(), 64);
    let locks = request.locks();
    assert!(!locks.is_empty() && locks.is_sorted() && locks.windows(2).all(|pair| pair[0] != pair[1]));
    assert!(locks.iter().all(|lock| lock.starts_with(request.project_id.as_str())), "{locks:?}");
    assert_eq!(request.target.mappings().len(), request.target.mappings().len().min(128));
}

/// Whether a pointer names something that is there, or a member that could be there. Names are cut to 64
/// characters, so a long one names nobody.
fn points_into(value: &Value, pointer: &str) -> bool {
    if value.pointer(pointer).is_some() {
        return true;
    }
    let Some((parent, _)) = pointer.rsplit_once('/') else { return false };
    value.pointer(parent).is_some_and(Value::is_object)
}

/// A fault never repeats what stood there: it may be a secret in the wrong place.
pub(crate) fn no_value_repeated(value: &Value, detail: &str) {
    match value {
        // Our own words have no capitals, and a fuzzer learns them.
        Value::String(text) if text.len() >= 12 && text.chars().any(|c| c.is_uppercase() || !c.is_ascii()) => {
            assert!(!detail.contains(text.as_str()), "{detail}");
        }
        Value::Array(items) => items.iter().for_each(|item| no_value_repeated(item, detail)),
        Value::Object(members) => members.values().for_each(|value| no_value_repeated(value, detail)),
        _ => {}
    }
}
