//! A caller's token. It exists in memory only: it cannot be written, shown or compared by accident, and it is wiped
//! when its last holder drops it.

use std::sync::Arc;

use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// How much of a token an echo must share to be masked.
const ECHO_LENGTH: usize = 16;
/// Its placeholder.
const MASK: &[u8] = b"[redacted]";

/// An IAM token, as it came in `X-Auth-Token`.
#[derive(Clone)]
pub struct Token(Arc<SecretString>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token([redacted])")
    }
}

impl Token {
    /// Takes a token out of a header; `None` when it is empty or not visible ASCII.
    #[must_use]
    pub fn from_header(value: &HeaderValue) -> Option<Self> {
        let text = value.to_str().ok()?;
        (!text.trim().is_empty()).then(|| Self(Arc::new(SecretString::from(text.trim().to_owned()))))
    }

    /// True if both are the same token.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }

    /// Digest of the token, for places that must not keep the token itself.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.0.expose_secret().as_bytes()).into()
    }

    /// A number that spreads tokens, and tells nothing of this one.
    pub(crate) fn spread(&self) -> u8 {
        self.0.expose_secret().bytes().fold(0, |sum: u8, byte| sum.wrapping_mul(31).wrapping_add(byte))
    }

    /// The header it goes out in, marked so that nothing prints it.
    pub(crate) fn to_header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(self.0.expose_secret()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Replaces the token, and any beginning of it of 16 characters or more, wherever it stands in
    /// `text`, as it is or escaped as in JSON and URLs. `None` when it stands nowhere.
    #[must_use]
    pub fn masked(&self, text: &[u8]) -> Option<Vec<u8>> {
        let secret = self.0.expose_secret().as_bytes();
        let first = *secret.first()?;
        let mut masked = Vec::new();
        let mut copied = 0;
        let mut at = 0;
        while let Some(found) = memchr::memchr3(first, b'\\', b'%', &text[at..]) {
            let start = at + found;
            at = start + 1;
            let (count, length) = shared(&text[start..], secret);
            if count >= secret.len().min(ECHO_LENGTH) {
                masked.extend_from_slice(&text[copied..start]);
                masked.extend_from_slice(MASK);
                copied = start + length;
                at = copied;
            }
        }
        if copied == 0 {
            return None;
        }
        masked.extend_from_slice(&text[copied..]);
        Some(masked)
    }
}

/// How many characters of `secret` begin `text`, and in how many bytes of it they are written.
fn shared(text: &[u8], secret: &[u8]) -> (usize, usize) {
    let mut length = 0;
    for (count, byte) in secret.iter().enumerate() {
        let is_hex = |digits: &[u8]| {
            let digits = std::str::from_utf8(digits).ok();
            digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()) == Some(u32::from(*byte))
        };
        length += match &text[length..] {
            [plain, ..] if plain == byte => 1,
            [b'\\', b'u', a, b, c, d, ..] if is_hex(&[*a, *b, *c, *d]) => 6,
            [b'%', a, b, ..] if is_hex(&[*a, *b]) => 3,
            [b'\\', escaped, ..] if escaped == byte => 2,
            _ => return (count, length),
        };
    }
    (secret.len(), length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn echoes_are_masked_whole_or_cut() {
        let token =
            Token::from_header(&HeaderValue::from_static("MIIabcdefghijklmnopqrstuvwxyz0123456789+/=="))
                .unwrap();
        let masked = |text: &str| token.masked(text.as_bytes()).map(|text| String::from_utf8(text).unwrap());
        assert_eq!(
            masked("bad token MIIabcdefghijklmnopqrstuvwxyz0123456789+/== and MIIabcdefghijklmnop… again")
                .as_deref(),
            Some("bad token [redacted] and [redacted]… again")
        );
        assert_eq!(masked("nothing here, MII neither"), None);
        assert_eq!(
            masked(
                r"MI\u0049abcdefghijklmnopqrstuvwxyz0123456789\u002b\/== %4d%49Iabcdefghijklmnop%2B \ 100 %"
            )
            .as_deref(),
            Some(r"[redacted] [redacted]%2B \ 100 %")
        );
        assert!(!format!("{token:?}").contains("MII"));
    }

    #[test]
    fn a_blank_token_is_none() {
        assert!(Token::from_header(&HeaderValue::from_static("  ")).is_none());
    }
}
