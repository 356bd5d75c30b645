//! Every action of a fault plan, as a client meets it, and what was applied behind it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::client::{
    Clouds, PROJECT, SERVER_BACKUP, SPARE, SPARE_BACKUP, cbr_body, cbr_path, disk_body, vbs_path,
};

fn restores() -> Value {
    json!({"method": "POST", "path": "*/restore"})
}

async fn try_cbr(clouds: &Clouds) -> Result<crate::client::Reply, String> {
    clouds.try_post(&cbr_path(SERVER_BACKUP), &cbr_body()).await
}

/// A request by hand, for what a client library would hide.
fn by_hand(path: &str, body: &str) -> String {
    let head = format!("POST {path} HTTP/1.1\r\nhost: h\r\nx-auth-token: demo-token\r\n");
    format!("{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn an_answer_replaces_the_call_or_only_its_reply() {
    let clouds = Clouds::start().await;
    let answer = json!({"status": 502, "headers": {"content-type": "text/html"}, "body": "<html>502</html>"});
    clouds.fault(json!({"match": restores(), "answer": answer})).await;
    let reply = try_cbr(&clouds).await.unwrap();
    assert_eq!(
        (reply.status, reply.text.as_str(), reply.header("content-type")),
        (502, "<html>502</html>", Some("text/html"))
    );
    assert!(clouds.applied().await.is_empty());
    clouds.fault(json!({"match": restores(), "answer": {"status": 504}, "applied": true})).await;
    let reply = try_cbr(&clouds).await.unwrap();
    assert_eq!((reply.status, reply.text.as_str()), (504, ""));
    assert_eq!(clouds.applied().await.len(), 1);
    let busy = try_cbr(&clouds).await.unwrap();
    assert_eq!(busy.code(), (400, "BackupService.2010".to_owned()));
}

#[tokio::test]
async fn throttling_and_odd_bodies_follow_the_plan() {
    let clouds = Clouds::start().await;
    let body = json!({"error_code": "APIGW.0308", "error_msg": "throttled"});
    let answer = json!({"status": 429, "headers": {"retry-after": "1000000000"}, "body": body});
    clouds.fault(json!({"match": {"generation": "cbr-v3", "nth": 2}, "answer": answer})).await;
    assert_eq!(try_cbr(&clouds).await.unwrap().status, 202);
    let reply = try_cbr(&clouds).await.unwrap();
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("1000000000")));
    clouds.fault(json!({"answer": {"status": 200, "body_raw": "{\"job_id\": "}})).await;
    let reply = try_cbr(&clouds).await.unwrap();
    assert_eq!((reply.text.as_str(), reply.header("content-type")), ("{\"job_id\": ", None));
    clouds.fault(json!({"redirect": {"url": "https://elsewhere.example/", "status": 308}})).await;
    let reply = try_cbr(&clouds).await.unwrap();
    assert_eq!((reply.status, reply.header("location")), (308, Some("https://elsewhere.example/")));
}

#[tokio::test]
async fn a_delay_delays_and_a_stall_never_answers() {
    let clouds = Clouds::start().await;
    clouds.fault(json!({"match": restores(), "delay_ms": 120})).await;
    let start = Instant::now();
    assert_eq!(try_cbr(&clouds).await.unwrap().status, 202);
    assert!(start.elapsed() >= Duration::from_millis(120));
    clouds.sim("POST", "reset", &Value::Null).await;
    clouds.fault(json!({"match": restores(), "stall": true})).await;
    assert!(timeout(Duration::from_millis(150), try_cbr(&clouds)).await.is_err());
    assert!(clouds.applied().await.is_empty());
    clouds.fault(json!({"match": restores(), "stall": true, "applied": true})).await;
    assert!(timeout(Duration::from_millis(150), try_cbr(&clouds)).await.is_err());
    assert_eq!(clouds.applied().await.len(), 1);
    let requests = clouds.sim("GET", "requests", &Value::Null).await;
    assert!(requests["requests"].as_array().unwrap().iter().all(|line| line["status"].is_null()));
}

#[tokio::test]
async fn a_reset_comes_at_the_planned_byte() {
    let clouds = Clouds::start().await;
    for (place, applied) in [("before", 0), ("after_apply", 1), ("mid_head", 1), ("mid_body", 1)] {
        clouds.sim("POST", "reset", &Value::Null).await;
        clouds.world(&json!({"cbr_202": "job_id"})).await;
        clouds.fault(json!({"match": restores(), "reset": place})).await;
        let error = try_cbr(&clouds).await.unwrap_err();
        let in_body = error.starts_with("body after 202");
        assert_eq!(in_body, place == "mid_body", "{place}: {error}");
        assert_eq!(clouds.applied().await.len(), applied, "{place}");
        // the plan is used up
        clouds.sim("DELETE", "requests", &Value::Null).await;
        assert_eq!(try_cbr(&clouds).await.unwrap().status, if applied == 1 { 400 } else { 202 });
    }
    clouds.sim("POST", "reset", &Value::Null).await;
    clouds.fault(json!({"match": restores(), "reset": "mid_head", "applied": false})).await;
    assert!(try_cbr(&clouds).await.is_err());
    assert!(clouds.applied().await.is_empty());
}

#[tokio::test]
async fn a_reset_is_a_reset_and_not_a_close() {
    let clouds = Clouds::start().await;
    clouds.fault(json!({"match": restores(), "reset": "before"})).await;
    let mut stream = clouds.dial().await;
    let body = cbr_body().to_string();
    stream.write_all(by_hand(&cbr_path(SERVER_BACKUP), &body).as_bytes()).await.unwrap();
    let error = stream.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_part_of_the_head_or_of_the_body_arrives_first() {
    let clouds = Clouds::start().await;
    let read = async |fault: Value| {
        clouds.sim("POST", "reset", &Value::Null).await;
        clouds.fault(fault).await;
        let mut stream = clouds.dial().await;
        let body = disk_body(SPARE).to_string();
        stream.write_all(by_hand(&vbs_path(SPARE_BACKUP), &body).as_bytes()).await.unwrap();
        let mut arrived = Vec::new();
        let mut piece = [0; 4096];
        let kind = loop {
            match timeout(Duration::from_secs(5), stream.read(&mut piece)).await.unwrap() {
                Ok(0) => break None,
                Ok(n) => arrived.extend_from_slice(&piece[..n]),
                Err(error) => break Some(error.kind()),
            }
        };
        (String::from_utf8(arrived).unwrap(), kind)
    };
    let (head, kind) = read(json!({"reset": "mid_head"})).await;
    assert!(head.starts_with("HTTP/1.1 200 OK") && head.len() == 24 && kind.is_some(), "{head:?}");
    let (whole, kind) = read(json!({"reset": "mid_body"})).await;
    let (head, body) = whole.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains("content-length: 64") && body.starts_with("{\"job_id") && kind.is_some(),
        "{whole:?}"
    );
    let (whole, kind) = read(json!({"truncate_body": 5})).await;
    let (head, body) = whole.split_once("\r\n\r\n").unwrap();
    assert_eq!((body, kind), ("{\"job", None));
    assert!(head.contains("content-length: 45"), "{head}");
    let (whole, _) = read(json!({"truncate_body": 1000})).await;
    let (head, body) = whole.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-length: 46") && body.len() == 45, "{whole}");
}

async fn exchange(stream: &mut TcpStream, body: &str) -> String {
    stream.write_all(by_hand(&vbs_path(SPARE_BACKUP), body).as_bytes()).await.unwrap();
    let mut piece = [0; 4096];
    let n = stream.read(&mut piece).await.unwrap();
    String::from_utf8_lossy(&piece[..n]).into_owned()
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_a_normal_answer() {
    let clouds = Clouds::start().await;
    clouds.fault(json!({"match": {"path": "/v2/*"}, "close_idle": true, "after": 1})).await;
    let mut stream = clouds.dial().await;
    let first = exchange(&mut stream, "{}").await;
    let second = exchange(&mut stream, &disk_body(SPARE).to_string()).await;
    assert!(first.starts_with("HTTP/1.1 400") && second.starts_with("HTTP/1.1 200"));
    assert!(!second.to_lowercase().contains("connection: close"));
    let mut rest = [0; 16];
    let end = timeout(Duration::from_secs(5), stream.read(&mut rest)).await.unwrap();
    assert_eq!(end.unwrap(), 0);
    let requests = clouds.sim("GET", "requests", &Value::Null).await;
    assert_eq!(requests["requests"][0]["connection"], requests["requests"][1]["connection"]);
}

#[tokio::test]
async fn a_plan_is_strict_counts_and_is_cleared() {
    let clouds = Clouds::start().await;
    let wrong = clouds.post("/_sim/faults", &json!({"faults": [{"stalls": true}]})).await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.json()["error"].as_str().unwrap().contains("stalls"));
    clouds.fault(json!({"match": {"path": format!("/v3/{PROJECT}/volumes/*")}, "times": 0, "answer": {"status": 503}})).await;
    let path = format!("/v3/{PROJECT}/volumes/{SPARE}");
    for _ in 0..3 {
        assert_eq!(clouds.get(&path).await.status, 503);
    }
    let shown = clouds.sim("GET", "faults", &Value::Null).await;
    assert_eq!((&shown["faults"][0]["played"], &shown["faults"][0]["remaining"]), (&json!(3), &Value::Null));
    clouds.sim("DELETE", "faults", &Value::Null).await;
    assert_eq!(clouds.get(&path).await.status, 200);
}
