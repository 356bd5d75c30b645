//! What proves that a call was not applied, on real sockets: the ground on which a restore may be
//! sent again (invariant I2).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::HeaderValue;
use restore_generations::{Call, Known};
use restore_model::{Problem, Proof, RestoreRequest};
use restore_upstream::{FaultKind, Journal, Options, Token, Upstream, With};

fn options(endpoint: &str) -> Options {
    Options {
        connect: Duration::from_secs(2),
        breaker_threshold: 0,
        retry_after_cap: Duration::from_secs(1),
        ..Options::to("test", endpoint.parse().expect("test setup"))
    }
}

fn upstream(endpoint: &str) -> Upstream {
    Upstream::new(options(endpoint), restore_generations::by_name("vbs-v2").expect("test setup"))
        .expect("test setup")
}

fn request() -> RestoreRequest {
    serde_json::from_value(serde_json::json!({
        "project_id": "0a1b2c3d4e5f60718293a4b5c6d7e8f9",
        "source": {"backup_id": "b1"},
        "target": {"type": "volume", "volume_id": "v1"},
    }))
    .expect("test setup")
}

fn restore_call(upstream: &Upstream) -> Call {
    upstream.generation().encode(&request(), &Known::default()).expect("test setup").call
}

fn token() -> Option<Token> {
    Token::from_header(&HeaderValue::from_static("a-token-of-some-length"))
}

/// Counts what was written down before each repetition.
#[derive(Default)]
struct Notes {
    proofs: Mutex<Vec<Proof>>,
    closed: bool,
}

impl Journal for Notes {
    fn may_write(&self) -> Result<(), &'static str> {
        if self.closed { Err("held up for a test") } else { Ok(()) }
    }

    fn again(&self, proof: Proof, attempt: u32) -> BoxFuture<'_, Result<(), Problem>> {
        let mut proofs = self.proofs.lock().expect("test setup");
        proofs.push(proof);
        assert_eq!(attempt as usize, proofs.len() + 1);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A server on a thread of its own, outside the runtime, so that a test can let time pass without
/// the client noticing anything. Closes each connection after one answer, without saying so.
fn one_answer_per_connection(requests: Arc<AtomicU32>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("test setup");
    let address = listener.local_addr().expect("test setup");
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.expect("test setup");
            let mut buffer = [0; 4096];
            let mut head = Vec::new();
            while !head.windows(4).any(|window| window == b"\r\n\r\n") {
                match socket.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => head.extend_from_slice(&buffer[..count]),
                }
            }
            if head.is_empty() {
                continue;
            }
            requests.fetch_add(1, Ordering::SeqCst);
            let body = r#"{"job_id": "j1"}"#;
            let _ = write!(socket, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    address
}

/// F16. The peer closes each connection right after its answer, so that now and then the client
/// hands a request to a connection that turns out to be dead before a byte is written. Whatever the
/// race brings, the peer sees each restore once; and the proof comes about.
#[tokio::test(flavor = "current_thread")]
async fn a_dead_idle_connection_proves_that_nothing_was_written() {
    let requests = Arc::new(AtomicU32::new(0));
    let address = one_answer_per_connection(Arc::clone(&requests));
    let upstream = upstream(&format!("http://{address}"));
    let end = std::time::Instant::now() + Duration::from_secs(120);
    for round in 0_u64.. {
        assert!(
            std::time::Instant::now() < end,
            "the proof never came about: does the client still tell it?"
        );
        // Sweeps over the moments at which the connection may be found dead.
        std::thread::sleep(Duration::from_micros(round % 16 * 10));
        let before = requests.load(Ordering::SeqCst);
        let notes = Arc::new(Notes::default());
        let with =
            With { token: token(), journal: Some(Arc::clone(&notes) as Arc<dyn Journal>), ..With::default() };
        match upstream.send(&restore_call(&upstream), with).await {
            Ok(reply) => {
                assert_eq!(reply.status, 200);
                assert_eq!(requests.load(Ordering::SeqCst), before + 1, "the peer sees a restore once");
            }
            // The request was on its way when the connection died: no proof, and no second send.
            Err(fault) => assert_eq!((fault.kind, fault.proof), (FaultKind::Broken, None), "{fault}"),
        }
        if notes.proofs.lock().unwrap().contains(&Proof::NeverWritten) {
            return;
        }
    }
}

/// F13: refused and unresolvable are tried again within bounds, and end with proof.
#[tokio::test]
async fn no_connection_is_proof_and_is_tried_three_times() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for endpoint in [format!("http://{closed}"), "http://no-such-host.invalid".to_owned()] {
        let upstream = upstream(&endpoint);
        let notes = Arc::new(Notes::default());
        let with =
            With { token: token(), journal: Some(Arc::clone(&notes) as Arc<dyn Journal>), ..With::default() };
        let fault = upstream.send(&restore_call(&upstream), with).await.unwrap_err();
        assert_eq!(
            (fault.kind, fault.proof),
            (FaultKind::Connect, Some(Proof::NotConnected)),
            "{endpoint}: {fault}"
        );
        assert_eq!(notes.proofs.lock().unwrap().len(), 2, "{endpoint}: three sends");
    }
}

/// F13: a certificate does not mend itself; no second try.
#[tokio::test]
async fn a_refused_certificate_is_proof_and_is_not_tried_again() {
    use tokio_rustls::rustls::{self, ServerConfig};
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let shakes = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&shakes);
    tokio::spawn(async move {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        while let Ok((socket, _)) = listener.accept().await {
            seen.fetch_add(1, Ordering::SeqCst);
            let _ = acceptor.accept(socket).await;
        }
    });

    // Roots are needed for the client to be built at all; this one signs nothing here.
    let root = rcgen::generate_simple_self_signed(vec!["elsewhere".to_owned()]).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), root.cert.pem()).unwrap();
    let options =
        Options { ca_file: Some(file.path().into()), ..options(&format!("https://localhost:{port}")) };
    let upstream = Upstream::new(options, restore_generations::by_name("vbs-v2").unwrap()).unwrap();
    let notes = Arc::new(Notes::default());
    let with =
        With { token: token(), journal: Some(Arc::clone(&notes) as Arc<dyn Journal>), ..With::default() };
    let fault = upstream.send(&restore_call(&upstream), with).await.unwrap_err();
    assert_eq!((fault.kind, fault.proof), (FaultKind::Tls, Some(Proof::TlsFailed)), "{fault}");
    assert_eq!(fault.to_problem().code, restore_model::Code::UpstreamTls);
    assert!(notes.proofs.lock().unwrap().is_empty());
    assert_eq!(shakes.load(Ordering::SeqCst), 1);
}

/// A peer that accepts and then says nothing during the handshake is known not to have got anything.
#[tokio::test]
async fn a_silent_handshake_is_proof() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().collect::<Vec<_>>());
    let root = rcgen::generate_simple_self_signed(vec!["elsewhere".to_owned()]).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), root.cert.pem()).unwrap();
    let options = Options {
        ca_file: Some(file.path().into()),
        connect: Duration::from_millis(300),
        sends: 1,
        ..options(&format!("https://localhost:{port}"))
    };
    let upstream = Upstream::new(options, restore_generations::by_name("vbs-v2").unwrap()).unwrap();
    let with = With { token: token(), ..With::default() };
    let fault = upstream.send(&restore_call(&upstream), with).await.unwrap_err();
    assert_eq!(fault.proof, Some(Proof::NotConnected), "{fault}");
}

/// F12, I11: whoever may no longer send when the connection stands writes not one byte, and knows it.
#[tokio::test]
async fn a_closed_gate_keeps_every_byte_back_and_is_proof() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let heard = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let upstream = upstream(&format!("http://{address}"));
    let notes = Arc::new(Notes { closed: true, ..Notes::default() });
    let with =
        With { token: token(), journal: Some(Arc::clone(&notes) as Arc<dyn Journal>), ..With::default() };
    let fault = upstream.send(&restore_call(&upstream), with).await.unwrap_err();
    assert_eq!((fault.kind, fault.proof), (FaultKind::Withheld, Some(Proof::NeverWritten)), "{fault}");
    assert_eq!(fault.to_problem().code, restore_model::Code::SendWindowMissed);
    assert!(notes.proofs.lock().unwrap().is_empty(), "it is not tried again");
    assert_eq!(String::from_utf8_lossy(&heard.join().unwrap()), "", "the peer heard nothing");
}
