//! An authority that signs certificates for one test: for servers, for clients, and against them.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

/// Signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, both PEM.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
    serial: u64,
}

/// Whose certificate it is to be.
#[derive(Clone, Debug, Default)]
pub struct Holder<'a> {
    /// Its common name.
    pub name: &'a str,
    /// Its alternative names that are URIs.
    pub uris: &'a [&'a str],
    /// Whether it has run out.
    pub expired: bool,
    /// Its number, to be revoked by.
    pub serial: u64,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// When the system gives no keys.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        Self(
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate"),
        )
    }

    /// Its own certificate, PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate of a server on loopback.
    #[must_use]
    pub fn server(&self, serial: u64) -> Signed {
        let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]);
        self.sign(params.expect("parameters"), ExtendedKeyUsagePurpose::ServerAuth, serial)
    }

    /// A certificate of a client.
    ///
    /// # Panics
    /// When a name is none.
    #[must_use]
    pub fn client(&self, holder: &Holder<'_>) -> Signed {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, holder.name);
        params.subject_alt_names =
            holder.uris.iter().map(|uri| SanType::URI((*uri).try_into().expect("a URI"))).collect();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(if holder.expired { 2021 } else { 2090 }, 1, 1);
        self.sign(params, ExtendedKeyUsagePurpose::ClientAuth, holder.serial)
    }

    fn sign(&self, mut params: CertificateParams, purpose: ExtendedKeyUsagePurpose, serial: u64) -> Signed {
        params.extended_key_usages = vec![purpose];
        params.serial_number = Some(SerialNumber::from(serial));
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Signed { certificate: certificate.pem(), key: key.serialize_pem(), serial }
    }

    /// Its revocation list, PEM, good for decades.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn revoked(&self, revoked: &[&Signed]) -> String {
        self.revoked_until(revoked, 3_786_912_000)
    }

    /// Its revocation list, PEM, good until this second since 1970.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn revoked_until(&self, revoked: &[&Signed], seconds: u64) -> String {
        let revoked = revoked.iter().map(|signed| RevokedCertParams {
            serial_number: SerialNumber::from(signed.serial),
            revocation_time: rcgen::date_time_ymd(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2021, 1, 1),
            next_update: rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).expect("a list").pem().expect("as PEM")
    }

    /// The TLS of a client that trusts this authority, with a certificate of its own or without.
    ///
    /// # Panics
    /// When a certificate cannot be read.
    #[must_use]
    pub fn trusted_by(
        &self,
        client: Option<&Signed>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("a root");
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        match client {
            None => builder.with_no_client_auth(),
            Some(signed) => {
                let chain =
                    CertificateDer::from_pem_slice(signed.certificate.as_bytes()).expect("a certificate");
                let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes()).expect("a key");
                builder.with_client_auth_cert(vec![chain], key).expect("a pair")
            }
        }
    }

    /// The TLS of a client that trusts nobody.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn nobody() -> ClientConfig {
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth()
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
