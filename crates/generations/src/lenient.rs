//! Reads the upstreams' data as leniently as docs/reference/cloud-apis.md requires (section 7). Unknown members are
//! ignored, null is absent, numbers are accepted as strings for an ID or code, names have any case, and times have
//! three formats.

use restore_model::Timestamp;
use serde_json::Value;

/// The value at a path of member names, each matched exactly; null counts as absent.
pub(crate) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    let found = path.iter().try_fold(value, |value, name| value.get(name))?;
    (!found.is_null()).then_some(found)
}

/// A text, or a number as text.
pub(crate) fn text(value: &Value, path: &[&str]) -> Option<String> {
    as_text(at(value, path)?)
}

/// Maximum length of a stored upstream text, in characters.
pub(crate) const MAX_TEXT: usize = 512;

/// At most [`MAX_TEXT`] characters, with control characters replaced. Upstream data must not fill the ledger, or break
/// a log line or the layout of a page.
pub(crate) fn cut(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_TEXT).collect()
}

/// A text or number as text, [`cut`]; anything else, and the empty text, is absent.
pub(crate) fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(cut(text.trim())),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A name in the form that comparisons use: lower case, `_` for `-`.
pub(crate) fn word(value: &Value, path: &[&str]) -> Option<String> {
    text(value, path).map(|word| word.to_ascii_lowercase().replace('-', "_"))
}

/// Percent, from a number or a numeric text, limited to 0..=100.
pub(crate) fn percent(value: &Value, path: &[&str]) -> Option<u8> {
    let number = number(value, path)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
    number.is_finite().then(|| number.clamp(0.0, 100.0) as u8)
}

/// A number, or a numeric text.
pub(crate) fn number(value: &Value, path: &[&str]) -> Option<f64> {
    match at(value, path)? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A whole number that is not negative, or such a text; for a decimal, its whole part.
pub(crate) fn whole(value: &Value, path: &[&str]) -> Option<u64> {
    let number = number(value, path)?.floor();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the bounds of exact numbers"
    )]
    (0.0..9e15).contains(&number).then_some(number as u64)
}

/// A boolean, or the texts `true` and `false` in any case, with or without additional quotes.
pub(crate) fn truth(value: &Value, path: &[&str]) -> Option<bool> {
    match at(value, path)? {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) => match text.trim_matches('"').to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// The items of an array; empty for anything else (`""`, null, absent).
pub(crate) fn items<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    at(value, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// True if two IDs are the same, ignoring case and dashes.
pub(crate) fn same_id(one: &str, other: &str) -> bool {
    let folded = |text: &str| -> Vec<u8> {
        text.bytes().filter(|b| *b != b'-').map(|b| b.to_ascii_lowercase()).collect()
    };
    folded(one) == folded(other)
}

/// The same object with one more member; a value that is not an object counts as an empty one.
pub(crate) fn with(notes: &Value, name: &str, value: Value) -> Value {
    let mut members = notes.as_object().cloned().unwrap_or_default();
    members.insert(name.to_owned(), value);
    Value::Object(members)
}

/// A time in any of the three formats (T15): `…52.701973` without a zone, `…23.584+00:00`, `…466Z`. No zone means UTC.
pub(crate) fn time(value: &Value, path: &[&str]) -> Option<Timestamp> {
    let text = text(value, path)?;
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn three_families_of_time_mean_the_same_moment() {
        let value = json!({"a": "2026-11-22T10:15:02.311000", "b": "2026-11-22T10:15:02.311+00:00",
                           "c": "2026-11-22T10:15:02.311Z", "d": "2026-11-22 10:15:02.311", "e": "soon", "f": null});
        let moment = time(&value, &["a"]).unwrap();
        for name in ["b", "c", "d"] {
            assert_eq!(time(&value, &[name]), Some(moment), "{name}");
        }
        assert_eq!(time(&value, &["e"]), None);
        assert_eq!(time(&value, &["f"]), None);
    }

    #[test]
    fn types_are_read_as_they_come() {
        let value =
            json!({"n": 35, "s": "35", "f": 28.1, "t": "\"true\"", "blank": "", "w": " Error-Deleting "});
        assert_eq!(percent(&value, &["n"]), Some(35));
        assert_eq!(percent(&value, &["s"]), Some(35));
        assert_eq!(percent(&value, &["f"]), Some(28));
        assert_eq!(text(&value, &["n"]).as_deref(), Some("35"));
        assert_eq!(truth(&value, &["t"]), Some(true));
        assert_eq!(text(&value, &["blank"]), None);
        assert_eq!(word(&value, &["w"]).as_deref(), Some("error_deleting"));
        assert!(items(&value, &["blank"]).is_empty());
    }

    #[test]
    fn texts_come_without_end_and_are_kept_with_one() {
        let value = json!({"status": "é".repeat(2_000), "id": "a\r\nb"});
        assert_eq!(text(&value, &["status"]).unwrap().chars().count(), MAX_TEXT);
        assert_eq!(text(&value, &["id"]).as_deref(), Some("a  b"));
    }
}
