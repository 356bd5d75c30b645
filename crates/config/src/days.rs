//! Dates in the configuration.

use restore_model::Timestamp;

/// Parses a date: returns the start of that day in UTC.
pub fn day(text: &str) -> Option<Timestamp> {
    let plain = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    plain.then(|| format!("{text}T00:00:00Z").parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_a_day() {
        for text in ["2027-02-30", "2027-6-30", "30.06.2027", "2027-06-30T00:00:00Z", ""] {
            assert!(day(text).is_none(), "{text}");
        }
        assert!(day("2027-06-30").is_some());
    }
}
