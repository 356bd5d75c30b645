//! Strangers who make tokens up, two hundred a second, while whoever vouches for callers is slow or hangs: those who are
//! known, and those who are new, are served (S54).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use restore_tests::issuer::{Issuer, part};
use restore_tests::{TestConfig, World, ids};
use serde_json::json;
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::auth::callers::hash;
use crate::auth::issuers::of_issuer_alone;
use crate::auth::tokens::{list, login, of_iam};

const DEADLINE: Duration = Duration::from_secs(60);
const KEY: &str = "rgk_nightly-0123456789abcdef0123456789abcdef";

/// One request from an address of its own; 0 where there was no answer.
async fn ask(api: SocketAddr, header: &str, value: &str) -> u16 {
    let asked = async {
        let socket = TcpSocket::new_v4().ok()?;
        socket.bind((Ipv4Addr::new(127, 0, 0, 2), 0).into()).ok()?;
        let socket = TokioIo::new(socket.connect(api).await.ok()?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(socket).await.ok()?;
        let connection = tokio::spawn(connection);
        let request = Request::get("/api/v1/restores").header("host", "gateway").header(header, value);
        let answer = sender.send_request(request.body(Empty::<Bytes>::new()).ok()?).await.ok()?;
        let status = answer.status().as_u16();
        let _ = answer.into_body().collect().await;
        connection.abort();
        Some(status)
    };
    tokio::time::timeout(DEADLINE, asked).await.ok().flatten().unwrap_or(0)
}

/// Two hundred a second, until it is aborted, and how many were answered with what: 401, 503, anything else.
fn flood(
    api: SocketAddr,
    header: &'static str,
    value: impl Fn(usize) -> String + Send + 'static,
) -> (JoinHandle<()>, Arc<[AtomicUsize; 3]>) {
    let answered: Arc<[AtomicUsize; 3]> = Arc::default();
    let counted = Arc::clone(&answered);
    let flood = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        for number in 0.. {
            tick.tick().await;
            let (value, counted) = (value(number), Arc::clone(&counted));
            tokio::spawn(async move {
                let place = match ask(api, header, &value).await {
                    401 => 0,
                    503 => 1,
                    _ => 2,
                };
                counted[place].fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    (flood, answered)
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds().await {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s54_tokens_that_are_made_up_keep_no_good_one_from_iam() {
    let world = World::with(of_iam("domains = [\"OTC00000000001000012345\"]")).await;
    let known = login(&world, ids::PROJECT).await;
    assert_eq!(list(&world, &[("x-auth-token", &known)]).await.status, 200);
    let mut new = Vec::new();
    for _ in 0..6 {
        new.push(login(&world, ids::PROJECT).await);
    }
    world
        .faults(
            json!([{"match": {"method": "GET", "path": "*/v3/auth/tokens*"}, "times": 0, "delay_ms": 500}]),
        )
        .await;
    let api = world.gateway.api();
    let (flood, answered) = flood(api, "x-auth-token", |number| format!("made-up-{number}"));
    // So many that there is no room for more of them.
    until("some are turned away", async || answered[1].load(Ordering::SeqCst) > 300).await;
    for token in &new {
        for token in [token, &known] {
            let answer = list(&world, &[("x-auth-token", token)]).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    }
    until("some are found out", async || answered[0].load(Ordering::SeqCst) > 0).await;
    assert_eq!(answered[2].load(Ordering::SeqCst), 0, "strangers are refused, or told to come later");
    flood.abort();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s54_unknown_keys_and_an_issuer_that_hangs_take_no_place_of_others() {
    let issuer = Issuer::start().await;
    let callers = format!(
        r#"
{}
[[callers]]
name = "keyed"
type = "api-key"
key_hash = "{}"
[[policies]]
callers = ["keyed"]
actions = ["read"]
"#,
        of_issuer_alone(&issuer),
        hash(KEY)
    );
    issuer.hang(true);
    let world = World::with(TestConfig::default().set("limits.max_in_flight", "8").and(&callers)).await;
    let api = world.gateway.api();
    let claims = part(&issuer.claims());
    let (flood, answered) = flood(api, "authorization", move |number| {
        let head = part(&json!({"alg": "ES256", "typ": "JWT", "kid": format!("made-up-{number}")}));
        format!("Bearer {head}.{claims}.{}", "A".repeat(86))
    });
    until("the keys are asked for", async || issuer.asked() > 0).await;
    until("some are turned away", async || answered[1].load(Ordering::SeqCst) > 100).await;
    let keyed = async || {
        for number in 0..20 {
            let answer = list(&world, &[("x-api-key", KEY)]).await;
            assert_eq!(answer.status, 200, "number {number} needs no issuer: {}", answer.text());
        }
    };
    keyed().await;

    // Once it answers, its tokens count; and when it hangs again, they go on counting, new ones too.
    issuer.hang(false);
    let token = |subject: &str| {
        let mut claims = issuer.claims();
        claims["sub"] = json!(subject);
        format!("Bearer {}", issuer.token("one", &claims))
    };
    let good = async |subject: &str| list(&world, &[("authorization", &token(subject))]).await;
    until("a good token counts", async || good("nightly").await.status == 200).await;
    issuer.hang(true);
    let before = issuer.asked();
    until("the keys are asked for again", async || issuer.asked() > before).await;
    let before = answered[1].load(Ordering::SeqCst);
    until("more are turned away", async || answered[1].load(Ordering::SeqCst) > before + 100).await;
    for subject in ["nightly", "new", "newer"] {
        assert_eq!(good(subject).await.status, 200, "{subject}");
        keyed().await;
    }
    assert_eq!(answered[2].load(Ordering::SeqCst), 0, "strangers are refused, or told to come later");
    flood.abort();
    issuer.hang(false);
    world.end().await;
}
