//! The client certificate of the gateway, for upstreams that require one.

use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::SecretCell;

/// A certificate with its key, which may be replaced: connections that are made from then on show the new one.
#[derive(Clone, Debug)]
pub struct ClientIdentity(SecretCell<CertifiedKey>);

impl ClientIdentity {
    /// A certificate, those that issued it after it, and its key, both PEM.
    ///
    /// # Errors
    /// What is wrong, without any of the key: which of the two cannot be read, or that they do not belong together.
    pub fn from_pem(certificates: &[u8], key: &str) -> Result<Self, String> {
        read(certificates, key).map(|read| Self(SecretCell::new(read)))
    }

    /// True if somebody has another handle of it.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.0.is_shared()
    }

    /// Shows another one from now on.
    ///
    /// # Errors
    /// As [`ClientIdentity::from_pem`]; nothing is changed then.
    pub fn replace(&self, certificates: &[u8], key: &str) -> Result<(), String> {
        read(certificates, key).map(|read| self.0.replace(read))
    }
}

fn read(certificates: &[u8], key: &str) -> Result<CertifiedKey, String> {
    let chain = CertificateDer::pem_slice_iter(certificates)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("client_certificate_file cannot be read: {error}"))?;
    if chain.is_empty() {
        return Err("client_certificate_file holds no certificate".to_owned());
    }
    // What the reader says of a key may hold parts of it.
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|_| "client_key holds no key in PEM".to_owned())?;
    let provider: CryptoProvider = default_provider();
    CertifiedKey::from_der(chain, key, &provider)
        .map_err(|error| format!("client_certificate_file and client_key do not go together: {error}"))
}

impl ResolvesClientCert for ClientIdentity {
    fn resolve(&self, _issuers: &[&[u8]], schemes: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let current = self.0.current();
        current.key.choose_scheme(schemes).is_some().then_some(current)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["gateway".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_certificate_goes_with_its_key_and_is_replaced_with_it() {
        let ((certificate, key), (other, other_key)) = (made(), made());
        let identity = ClientIdentity::from_pem(certificate.as_bytes(), &key).unwrap();
        let shown = || identity.resolve(&[], &[rustls::SignatureScheme::ECDSA_NISTP256_SHA256]).unwrap();
        let first = shown();
        assert!(identity.replace(other.as_bytes(), &key).unwrap_err().contains("do not go together"));
        assert!(identity.replace(b"", &key).unwrap_err().contains("holds no certificate"));
        let nonsense = identity.replace(other.as_bytes(), "hunter2").unwrap_err();
        assert!(nonsense.contains("no key") && !nonsense.contains("hunter2"));
        assert_eq!(shown().cert, first.cert, "what cannot be used changes nothing");
        identity.replace(other.as_bytes(), &other_key).unwrap();
        assert_ne!(shown().cert, first.cert);
        assert!(!format!("{identity:?}").contains("BEGIN"));
    }
}
