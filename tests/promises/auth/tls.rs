//! TLS for those who call the gateway: who is let in by a certificate, and what rotates.

use std::os::unix::fs::PermissionsExt;

use http::Method;
use restore_tests::authority::{Holder, Signed};
use restore_tests::{Answer, Authority, Http, TestConfig, World};
use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::auth::callers::hash;

const BOTH: [&rustls::SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
const KEY: &str = "rgk_0123456789abcdef0123456789abcdef";

/// TLS on both listeners, one caller with a certificate and one with a key.
fn config(more: &str) -> TestConfig {
    config_on("api", more)
}

fn config_on(listeners: &str, more: &str) -> TestConfig {
    TestConfig::default().and(&format!(
        r#"
[tls]
certificate_file = "tls.crt"
key = {{ file = "tls.key" }}
client_ca_file = "clients.crt"
listeners = ["{listeners}"]
{more}
[[callers]]
name = "nightly"
type = "mtls"
subject_alt_names = ["uri:spiffe://example/nightly"]
subjects = ["CN=by subject"]
[[callers]]
name = "keyed"
type = "api-key"
key_hash = "{}"
[[policies]]
callers = ["nightly", "keyed"]
actions = ["restore", "read"]
"#,
        hash(KEY)
    ))
}

struct Names {
    servers: Authority,
    clients: Authority,
}

impl Names {
    fn new() -> Self {
        Self { servers: Authority::new(), clients: Authority::new() }
    }

    /// A gateway with these files beside it.
    async fn world(&self, config: TestConfig, more: &[(&str, &str)]) -> World {
        let server = self.servers.server(1);
        let authority = self.clients.pem();
        let mut files = vec![
            ("tls.crt", server.certificate.as_str()),
            ("tls.key", server.key.as_str()),
            ("clients.crt", authority.as_str()),
        ];
        files.extend_from_slice(more);
        World::serve_beside(config, &[], &files).await
    }

    fn client(&self, signed: Option<&Signed>) -> Http {
        Http::over(self.servers.trusted_by(signed, &BOTH), true)
    }
}

async fn list(world: &World, http: &Http, headers: &[(&str, &str)]) -> Result<Answer, String> {
    let url = format!("https://localhost:{}/api/v1/restores", world.gateway.api().port());
    http.try_send(Method::GET, &url, headers, "").await
}

fn holder<'a>(name: &'a str, uris: &'a [&'a str], serial: u64) -> Holder<'a> {
    Holder { name, uris, serial, ..Holder::default() }
}

const NIGHTLY: &[&str] = &["spiffe://example/nightly"];

#[tokio::test]
async fn s28_a_certificate_lets_in_whom_it_names() {
    let names = Names::new();
    let revoked = names.clients.client(&holder("x", NIGHTLY, 7));
    let lists = names.clients.revoked(&[&revoked]);
    let world = names.world(config("client_crl_file = \"clients.crl\""), &[("clients.crl", &lists)]).await;

    let by_name = names.clients.client(&holder("x", NIGHTLY, 8));
    let by_subject = names.clients.client(&holder("by subject", &[], 9));
    for known in [&by_name, &by_subject] {
        let answer = list(&world, &names.client(Some(known)), &[]).await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    // Signed by the right authority, and nobody we know.
    let stranger = names.clients.client(&holder("stranger", &["spiffe://example/nightly/more"], 10));
    let answer = list(&world, &names.client(Some(&stranger)), &[]).await.expect("an answer");
    assert_eq!((answer.status, &answer.json()["code"]), (401, &json!("unauthenticated")));
    // None at all: a key still counts, nothing does not.
    let bare = names.client(None);
    assert_eq!(list(&world, &bare, &[("x-api-key", KEY)]).await.expect("an answer").status, 200);
    assert_eq!(list(&world, &bare, &[]).await.expect("an answer").status, 401);
    // A key that is wrong is not made good by a certificate.
    let both = list(&world, &names.client(Some(&by_name)), &[("x-api-key", "wrong")]).await;
    assert_eq!(both.expect("an answer").status, 401);

    // No connection for who is signed by somebody else, has run out or was withdrawn.
    let other = Authority::new().client(&holder("by subject", NIGHTLY, 11));
    let old = names.clients.client(&Holder { expired: true, ..holder("by subject", NIGHTLY, 12) });
    for refused in [&other, &old, &revoked] {
        let refused = list(&world, &names.client(Some(refused)), &[]).await;
        assert!(refused.is_err(), "{:?}", refused.map(|answer| answer.status));
    }
    // The gateway goes on.
    assert_eq!(list(&world, &names.client(Some(&by_name)), &[]).await.expect("an answer").status, 200);
    world.end().await;
}

/// A session that is taken up again shows no certificate anew; whose it was is known all the same.
#[tokio::test]
async fn s28_a_session_that_is_resumed_is_still_somebodys() {
    let names = Names::new();
    let world = names.world(config(""), &[]).await;
    let http = names.client(Some(&names.clients.client(&holder("x", NIGHTLY, 8))));
    for _ in 0..3 {
        let answer = list(&world, &http, &[("connection", "close")]).await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    world.end().await;
}

#[tokio::test]
async fn s28_where_a_certificate_is_required_nobody_connects_without() {
    let names = Names::new();
    let world = names.world(config("client_auth = \"required\""), &[]).await;
    assert!(list(&world, &names.client(None), &[("x-api-key", KEY)]).await.is_err());
    let known = names.clients.client(&holder("x", NIGHTLY, 2));
    assert_eq!(list(&world, &names.client(Some(&known)), &[]).await.expect("an answer").status, 200);
    world.end().await;
}

#[tokio::test]
async fn tls_is_1_2_or_1_3_with_http_2_and_nothing_less() {
    let names = Names::new();
    let world = names.world(config(""), &[]).await;
    for version in BOTH {
        for http2 in [false, true] {
            let http = Http::over(names.servers.trusted_by(None, &[version]), http2);
            let answer = list(&world, &http, &[("x-api-key", KEY)]).await.expect("an answer");
            assert_eq!((answer.status, answer.http2), (200, http2), "{version:?}");
        }
    }
    // Clear text to a port that speaks TLS, and a client that does not trust it.
    let clear = world.http.try_send(Method::GET, &world.url("/api/v1/restores"), &[], "").await;
    assert!(clear.is_err());
    let distrusting = Http::over(Authority::new().trusted_by(None, &BOTH), true);
    assert!(list(&world, &distrusting, &[("x-api-key", KEY)]).await.is_err());
    // A handshake of TLS 1.1 gets a fatal alert (handshake_failure or protocol_version) and no session.
    let mut old = tokio::net::TcpStream::connect(world.gateway.api()).await.expect("a connection");
    old.write_all(&hello_of_tls11()).await.expect("it is sent");
    let mut answer = Vec::new();
    let _ = old.read_to_end(&mut answer).await;
    assert!(matches!(answer[..], [21, 3, _, 0, 2, 2, 40 | 70]), "{answer:?}");
    world.end().await;
}

/// The first message of a client that speaks TLS 1.1 and nothing newer (RFC 4346, 7.4.1.2).
fn hello_of_tls11() -> Vec<u8> {
    let mut body = vec![3, 2];
    body.extend([7; 32]); // random
    body.push(0); // no session
    body.extend([0, 4, 0xc0, 0x13, 0xc0, 0x14]); // two suites of its time
    body.extend([1, 0]); // no compression
    let length = |of: &[u8]| u8::try_from(of.len()).expect("a short message");
    let mut handshake = vec![1, 0, 0, length(&body)];
    handshake.extend(body);
    let mut record = vec![22, 3, 1, 0, length(&handshake)];
    record.extend(handshake);
    record
}

#[tokio::test]
async fn s26_a_certificate_is_rotated_without_a_restart() {
    let names = Names::new();
    let world = names.world(config(""), &[]).await;
    let folder = world.process().folder().to_owned();
    let write = |name: &str, text: &str| write(&folder.join(name), text);
    let moved = Authority::new();
    let after = Http::over(moved.trusted_by(None, &BOTH), true);
    let before = names.client(None);
    assert_eq!(list(&world, &before, &[("x-api-key", KEY)]).await.expect("an answer").status, 200);
    assert!(list(&world, &after, &[("x-api-key", KEY)]).await.is_err());

    // What cannot be used changes nothing.
    write("tls.crt", "no certificate");
    let failed = "restore_gateway_file_reloads";
    until(&world, failed, |page| page.lines().any(|line| line.contains("rejected") && line.ends_with(" 1")))
        .await;
    assert_eq!(
        list(&world, &names.client(None), &[("x-api-key", KEY)]).await.expect("an answer").status,
        200
    );

    let new = moved.server(2);
    write("tls.key", &new.key);
    write("tls.crt", &new.certificate);
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    while list(&world, &after, &[("x-api-key", KEY)]).await.is_err() {
        assert!(tokio::time::Instant::now() < end, "it is in use within a minute");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    // A connection that stands goes on; a new one gets the new certificate.
    assert_eq!(list(&world, &before, &[("x-api-key", KEY)]).await.expect("an answer").status, 200);
    assert!(list(&world, &names.client(None), &[("x-api-key", KEY)]).await.is_err());
    world.end().await;
}

fn write(path: &std::path::Path, text: &str) {
    std::fs::write(path, text).expect("it is written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("and kept");
}

/// Waits until a client with a certificate gets no answer any more, on the connection that it has either.
async fn left(world: &World, client: &Http) {
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    while list(world, client, &[]).await.is_ok() {
        assert!(tokio::time::Instant::now() < end, "a connection outlives the trust in its certificate");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

const CRL: &str = "client_crl_file = \"clients.crl\"";
const EXPIRED_CRL: &str = "client_crl_file = \"clients.crl\"\nallow_expired_crl = true";

#[tokio::test]
async fn s55_client_certificates_are_refused_once_their_revocation_list_is_past_its_date() {
    let names = Names::new();
    let until_then = restore_tests::issuer::now() + 12;
    let lists = names.clients.revoked_until(&[], until_then);
    let mut world = names.world(config(CRL), &[("clients.crl", &lists)]).await;
    let file = world.process().folder().join("clients.crl");
    let known = names.clients.client(&holder("x", NIGHTLY, 8));
    let with_certificate = async |world: &World| list(world, &names.client(Some(&known)), &[]).await;
    let crl = async |world: &World| world.admin("/readyz").await.json()["client_crl"].clone();
    assert_eq!(with_certificate(&world).await.expect("an answer").status, 200);
    assert_eq!(crl(&world).await, json!({"current": true, "why": null}));
    let standing = names.client(Some(&known));
    assert_eq!(list(&world, &standing, &[]).await.expect("an answer").status, 200);

    // Away while it is in force: what was read goes on counting, to its date and not beyond.
    std::fs::remove_file(&file).expect("it was there");
    until(&world, "past its date", |page| page.contains("\nrestore_gateway_tls_crl_current 0\n")).await;
    assert!(with_certificate(&world).await.is_err(), "nobody knows whether it was withdrawn");
    left(&world, &standing).await;
    let told = crl(&world).await;
    assert_eq!(told["current"], false);
    assert!(told["why"].as_str().is_some_and(|why| why.contains("CN=authority of a test")), "{told}");
    let bare = list(&world, &names.client(None), &[("x-api-key", KEY)]).await;
    assert_eq!(bare.expect("others are served").status, 200);

    // An old one is not taken either; a new one is.
    write(&file, &names.clients.revoked_until(&[], until_then - 60));
    until(&world, "rejected", |page| {
        page.lines()
            .any(|line| line.contains("file_reloads") && line.contains("rejected") && line.ends_with(" 2"))
    })
    .await;
    assert!(with_certificate(&world).await.is_err());
    let withdrawn = names.clients.client(&holder("x", NIGHTLY, 9));
    write(&file, &names.clients.revoked(&[]));
    until(&world, "in force", |page| page.contains("\nrestore_gateway_tls_crl_current 1\n")).await;
    let standing = names.client(Some(&withdrawn));
    assert_eq!(list(&world, &standing, &[]).await.expect("an answer").status, 200);
    write(&file, &names.clients.revoked(&[&withdrawn]));
    left(&world, &standing).await;
    assert_eq!(with_certificate(&world).await.expect("an answer").status, 200);
    assert!(list(&world, &names.client(Some(&withdrawn)), &[]).await.is_err());
    assert_eq!(crl(&world).await, json!({"current": true, "why": null}));
    let (_, log, _folder) = world.ended_by("TERM").await;
    for line in ["client certificates of its issuer are rejected", "tls.client_crl_file is up to date again"]
    {
        assert!(log.contains(line), "{line}: {log}");
    }
    world.end().await;
}

#[tokio::test]
async fn s55_a_revocation_list_past_its_date_is_refused_unless_it_is_meant() {
    let names = Names::new();
    let lists = names.clients.revoked_until(&[], restore_tests::issuer::now() - 60);
    let mut world = names.world(config(EXPIRED_CRL), &[("clients.crl", &lists)]).await;
    let known = names.clients.client(&holder("x", NIGHTLY, 8));
    let answer = list(&world, &names.client(Some(&known)), &[]).await;
    assert_eq!(answer.expect("it is meant").status, 200);
    let ready = world.admin("/readyz").await.json();
    assert_eq!(
        (&ready["dangers"][0]["key"], &ready["client_crl"]["current"]),
        (&json!("tls.allow_expired_crl"), &json!(false)),
        "{ready}"
    );
    let config = world.process().config();
    let text = std::fs::read_to_string(&config).expect("settings");
    let run = async |arguments: &[&str], text: &str| {
        let other = config.with_file_name("other.toml");
        std::fs::write(&other, text).expect("written");
        let mut command = tokio::process::Command::new(restore_tests::binary());
        command.args(arguments).arg("--config").arg(&other).current_dir(config.parent().expect("a folder"));
        let output = command.kill_on_drop(true).output();
        let output = tokio::time::timeout(std::time::Duration::from_secs(60), output).await;
        let output = output.expect("it ends").expect("it runs");
        let told = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&told).into_owned())
    };
    let (code, told) = run(&["check-config", "--offline"], &text).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("warning[revocation-expired]: tls.allow_expired_crl"), "{told}");

    let (_, log, _folder) = world.ended_by("TERM").await;
    for line in ["configuration disables a protection", "revoked client certificates may be accepted"] {
        assert!(log.contains(line), "{line}: {log}");
    }

    let strict = text.replace("allow_expired_crl = true\n", "");
    for (arguments, wanted) in [(&["check-config", "--offline"] as &[_], 78), (&["serve"], 1)] {
        let (code, told) = run(arguments, &strict).await;
        assert_eq!(code, Some(wanted), "{arguments:?}: {told}");
        for words in ["tls.client_crl_file clients.crl", "counted until", "tls.allow_expired_crl"] {
            assert!(told.contains(words), "{words}: {told}");
        }
    }
    // Away at the start is no list at all, and no reason to let everybody in.
    std::fs::remove_file(config.with_file_name("clients.crl")).expect("it was there");
    let (code, told) = run(&["serve"], &text).await;
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("tls.client_crl_file clients.crl cannot be read"), "{told}");
    world.end().await;
}

/// Waits for a page of metrics that says so.
async fn until(world: &World, what: &str, wanted: impl Fn(&str) -> bool) {
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let page = world.admin("/metrics").await.text();
        if wanted(&page) {
            return;
        }
        assert!(tokio::time::Instant::now() < end, "{what}: {page}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn s20_the_admin_listener_can_speak_tls_and_the_command_line_with_it() {
    let names = Names::new();
    let config = config_on("api\", \"admin", "").and(&format!(
        "[[callers]]\nname = \"operator\"\ntype = \"api-key\"\nlisteners = [\"admin\"]\nkey_hash = \"{}\"\n\
         [[policies]]\ncallers = [\"operator\"]\nactions = [\"read-any\", \"resolve\"]\n",
        hash("rgk_operator")
    ));
    let world = names.world(config, &[]).await;
    let ca = world.process().folder().join("servers.crt");
    std::fs::write(&ca, names.servers.pem()).expect("it is written");
    let admin = format!("https://localhost:{}", world.gateway.admin().port());
    let say = |key: Option<&'static str>| {
        let mut command = tokio::process::Command::new(restore_tests::binary());
        command.args(["restore", "triage", "--admin-url", &admin, "--ca-file"]).arg(&ca);
        command.env_remove("RESTORE_CLIENT_API_KEY");
        if let Some(key) = key {
            command.env("RESTORE_CLIENT_API_KEY", key);
        }
        async move { command.output().await.expect("it runs") }
    };
    let known = say(Some("rgk_operator")).await;
    assert!(known.status.success(), "{}", String::from_utf8_lossy(&known.stderr));
    let shown: Value = serde_json::from_slice(&known.stdout).expect("JSON");
    assert_eq!(shown["needs_operator"], json!([]));
    let unknown = say(None).await;
    assert_eq!(unknown.status.code(), Some(3), "{}", String::from_utf8_lossy(&unknown.stderr));
    world.end().await;
}
