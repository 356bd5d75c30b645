//! Parses JSON from clients. It runs before the schemas. An accepted text is exactly one JSON value, in UTF-8, without
//! a duplicate member and not nested deeper than [`MAX_DEPTH`].
//!
//! A parser that silently keeps the last of two members lets two readers of one text disagree. For a call that
//! overwrites disks that is an error.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Maximum nesting depth of arrays and objects.
pub const MAX_DEPTH: usize = 32;

/// The error for a rejected text, with its location. It never repeats values of the text. It contains the names of
/// duplicate members, limited to 64 characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} at line {line} column {column}")]
pub struct InvalidJson {
    /// The description of the error.
    pub message: String,
    /// Line of the error, counted from 1.
    pub line: usize,
    /// Column of the error in bytes, counted from 1.
    pub column: usize,
    /// True if the JSON is valid but nested too deeply.
    pub too_deep: bool,
}

/// Parses one JSON value.
///
/// # Errors
/// If the text is not exactly one value: invalid UTF-8 or JSON, a byte order mark, trailing bytes, a duplicate member,
/// a number that no `f64` holds, a lone surrogate, or depth beyond [`MAX_DEPTH`].
pub fn read(bytes: &[u8]) -> Result<Value, InvalidJson> {
    read_within(bytes, MAX_DEPTH)
}

/// Does the same as [`read`], with another depth; at most 127, which is serde's own limit.
///
/// # Errors
/// As [`read`].
pub fn read_within(bytes: &[u8], depth: usize) -> Result<Value, InvalidJson> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { left: depth, depth }.deserialize(&mut deserializer).map_err(fault)?;
    deserializer.end().map_err(fault)?;
    Ok(value)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape map_err wants")]
fn fault(error: serde_json::Error) -> InvalidJson {
    let text = error.to_string();
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    let too_deep = message.starts_with(TOO_DEEP) || message.starts_with("recursion limit");
    InvalidJson { message: message.to_owned(), line: error.line(), column: error.column(), too_deep }
}

#[derive(Clone, Copy)]
struct Strict {
    left: usize,
    depth: usize,
}

const TOO_DEEP: &str = "nested deeper than";

impl Strict {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        match self.left.checked_sub(1) {
            Some(left) => Ok(Self { left, ..self }),
            None => Err(E::custom(format_args!("{TOO_DEEP} {}", self.depth))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut members = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            if members.contains_key(&name) {
                let name: String = name.chars().take(64).collect();
                return Err(de::Error::custom(format_args!("duplicate member {name:?}")));
            }
            let value = access.next_value_seed(inner)?;
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(text: &str) -> InvalidJson {
        read(text.as_bytes()).expect_err(text)
    }

    #[test]
    fn duplicate_members_are_refused_with_their_place() {
        let fault = refused("{\"a\": 1,\n \"a\": 2}");
        assert_eq!((fault.message.as_str(), fault.line), ("duplicate member \"a\"", 2));
        assert!(refused(r#"{"x": {"a": 1, "a": 1}}"#).message.contains("duplicate"));
        // The same name, once written with an escape.
        assert!(refused("{\"a\": 1, \"\\u0061\": 2}").message.contains("duplicate"));
    }

    #[test]
    fn depth_is_bounded_and_the_stack_is_safe() {
        let deep = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        assert!(read(deep(MAX_DEPTH).as_bytes()).is_ok());
        assert!(refused(&deep(MAX_DEPTH + 1)).message.contains("nested deeper"));
        assert!(refused(&"[".repeat(100_000)).message.contains("nested deeper"));
        assert!(refused(&"{\"a\":".repeat(100_000)).message.contains("nested deeper"));
    }

    #[test]
    fn what_is_not_one_json_value_is_refused() {
        for text in [
            "",
            "{} {}",
            "{}x",
            "\u{feff}{}",
            "NaN",
            "1e400",
            "-1e400",
            r#""\ud800""#,
            "{\"a\":1,}",
            "[1,]",
            "'a'",
        ] {
            refused(text);
        }
        assert!(read(b"\"\xff\"").is_err());
        assert!(read(b" {} \n").is_ok());
    }

    proptest! {
        #[test]
        fn never_panics_and_agrees_with_the_lenient_reader(text in "[\\[\\]{}\":,a0 .e-]{0,40}") {
            let lenient = serde_json::from_str::<Value>(&text);
            match read(text.as_bytes()) {
                Ok(value) => prop_assert_eq!(value, lenient.unwrap()),
                Err(fault) => prop_assert!(lenient.is_err() || fault.message.contains("duplicate")),
            }
        }
    }
}
