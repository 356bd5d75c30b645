//! Callers that an issuer vouches for: its tokens (JWT), the keys they are checked with, and what becomes of both.

use http::Method;
use restore_tests::issuer::part;
use restore_tests::{Answer, Issuer, TestConfig, World, ids, requests};
use serde_json::{Value, json};

use crate::auth::tokens::{POLICY, list};

fn of_issuer(issuer: &Issuer) -> TestConfig {
    TestConfig::default().and(&of_issuer_alone(issuer))
}

/// The caller whom this issuer vouches for, and its policy.
pub(crate) fn of_issuer_alone(issuer: &Issuer) -> String {
    format!(
        r#"
[[callers]]
name = "them"
type = "jwt"
issuer = "https://login.example"
audience = "restore-gateway"
jwks_url = "http://{}/keys"
{POLICY}"#,
        issuer.addr
    )
}

async fn with_token(world: &World, token: &str) -> Answer {
    list(world, &[("authorization", &format!("Bearer {token}"))]).await
}

#[tokio::test]
async fn s29_a_token_counts_only_as_its_issuer_meant_it() {
    let issuer = Issuer::start().await;
    let world = World::with(of_issuer(&issuer)).await;
    let good = issuer.claims();
    assert_eq!(with_token(&world, &issuer.token("one", &good)).await.status, 200);

    let changed = |member: &str, value: Value| {
        let mut claims = good.clone();
        claims[member] = value;
        claims
    };
    let now = restore_tests::issuer::now();
    let without = |member: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(member);
        claims
    };
    let mut bad: Vec<(String, String)> = [
        ("expired", changed("exp", json!(now - 120))),
        ("not yet", changed("nbf", json!(now + 300))),
        ("another audience", changed("aud", json!("somebody-else"))),
        ("another issuer", changed("iss", json!("https://login.evil"))),
        ("no end", without("exp")),
        ("no audience", without("aud")),
        ("no issuer", without("iss")),
        ("no subject", without("sub")),
        ("a subject of two lines", changed("sub", json!("a\nb"))),
        ("a subject that reads backwards", changed("sub", json!("admin\u{202e}xyz"))),
        ("a subject with nothing in it to see", changed("sub", json!("ad\u{200b}min"))),
    ]
    .into_iter()
    .map(|(why, claims)| (why.to_owned(), issuer.token("one", &claims)))
    .collect();
    // Made to end a session, by the same issuer.
    for typ in ["logout+jwt", "application/logout+jwt", "dpop+jwt", ""] {
        bad.push((format!("typ {typ}"), issuer.token_with("one", &good, &json!({"typ": typ}))));
    }
    let token = issuer.token("one", &good);
    let parts: Vec<&str> = token.split('.').collect();
    let none = part(&json!({"alg": "none", "kid": "one"}));
    bad.push(("alg none".into(), format!("{none}.{}.", parts[1])));
    bad.push(("alg none, signed".into(), format!("{none}.{}.{}", parts[1], parts[2])));
    // The public key taken for a secret that both share.
    for key in [issuer.public("one"), part(&json!("x")).into_bytes()] {
        let head = part(&json!({"alg": "HS256", "kid": "one"}));
        let signed = format!("{head}.{}", parts[1]);
        bad.push(("HMAC with the public key".into(), format!("{signed}.{}", hmac(&key, &signed))));
    }
    bad.push((
        "RS256 by name".into(),
        format!("{}.{}.{}", part(&json!({"alg": "RS256", "kid": "one"})), parts[1], parts[2]),
    ));
    bad.push(("another key".into(), {
        let stranger = Issuer::start().await;
        stranger.token("one", &good)
    }));
    bad.push((
        "other claims".into(),
        format!("{}.{}.{}", parts[0], part(&changed("sub", json!("root"))), parts[2]),
    ));
    bad.push(("cut".into(), format!("{}.{}", parts[0], parts[1])));
    bad.push(("nothing".into(), "..".into()));
    let jku = part(&json!({"alg": "ES256", "kid": "evil", "jku": "http://127.0.0.1:1/keys"}));
    bad.push(("its own keys".into(), format!("{jku}.{}.{}", parts[1], parts[2])));
    for (why, token) in bad {
        let answer = with_token(&world, &token).await;
        assert_eq!((answer.status, &answer.json()["code"]), (401, &json!("unauthenticated")), "{why}");
        assert_eq!(answer.header("www-authenticate"), "Bearer error=\"invalid_token\"", "{why}");
        // Only the holder of a token that the issuer signed learns that it has expired.
        let detail = answer.json()["detail"].as_str().expect("a detail").to_owned();
        assert_eq!(detail.contains("the token has expired"), why == "expired", "{why}: {detail}");
    }
    world.end().await;
}

fn hmac(key: &[u8], text: &str) -> String {
    use base64::Engine as _;
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).expect("a key");
    mac.update(text.as_bytes());
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
}

#[tokio::test]
async fn s29_keys_are_fetched_once_and_outlive_their_issuer() {
    let issuer = Issuer::start().await;
    let world = World::with(of_issuer(&issuer)).await;
    let token = issuer.token("one", &issuer.claims());
    let all = futures_util::future::join_all((0..50).map(|_| with_token(&world, &token))).await;
    assert!(all.iter().all(|answer| answer.status == 200));
    assert_eq!(issuer.asked(), 1, "fifty callers are one fetch");

    // A key that is not there: made up by whoever likes to, and fetched for at most now and then.
    issuer.add_key("two");
    let unknown = issuer.token("two", &issuer.claims());
    for _ in 0..20 {
        assert_eq!(with_token(&world, &unknown).await.status, 401);
    }
    assert_eq!(issuer.asked(), 1, "the keys were fetched a moment ago");
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    while with_token(&world, &unknown).await.status != 200 {
        assert!(tokio::time::Instant::now() < end, "a new key is taken without a restart");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    assert_eq!(issuer.asked(), 2);

    issuer.away(true);
    assert_eq!(with_token(&world, &token).await.status, 200, "the keys are known");
    world.end().await;
}

#[tokio::test]
async fn s29_a_key_that_is_withdrawn_from_a_file_ends_without_a_restart() {
    let issuer = Issuer::start().await;
    issuer.add_key("two");
    let config = TestConfig::default().and(&format!(
        "[[callers]]\nname = \"them\"\ntype = \"jwt\"\nissuer = \"https://login.example\"\n\
         audience = \"restore-gateway\"\njwks_file = \"keys.json\"\n{POLICY}"
    ));
    let world = World::serve_beside(config, &[], &[("keys.json", &issuer.published())]).await;
    let (one, two) = (issuer.token("one", &issuer.claims()), issuer.token("two", &issuer.claims()));
    assert_eq!((with_token(&world, &one).await.status, with_token(&world, &two).await.status), (200, 200));
    issuer.withdraw("one");
    std::fs::write(world.process().folder().join("keys.json"), issuer.published()).expect("it is written");
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    while with_token(&world, &one).await.status != 401 {
        assert!(tokio::time::Instant::now() < end, "it is withdrawn within a minute");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    assert_eq!(with_token(&world, &two).await.status, 200);
    // A file that holds no keys takes none away.
    std::fs::write(world.process().folder().join("keys.json"), "{}").expect("it is written");
    let refused = |page: &str| {
        let line = page
            .lines()
            .find(|line| line.starts_with("restore_gateway_file_reloads_total{outcome=\"rejected\"}"));
        line.is_some_and(|line| line.ends_with(" 1"))
    };
    while !refused(&world.admin("/metrics").await.text()) {
        assert!(tokio::time::Instant::now() < end, "it is refused, and counted");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    assert_eq!(with_token(&world, &two).await.status, 200);
    world.end().await;
}

/// Whose keys cannot be had keeps nobody else's token waiting: a token is judged by the issuer that it names.
#[tokio::test]
async fn s29_an_issuer_that_hangs_stops_no_other() {
    let issuer = Issuer::start().await;
    // Takes connections and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("an address");
    let hangs = silent.local_addr().expect("an address");
    let other = format!(
        r#"
[[callers]]
name = "others"
type = "jwt"
issuer = "https://hangs.example"
audience = "restore-gateway"
jwks_url = "http://{hangs}/keys"
"#
    );
    // First in the file, so that it would be asked first.
    let config = TestConfig::default().and(&other);
    let world = World::with(config.and(&of_issuer_alone(&issuer))).await;
    let token = issuer.token("one", &issuer.claims());
    let answer = tokio::time::timeout(std::time::Duration::from_secs(10), with_token(&world, &token)).await;
    assert_eq!(answer.expect("nobody waits for the other one").status, 200);
    let asked = tokio::time::timeout(std::time::Duration::from_millis(50), silent.accept()).await;
    assert!(asked.is_err(), "the other issuer has nothing to do with this token");
    world.end().await;
}

#[tokio::test]
async fn s29_without_any_keys_nobody_is_let_in_and_it_is_said_that_it_will_pass() {
    let issuer = Issuer::start().await;
    issuer.away(true);
    let world = World::with(of_issuer(&issuer)).await;
    let answer = with_token(&world, &issuer.token("one", &issuer.claims())).await;
    assert_eq!((answer.status, &answer.json()["code"]), (503, &json!("identity_unavailable")));
    assert!(!answer.header("retry-after").is_empty());
    world.end().await;
}

#[tokio::test]
async fn each_subject_of_an_issuer_is_a_caller_of_its_own() {
    let issuer = Issuer::start().await;
    let world = World::with(of_issuer(&issuer)).await;
    world.behave(json!({"restore_seconds": 20})).await;
    let of = |subject: &str| {
        let mut claims = issuer.claims();
        claims["sub"] = json!(subject);
        format!("Bearer {}", issuer.token("one", &claims))
    };
    let (one, two) = (of("one"), of("two"));
    let headers =
        [("authorization", one.as_str()), ("x-auth-token", ids::TOKEN), ("content-type", "application/json")];
    let request = requests::free_disk().to_string();
    let submitted = world.http.send(Method::POST, &world.url("/api/v1/restores"), &headers, request).await;
    assert_eq!(submitted.status, 202, "{}", submitted.text());
    let path = format!("/api/v1/restores/{}", submitted.json()["id"].as_str().unwrap());
    let get = |authorization: &str| {
        let (url, http, value) = (world.url(&path), world.http.clone(), authorization.to_owned());
        async move { http.send(Method::GET, &url, &[("authorization", value.as_str())], "").await.status }
    };
    assert_eq!((get(&one).await, get(&two).await), (200, 404));
    world.end().await;
}
