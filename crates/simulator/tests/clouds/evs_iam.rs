//! Block storage, identity, and the gateway in front of all services.

use http::HeaderValue;
use serde_json::{Value, json};

use crate::client::{Clouds, DATA, PROJECT, Reply, SERVER, SPARE, SYS, cbr_path, csbs_body};

fn password(secret: &str, project: &str) -> Value {
    let user =
        json!({"name": "restore-bot", "password": secret, "domain": {"name": "OTC00000000001000012345"}});
    json!({"auth": {
        "identity": {"methods": ["password"], "password": {"user": user}},
        "scope": {"project": {"name": project}},
    }})
}

fn scoped(identity: &Value) -> Value {
    json!({"auth": {"identity": identity, "scope": {"project": {"id": PROJECT}}}})
}

async fn with_token(clouds: &Clouds, method: &str, path: &str, body: &str, token: Option<&str>) -> Reply {
    let mut request = Clouds::request(method, path, body);
    request.headers_mut().remove("x-auth-token");
    if let Some(token) = token {
        request.headers_mut().insert("x-auth-token", HeaderValue::from_str(token).unwrap());
    }
    clouds.send(request).await.unwrap()
}

async fn token(clouds: &Clouds, body: &Value) -> String {
    let reply = clouds.post("/v3/auth/tokens", body).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    reply.header("x-subject-token").unwrap().to_owned()
}

fn volume_path() -> String {
    format!("/v3/{PROJECT}/volumes/{SYS}")
}

#[tokio::test]
async fn a_disk_is_shown_as_cinder_shows_it() {
    let clouds = Clouds::start().await;
    let disk = clouds.get(&volume_path()).await.json()["volume"].take();
    assert_eq!(
        (&disk["status"], &disk["bootable"], &disk["size"]),
        (&json!("in-use"), &json!("true"), &json!(40))
    );
    assert_eq!(disk["attachments"][0]["server_id"], SERVER);
    let spare = clouds.get(&format!("/evs/v2/{PROJECT}/volumes/{SPARE}")).await.json()["volume"].take();
    assert_eq!((&spare["status"], &spare["attachments"]), (&json!("available"), &json!([])));
    clouds.csbs_restore().await;
    let data = clouds.get(&format!("/v2/{PROJECT}/volumes/{DATA}")).await.json();
    assert_eq!(data["volume"]["status"], "restoring-backup");
    clouds.advance(100).await;
    let data = clouds.get(&format!("/v2/{PROJECT}/volumes/{DATA}")).await.json();
    assert_eq!(data["volume"]["status"], "in-use");
    let unknown = clouds.get(&format!("/v2/{PROJECT}/volumes/{SERVER}")).await;
    assert_eq!((unknown.status, &unknown.json()["itemNotFound"]["code"]), (404, &json!(404)));
}

#[tokio::test]
async fn without_a_good_token_of_the_project_nothing_is_done() {
    let clouds = Clouds::start().await;
    let path = format!("/v1/{PROJECT}/restores");
    let body = csbs_body().to_string();
    for bad in [None, Some("wrong")] {
        let reply = with_token(&clouds, "POST", &path, &body, bad).await;
        assert_eq!(reply.code(), (401, "APIGW.0301".to_owned()));
        assert!(reply.json()["request_id"].is_string());
    }
    let other = token(&clouds, &password("example-only", "eu-test-1_other")).await;
    let reply = with_token(&clouds, "POST", &path, &body, Some(&other)).await;
    assert_eq!(reply.code(), (403, "APIGW.0302".to_owned()));
    let elsewhere = path.replace(PROJECT, "1b2c3d4e5f60718293a4b5c6d7e8f90a");
    let reply = with_token(&clouds, "POST", &elsewhere, &body, Some(&other)).await;
    assert_eq!(reply.code(), (404, "CSBS.3001".to_owned()));
    let mut signed = Clouds::request("POST", &path, &body);
    signed.headers_mut().remove("x-auth-token");
    signed.headers_mut().insert("authorization", HeaderValue::from_static("SDK-HMAC-SHA256 Access=AK"));
    assert_eq!(clouds.send(signed).await.unwrap().code(), (401, "APIGW.0301".to_owned()));
    for unknown in ["/v2/nothing", "/v9", &cbr_path("b").replace("restore", "undo")] {
        assert_eq!(clouds.get(unknown).await.code(), (404, "APIGW.0101".to_owned()), "{unknown}");
    }
    assert!(clouds.applied().await.is_empty());
}

#[tokio::test]
async fn tokens_are_issued_by_password_token_and_agency() {
    let clouds = Clouds::start().await;
    let first = token(&clouds, &password("example-only", "eu-test-1")).await;
    assert_eq!(with_token(&clouds, "GET", &volume_path(), "", Some(&first)).await.status, 200);
    let again = scoped(&json!({"methods": ["token"], "token": {"id": first}}));
    let second = token(&clouds, &again).await;
    assert_ne!(first, second);
    let role = json!({"domain_name": "customer-domain", "agency_name": "restore-agency"});
    let agency = scoped(&json!({"methods": ["assume_role"], "assume_role": role}));
    let third = with_token(&clouds, "POST", "/v3/auth/tokens", &agency.to_string(), Some(&second)).await;
    assert_eq!(third.status, 201);
    let types: Vec<_> =
        third.json()["token"]["catalog"].as_array().unwrap().iter().map(|s| s["type"].clone()).collect();
    assert!(types.contains(&json!("cbr")) && types.contains(&json!("data-protect")), "{types:?}");
    let alone = with_token(&clouds, "POST", "/v3/auth/tokens", &agency.to_string(), None).await;
    assert_eq!((alone.status, &alone.json()["error"]["title"]), (401, &json!("Unauthorized")));
}

#[tokio::test]
async fn refusals_of_identity_are_keystone_faults() {
    let clouds = Clouds::start().await;
    let wrong = clouds.post("/v3/auth/tokens", &password("guess", "eu-test-1")).await;
    assert_eq!((wrong.status, &wrong.json()["error"]["code"]), (401, &json!(401)));
    let nowhere = clouds.post("/v3/auth/tokens", &password("example-only", "eu-nowhere")).await;
    assert_eq!(nowhere.status, 401);
    let role = json!({"domain_name": "customer-domain", "agency_name": "other"});
    let agency = scoped(&json!({"methods": ["assume_role"], "assume_role": role}));
    assert_eq!(clouds.post("/v3/auth/tokens", &agency).await.status, 403);
    let mut extra = password("example-only", "eu-test-1");
    extra["auth"]["identity"]["extra"] = json!(1);
    assert_eq!(clouds.post("/v3/auth/tokens", &extra).await.json()["error"]["code"], 400);
    let large = json!({"auth": {"pad": "x".repeat(33 * 1024)}});
    assert_eq!(clouds.post("/v3/auth/tokens", &large).await.code(), (400, "IAM.1101".to_owned()));
}

#[tokio::test]
async fn tokens_expire_are_verified_and_revoked() {
    let clouds = Clouds::start().await;
    clouds.world(&json!({"token_lifetime_seconds": 60})).await;
    let short = token(&clouds, &password("example-only", "eu-test-1")).await;
    let status = async |token: &str| with_token(&clouds, "GET", &volume_path(), "", Some(token)).await.status;
    clouds.advance(59).await;
    assert_eq!(status(&short).await, 200);
    clouds.advance(1).await;
    assert_eq!(status(&short).await, 401);
    let fresh = token(&clouds, &password("example-only", "eu-test-1")).await;
    let ask = async |method: &str| {
        let mut request = Clouds::request(method, "/v3/auth/tokens", "");
        request.headers_mut().insert("x-subject-token", HeaderValue::from_str(&fresh).unwrap());
        clouds.send(request).await.unwrap()
    };
    assert_eq!(ask("GET").await.json()["token"]["project"]["id"], PROJECT);
    assert_eq!(ask("HEAD").await.status, 200);
    assert_eq!(ask("DELETE").await.status, 204);
    assert_eq!((ask("GET").await.status, status(&fresh).await), (404, 401));
    let early = token(&clouds, &password("example-only", "eu-test-1")).await;
    assert_eq!(clouds.sim("DELETE", "tokens", &Value::Null).await["revoked"], 2);
    assert_eq!((status(&early).await, status("demo-token").await), (401, 200));
}

#[tokio::test]
async fn projects_catalog_and_temporary_keys_are_there() {
    let clouds = Clouds::start().await;
    let projects = clouds.get("/v3/projects?name=eu-test-1").await.json();
    assert_eq!(
        (&projects["projects"][0]["id"], projects["projects"].as_array().unwrap().len()),
        (&json!(PROJECT), 1)
    );
    let catalog = clouds.get("/iam/v3/auth/catalog").await.json();
    assert_eq!(
        catalog["catalog"][0]["endpoints"][0]["url"],
        format!("http://127.0.0.1:9000/cbr/v3/{PROJECT}")
    );
    let keys = json!({"auth": {"identity": {"methods": ["token"], "token": {"duration_seconds": 3600}}}});
    let keys = clouds.post("/v3.0/OS-CREDENTIAL/securitytokens", &keys).await;
    assert_eq!(
        (keys.status, &keys.json()["credential"]["expires_at"]),
        (201, &json!("2026-11-22T11:15:00.000000Z"))
    );
}
