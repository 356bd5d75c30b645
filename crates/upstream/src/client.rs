//! The hyper client at the end of the outbound stack: connections, TLS, pool. It never repeats a request by itself and
//! never follows a redirect.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioTimer;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls_platform_verifier::Verifier;
use tower::timeout::Timeout;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt};

use crate::Options;
use crate::body::GatedBody;
use crate::platform::{Spawns, Stream};

/// How long an idle connection is kept. Shorter than the idle times of common balancers (60 s), so
/// that the pool rarely holds one that the other side has closed.
const POOL_IDLE: Duration = Duration::from_secs(45);

type Connector = BoxCloneSyncService<http::Uri, Stream, BoxError>;

/// The client of one upstream.
pub type Client = legacy::Client<Connector, GatedBody>;

/// Builds the client of one upstream. Roots of trust are only loaded where an endpoint needs them.
pub(crate) fn build(options: &Options, tls: bool) -> Result<Client, String> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(options.connect));
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls_config(options, tls)?).https_or_http();
    let connector = if options.http2 {
        builder.enable_all_versions().wrap_connector(http)
    } else {
        builder.enable_http1().wrap_connector(http)
    };
    // The whole of it, TLS included; the time of the TCP connection alone would let a peer that
    // never answers the handshake hold a send until its own deadline, and that proves nothing.
    let connector = match &options.platform {
        None => Connector::new(Timeout::new(connector, options.connect).map_response(Stream::Machine)),
        Some(platform) => {
            let platform = Arc::clone(platform);
            let connector = tower::service_fn(move |to| platform.connect(to));
            Connector::new(Timeout::new(connector, options.connect).map_response(Stream::Carried))
        }
    };
    Ok(legacy::Client::builder(Spawns(options.platform.clone()))
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(options.concurrency)
        // Sends are counted and proven by the retry layer; the pool must not repeat them.
        .retry_canceled_requests(false)
        .build(connector))
}

pub(crate) fn tls_config(options: &Options, needed: bool) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    if !needed {
        return Ok(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth());
    }
    let verifier = match &options.ca_file {
        None => {
            Verifier::new(provider).map_err(|error| format!("no roots of trust on this system: {error}"))?
        }
        Some(path) => {
            let shown = path.display();
            let roots = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| format!("ca_file {shown} cannot be read: {error}"))?;
            if roots.is_empty() {
                return Err(format!("ca_file {shown} holds no certificate"));
            }
            Verifier::new_with_extra_roots(roots, provider)
                .map_err(|error| format!("ca_file {shown} cannot be used: {error}"))?
        }
    };
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    Ok(match &options.identity {
        Some(identity) => builder.with_client_cert_resolver(Arc::new(identity.clone())),
        None => builder.with_no_client_auth(),
    })
}

/// A client for the gateway's own needs (exporting telemetry): same TLS, no upstream.
///
/// # Errors
/// When TLS is needed and the roots of trust cannot be loaded.
pub fn plain_client(endpoint: &http::Uri, connect: Duration) -> Result<Client, String> {
    client_to(endpoint, connect, None)
}

/// As [`plain_client`], trusting the authorities of a PEM file besides the system's.
///
/// # Errors
/// As [`plain_client`].
pub fn client_to(
    endpoint: &http::Uri,
    connect: Duration,
    ca_file: Option<PathBuf>,
) -> Result<Client, String> {
    let options = Options { connect, concurrency: 2, ca_file, ..Options::to("", endpoint.clone()) };
    build(&options, endpoint.scheme_str() == Some("https"))
}
