//! The signature of a message by Standard Webhooks: HMAC-SHA256 over ID, time and body, so that neither can be changed
//! and an old message cannot be sent again as a new one.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;

/// Prefix of a secret, so that people and scanners recognise it.
const PREFIX: &str = "whsec_";
/// How long a key may be, in bytes.
const LENGTH: std::ops::RangeInclusive<usize> = 24..=64;
/// Base64 whose padding may be left out.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Secret that a receiver and the gateway share. It is never shown.
#[derive(Clone)]
pub struct SigningKey(SecretSlice<u8>);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey([redacted])")
    }
}

impl SigningKey {
    /// The key in a secret as receivers have it: base64 of 24 to 64 bytes, with or without `whsec_` before it.
    ///
    /// # Errors
    /// The error, as the end of a sentence that begins with "the secret". It never contains a part of the secret.
    pub fn parse(secret: &str) -> Result<Self, &'static str> {
        let encoded = secret.strip_prefix(PREFIX).unwrap_or(secret);
        let key = LENIENT.decode(encoded).map_err(|_| "is not base64 after `whsec_`")?;
        let key = SecretSlice::from(key);
        if LENGTH.contains(&key.expose_secret().len()) {
            Ok(Self(key))
        } else {
            Err("has not 24 to 64 bytes")
        }
    }

    /// The value of `webhook-signature` for a message.
    pub(super) fn sign(&self, id: &str, unix_seconds: i64, body: &[u8]) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.0.expose_secret()) else {
            unreachable!("HMAC takes a key of any length")
        };
        mac.update(format!("{id}.{unix_seconds}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_as_the_standard_says() {
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        for secret in ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            let key = SigningKey::parse(secret).unwrap();
            let signed = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b"{\"test\": 2432232314}");
            assert_eq!(signed, expected);
            assert!(!format!("{key:?}").contains("MfKQ"));
        }
    }

    #[test]
    fn a_secret_has_its_form() {
        let of = |bytes: usize| SigningKey::parse(&format!("whsec_{}", STANDARD.encode(vec![7; bytes])));
        assert!(of(24).is_ok() && of(32).is_ok() && of(64).is_ok());
        assert!(SigningKey::parse(STANDARD.encode([7; 32]).trim_end_matches('=')).is_ok());
        assert_eq!(of(23).unwrap_err(), "has not 24 to 64 bytes");
        assert_eq!(of(65).unwrap_err(), "has not 24 to 64 bytes");
        assert!(SigningKey::parse("whsec_").is_err());
        assert!(SigningKey::parse("correct horse battery staple").is_err());
    }
}
