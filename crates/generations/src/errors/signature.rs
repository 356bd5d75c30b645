//! Reads the rejection of a signature from the clouds' messages. The clouds use one code for a bad token, a bad
//! signature and a signature with a wrong time. Only the message distinguishes them, and often only the message
//! contains the time of the upstream.

use restore_model::Timestamp;

/// The upstream rejected the signature of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureRefusal {
    /// The time of the upstream, if the rejection contains it. The upstream judged the signature by this clock. The
    /// `Date` of a front end may use another clock.
    pub upstream_time: Option<Timestamp>,
}

/// Terms that identify a rejected signature.
const OF_SIGNATURES: [&str; 3] = ["signature", "aksk", "x-sdk-date"];
/// One of these precedes the upstream's own time.
const UPSTREAM: [&str; 4] = ["now", "server", "current", "system"];
/// One of these precedes the time of the request.
const REQUEST: [&str; 4] = ["x-sdk-date", "request", "client", "signed"];

pub(super) fn read(message: &str) -> Option<SignatureRefusal> {
    let message = message.to_ascii_lowercase();
    if !OF_SIGNATURES.iter().any(|word| message.contains(word)) {
        return None;
    }
    let times = times(&message);
    let says = |words: &[&str], label: &str| words.iter().any(|word| label.contains(word));
    let named = times.iter().find(|(label, _)| says(&UPSTREAM, label));
    let mut others = times.iter().filter(|(label, _)| !says(&REQUEST, label));
    // A time without a label is the upstream's if it is the only one.
    let only = others.next().filter(|_| others.next().is_none());
    Some(SignatureRefusal { upstream_time: named.or(only).map(|(_, time)| *time) })
}

/// The times of a text in lower case, each with the text between it and the previous time.
fn times(text: &str) -> Vec<(&str, Timestamp)> {
    let mut times = Vec::new();
    let mut label = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find(|c: char| c.is_ascii_digit()) {
        let begin = at + found;
        let run = &text[begin..];
        let end = run.find(|c: char| !c.is_ascii_digit()).unwrap_or(run.len());
        match LENGTHS.iter().find_map(|length| Some((*length, time(run.get(..*length)?)?))) {
            Some((length, time)) => {
                times.push((&text[label..begin], time));
                at = begin + length;
                label = at;
            }
            None => at = begin + end,
        }
    }
    times
}

/// Lengths of times, the longest first: `2026-11-30T01:02:03.123456+00:00`, with milliseconds,
/// without a fraction; `30 nov 2026 01:02:03 gmt`; with `z`, without a zone, compact.
const LENGTHS: [usize; 9] = [32, 29, 27, 25, 24, 23, 20, 19, 16];

fn time(text: &str) -> Option<Timestamp> {
    use jiff::{civil::DateTime, fmt::strtime, tz::TimeZone};
    let text = text.to_ascii_uppercase();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let civil = DateTime::strptime("%Y%m%dT%H%M%SZ", &text)
        .or_else(|_| text.parse::<DateTime>())
        .or_else(|_| strtime::parse("%d %b %Y %H:%M:%S GMT", &text).and_then(|time| time.to_datetime()))
        .ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upstreams_time_is_read_in_every_form() {
        let moment: Timestamp = "2026-11-30T01:02:03Z".parse().unwrap();
        for now in [
            "20261130T010203Z",
            "2026-11-30T01:02:03Z",
            "2026-11-30T01:02:03+00:00",
            "2026-11-30T01:02:03.000+00:00",
            "2026-11-30T01:02:03.000Z",
            "2026-11-30 01:02:03",
            "Mon, 30 Nov 2026 01:02:03 GMT",
        ] {
            for message in [
                format!(
                    "verify aksk signature fail, signature expired, x-sdk-date:20261129T000000Z, now:{now}"
                ),
                format!("Signature expired: server time is {now}, request time 2026-11-29T00:00:00Z"),
                format!("the signature is expired ({now})"),
            ] {
                let refusal = read(&message).unwrap();
                assert_eq!(refusal.upstream_time, Some(moment), "{message}");
            }
        }
    }

    #[test]
    fn a_refusal_without_a_time_of_the_upstream_names_none() {
        for message in [
            "verify aksk signature fail",
            "verify aksk signature fail, x-sdk-date:20261129T000000Z",
            "signature 12345678 of AK 2026 at port 443, ip 10.0.0.1",
            "signature: 20261129T000000Z or 20261130T000000Z",
        ] {
            assert_eq!(read(message), Some(SignatureRefusal { upstream_time: None }), "{message}");
        }
        assert_eq!(read("token expires at 2026-11-30T01:02:03Z"), None);
    }
}
