//! TLS to an upstream (S27): who cannot prove its name gets neither token nor restore.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use restore_tests::{TestConfig, World, requests};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca() -> Ca {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
}

/// The name and the validity of a server's certificate.
struct Server {
    name: &'static str,
    expired: bool,
}

/// A TLS server in front of `clouds`, and how many handshakes it finished.
async fn front(ca: &Ca, server: Server, clouds: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    front_for(ca, server, clouds, None).await
}

/// The same; with `clients`, for those alone who show a certificate of it.
async fn front_for(
    ca: &Ca,
    server: Server,
    clouds: SocketAddr,
    clients: Option<&Ca>,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![server.name.to_owned()]).expect("parameters");
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(if server.expired { 2021 } else { 2090 }, 1, 1);
    let certificate = params.signed_by(&key, ca).expect("a certificate");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = match clients {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(clients) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(clients.der().clone()).expect("a root");
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .expect("a verifier")
        }
    };
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a configuration");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, counted) = (acceptor.clone(), Arc::clone(&counted));
            tokio::spawn(async move {
                let Ok(mut outside) = acceptor.accept(socket).await else { return };
                counted.fetch_add(1, Ordering::SeqCst);
                let Ok(mut inside) = TcpStream::connect(clouds).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
            });
        }
    });
    (addr, count)
}

/// A gateway whose upstream of `generation` is `https` and trusts `ca` besides the system's roots.
async fn world(
    generation: &str,
    baseline: bool,
    trusted: &Ca,
    addr: SocketAddr,
) -> (World, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, trusted.pem()).expect("the certificate is written");
    let routes = format!(
        "[[upstreams]]\nname = \"u\"\ngeneration = \"{generation}\"\nendpoint = \"https://localhost:{}{}\"\nca_file = {:?}\n\
         [[routes]]\nupstream = \"u\"\nbaseline_read = {baseline}\n",
        addr.port(),
        if generation == "vbs-v2" { "/vbs" } else { "" },
        file.display().to_string(),
    );
    let world = World::with(TestConfig::default().routes(&routes)).await;
    (world, folder)
}

#[tokio::test]
async fn s27_a_certificate_that_is_not_trusted_is_a_refusal_and_nothing_is_sent() {
    let (ours, other) = (ca(), ca());
    let clouds = restore_tests::world::clouds().await;
    for (what, signer, server) in [
        ("another authority", &other, Server { name: "localhost", expired: false }),
        ("another name", &ours, Server { name: "cbr.example", expired: false }),
        ("no longer valid", &ours, Server { name: "localhost", expired: true }),
    ] {
        let (addr, handshakes) = front(signer, server, clouds.addr()).await;
        for (generation, request, baseline) in [
            ("cbr-v3", requests::cbr_server(), false),
            ("cbr-v3", requests::cbr_server(), true),
            ("csbs-v1", requests::csbs_server(), true),
            ("vbs-v2", requests::free_disk(), true),
        ] {
            let (world, _folder) = world(generation, baseline, &ours, addr).await;
            let answer = world.submit(&request).await;
            let problem = answer.json();
            let what = format!("{what} {generation} {baseline}: {problem}");
            assert_eq!((answer.status, problem["code"].as_str()), (502, Some("upstream_tls")), "{what}");
            assert_eq!(
                (problem["effect"].as_str(), problem["retry"].as_str()),
                (Some("none"), Some("never")),
                "{what}"
            );
            let restore = world.get(problem["restore"].as_str().expect("a link")).await.json();
            assert_eq!(restore["status"], "rejected", "{what}");
            assert!(restore["attempts"].as_u64() <= Some(1), "a certificate does not mend itself: {what}");
            world.end().await;
        }
        assert_eq!(handshakes.load(Ordering::SeqCst), 0, "{what}: a handshake was finished");
    }
    clouds.stop().await;
}

#[tokio::test]
async fn s27_with_its_authority_in_ca_file_the_same_upstream_is_good() {
    let ours = ca();
    let clouds = restore_tests::world::clouds().await;
    let (addr, _) = front(&ours, Server { name: "localhost", expired: false }, clouds.addr()).await;
    for (generation, request) in [("cbr-v3", requests::cbr_server()), ("vbs-v2", requests::free_disk())] {
        let (world, _folder) = world(generation, true, &ours, addr).await;
        let answer = world.submit(&request).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        let restore: Value = answer.json();
        world.until_status(restore["id"].as_str().expect("an id"), "succeeded").await;
        world.end().await;
    }
    clouds.stop().await;
}

/// S26: whoever is trusted changes with the file, and a file that is none changes nothing.
#[tokio::test]
async fn s26_changed_authorities_in_a_file_are_used() {
    let (ours, other) = (ca(), ca());
    let clouds = restore_tests::world::clouds().await;
    let (addr, _) = front(&ours, Server { name: "localhost", expired: false }, clouds.addr()).await;
    let routes = format!(
        "[[upstreams]]\nname = \"u\"\ngeneration = \"cbr-v3\"\nendpoint = \"https://localhost:{}\"\nca_file = \"ca.pem\"\n\
         [[routes]]\nupstream = \"u\"\n",
        addr.port(),
    );
    let config = TestConfig::default().routes(&routes);
    let world = World::serve_beside(config, &[], &[("ca.pem", other.pem().as_str())]).await;
    let file = world.process().folder().join("ca.pem");
    let url = world.url("/api/v1/restore-checks");
    let headers = [("content-type", "application/json"), ("x-auth-token", restore_tests::ids::TOKEN)];
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    for (text, seen) in [(other.pem(), false), (ours.pem(), true), ("no authority".to_owned(), true)] {
        std::fs::write(&file, &text).expect("a file");
        let told = world.reload().await;
        assert_eq!(told.status, if text.starts_with("no") { 422 } else { 200 }, "{}", told.text());
        let check =
            world.http.send(http::Method::POST, &url, &headers, requests::cbr_server().to_string()).await;
        assert_eq!(!check.json()["backup"].is_null(), seen, "{}", check.text());
    }
    // By itself as well.
    std::fs::write(&file, other.pem()).expect("a file");
    loop {
        let check =
            world.http.send(http::Method::POST, &url, &headers, requests::cbr_server().to_string()).await;
        if check.text().contains("invalid peer certificate") {
            break;
        }
        assert!(tokio::time::Instant::now() < end, "the file was not looked at: {}", check.text());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    world.end().await;
    clouds.stop().await;
}

/// A certificate of a client and its key, PEM.
fn client(ca: &Ca) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["gateway".to_owned()]).expect("parameters");
    (params.signed_by(&key, ca).expect("a certificate").pem(), key.serialize_pem())
}

#[tokio::test]
async fn an_upstream_that_wants_a_certificate_is_shown_it_and_the_rotated_one() {
    let (ours, theirs, other) = (ca(), ca(), ca());
    let clouds = restore_tests::world::clouds().await;
    let server = Server { name: "localhost", expired: false };
    let (addr, handshakes) = front_for(&ours, server, clouds.addr(), Some(&theirs)).await;
    let routes = format!(
        "[[upstreams]]\nname = \"u\"\ngeneration = \"cbr-v3\"\nendpoint = \"https://localhost:{}\"\nca_file = \"ca.pem\"\n\
         client_certificate_file = \"gateway.pem\"\nclient_key = {{ file = \"gateway.key\" }}\n[[routes]]\nupstream = \"u\"\n",
        addr.port(),
    );
    let (certificate, key) = client(&other);
    let (root, config) = (ours.pem(), TestConfig::default().routes(&routes));
    let beside = [("ca.pem", root.as_str()), ("gateway.pem", &certificate), ("gateway.key", &key)];
    let world = World::serve_beside(config, &[], &beside).await;
    // Only reads: whether the refusal or the end of the connection is seen first is chance.
    let url = world.url("/api/v1/restore-checks");
    let headers = [("content-type", "application/json"), ("x-auth-token", restore_tests::ids::TOKEN)];
    let check = world.http.send(http::Method::POST, &url, &headers, requests::cbr_server().to_string()).await;
    assert!(!check.text().contains("\"passed\""), "{}", check.text());
    assert_eq!(handshakes.load(Ordering::SeqCst), 0, "of another authority");
    let (certificate, key) = client(&theirs);
    let folder = world.process().folder();
    std::fs::write(folder.join("gateway.pem"), certificate).expect("written");
    std::fs::write(folder.join("gateway.key"), key).expect("written");
    let taken = "restore_gateway_file_reloads_total{outcome=\"accepted\"} 1";
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    while !world.admin("/metrics").await.text().contains(taken) {
        assert!(tokio::time::Instant::now() < end, "the new certificate is not taken");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let answer = world.submit(&requests::cbr_server()).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    world.until_status(answer.json()["id"].as_str().expect("an id"), "succeeded").await;
    world.end().await;
    clouds.stop().await;
}
