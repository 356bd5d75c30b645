//! The test vectors of the cloud APIs 5.4 and 5.5: from official signers, or equal to their output.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use restore_model::Timestamp;
use sha2::{Digest, Sha256};

use super::{
    SignatureError, Signed, SourceApi, canonical_request, mac, payload_hash, read_sdk_date, sdk_date, sign,
};

const KEYS: (&str, &str) = ("RGTESTACCESSKEY00001", "rgTestSecretKey/000000000000000000000001");
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const BODY: &str = concat!(
    r#"{"restore":{"mappings":[{"backup_id":"5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b01","#,
    r#""volume_id":"c0ffee00-1111-4222-8333-444455556666"}],"power_on":true,"#,
    r#""server_id":"7d2f6c1e-3b0a-4c55-9a51-0f6c2b9e8d14"}}"#
);
const V2: &str = "/v3/0a1b2c3d4e5f60718293a4b5c6d7e8f9/backups/0f9e8d7c-6b5a-4948-8372-615049382716/restore";

struct Vector {
    keys: (&'static str, &'static str),
    method: &'static str,
    target: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    canonical: Option<&'static str>,
    hash: Option<&'static str>,
    signature: &'static str,
}

const VECTORS: &[Vector] = &[
    // V1: GET with a query
    Vector {
        keys: KEYS,
        method: "GET",
        target: "/v3/0a1b2c3d4e5f60718293a4b5c6d7e8f9/operation-logs?operation_type=restore&resource_id=7d2f6c1e-3b0a-4c55-9a51-0f6c2b9e8d14&limit=50&start_time=2026-11-22T10:00:00Z",
        headers: &[
            ("content-type", "application/json"),
            ("host", "cbr.eu-test-1.cloud.example"),
            ("x-sdk-date", "20261122T101500Z"),
        ],
        body: "",
        canonical: Some(
            "GET
/v3/0a1b2c3d4e5f60718293a4b5c6d7e8f9/operation-logs/
limit=50&operation_type=restore&resource_id=7d2f6c1e-3b0a-4c55-9a51-0f6c2b9e8d14&start_time=2026-11-22T10%3A00%3A00Z
content-type:application/json
host:cbr.eu-test-1.cloud.example
x-sdk-date:20261122T101500Z

content-type;host;x-sdk-date
e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        hash: Some("45a3c84a847d9e9fff07815dab0580ead40b671b5b671cd2ab533448069ef059"),
        signature: "febe9ab189f8516ee2a5f3f0bbedb124e712a2941eb7f2afc6f96c86377a2cc4",
    },
    // V2: POST with a body
    Vector {
        keys: KEYS,
        method: "POST",
        target: V2,
        headers: &[
            ("content-type", "application/json"),
            ("host", "cbr.eu-test-1.cloud.example"),
            ("x-project-id", "0a1b2c3d4e5f60718293a4b5c6d7e8f9"),
            ("x-sdk-date", "20261122T101501Z"),
        ],
        body: BODY,
        canonical: Some(
            "POST
/v3/0a1b2c3d4e5f60718293a4b5c6d7e8f9/backups/0f9e8d7c-6b5a-4948-8372-615049382716/restore/

content-type:application/json
host:cbr.eu-test-1.cloud.example
x-project-id:0a1b2c3d4e5f60718293a4b5c6d7e8f9
x-sdk-date:20261122T101501Z

content-type;host;x-project-id;x-sdk-date
718f743a79797034df8392f609b43d4f1983f4ada72bfc3d7e5a9f914e11b65f",
        ),
        hash: Some("79509d7a72b6d74388782dc5efa3662056525fc2e8c3c746e4654118b4b93b55"),
        signature: "1e9cb21e250ab1558962dc17f0ef5c57678281104ff2cdeeeed2406be97eab22",
    },
    // V3: a temporary key, escapes, a repeated name
    Vector {
        keys: KEYS,
        method: "GET",
        target: "/v1/0a1b2c3d4e5f60718293a4b5c6d7e8f9/checkpoint_items?status=error&status=available&resource_type=OS::Nova::Server&name=nightly%20backup%2B1~%C3%A9%2F%C3%BC",
        headers: &[
            ("host", "csbs.eu-test-1.cloud.example"),
            ("x-project-id", "0a1b2c3d4e5f60718293a4b5c6d7e8f9"),
            ("x-sdk-date", "20261122T235959Z"),
            ("x-security-token", "gQpldS10ZXN0LTGIREDACTEDTOKEN=="),
        ],
        body: "",
        canonical: Some(
            "GET
/v1/0a1b2c3d4e5f60718293a4b5c6d7e8f9/checkpoint_items/
name=nightly%20backup%2B1~%C3%A9%2F%C3%BC&resource_type=OS%3A%3ANova%3A%3AServer&status=available&status=error
host:csbs.eu-test-1.cloud.example
x-project-id:0a1b2c3d4e5f60718293a4b5c6d7e8f9
x-sdk-date:20261122T235959Z
x-security-token:gQpldS10ZXN0LTGIREDACTEDTOKEN==

host;x-project-id;x-sdk-date;x-security-token
e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        hash: Some("4f3ea8de9a56f1ccaf1ddfb2236937ff6792a22857638dc0f3de029363af9f75"),
        signature: "189fe05665667c875f1ca4806a61392bee5f4de57f2aeaf9b1b0c3c3a3b41644",
    },
    // V4: a path with escapes
    Vector {
        keys: KEYS,
        method: "GET",
        target: "/v2/0a1b2c3d4e5f60718293a4b5c6d7e8f9/backups/a%20b:c~d",
        headers: &[("host", "vbs.eu-test-1.cloud.example"), ("x-sdk-date", "20261122T000000Z")],
        body: "",
        canonical: Some(
            "GET
/v2/0a1b2c3d4e5f60718293a4b5c6d7e8f9/backups/a%20b%3Ac~d/

host:vbs.eu-test-1.cloud.example
x-sdk-date:20261122T000000Z

host;x-sdk-date
e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        hash: Some("4b6c9468f8f887efba780de70460b649f8f04e02f9228ee2404588583e8b44dc"),
        signature: "b9408587a48b69180e224608b30344071c6217e1587602db38c76daa81b73d8a",
    },
    // the signing guide's own sample
    Vector {
        keys: ("QTWAOYTTINDUT2QVKYUC", "MFyfvK41ba2giqM7Uio6PznpdUKGpownRZlmVmHc"),
        method: "GET",
        target: "/v1/77b6a44cba5143ab91d13ab9a8ff44fd/vpcs?limit=2&marker=13551d6b-755d-4757-b956-536f674975c0",
        headers: &[
            ("content-type", "application/json"),
            ("host", "service.region.example.com"),
            ("x-sdk-date", "20191115T033655Z"),
        ],
        body: "",
        canonical: None,
        hash: None,
        signature: "7be6668032f70418fcc22abc52071e57aff61b84a1d2381bb430d6870f4f6ebe",
    },
    // the Go SDK's own unit vector
    Vector {
        keys: ("AccessKey", "SecretKey"),
        method: "GET",
        target: "/path?limit=1",
        headers: &[("x-sdk-date", "20060102T150405Z")],
        body: "",
        canonical: None,
        hash: None,
        signature: "5a2ce64c865e0e6046321c6f3d5a77ba8413eeaf355c3166c03d58d02ac79624",
    },
];

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    };
    pairs.iter().map(pair).collect()
}

#[test]
fn every_vector_of_source_api_a() {
    for vector in VECTORS {
        let names: Vec<&str> = vector.headers.iter().map(|(name, _)| *name).collect();
        let signed: Vec<(&str, &[u8])> =
            vector.headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        let text =
            canonical_request(vector.method, vector.target, &signed, &payload_hash(vector.body.as_bytes()));
        if let Some(canonical) = vector.canonical {
            assert_eq!(String::from_utf8(text.clone()).unwrap(), canonical);
        }
        if let Some(hash) = vector.hash {
            assert_eq!(hex::encode(Sha256::digest(&text)), hash, "{}", vector.target);
        }
        let sent = headers(vector.headers);
        let header =
            sign(vector.keys, (vector.method, vector.target), &sent, &names, vector.body.as_bytes()).unwrap();
        let expected = format!(
            "SDK-HMAC-SHA256 Access={}, SignedHeaders={}, Signature={}",
            vector.keys.0,
            names.join(";"),
            vector.signature
        );
        assert_eq!(header, expected, "{}", vector.target);
    }
    assert_eq!(payload_hash(b""), EMPTY);
}

const B1: &str = "SDK-HMAC-SHA256 Credential=RGTESTACCESSKEY00001/20261122///sdk_request, \
    SignedHeaders=content-type;host;x-sdk-date, \
    Signature=68b221bbe726e7a44aa69b06f301ad657447f31d569ad37f7d1f492aa8c92792";
const B1_TARGET: &str = "/v3/0a1b2c3d4e5f60718293a4b5c6d7e8f9/backups?limit=1";

fn b1() -> HeaderMap {
    let mut headers = headers(VECTORS[0].headers);
    headers.insert("authorization", B1.parse().unwrap());
    headers
}

#[test]
fn the_vector_of_source_api_b() {
    let signed: Vec<(&str, &[u8])> =
        VECTORS[0].headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    let text = canonical_request("GET", B1_TARGET, &signed, EMPTY);
    assert_eq!(
        hex::encode(Sha256::digest(&text)),
        "b14dd8fc7bced75d99b68fc5a567156db44ad19851cf799ab7d6ab1f719c7e82"
    );
    let source_api = SourceApi::B { day: "20261122".into(), region: String::new(), service: String::new() };
    let signature = mac(&source_api, KEYS.1, "20261122T101500Z", &text);
    assert!(B1.ends_with(&hex::encode(hmac::Mac::finalize(signature).into_bytes())));
    let presented = Signed::parse(&b1()).unwrap().unwrap();
    assert_eq!((presented.access_key(), presented.source_api()), (KEYS.0, &source_api));
    let now = read_sdk_date("20261122T101500Z").unwrap();
    assert_eq!(
        presented.verify(KEYS.1, (&Method::GET, B1_TARGET), &b1(), b"", now),
        Ok(now.plus_seconds(900))
    );
}

/// V2 as a request, signed.
fn v2() -> (HeaderMap, Timestamp) {
    let mut headers = headers(VECTORS[1].headers);
    let signature = VECTORS[1].signature;
    let names = "content-type;host;x-project-id;x-sdk-date";
    let value = format!("SDK-HMAC-SHA256 Access={}, SignedHeaders={names}, Signature={signature}", KEYS.0);
    headers.insert("authorization", value.parse().unwrap());
    (headers, read_sdk_date("20261122T101501Z").unwrap())
}

fn verify(headers: &HeaderMap, target: &str, body: &str, now: Timestamp) -> Result<(), SignatureError> {
    let presented = Signed::parse(headers)?.unwrap();
    presented.verify(KEYS.1, (&Method::POST, target), headers, body.as_bytes(), now).map(|_| ())
}

#[test]
fn what_was_signed_is_believed_and_nothing_else() {
    let (good, now) = v2();
    assert_eq!(verify(&good, V2, BODY, now), Ok(()));
    assert_eq!(Signed::parse(&good).unwrap().unwrap().source_api(), &SourceApi::A);
    assert_eq!(verify(&good, V2, &BODY.replace("true", "false"), now), Err(SignatureError::Mismatch));
    assert_eq!(verify(&good, &V2.replace("0f9e", "0f9f"), BODY, now), Err(SignatureError::Mismatch));
    assert_eq!(verify(&good, &format!("{V2}?a=1"), BODY, now), Err(SignatureError::Mismatch));
    let presented = Signed::parse(&good).unwrap().unwrap();
    for (method, key) in [(Method::PUT, KEYS.1), (Method::POST, "another"), (Method::POST, "")] {
        let found = presented.verify(key, (&method, V2), &good, BODY.as_bytes(), now);
        assert_eq!(found, Err(SignatureError::Mismatch));
    }
    for name in ["host", "x-project-id", "content-type"] {
        let mut changed = good.clone();
        changed.insert(name, "another".parse().unwrap());
        assert_eq!(verify(&changed, V2, BODY, now), Err(SignatureError::Mismatch), "{name}");
        changed.append(name, "another".parse().unwrap());
        let found = verify(&changed, V2, BODY, now);
        assert_eq!(found, Err(SignatureError::Incomplete("a header that is signed is repeated")));
        changed.remove(name);
        let found = verify(&changed, V2, BODY, now);
        assert_eq!(found, Err(SignatureError::Incomplete("a header that is signed is absent")));
    }
    // What is not signed may change.
    let mut more = good;
    more.insert("x-request-id", "another".parse().unwrap());
    assert_eq!(verify(&more, V2, BODY, now), Ok(()));
}

#[test]
fn a_signature_holds_for_a_quarter_of_an_hour_either_way() {
    let (good, now) = v2();
    for (seconds, expected) in [
        (900, Ok(())),
        (-900, Ok(())),
        (901, Err(SignatureError::Clock(901))),
        (-901, Err(SignatureError::Clock(-901))),
    ] {
        assert_eq!(verify(&good, V2, BODY, now.plus_seconds(seconds)), expected);
    }
    assert!(verify(&good, V2, BODY, Timestamp::from_micros(i64::MAX)).is_err());
}

#[test]
fn the_body_is_always_part_of_it() {
    let (good, now) = v2();
    let mut named = good.clone();
    named.insert("x-sdk-content-sha256", payload_hash(BODY.as_bytes()).parse().unwrap());
    assert_eq!(verify(&named, V2, BODY, now), Ok(()));
    for other in ["UNSIGNED-PAYLOAD", EMPTY, ""] {
        named.insert("x-sdk-content-sha256", other.parse().unwrap());
        let found = verify(&named, V2, BODY, now);
        assert_eq!(
            found,
            Err(SignatureError::Incomplete("X-Sdk-Content-Sha256 is not the hash of the body"))
        );
    }
}

#[test]
fn a_signature_is_read_strictly() {
    let signature = "a".repeat(64);
    let parse = |value: &str| {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        Signed::parse(&[(http::header::AUTHORIZATION, value)].into_iter().collect())
    };
    let rest = format!("SignedHeaders=host;x-sdk-date, Signature={signature}");
    assert!(parse(&format!("SDK-HMAC-SHA256 Access=A, {rest}")).unwrap().is_some());
    for other in ["Bearer abc", "", "SDK-HMAC-SM3 Access=A", "V11-HMAC-SHA256 Credential=x"] {
        assert!(parse(other).unwrap().is_none(), "{other}");
    }
    for bad in [
        "SDK-HMAC-SHA256".to_owned(),
        format!("SDK-HMAC-SHA256 {rest}"),
        format!("SDK-HMAC-SHA256 Access=, {rest}"),
        format!("SDK-HMAC-SHA256 Access=ä, {rest}"),
        format!("SDK-HMAC-SHA256 Access=A, {rest}, More=1"),
        format!("SDK-HMAC-SHA256 Access=A, SignedHeaders=, Signature={signature}"),
        format!("SDK-HMAC-SHA256 Access=A, SignedHeaders=x-sdk-date;host, Signature={signature}"),
        format!("SDK-HMAC-SHA256 Access=A, SignedHeaders=host;host, Signature={signature}"),
        format!("SDK-HMAC-SHA256 Access=A, SignedHeaders=Host;x-sdk-date, Signature={signature}"),
        format!("SDK-HMAC-SHA256 Access=A, SignedHeaders=host;x_sdk_date, Signature={signature}"),
        "SDK-HMAC-SHA256 Access=A, SignedHeaders=host, Signature=abc".to_owned(),
        format!("SDK-HMAC-SHA256 Access=A, SignedHeaders=host, Signature={}", "g".repeat(64)),
        format!("SDK-HMAC-SHA256 Credential=A/20261122/sdk_request, {rest}"),
        format!("SDK-HMAC-SHA256 Credential=A/2026112///sdk_request, {rest}"),
        format!("SDK-HMAC-SHA256 Credential=A/20261122///other, {rest}"),
    ] {
        let found = parse(&bad).expect_err(&bad);
        assert!(matches!(found, SignatureError::Malformed(_)), "{bad}: {found}");
    }
    let mut twice = v2().0;
    twice.append("authorization", "Bearer abc".parse().unwrap());
    assert!(Signed::parse(&twice).is_err());
    let unsigned_date =
        parse(&format!("SDK-HMAC-SHA256 Access=A, SignedHeaders=host, Signature={signature}"));
    let found = unsigned_date.unwrap().unwrap().verify("", (&Method::GET, "/"), &twice, b"", v2().1);
    assert_eq!(found, Err(SignatureError::Incomplete("Host and X-Sdk-Date must be signed")));
}

#[test]
fn a_day_of_source_api_b_is_the_day_of_the_date() {
    let mut headers = b1();
    headers.insert("authorization", B1.replace("20261122", "20261121").parse().unwrap());
    let presented = Signed::parse(&headers).unwrap().unwrap();
    let now = read_sdk_date("20261122T101500Z").unwrap();
    let found = presented.verify(KEYS.1, (&Method::GET, B1_TARGET), &headers, b"", now);
    assert_eq!(found, Err(SignatureError::Malformed("the day of the Credential is not that of X-Sdk-Date")));
}

#[test]
fn dates_are_written_and_read() {
    let at = read_sdk_date("20261122T101500Z").unwrap();
    assert_eq!((at.to_string(), sdk_date(at)), ("2026-11-22T10:15:00Z".into(), "20261122T101500Z".into()));
    for bad in [
        "",
        "20261122T101500",
        "2026-1122T10150Z",
        "20261322T101500Z",
        "20261122T1015000Z",
        "٢0261122T10150Z",
    ] {
        assert_eq!(read_sdk_date(bad), None, "{bad}");
    }
}

#[test]
fn a_request_without_what_it_signs_is_not_signed() {
    let headers = headers(&[("host", "a")]);
    assert_eq!(sign(KEYS, ("GET", "/"), &headers, &["host"], b""), None, "no date");
    assert_eq!(sign(KEYS, ("GET", "/"), &headers, &["host", "x-sdk-date"], b""), None);
}
