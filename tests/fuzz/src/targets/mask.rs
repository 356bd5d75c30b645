//! The mask over a caller's token in what a cloud answers. First line the token, then the answer.

use http::HeaderValue;
use restore_upstream::Token;

pub(crate) const MAX_LEN: usize = 4 * 1024;

/// What stands in place of a token.
const MASK: &[u8] = b"[redacted]";
/// Beginnings of a token that are this long are masked, too.
const ECHO: usize = 16;

pub(crate) fn run(data: &[u8]) {
    let (secret, text) = data.iter().position(|byte| *byte == b'\n').map_or((data, &[] as &[u8]), |end| {
        let (secret, text) = data.split_at(end);
        (secret, &text[1..])
    });
    let Some(token) = HeaderValue::from_bytes(secret).ok().and_then(|value| Token::from_header(&value)) else {
        return;
    };
    let secret = secret.trim_ascii();
    // Shorter ones may be a part of the words around the mask.
    assert!(own(secret) || secret.len() < ECHO || !contains(format!("{token:?}").as_bytes(), secret), "it has a way to be shown");

    let masked = token.masked(text);
    let shown = masked.as_deref().unwrap_or(text);
    assert!(own(secret) || masked.is_none() || shown != text, "replaced by itself");
    // A mask takes the place of at least one character.
    assert!(shown.len() <= text.len() * MASK.len(), "{} bytes out of {}", shown.len(), text.len());
    // A token that is made of the mask's own characters cannot be told from it.
    if own(secret) {
        return;
    }
    let echo = &secret[..secret.len().min(ECHO)];
    assert!(!contains(shown, echo), "it is shown");
    // What readers make of it: a URL's escapes, then a JSON text's. A token with their signs in it is no token of
    // any cloud, and what is then escaped cannot be told.
    if !secret.contains(&b'\\') && !secret.contains(&b'%') {
        assert!(!contains(&percent_decoded(shown), echo), "it is shown in a URL");
        assert!(!contains(&unescaped(shown), echo), "it is shown in JSON");
    }
    if let Some(again) = token.masked(shown) {
        panic!("masked twice: {:?}", String::from_utf8_lossy(&again));
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn own(secret: &[u8]) -> bool {
    secret.contains(&b'[') || secret.contains(&b']') || contains(MASK, &secret[..secret.len().min(ECHO)])
}

fn hex(digits: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u32::from_str_radix(digits, 16).ok()
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    decoded(text, |rest| match rest {
        [b'%', a, b, ..] => hex(&[*a, *b]).map(|byte| (3, byte)),
        _ => None,
    })
}

fn unescaped(text: &[u8]) -> Vec<u8> {
    decoded(text, |rest| match rest {
        [b'\\', b'u', a, b, c, d, ..] => hex(&[*a, *b, *c, *d]).map(|unit| (6, unit)),
        [b'\\', b'b' | b'f' | b'n' | b'r' | b't', ..] => Some((2, 0)),
        [b'\\', other, ..] => Some((2, u32::from(*other))),
        _ => None,
    })
}

/// Escapes replaced; what is no byte becomes 0, which no token holds.
fn decoded(text: &[u8], escape: impl Fn(&[u8]) -> Option<(usize, u32)>) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let (length, value) = escape(&text[at..]).unwrap_or((1, u32::from(text[at])));
        decoded.push(u8::try_from(value).unwrap_or(0));
        at += length;
    }
    decoded
}
