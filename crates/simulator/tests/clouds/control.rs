//! The controls, the record, the protocols, and stopping.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use restore_simulator::{Options, Simulator};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::client::{Clouds, PROJECT, SPARE_BACKUP, cbr_body, disk_body, vbs_path};

#[tokio::test]
async fn the_record_holds_what_arrived() {
    let clouds = Clouds::start().await;
    let path = format!("/v2/{PROJECT}/backups/{SPARE_BACKUP}?x=1");
    let mut request = Clouds::request("GET", &path, "");
    request.headers_mut().append("x-twice", "a".parse().unwrap());
    request.headers_mut().append("x-twice", "b".parse().unwrap());
    clouds.send(request).await.unwrap();
    clouds.post("/nowhere", &json!({"a": [1]})).await;
    clouds.send(Clouds::request("POST", "/nowhere", "no json")).await.unwrap();
    let record = clouds.sim("GET", "requests", &Value::Null).await;
    let lines = record["requests"].as_array().unwrap();
    assert_eq!((lines.len(), &record["dropped"]), (3, &json!(0)));
    assert_eq!(
        (&lines[0]["seq"], &lines[0]["method"], &lines[0]["path"]),
        (&json!(1), &json!("GET"), &json!(path))
    );
    assert_eq!((&lines[0]["status"], &lines[0]["body"]), (&json!(200), &Value::Null));
    assert_eq!(lines[0]["headers"]["x-twice"], json!(["a", "b"]));
    assert_eq!(lines[0]["headers"]["x-auth-token"], "demo-token");
    assert_eq!((&lines[1]["body"], &lines[1]["status"]), (&json!({"a": [1]}), &json!(404)));
    assert_eq!(lines[2]["body"], "no json");
    assert_ne!(lines[0]["connection"], lines[1]["connection"]);
    let cleared = clouds.sim("DELETE", "requests", &Value::Null).await;
    assert_eq!(cleared["requests"], json!([]));
}

#[tokio::test]
async fn the_record_is_capped_and_says_so() {
    let options = Options { kept_requests: 2, ..Options::default() };
    let simulator = Simulator::start("127.0.0.1:0".parse().unwrap(), options).await.unwrap();
    let clouds = Clouds { simulator };
    for _ in 0..5 {
        clouds.get("/nowhere").await;
    }
    let record = clouds.sim("GET", "requests", &Value::Null).await;
    assert_eq!((&record["requests"][0]["seq"], &record["dropped"]), (&json!(4), &json!(3)));
}

#[tokio::test]
async fn controls_are_strict_and_listed() {
    let clouds = Clouds::start().await;
    let wrong = [
        ("/_sim/world", json!({"cbr_2O2": "empty"}), "cbr_2O2"),
        ("/_sim/world", json!({"cbr_202": "maybe"}), "maybe"),
        ("/_sim/world", json!({"volumes": {"nobody": {}}}), "nobody"),
        ("/_sim/clock", json!({"seconds": 1}), "seconds"),
        ("/_sim/clock", json!({"advance_seconds": -1}), "-1"),
    ];
    for (path, body, named) in wrong {
        let reply = clouds.post(path, &body).await;
        assert_eq!(reply.status, 400, "{body}");
        assert!(reply.json()["error"].as_str().unwrap().contains(named), "{}", reply.text);
    }
    assert_eq!(clouds.get("/_sim/nothing").await.status, 404);
    assert!(clouds.get("/_sim").await.json()["POST /_sim/faults"].is_string());
}

#[tokio::test]
async fn the_clock_moves_dates_and_reset_brings_the_first_world_back() {
    let clouds = Clouds::start().await;
    assert_eq!(clouds.get("/").await.header("date"), Some("Sun, 22 Nov 2026 10:15:00 GMT"));
    clouds.advance(3600).await;
    assert_eq!(clouds.get("/").await.header("date"), Some("Sun, 22 Nov 2026 11:15:00 GMT"));
    clouds.cbr_restore().await;
    clouds.world(&json!({"vbs_job_id": "dashed", "extra_disks": 5})).await;
    let world = clouds.sim("GET", "world", &Value::Null).await;
    assert_eq!(world["present"]["volumes"].as_array().unwrap().len(), 8);
    let fewer = clouds.sim("POST", "world", &json!({"extra_disks": 1})).await;
    assert_eq!(fewer["present"]["volumes"].as_array().unwrap().len(), 4);
    let extra = "d15c0000-0000-4000-8000-000000000000";
    let reply = clouds.post(&vbs_path("bac0bac0-0000-4000-8000-000000000000"), &disk_body(extra)).await;
    assert_eq!(reply.status, 200);
    let world = clouds.sim("POST", "reset", &Value::Null).await;
    assert_eq!(
        (&world["vbs_job_id"], world["present"]["volumes"].as_array().unwrap().len()),
        (&json!("hex"), 3)
    );
    assert_eq!(clouds.sim("GET", "clock", &Value::Null).await["ahead_seconds"], 0);
    assert!(clouds.applied().await.is_empty());
}

#[tokio::test]
async fn restores_also_end_with_real_time() {
    let options = Options { restore_seconds: 1, ..Options::default() };
    let simulator = Simulator::start("127.0.0.1:0".parse().unwrap(), options).await.unwrap();
    let clouds = Clouds { simulator };
    clouds.cbr_restore().await;
    assert_eq!(clouds.applied().await[0]["status"], "running");
    let ended = async {
        while clouds.applied().await[0]["status"] != "succeeded" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(10), ended).await.unwrap();
}

#[tokio::test]
async fn http2_by_prior_knowledge_is_served() {
    let clouds = Clouds::start().await;
    let io = TokioIo::new(clouds.dial().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder()
        .method("POST")
        .uri(format!(
            "{}/v3/{PROJECT}/backups/{}/restore",
            clouds.simulator.url(),
            crate::client::SERVER_BACKUP
        ))
        .header("x-auth-token", "demo-token")
        .header("content-type", "application/json;charset=UTF-8")
        .body(Full::new(Bytes::from(cbr_body().to_string())))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 202);
    assert!(response.headers().contains_key("date"));
    assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
    assert_eq!(clouds.applied().await.len(), 1);
}

#[tokio::test]
async fn a_reset_also_breaks_http2() {
    let clouds = Clouds::start().await;
    for place in ["before", "mid_head"] {
        clouds.fault(json!({"match": {"path": "/"}, "reset": place})).await;
        let io = TokioIo::new(clouds.dial().await);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get(clouds.simulator.url()).body(Full::new(Bytes::new())).unwrap();
        let answer = timeout(Duration::from_secs(5), sender.send_request(request)).await.unwrap();
        assert!(answer.is_err(), "{place}");
    }
}

#[tokio::test]
async fn stopping_is_bounded_even_with_a_stalled_request() {
    let clouds = Clouds::start().await;
    clouds.fault(json!({"match": {"path": "/v3/*"}, "delay_ms": 60_000})).await;
    let addr = clouds.simulator.addr();
    let slow = tokio::spawn({
        let url = clouds.simulator.url();
        async move {
            let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            let request = Request::get(format!("{url}/v3/x")).body(Full::new(Bytes::new())).unwrap();
            sender.send_request(request).await.is_err()
        }
    });
    while clouds.sim("GET", "requests", &Value::Null).await["requests"] == json!([]) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let start = Instant::now();
    clouds.simulator.stop().await;
    assert!(start.elapsed() < Duration::from_secs(3));
    assert!(slow.await.unwrap());
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}
