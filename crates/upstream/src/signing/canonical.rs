//! The canonical form of a request for signatures (cloud APIs 5.4, steps 2 to 7).

use std::borrow::Cow;

/// The canonical request. `target` is path and query as on the wire; `headers` are those that are signed, named in
/// lower case and in order; `payload_hash` is what stands for the body.
///
/// Total: whatever the bytes, it gives a text and never panics. An escape that is none (`%zz`) stands for itself.
#[must_use]
pub fn canonical_request(
    method: &str,
    target: &str,
    headers: &[(&str, &[u8])],
    payload_hash: &str,
) -> Vec<u8> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut text = Vec::with_capacity(256 + target.len() * 2);
    text.extend_from_slice(method.as_bytes());
    text.push(b'\n');
    // A slash at the end of the path in this text alone; the one that is sent does without.
    encode(&decode(path, false), true, &mut text);
    if !text.ends_with(b"/") {
        text.push(b'/');
    }
    text.push(b'\n');
    canonical_query(query, &mut text);
    text.push(b'\n');
    for (name, value) in headers {
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        text.extend_from_slice(value.trim_ascii());
        text.push(b'\n');
    }
    text.push(b'\n');
    for (number, (name, _)) in headers.iter().enumerate() {
        if number > 0 {
            text.push(b';');
        }
        text.extend_from_slice(name.as_bytes());
    }
    text.push(b'\n');
    text.extend_from_slice(payload_hash.as_bytes());
    text
}

/// A query as a signature covers it: whoever reads it after the signature was checked reads nothing else, such as another
/// order of parameters that are repeated.
#[must_use]
pub fn signed_query(query: &str) -> String {
    let mut text = Vec::with_capacity(query.len());
    canonical_query(query, &mut text);
    // Every byte that is no letter of ASCII is escaped.
    String::from_utf8(text).unwrap_or_default()
}

/// Sorted by name, then by value, of what is meant and not of how it is escaped.
fn canonical_query(query: &str, text: &mut Vec<u8>) {
    let pair = |part| {
        let (name, value) = str::split_once(part, '=').unwrap_or((part, ""));
        (decode(name, true), decode(value, true))
    };
    let mut pairs: Vec<_> = query.split('&').filter(|part| !part.is_empty()).map(pair).collect();
    pairs.sort();
    for (number, (name, value)) in pairs.iter().enumerate() {
        if number > 0 {
            text.push(b'&');
        }
        encode(name, false, text);
        text.push(b'=');
        encode(value, false, text);
    }
}

/// Undoes percent escapes; in a query `+` is a blank, as it is to the verifiers' own libraries.
fn decode(text: &str, plus: bool) -> Cow<'_, [u8]> {
    if !text.bytes().any(|byte| byte == b'%' || (plus && byte == b'+')) {
        return Cow::Borrowed(text.as_bytes());
    }
    let hex = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = match (first, after) {
            (b'%', [high, low, after @ ..]) => hex(*high).zip(hex(*low)).map(|(h, l)| (h * 16 + l, after)),
            _ => None,
        };
        let (byte, after) = escaped.unwrap_or((if plus && first == b'+' { b' ' } else { first }, after));
        bytes.push(byte);
        rest = after;
    }
    Cow::Owned(bytes)
}

/// Escapes every byte but those that never need it.
fn encode(bytes: &[u8], slashes: bool, text: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => text.push(byte),
            b'/' if slashes => text.push(byte),
            _ => text.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(target: &str) -> (String, String) {
        let text = String::from_utf8(canonical_request("GET", target, &[], "-")).unwrap();
        let mut lines = text.lines().skip(1).map(str::to_owned);
        (lines.next().unwrap(), lines.next().unwrap())
    }

    #[test]
    fn however_it_is_written_it_is_one_text() {
        for (target, path, query) in [
            ("", "/", ""),
            ("/", "/", ""),
            ("/a", "/a/", ""),
            ("/a/", "/a/", ""),
            ("/a%20b:c%7Ed", "/a%20b%3Ac~d/", ""),
            ("/%e4%zz%", "/%E4%25zz%25/", ""),
            ("/a?", "/a/", ""),
            ("/a?b", "/a/", "b="),
            ("/a?b=2&a=&b=1&", "/a/", "a=&b=1&b=2"),
            ("/a?q=a+b%2Bc=d?e", "/a/", "q=a%20b%2Bc%3Dd%3Fe"),
            ("/a?%61=1&b=%C3%A9%2f", "/a/", "a=1&b=%C3%A9%2F"),
        ] {
            assert_eq!(lines(target), (path.to_owned(), query.to_owned()), "{target}");
            let written = target.split_once('?').unwrap_or_default().1;
            assert_eq!(
                (signed_query(written).as_str(), signed_query(query).as_str()),
                (query, query),
                "{target}"
            );
        }
    }

    #[test]
    fn a_value_is_trimmed_and_may_be_any_bytes() {
        let text = canonical_request("GET", "/", &[("a", b"  \xff b\t")], "-");
        assert_eq!(text, b"GET\n/\n\na:\xff b\n\na\n-");
    }
}
