//! TLS of the listeners: versions 1.2 and 1.3, HTTP/2 by ALPN, client certificates if the configuration names their
//! authorities. A changed certificate, key, authority or revocation list applies to new connections without a restart.
//! Earlier connections with a client certificate end after their request, so a revoked caller sends nothing more.
//!
//! A revocation list has an end (`nextUpdate`). After it nobody knows the latest revocations, so the gateway rejects
//! client certificates of that issuer until the file has a newer list (S55). [`Tls::watch`] reports it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use restore_model::{Clock, Timestamp};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{RootCertStore, ServerConfig};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

/// Between two looks at the dates of revocation lists.
const LOOK: Duration = Duration::from_secs(1);

/// TLS options of a listener.
#[derive(Clone)]
pub(crate) struct Options {
    /// The certificate chain.
    pub(crate) certificate: PathBuf,
    /// Gives its private key, in PEM.
    pub(crate) key: Arc<dyn Fn() -> Result<SecretString, String> + Send + Sync>,
    /// Authorities of client certificates. Without any, the listener requests no certificate.
    pub(crate) client_ca_file: Option<PathBuf>,
    /// Which of them have been withdrawn.
    pub(crate) client_crl_file: Option<PathBuf>,
    /// True if such a list counts beyond its date.
    pub(crate) allow_expired_crl: bool,
    /// True if who brings none gets no connection.
    pub(crate) client_required: bool,
    /// Says when it is.
    pub(crate) clock: Arc<dyn Clock>,
}

/// TLS uses the clock of the gateway, so that reported dates are those that count.
struct ByClock(Arc<dyn Clock>);

impl std::fmt::Debug for ByClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ByClock")
    }
}

impl TimeProvider for ByClock {
    fn current_time(&self) -> Option<UnixTime> {
        let micros = u64::try_from(self.0.now().as_micros()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_micros(micros)))
    }
}

/// The TLS of one listener.
pub(crate) struct Tls {
    options: Options,
    made: RwLock<Made>,
    /// True while the log has said that a revocation list is past its date.
    told: AtomicBool,
    /// Changes with what client certificates are held against.
    trust: watch::Sender<()>,
}

/// Contents of the files when they were last read.
struct Made {
    config: Arc<ServerConfig>,
    lists: Vec<Dated>,
}

/// A revocation list by its issuer, and from when it no longer counts.
struct Dated {
    issuer: String,
    until: Timestamp,
}

impl Tls {
    /// Reads everything once.
    ///
    /// # Errors
    /// Which file cannot be used, and why; nothing of a key.
    pub(crate) fn new(options: Options) -> Result<Self, String> {
        let made = RwLock::new(make(&options)?);
        Ok(Self { options, made, told: AtomicBool::new(false), trust: watch::Sender::new(()) })
    }

    /// Reads everything again; new connections use what is new, and those that showed a client certificate are ended. On a
    /// fault nothing changes.
    ///
    /// # Errors
    /// As [`Tls::new`].
    pub(crate) fn renew(&self) -> Result<(), String> {
        let made = make(&self.options)?;
        *self.made.write().unwrap_or_else(PoisonError::into_inner) = made;
        self.trust.send_replace(());
        self.tell();
        Ok(())
    }

    /// For the next connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.made.read().unwrap_or_else(PoisonError::into_inner).config))
    }

    /// Changes once a client certificate that is checked from now on would have to be checked again: files were read anew, or
    /// a revocation list has gone past its date.
    pub(crate) fn trust(&self) -> watch::Receiver<()> {
        self.trust.subscribe()
    }

    /// Which revocation list is past its date, where one is.
    pub(crate) fn overdue_list(&self) -> Option<String> {
        let made = self.made.read().unwrap_or_else(PoisonError::into_inner);
        overdue(&made.lists, self.options.clock.now())
    }

    /// Tells the log of a revocation list that goes past its date while the gateway runs.
    pub(crate) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        loop {
            self.tell();
            if stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_none() {
                return;
            }
        }
    }

    /// Tells the log of a revocation list that is past its date now, and of the one that has taken its place.
    fn tell(&self) {
        let overdue = self.overdue_list();
        match (self.told.swap(overdue.is_some(), Ordering::SeqCst), overdue) {
            (false, Some(why)) if self.options.allow_expired_crl => {
                tracing::warn!(
                    why,
                    "revocation list out of date; revoked client certificates may be accepted"
                );
            }
            (false, Some(why)) => {
                self.trust.send_replace(());
                tracing::warn!(
                    why,
                    "revocation list out of date; client certificates of its issuer are rejected"
                );
            }
            (true, None) => tracing::info!("tls.client_crl_file is up to date again"),
            _ => {}
        }
    }
}

fn overdue(lists: &[Dated], now: Timestamp) -> Option<String> {
    let old = lists.iter().find(|list| list.until <= now)?;
    Some(format!("the revocation list of {} counted until {}", old.issuer, old.until))
}

fn make(options: &Options) -> Result<Made, String> {
    let mut lists = Vec::new();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates(&options.certificate, "tls.certificate_file")?;
    let key = (options.key)().map_err(|why| format!("tls.key: {why}"))?;
    let key = PrivateKeyDer::from_pem_slice(key.expose_secret().as_bytes())
        .map_err(|_| "tls.key holds no private key in PEM".to_owned())?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match &options.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(authorities, "tls.client_ca_file")? {
                roots
                    .add(authority)
                    .map_err(|error| format!("tls.client_ca_file {}: {error}", authorities.display()))?;
            }
            let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            if let Some(path) = &options.client_crl_file {
                let found = revocations(path)?;
                lists = found.iter().map(|list| dated(list)).collect::<Result<_, _>>()?;
                if !options.allow_expired_crl {
                    if let Some(why) = overdue(&lists, options.clock.now()) {
                        return Err(format!(
                            "tls.client_crl_file {}: {why}: ask its issuer for a newer one, or set \
                             tls.allow_expired_crl",
                            path.display()
                        ));
                    }
                    verifier = verifier.enforce_revocation_expiration();
                }
                verifier = verifier.with_crls(found);
            }
            if !options.client_required {
                verifier = verifier.allow_unauthenticated();
            }
            builder.with_client_cert_verifier(
                verifier.build().map_err(|error| format!("tls.client_ca_file: {error}"))?,
            )
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| format!("tls.certificate_file and tls.key do not belong together: {error}"))?;
    if options.client_ca_file.is_some() {
        // A session that is resumed is not checked again: who was withdrawn meanwhile would get in.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    config.time_provider = Arc::new(ByClock(Arc::clone(&options.clock)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Made { config: Arc::new(config), lists })
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
        .map_err(|error| format!("tls.client_crl_file {shown} cannot be read: {error}"))?;
    // An empty list of lists would silently check nothing.
    if found.is_empty() {
        Err(format!("tls.client_crl_file {shown} holds no revocation list"))
    } else {
        Ok(found)
    }
}

/// Issuer and date of a list. One without a date would count for ever.
fn dated(list: &[u8]) -> Result<Dated, String> {
    let (_, list) = CertificateRevocationList::from_der(list)
        .map_err(|_| "tls.client_crl_file: a revocation list cannot be read".to_owned())?;
    let issuer = list.issuer().to_string();
    match list.next_update() {
        Some(until) => {
            let until = Timestamp::from_micros(until.timestamp().saturating_mul(1_000_000));
            Ok(Dated { issuer, until })
        }
        None => Err(format!(
            "tls.client_crl_file: the revocation list of {issuer} does not say until when it counts"
        )),
    }
}
