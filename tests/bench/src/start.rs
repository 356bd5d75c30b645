//! How soon a gateway answers after it was started, and what memory it holds once nobody asks: with every part of it
//! switched on but TLS, which needs a certificate.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::conduct::{GATEWAY, UPSTREAM, pinned, resident, spread};

/// Between two tries to connect.
const TRY: Duration = Duration::from_millis(1);
/// Longest wait for a start.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long nobody asks before the memory is looked at.
const QUIET: Duration = Duration::from_secs(5);

/// Starts it so many times, each with a new ledger.
pub(crate) async fn run(gateway: &PathBuf, folder: &Path, rounds: u32) -> Result<(), String> {
    let (mut answers, mut ready, mut held) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let config = folder.join(format!("start-{round}.toml"));
        std::fs::write(&config, everything(folder, round)).map_err(|error| error.to_string())?;
        let begun = Instant::now();
        let mut child = pinned(0, gateway, &["serve", "--config", &config.display().to_string()])?;
        first_answer(GATEWAY, "/openapi.json", begun).await?;
        answers.push(begun.elapsed().as_secs_f64() * 1e3);
        first_answer(GATEWAY + 1, "/readyz", begun).await?;
        ready.push(begun.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(QUIET).await;
        held.push(resident(&child)?);
        child.kill().await.map_err(|error| error.to_string())?;
    }
    for (what, unit, values) in
        [("first answer", "ms", &answers), ("ready", "ms", &ready), ("idle resident memory", "MiB", &held)]
    {
        let (least, median, greatest) = spread(values.iter().copied());
        println!("{what}: {median:.1} {unit} ({least:.1} to {greatest:.1}), {rounds} starts");
    }
    Ok(())
}

/// Waits for a good answer.
async fn first_answer(port: u16, path: &str, begun: Instant) -> Result<(), String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    while begun.elapsed() < PATIENCE {
        if let Ok(mut socket) = TcpStream::connect(("127.0.0.1", port)).await {
            let mut head = [0; 12];
            let asked = socket.write_all(request.as_bytes()).await;
            if asked.is_ok() && socket.read_exact(&mut head).await.is_ok() && &head == b"HTTP/1.1 200" {
                return Ok(());
            }
        }
        tokio::time::sleep(TRY).await;
    }
    Err(format!("no good answer from {path} on {port}"))
}

fn everything(folder: &Path, round: u32) -> String {
    let (api, admin) = (GATEWAY, GATEWAY + 1);
    let ledger = folder.join(format!("start-{round}.db"));
    let generations = [("cbr", "cbr-v3"), ("csbs", "csbs-v1"), ("vbs", "vbs-v2")];
    let upstreams = generations.map(|(name, generation)| {
        format!("[[upstreams]]\nname = \"{name}\"\ngeneration = \"{generation}\"\nendpoint = \"http://127.0.0.1:{UPSTREAM}\"\n")
    });
    let source_apis = ["csbs-v1", "cbr-v3", "vbs-v2", "cinder-v3"];
    let endpoints = source_apis.map(|source_api| {
        format!("[[compat_endpoints]]\napi = \"{source_api}\"\nprefix = \"/{source_api}\"\n")
    });
    format!(
        r#"
[listen]
api = "127.0.0.1:{api}"
admin = "127.0.0.1:{admin}"
[ledger]
url = "sqlite:{ledger}"
[telemetry]
otlp_endpoint = "http://127.0.0.1:{UPSTREAM}"
sample_ratio = 1.0
access_log = true
log_level = "warn"
{upstreams}
{endpoints}
[[routes]]
match = {{ target_types = ["volume"] }}
upstream = "vbs"
fallback_upstream = "cbr"
[[routes]]
source_apis = ["csbs-v1"]
upstream = "csbs"
[[routes]]
upstream = "cbr"
[[callers]]
name = "job"
type = "api-key"
key_hash = "sha256:5df1f4ec0ea5ccd1d5c4a9cd8cbf9d5bfd6f0ee4f7d8bd2b3a6c0cb0b1c7f3ad"
[[policies]]
callers = ["job"]
actions = ["restore", "read", "check", "preview"]
[[webhooks]]
name = "told"
url = "http://127.0.0.1:{UPSTREAM}/hook"
secret = {{ env = "WEBHOOK_SECRET" }}
allow_private_addresses = true
"#,
        ledger = ledger.display(),
        upstreams = upstreams.concat(),
        endpoints = endpoints.concat(),
    )
}
