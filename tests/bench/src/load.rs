//! The load: canonical restores of single disks over keep-alive connections, each of another disk,
//! one after the other on each connection, with a pause between or none. Prints count, p50 and p99 in microseconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Sends for so many seconds.
pub(crate) async fn run(target: &str, connections: &str, seconds: &str, pause: &str) -> Result<(), String> {
    let pause = Duration::from_millis(pause.parse().map_err(|_| "pause")?);
    let connections: u64 = connections.parse().map_err(|_| "connections")?;
    let seconds: f64 = seconds.parse().map_err(|_| "seconds")?;
    let begun = Instant::now();
    let end = begun + Duration::from_secs_f64(seconds);
    // Ids never repeat between runs against one gateway: no two restores of one disk are alike.
    let first = std::process::id();
    let next = Arc::new(AtomicU64::new(0));
    let mut workers = Vec::new();
    for _ in 0..connections {
        let (target, next) = (target.to_owned(), Arc::clone(&next));
        workers.push(tokio::spawn(async move { one(&target, &next, first, end, pause).await }));
    }
    let mut times = Vec::new();
    for worker in workers {
        times.extend(worker.await.map_err(|error| error.to_string())??);
    }
    let took = begun.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or(0);
    println!("{} {} {} {took}", times.len(), at(50), at(99));
    Ok(())
}

async fn one(
    target: &str,
    next: &AtomicU64,
    first: u32,
    end: Instant,
    pause: Duration,
) -> Result<Vec<u64>, String> {
    let socket = TcpStream::connect(target).await.map_err(|error| error.to_string())?;
    let _ = socket.set_nodelay(true);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let mut times = Vec::new();
    while Instant::now() < end {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let number = next.fetch_add(1, Ordering::Relaxed);
        let body = body(first, number);
        let request = Request::post("/api/v1/restores")
            .header("host", target)
            .header("content-type", "application/json")
            .header("x-auth-token", TOKEN)
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| error.to_string())?;
        let begun = Instant::now();
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        times.push(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
        if !status.is_success() {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&body)));
        }
    }
    Ok(times)
}

/// As long as real tokens without a catalog are.
const TOKEN: &str = "MIIFakeTokenForTheBenchmarkFakeTokenForTheBenchmarkFakeTokenForTheBenchmarkFakeTokenForTheBenchmark0123456789";

/// A restore of a server with one disk, 0.7 KB as the bars say: the disk mapping is what a request
/// of that size holds most of.
fn body(first: u32, number: u64) -> String {
    format!(
        r#"{{"project_id": "0a1b2c3d4e5f60718293a4b5c6d7e8f9", "source": {{"backup_id": "5b6f0b52-1d43-4f6e-{first:04x}-{number:012x}"}}, "target": {{"type": "server", "server_id": "7d2f6c1e-3b0a-{first:08x}-{number:012x}", "power_on": true, "volumes": [{{"backup_id": "5b6f0b52-1d43-1-{first:08x}-{number:012x}", "volume_id": "c0ffee00-1111-1-{first:08x}-{number:012x}"}}, {{"backup_id": "5b6f0b52-1d43-2-{first:08x}-{number:012x}", "volume_id": "c0ffee00-1111-2-{first:08x}-{number:012x}"}}, {{"backup_id": "5b6f0b52-1d43-3-{first:08x}-{number:012x}", "volume_id": "c0ffee00-1111-3-{first:08x}-{number:012x}"}}]}}}}"#
    )
}
