//! A small client that hides nothing: one connection per call, no retries, no pool.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use restore_simulator::{Clock, Options, Simulator};
use serde_json::{Value, json};
use tokio::net::TcpStream;

pub(crate) const PROJECT: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
pub(crate) const SERVER: &str = "7d2f6c1e-3b0a-4c55-9a51-0f6c2b9e8d14";
pub(crate) const SYS: &str = "c0ffee00-1111-4222-8333-444455556666";
pub(crate) const DATA: &str = "c0ffee01-1111-4222-8333-444455556666";
pub(crate) const SPARE: &str = "c0ffee02-1111-4222-8333-444455556666";
pub(crate) const SYS_BACKUP: &str = "5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b01";
pub(crate) const DATA_BACKUP: &str = "5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b02";
pub(crate) const SPARE_BACKUP: &str = "5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b03";
pub(crate) const SERVER_BACKUP: &str = "0f9e8d7c-6b5a-4948-8372-615049382716";

/// A clock that stands still, so that only `POST /_sim/clock` moves anything.
#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        "2026-11-22T10:15:00Z".parse().unwrap()
    }
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {:?}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The flat error code.
    pub(crate) fn code(&self) -> (u16, String) {
        (self.status, self.json()["error_code"].as_str().unwrap_or("none").to_owned())
    }
}

/// Clouds for one test.
pub(crate) struct Clouds {
    pub(crate) simulator: Simulator,
}

impl Clouds {
    /// A restore lasts 100 seconds.
    pub(crate) async fn start() -> Self {
        let options = Options { restore_seconds: 100, clock: Arc::new(Still), ..Options::default() };
        let simulator = Simulator::start("127.0.0.1:0".parse().unwrap(), options).await.unwrap();
        Self { simulator }
    }

    pub(crate) async fn dial(&self) -> TcpStream {
        TcpStream::connect(self.simulator.addr()).await.unwrap()
    }

    /// Sends a request as it is; what goes wrong on the way comes back as text.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Reply, String> {
        let io = TokioIo::new(self.dial().await);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(io).await.map_err(|e| e.to_string())?;
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(|e| format!("head: {e}"))?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|e| format!("body after {}: {e}", head.status))?.to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        Ok(Reply { status: head.status.as_u16(), headers: head.headers, text })
    }

    pub(crate) fn request(method: &str, path: &str, body: &str) -> Request<Full<Bytes>> {
        let builder = Request::builder().method(method).uri(path).header("host", "127.0.0.1:9000");
        let builder = builder.header("x-auth-token", "demo-token");
        let builder =
            if body.is_empty() { builder } else { builder.header("content-type", "application/json") };
        builder.body(Full::new(Bytes::from(body.to_owned()))).unwrap()
    }

    pub(crate) async fn try_post(&self, path: &str, body: &Value) -> Result<Reply, String> {
        self.send(Self::request("POST", path, &body.to_string())).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.try_post(path, body).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Self::request("GET", path, "")).await.unwrap()
    }

    /// The body of a control call that must succeed.
    pub(crate) async fn sim(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let reply = self.send(Self::request(method, &format!("/_sim/{path}"), &body)).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json()
    }

    pub(crate) async fn world(&self, patch: &Value) {
        self.sim("POST", "world", patch).await;
    }

    pub(crate) async fn fault(&self, fault: Value) {
        self.sim("POST", "faults", &json!({"faults": [fault]})).await;
    }

    pub(crate) async fn advance(&self, seconds: u32) {
        self.sim("POST", "clock", &json!({"advance_seconds": seconds})).await;
    }

    /// What was really applied.
    pub(crate) async fn applied(&self) -> Vec<Value> {
        self.sim("GET", "restores", &Value::Null).await["restores"].as_array().unwrap().clone()
    }

    pub(crate) async fn csbs_restore(&self) -> Reply {
        self.post(&format!("/v1/{PROJECT}/restores"), &csbs_body()).await
    }

    pub(crate) async fn cbr_restore(&self) -> Reply {
        self.post(&cbr_path(SERVER_BACKUP), &cbr_body()).await
    }

    pub(crate) async fn vbs_restore(&self) -> Reply {
        self.post(&vbs_path(SPARE_BACKUP), &disk_body(SPARE)).await
    }
}

pub(crate) fn cbr_path(backup_id: &str) -> String {
    format!("/v3/{PROJECT}/backups/{backup_id}/restore")
}

pub(crate) fn vbs_path(backup_id: &str) -> String {
    format!("/v2/{PROJECT}/cloudbackups/{backup_id}/restore")
}

pub(crate) fn mappings() -> Value {
    json!([
        {"backup_id": SYS_BACKUP, "volume_id": SYS},
        {"backup_id": DATA_BACKUP, "volume_id": DATA},
    ])
}

pub(crate) fn csbs_body() -> Value {
    json!({"restore": {
        "provider_id": "fc4d5750-22e7-4798-8a46-f48f62c4c1da",
        "checkpoint_id": "11aa22bb-33cc-44dd-95ee-66ff77008811",
        "restore_target": "https://iam.eu-test-1.cloud.example/v3",
        "parameters": {
            "checkpoint_item_id": "8a1b9c2d-3e4f-4506-9718-293a4b5c6d7e", "power_on": true,
            "targets": {"server_id": SERVER, "volumes": mappings()},
        },
    }})
}

pub(crate) fn cbr_body() -> Value {
    json!({"restore": {"server_id": SERVER, "power_on": true, "mappings": mappings()}})
}

pub(crate) fn disk_body(volume_id: &str) -> Value {
    json!({"restore": {"volume_id": volume_id}})
}
