//! The clouds without a socket.

use bytes::Bytes;
use http::{Method, Request};
use restore_simulator::{InMemory, Options};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const RESTORE: &str =
    "/vbs/v2/0a1b2c3d4e5f60718293a4b5c6d7e8f9/cloudbackups/5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b03/restore";
const BODY: &str = r#"{"restore":{"volume_id":"c0ffee02-1111-4222-8333-444455556666"}}"#;

async fn answer(clouds: &InMemory) -> String {
    let mut pipe = clouds.connect();
    let request = format!(
        "POST {RESTORE} HTTP/1.1\r\nhost: clouds\r\nx-auth-token: demo-token\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    pipe.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    pipe.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn restores(clouds: &InMemory) -> Vec<Value> {
    let (_, truth) = clouds.control(&Method::GET, "/_sim/restores", &Value::Null);
    truth["restores"].as_array().cloned().unwrap_or_default()
}

#[tokio::test]
async fn a_pipe_serves_what_a_socket_does_and_a_seed_gives_the_same_ids() {
    let first = InMemory::new(Options::default(), 5).unwrap();
    let answered = answer(&first).await;
    assert!(answered.starts_with("HTTP/1.1 200"), "{answered}");
    let task = restores(&first)[0]["task_id"].clone();
    let again = InMemory::new(Options::default(), 5).unwrap();
    answer(&again).await;
    assert_eq!(restores(&again)[0]["task_id"], task);
}

#[tokio::test]
async fn faults_change_what_goes_by_and_not_what_is_done_at_the_console() {
    let clouds = InMemory::new(Options::default(), 5).unwrap();
    let faults = json!({"faults": [
        {"match": {"method": "POST"}, "headers": {"date": "Thu, 01 Jan 1970 00:00:00 GMT"}, "coding": "gzip"}]});
    let (status, shown) = clouds.control(&Method::POST, "/_sim/faults", &faults);
    assert!(status.is_success(), "{shown}");
    let answered = answer(&clouds).await.to_ascii_lowercase();
    assert!(answered.contains("date: thu, 01 jan 1970 00:00:00 gmt"), "{answered}");
    assert!(answered.contains("content-encoding: gzip"), "{answered}");
    let request = Request::post(RESTORE)
        .header("host", "console")
        .header("x-auth-token", "demo-token")
        .header("content-type", "application/json")
        .body(Bytes::from_static(BODY.as_bytes()))
        .unwrap();
    let (status, refused) = clouds.ask(request, "req-console-1");
    assert_eq!(status, 400, "the disk is being restored: {refused}");
    assert_eq!(restores(&clouds).len(), 1);
}
