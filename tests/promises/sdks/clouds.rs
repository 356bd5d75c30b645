//! SDKs of other people, as released, restore and see the end. Here they speak to the clouds themselves: what a compatibility endpoint in
//! front of them has to keep up, and what of it is the SDK's own doing.

use restore_simulator::Simulator;
use restore_tests::sdks::{NO_BACKUP, Ran, sdk};
use restore_tests::world::clouds;
use restore_tests::{Http, ids};
use serde_json::{Value, json};

/// What was really applied, once the clouds stop.
async fn truth(clouds: Simulator) -> Vec<Value> {
    let all = ask(&clouds, http::Method::GET, "restores", "").await;
    clouds.stop().await;
    all["restores"].as_array().expect("restores").clone()
}

/// What was asked of the clouds: method and path of each request.
async fn asked(clouds: &Simulator) -> Vec<String> {
    let all = ask(clouds, http::Method::GET, "requests", "").await;
    let line = |request: &Value| {
        let word = |name: &str| request[name].as_str().expect("a word").to_owned();
        format!("{} {}", word("method"), word("path")).replace(ids::PROJECT, "P")
    };
    all["requests"].as_array().expect("requests").iter().map(line).collect()
}

async fn ask(clouds: &Simulator, method: http::Method, path: &str, body: &str) -> Value {
    let url = format!("{}/_sim/{path}", clouds.url());
    let headers = [("content-type", "application/json")];
    let answer = Http::default().send(method, &url, &headers, body.to_owned()).await;
    assert!(answer.status < 300, "{path}: {}", answer.text());
    answer.json()
}

/// One restore, of this generation, onto this, that has ended well.
fn assert_applied(truth: &[Value], generation: &str, target: &str) {
    let [only] = truth else { panic!("one restore: {truth:#?}") };
    let got = [&only["generation"], &only["target"]["id"], &only["status"]];
    assert_eq!(got, [&json!(generation), &json!(target), &json!("succeeded")]);
}

/// How an SDK shows a refusal: the class of its error and the status.
fn shown(ran: &Ran) -> (String, u64) {
    let error = ran.step("error");
    (
        error["class"].as_str().unwrap_or_default().to_owned(),
        error["http_status"].as_u64().unwrap_or_default(),
    )
}

fn iam(clouds: &Simulator) -> String {
    format!("{}/iam/v3", clouds.url())
}

#[tokio::test]
async fn otcextensions_restores_a_server_by_cbr() {
    let clouds = clouds().await;
    let program = sdk("otc_cbr.py", &clouds.url()).password_at(&iam(&clouds));
    let ran = program.server(ids::CBR_BACKUP).restore().await.well();
    assert_eq!(ran.step("backup")["resource_type"], "OS::Nova::Server");
    // An empty 202 leaves the SDK's object without an id.
    assert_eq!(ran.step("restore")["id"], Value::Null);
    assert_eq!(ran.step("one-task")["status"], "success");
    let truth = truth(clouds).await;
    assert_applied(&truth, "cbr-v3", ids::SERVER);
    assert_eq!(truth[0]["power_on"], true);
}

#[tokio::test]
async fn otcextensions_restores_a_disk_by_cbr() {
    let clouds = clouds().await;
    let ran = sdk("otc_cbr.py", &clouds.url()).token().disk(ids::FREE.0).restore().await.well();
    assert_eq!(ran.step("backup")["resource_type"], "OS::Cinder::Volume");
    assert!(ran.statuses("task").contains(&"success".to_owned()), "{ran:?}");
    assert_applied(&truth(clouds).await, "cbr-v3", ids::FREE.1);
}

#[tokio::test]
async fn otcextensions_restores_a_disk_by_vbs() {
    let clouds = clouds().await;
    let ran = sdk("otc_vbs.py", &clouds.url()).token().disk(ids::FREE.0).restore().await.well();
    // Its class for a job sends nothing at all; the session does.
    assert_eq!(ran.statuses("typed-job"), ["cannot"]);
    assert_eq!(ran.step("job")["status"], "SUCCESS");
    let asked = asked(&clouds).await;
    assert!(asked.iter().any(|line| line.starts_with("GET /v2/P/jobs/")), "{asked:#?}");
    assert_applied(&truth(clouds).await, "vbs-v2", ids::FREE.1);
}

#[tokio::test]
async fn otcextensions_restores_a_server_by_csbs() {
    let clouds = clouds().await;
    let program = sdk("otc_csbs.py", &clouds.url()).token_at(&iam(&clouds));
    let ran = program.server(ids::CSBS_ITEM).restore().await.well();
    assert_eq!(ran.statuses("check"), ["yes"]);
    assert_eq!(ran.step("restore")["status"], "in_progress");
    assert_eq!(ran.step("item")["status"], "available");
    assert_applied(&truth(clouds).await, "csbs-v1", ids::SERVER);
}

#[tokio::test]
async fn huaweicloudsdkcbr_restores_a_server_and_a_disk() {
    for target in [ids::SERVER, ids::FREE.1] {
        let clouds = clouds().await;
        let program = sdk("huawei_cbr.py", &clouds.url()).key();
        let program = match target {
            ids::SERVER => program.server(ids::CBR_BACKUP),
            _ => program.disk(ids::FREE.0),
        };
        let ran = program.restore().await.well();
        assert_eq!(
            (&ran.step("restore")["status"], &ran.step("one-log")["status"]),
            (&json!(202), &json!("success"))
        );
        assert_applied(&truth(clouds).await, "cbr-v3", target);
    }
}

#[tokio::test]
async fn the_node_sdk_restores_by_every_generation() {
    let ends = [("cbr-v3", "log", "success"), ("vbs-v2", "job", "SUCCESS"), ("csbs-v1", "item", "available")];
    for (source_api, followed, end) in ends {
        let clouds = clouds().await;
        let program = sdk("huawei.js", &clouds.url()).key().with("source-api", source_api);
        let (program, target) = match source_api {
            "cbr-v3" => (program.server(ids::CBR_BACKUP), ids::SERVER),
            "vbs-v2" => (program.disk(ids::FREE.0), ids::FREE.1),
            _ => (program.server(ids::CSBS_ITEM), ids::SERVER),
        };
        let ran = program.restore().await.well();
        assert_eq!(ran.step(followed)["status"], end);
        assert_applied(&truth(clouds).await, source_api, target);
    }
}

#[tokio::test]
async fn karborclient_restores_a_server_by_csbs() {
    for session in [false, true] {
        let clouds = clouds().await;
        ask(&clouds, http::Method::POST, "world", r#"{"csbs_restores_read": true}"#).await;
        let program = sdk("karbor.py", &clouds.url());
        let program = if session { program.password_at(&iam(&clouds)) } else { program.token() };
        let ran = program.server(ids::CSBS_ITEM).restore().await.well();
        assert_eq!(ran.step("poll")["status"], "success");
        assert_applied(&truth(clouds).await, "csbs-v1", ids::SERVER);
    }
}

#[tokio::test]
async fn karborclient_cannot_follow_where_restores_are_not_read() {
    let clouds = clouds().await;
    let ran = sdk("karbor.py", &clouds.url()).token().server(ids::CSBS_ITEM).restore().await;
    // The restore began. What the API gateway says of the path that is missing is flat, and the SDK breaks on that.
    assert_eq!(ran.code, Some(3), "{ran:#?}");
    assert_eq!(
        (ran.step("restore")["status"].as_str(), shown(&ran).0.as_str()),
        (Some("in_progress"), "AttributeError")
    );
    assert_eq!(truth(clouds).await.len(), 1);
}

#[tokio::test]
async fn cinderclient_restores_a_disk_by_native_cinder() {
    let clouds = clouds().await;
    let program = sdk("cinder.py", &format!("{}/vbs", clouds.url()));
    let program = program.with("volumes-url", &format!("{}/evs", clouds.url())).token();
    let ran = program.disk(ids::FREE.0).restore().await.well();
    assert_eq!(ran.step("restore")["volume_id"], ids::FREE.1);
    assert_eq!(ran.step("backup-wait")["status"], "available");
    assert_eq!(ran.step("volume-wait")["status"], "available");
    // No version document is documented for the host of VBS. The library does without, its command line would not.
    assert_eq!(ran.step("versions")["status"], "none");
    assert_applied(&truth(clouds).await, "vbs-v2", ids::FREE.1);
}

#[tokio::test]
async fn a_refusal_is_shown_by_every_sdk() {
    let clouds = clouds().await;
    let url = clouds.url();
    let disk = |program, base: &str| sdk(program, base).disk(NO_BACKUP);
    let server = |program| sdk(program, &url).server(NO_BACKUP);
    let vbs = format!("{url}/vbs");
    let cases = [
        (server("otc_cbr.py").token(), "NotFoundException"),
        (disk("otc_vbs.py", &url).token(), "NotFoundException"),
        (server("otc_csbs.py").token(), "NotFoundException"),
        (server("huawei_cbr.py").key(), "ClientRequestException"),
        (disk("cinder.py", &vbs).token(), "NotFound"),
        (server("huawei.js").key(), "ClientRequestException"),
        (disk("huawei.js", &url).key().with("source-api", "vbs-v2"), "ClientRequestException"),
        (server("huawei.js").key().with("source-api", "csbs-v1"), "ClientRequestException"),
    ];
    for (program, class) in cases {
        let ran = program.refused().await.well();
        assert_eq!(shown(&ran), (class.to_owned(), 404), "{ran:#?}");
    }
    // What CSBS says flat of an item that is not there, karborclient cannot read.
    let ran = server("karbor.py").token().refused().await;
    assert_eq!((ran.code, ran.step("error")["crash"].as_bool()), (Some(3), Some(true)), "{ran:#?}");
    assert!(truth(clouds).await.is_empty());
}

#[tokio::test]
async fn a_restore_that_fails_is_seen_to_fail() {
    let clouds = clouds().await;
    let url = clouds.url();
    let (vbs, evs) = (format!("{url}/vbs"), format!("{url}/evs"));
    let programs = [
        (sdk("otc_cbr.py", &url).token().server(ids::CBR_BACKUP), "one-task", "failed"),
        (sdk("huawei_cbr.py", &url).key().server(ids::CBR_BACKUP), "one-log", "failed"),
        (sdk("huawei.js", &url).key().server(ids::CBR_BACKUP), "one-log", "failed"),
        (sdk("otc_csbs.py", &url).token().server(ids::CSBS_ITEM), "item", "available"),
        (sdk("karbor.py", &url).token().server(ids::CSBS_ITEM), "poll", "fail"),
        (sdk("otc_vbs.py", &url).token().disk(ids::FREE.0), "job", "FAIL"),
        (
            sdk("cinder.py", &vbs).with("volumes-url", &evs).token().disk(ids::FREE.0),
            "volume-wait",
            "error_restoring",
        ),
    ];
    for (program, step, word) in programs {
        ask(&clouds, http::Method::POST, "reset", "").await;
        let fails = json!({"csbs_restores_read": true, "next_restore": {"status": "failed"}});
        ask(&clouds, http::Method::POST, "world", &fails.to_string()).await;
        let ran = program.restore().await;
        assert_eq!((ran.code, ran.step(step)["status"].as_str()), (Some(1), Some(word)), "{ran:#?}");
        assert_eq!(ran.step("end")["status"], "not well");
    }
    clouds.stop().await;
}

#[tokio::test]
async fn a_wrong_key_is_reported_to_its_signer() {
    let clouds = clouds().await;
    let program = sdk("huawei_cbr.py", &clouds.url()).key_of("RGTESTACCESSKEY00001", "not the secret");
    let ran = program.server(ids::CBR_BACKUP).refused().await.well();
    assert_eq!(shown(&ran), ("ClientRequestException".to_owned(), 401), "{ran:#?}");
    assert_eq!(ran.step("error")["code"], "APIGW.0301");
    assert!(truth(clouds).await.is_empty());
}
