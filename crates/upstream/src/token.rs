//! A caller's token. It exists in memory alone: it has no way to be written, shown or compared by
//! accident, and it is wiped when the last holder lets go of it.

use std::sync::Arc;

use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

/// How much of a token an echo must share to be masked.
const ECHO_LENGTH: usize = 16;
/// What stands in its place.
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

    /// The header it goes out in, marked so that nothing prints it.
    pub(crate) fn to_header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(self.0.expose_secret()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Replaces the token, and any beginning of it of 16 characters or more, wherever it stands in
    /// `text`. `None` when it stands nowhere.
    pub(crate) fn masked(&self, text: &[u8]) -> Option<Vec<u8>> {
        let secret = self.0.expose_secret().as_bytes();
        let start = &secret[..secret.len().min(ECHO_LENGTH)];
        let mut rest = text;
        let mut masked = Vec::new();
        while let Some(at) = memchr::memmem::find(rest, start) {
            masked.extend_from_slice(&rest[..at]);
            masked.extend_from_slice(MASK);
            rest = &rest[at..];
            let shared = rest.iter().zip(secret).take_while(|(a, b)| a == b).count();
            rest = &rest[shared..];
        }
        if masked.is_empty() {
            return None;
        }
        masked.extend_from_slice(rest);
        Some(masked)
    }
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
        assert!(!format!("{token:?}").contains("MII"));
    }

    #[test]
    fn a_blank_token_is_none() {
        assert!(Token::from_header(&HeaderValue::from_static("  ")).is_none());
    }
}
