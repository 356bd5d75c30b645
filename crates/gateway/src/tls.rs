//! TLS for those who call the gateway: versions 1.2 and 1.3, HTTP/2 by ALPN, client certificates
//! where the settings name who signs them. A changed certificate, key, authority or revocation list
//! is taken for new connections without a restart.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use secrecy::{ExposeSecret, SecretString};
use tokio_rustls::TlsAcceptor;

/// What a listener with TLS is given.
#[derive(Clone)]
pub(crate) struct Options {
    /// The certificate chain.
    pub(crate) certificate: PathBuf,
    /// Gives its private key, in PEM.
    pub(crate) key: Arc<dyn Fn() -> Result<SecretString, String> + Send + Sync>,
    /// Who signs client certificates; none are asked for without.
    pub(crate) client_ca: Option<PathBuf>,
    /// Which of them have been withdrawn.
    pub(crate) client_crl: Option<PathBuf>,
    /// Whether who brings none gets no connection.
    pub(crate) client_required: bool,
}

/// The TLS of one listener.
pub(crate) struct Tls {
    options: Options,
    config: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads everything once.
    ///
    /// # Errors
    /// Which file cannot be used, and why; nothing of a key.
    pub(crate) fn new(options: Options) -> Result<Self, String> {
        let config = RwLock::new(Arc::new(config(&options)?));
        Ok(Self { options, config })
    }

    /// Reads everything again; new connections use what is new. On a fault nothing changes.
    ///
    /// # Errors
    /// As [`Tls::new`].
    pub(crate) fn renew(&self) -> Result<(), String> {
        let config = Arc::new(config(&self.options)?);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// For the next connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn config(options: &Options) -> Result<ServerConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates(&options.certificate, "tls.certificate")?;
    let key = (options.key)().map_err(|why| format!("tls.key: {why}"))?;
    let key = PrivateKeyDer::from_pem_slice(key.expose_secret().as_bytes())
        .map_err(|_| "tls.key holds no private key in PEM".to_owned())?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match &options.client_ca {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(authorities, "tls.client_ca")? {
                roots
                    .add(authority)
                    .map_err(|error| format!("tls.client_ca {}: {error}", authorities.display()))?;
            }
            let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            if let Some(lists) = &options.client_crl {
                verifier = verifier.with_crls(revocations(lists)?);
            }
            if !options.client_required {
                verifier = verifier.allow_unauthenticated();
            }
            builder.with_client_cert_verifier(
                verifier.build().map_err(|error| format!("tls.client_ca: {error}"))?,
            )
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| format!("tls.certificate and tls.key do not belong together: {error}"))?;
    if options.client_ca.is_some() {
        // A session that is resumed is not checked again: who was withdrawn meanwhile would get in.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(path: &Path, key: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("{key} {shown} cannot be read: {error}"))?;
    if found.is_empty() { Err(format!("{key} {shown} holds no certificate")) } else { Ok(found) }
}

fn revocations(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let shown = path.display();
    let found = CertificateRevocationListDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("tls.client_crl {shown} cannot be read: {error}"))?;
    // An empty list of lists would silently check nothing.
    if found.is_empty() { Err(format!("tls.client_crl {shown} holds no revocation list")) } else { Ok(found) }
}
