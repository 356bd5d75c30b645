//! What a hostile crowd does to the times of good callers: p99 with it and without, in turn, against one gateway, as a
//! ratio. The good ones ask at a steady pace that the gateway is not busy with, so that what is measured is how long they
//! are held up, and not how a full processor is shared.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::Instant;

/// Bad clients of each kind.
const EACH: usize = 16;
/// Between two attacks of one of them, where an attack is over at once.
const PAUSE: Duration = Duration::from_millis(20);

/// The crowd: attacks of these kinds (numbers with commas between; all, where there is none) for so many seconds, and
/// prints how many were made.
pub(crate) async fn crowd(target: &str, seconds: &str, kinds: &str) -> Result<(), String> {
    let end = Instant::now() + Duration::from_secs_f64(seconds.parse().map_err(|_| "seconds")?);
    let made = Arc::new(AtomicU64::new(0));
    let mut workers = Vec::new();
    let wanted: Vec<usize> = kinds.split(',').filter_map(|kind| kind.parse().ok()).collect();
    for kind in (0..KINDS).filter(|kind| wanted.is_empty() || wanted.contains(kind)) {
        for _ in 0..EACH {
            let (target, made) = (target.to_owned(), Arc::clone(&made));
            workers.push(tokio::spawn(async move {
                while Instant::now() < end {
                    let _ended = attack(kind, &target, end).await;
                    made.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
    }
    for worker in workers {
        worker.await.map_err(|error| error.to_string())?;
    }
    println!("{}", made.load(Ordering::Relaxed));
    Ok(())
}

const KINDS: usize = 9;
const POST: &str = "POST /api/v1/restores HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";

async fn attack(kind: usize, target: &str, end: Instant) -> std::io::Result<()> {
    let mut socket = TcpStream::connect(target).await?;
    match kind {
        // A head, and a body, one byte at a time.
        0 => drip(&mut socket, "GET /api/v1/restores HTTP/1.1\r\nX: ".into(), end).await,
        1 => drip(&mut socket, format!("{POST}Content-Length: 1000000\r\n\r\n"), end).await,
        // Asks and does not read; the contract is the largest answer that is always there.
        2 => {
            socket.write_all(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(())
        }
        // Larger than is taken: by its own word, and in chunks without an end.
        3 => refused(socket, format!("{POST}Content-Length: 900000\r\n\r\n{}", "[".repeat(900_000))).await,
        4 => {
            let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000)).repeat(20);
            refused(socket, format!("{POST}Transfer-Encoding: chunked\r\n\r\n{chunk}")).await
        }
        // Malformed: in its framing, in its JSON, in what it says.
        5 => {
            let lines = "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
            refused(socket, format!("{POST}{lines}")).await
        }
        6 => {
            let body = "{\"a\":".repeat(30) + "1" + &"}".repeat(30);
            refused(socket, format!("{POST}Content-Length: {}\r\n\r\n{body}", body.len())).await
        }
        // As large as is taken, and read to its end.
        7 => {
            let body = format!("[{}0]", "0,".repeat(32_000));
            refused(socket, format!("{POST}Content-Length: {}\r\n\r\n{body}", body.len())).await
        }
        // Nothing at all.
        _ => {
            tokio::time::sleep(Duration::from_millis(500)).await;
            Ok(())
        }
    }
}

async fn drip(socket: &mut TcpStream, first: String, end: Instant) -> std::io::Result<()> {
    socket.write_all(first.as_bytes()).await?;
    let mut answer = [0; 1024];
    while Instant::now() < end {
        if tokio::time::timeout(Duration::from_millis(100), socket.read(&mut answer)).await.is_ok() {
            break;
        }
        socket.write_all(b"x").await?;
    }
    Ok(())
}

/// Sends all of it while it reads, as far as it is taken.
async fn refused(socket: TcpStream, bytes: String) -> std::io::Result<()> {
    let (mut reading, mut writing) = socket.into_split();
    let sending = tokio::spawn(async move { writing.write_all(bytes.as_bytes()).await.map(|()| writing) });
    let mut answer = [0; 4096];
    let _ = tokio::time::timeout(Duration::from_secs(5), reading.read(&mut answer)).await;
    sending.abort();
    tokio::time::sleep(PAUSE).await;
    Ok(())
}

/// The good ones of one round: count, p50 and p99 in microseconds.
pub(crate) async fn good(
    own: &Path,
    port: u16,
    seconds: u32,
    crowd: Option<&str>,
) -> Result<(f64, f64, f64), String> {
    let (target, seconds) = (format!("127.0.0.1:{port}"), seconds.to_string());
    let crowd = crowd.map(|kinds| {
        // With the least priority, on the core of load and upstream: it is the gateway that is to be kept busy by it.
        Command::new("chrt")
            .args(["--idle", "0", "taskset", "-c", "1"])
            .arg(own)
            .args(["crowd", &target, &seconds, kinds])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    });
    let crowd = crowd.transpose().map_err(|error| format!("chrt: {error}"))?;
    let output = Command::new("taskset")
        .args(["-c", "1"])
        .arg(own)
        .args(["load", &target, "16", &seconds, "10"])
        .output()
        .await
        .map_err(|error| format!("taskset: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [count, p50, p99, _] = numbers.as_slice() else { return Err(format!("the load said {text:?}")) };
    if let Some(crowd) = crowd {
        let told = crowd.wait_with_output().await.map_err(|error| error.to_string())?;
        print!("{} attacks; ", String::from_utf8_lossy(&told.stdout).trim());
    }
    Ok((*count, *p50, *p99))
}
