//! Signatures with an access key. First line method and target, then headers, an empty line, the body.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use restore_model::Timestamp;
use restore_upstream::signing::{SignatureError, Signed, canonical_request, read_sdk_date, sdk_date, sign};

pub(crate) const MAX_LEN: usize = 4 * 1024;

const KEYS: (&str, &str) = ("RGTESTACCESSKEY00001", "rgTestSecretKey/000000000000000000000001");
/// 2026-11-22T10:15:00Z.
const NOW: Timestamp = Timestamp::from_micros(1_795_342_500_000_000);

pub(crate) fn run(data: &[u8]) {
    let (head, body) = match data.windows(2).position(|window| window == b"\n\n") {
        Some(at) => (&data[..at], &data[at + 2..]),
        None => (data, &[] as &[u8]),
    };
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let (method, target) = lines.next().unwrap_or_default().split_once(' ').unwrap_or(("GET", "/"));
    let Ok(method) = Method::from_bytes(method.as_bytes()) else { return };
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_bytes(value.trim().as_bytes());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    one_form(method.as_str(), target);
    if let Some(at) = headers.get("x-sdk-date").and_then(|date| read_sdk_date(date.to_str().ok()?)) {
        assert_eq!(read_sdk_date(&sdk_date(at)), Some(at));
    }
    // Somebody else's, whatever it is, is not made with a key that nobody has.
    if let Ok(Some(signed)) = Signed::parse(&headers) {
        assert!(signed.names().is_sorted(), "{:?}", signed.names());
        let held = signed.verify("a key that nobody has", (&method, target), &headers, body, NOW);
        assert!(held.is_err(), "believed");
    }
    own(&method, target, headers, body);
}

/// However a target is escaped, it is signed as one text, and that text is its own form.
fn one_form(method: &str, target: &str) {
    let text = canonical_request(method, target, &[], "-");
    let text = String::from_utf8(text).unwrap_or_else(|why| panic!("{target}: {why}"));
    let lines: Vec<_> = text.split('\n').collect();
    let [_, path, query, "", "", "-"] = lines[..] else { panic!("{target} writes lines of its own: {text}") };
    assert!(path.ends_with('/'), "{path}");
    let safe = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~%/&=".contains(&b));
    assert!(safe(path) && safe(query), "{text}");
    let again = canonical_request(method, &format!("{path}?{query}"), &[], "-");
    assert_eq!(again, text.as_bytes(), "{target}");
}

/// What is signed here is believed there, and nothing else is.
fn own(method: &Method, target: &str, mut headers: HeaderMap, body: &[u8]) {
    for name in ["authorization", "host", "x-sdk-date", "x-sdk-content-sha256"] {
        headers.remove(name);
    }
    headers.insert("host", HeaderValue::from_static("cbr.eu-test-1.cloud.example"));
    headers.insert("x-sdk-date", HeaderValue::from_static("20261122T101500Z"));
    let signed = ["host", "x-sdk-date"];
    let Some(made) = sign(KEYS, (method.as_str(), target), &headers, &signed, body) else {
        panic!("nothing is missing")
    };
    assert!(!made.contains(KEYS.1), "the key is shown");
    let made = HeaderValue::try_from(made).unwrap_or_else(|why| panic!("{why}"));
    headers.insert("authorization", made);
    let Ok(Some(read)) = Signed::parse(&headers) else { panic!("not read as it was made") };
    assert_eq!(read.access_key(), KEYS.0);
    let verify = |method: &Method, target: &str, body: &[u8]| read.verify(KEYS.1, (method, target), &headers, body, NOW);
    assert_eq!(verify(method, target, body), Ok(NOW.plus_seconds(900)));
    let mut other = body.to_vec();
    other.push(b' ');
    let mismatch = Err(SignatureError::Mismatch);
    assert_eq!(verify(method, target, &other), mismatch, "another body");
    assert_eq!(verify(&Method::TRACE, target, body).is_ok(), *method == Method::TRACE, "another method");
    let path = target.split('?').next().unwrap_or_default();
    assert_eq!(verify(method, &format!("{path}x"), body), mismatch, "another path");
    let late = NOW.plus_seconds(901);
    assert!(read.verify(KEYS.1, (method, target), &headers, body, late).is_err(), "too late");
}
