//! How a gateway fares with very many restores in its ledger, unfinished or ended: how soon it is ready, what it holds, what
//! it costs idle, and what one restore or a list costs to read.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use restore_ledger::{Accept, Ledger, LedgerUrl, NewEntry, OpenOptions};
use restore_model::{
    Cause, Clock, Event, EventKind, Evidence, Intent, Mapping, RestoreId, RestoreRequest, RoutePin, Source,
    Strength, SystemClock, Target, TaskRef, Timestamp,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Child;

use crate::conduct::{GATEWAY, UPSTREAM, cpu_seconds, pinned, resident, spread};

/// Restores that are written together.
const GROUP: usize = 256;
/// Disks of each server.
const DISKS: usize = 3;
/// Between two tries to connect, and two looks at the processor time.
const TRY: Duration = Duration::from_millis(5);
const LOOK: Duration = Duration::from_secs(2);
/// Longest wait for a start, and for the work after it.
const PATIENCE: Duration = Duration::from_secs(900);
/// How long nobody asks.
const QUIET: Duration = Duration::from_secs(30);
/// A gateway that uses less than this share of a core has done what was to be done after its start.
const AT_REST: f64 = 0.05;
/// Requests of each kind.
const ASKED: u32 = 300;
/// Over how long the restores came in, in seconds: below the time after which one is overdue.
const UNFINISHED_OVER: i64 = 1_800;
/// The same of restores that have ended: their keys are still kept.
const ENDED_OVER: i64 = 20 * 86_400;

/// Fills a ledger with so many restores and measures a gateway on a copy of it, or on a ledger that was filled before.
pub(crate) async fn run(gateway: &PathBuf, folder: &Path, options: &[&str]) -> Result<(), String> {
    let count: usize = options.first().map_or(Ok(1_000), |word| word.parse()).map_err(text)?;
    let ended = match options.get(1).copied().unwrap_or("unfinished") {
        "unfinished" => false,
        "ended" => true,
        other => return Err(format!("restores are unfinished or ended, and not {other}")),
    };
    let store = options.get(2).copied();
    let url = if let Some(url) = store.filter(|store| store.starts_with("postgres")) {
        let kept: LedgerUrl = url.parse().map_err(text)?;
        fill(&kept, count, ended).await?;
        url.to_owned()
    } else {
        let kept = store.map_or_else(|| folder.join("filled.db"), PathBuf::from);
        if !kept.exists() {
            fill(&LedgerUrl::Sqlite(kept.clone()), count, ended).await?;
        }
        let copy = folder.join("scale.db");
        std::fs::copy(&kept, &copy).map_err(text)?;
        if store.is_none() {
            std::fs::remove_file(&kept).map_err(text)?;
        }
        format!("sqlite:{}", copy.display())
    };
    let file = folder.join("scale.toml");
    std::fs::write(&file, config(&url)).map_err(text)?;
    // The first start takes up what it finds; the second finds it taken up.
    for start in ["first start", "second start"] {
        let mut child = measure(gateway, &file, start).await?;
        child.kill().await.map_err(text)?;
    }
    Ok(())
}

async fn measure(gateway: &PathBuf, config: &Path, start: &str) -> Result<Child, String> {
    let begun = Instant::now();
    let child = pinned(0, gateway, &["serve", "--config", &config.display().to_string()])?;
    while begun.elapsed() < PATIENCE {
        if let Ok(mut connection) = Connection::to(GATEWAY + 1).await
            && connection.get("/readyz").await.is_ok_and(|(status, _)| status == 200)
        {
            break;
        }
        tokio::time::sleep(TRY).await;
    }
    println!("{start}: ready after {:.2} s", begun.elapsed().as_secs_f64());
    println!("  resident when ready {:.1} MiB", resident(&child)?);
    let mut peak: f64 = 0.0;
    while begun.elapsed() < PATIENCE {
        let before = cpu_seconds(&child)?;
        tokio::time::sleep(LOOK).await;
        peak = peak.max(resident(&child)?);
        if (cpu_seconds(&child)? - before) / LOOK.as_secs_f64() < AT_REST {
            break;
        }
    }
    let taken_up = begun.elapsed().as_secs_f64();
    println!(
        "  at rest after {taken_up:.0} s, CPU {:.1} s, most resident {peak:.1} MiB",
        cpu_seconds(&child)?
    );
    let before = cpu_seconds(&child)?;
    tokio::time::sleep(QUIET).await;
    let idle = (cpu_seconds(&child)? - before) / QUIET.as_secs_f64() * 100.0;
    println!("  idle {idle:.2} % of a core, resident {:.1} MiB", resident(&child)?);
    let mut connection = Connection::to(GATEWAY).await?;
    let begun = Instant::now();
    let (_, first) = connection.get("/api/v1/restores?limit=20").await?;
    println!("  first list of 20: {:.2} ms", begun.elapsed().as_secs_f64() * 1e3);
    let id = first.split("\"id\":\"").nth(1).and_then(|rest| rest.get(..36)).unwrap_or_default().to_owned();
    let one = format!("/api/v1/restores/{id}");
    let of_status = "/api/v1/restores?status=unknown&limit=20";
    for (what, path) in [
        ("GET one", one.as_str()),
        ("list of 20", "/api/v1/restores?limit=20"),
        ("list of unknown", of_status),
    ] {
        let before = cpu_seconds(&child)?;
        let mut took = Vec::new();
        for _ in 0..ASKED {
            let begun = Instant::now();
            let (status, body) = connection.get(path).await?;
            if status != 200 {
                return Err(format!("{path}: {status} {body}"));
            }
            took.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        let cpu = (cpu_seconds(&child)? - before) * 1e6 / f64::from(ASKED);
        let (least, median, greatest) = spread(took.into_iter());
        println!("  {what}: {median:.0} us ({least:.0} to {greatest:.0}), CPU {cpu:.0} us each");
    }
    println!("  resident at the end {:.1} MiB", resident(&child)?);
    Ok(child)
}

/// A connection to the gateway that is kept.
struct Connection(TcpStream, u16);

impl Connection {
    async fn to(port: u16) -> Result<Self, String> {
        TcpStream::connect(("127.0.0.1", port)).await.map(|socket| Self(socket, port)).map_err(text)
    }

    /// Status and body.
    async fn get(&mut self, path: &str) -> Result<(u16, String), String> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", self.1);
        self.0.write_all(request.as_bytes()).await.map_err(text)?;
        let mut answer = Vec::new();
        loop {
            if self.0.read_buf(&mut answer).await.map_err(text)? == 0 {
                return Err("the gateway hung up".to_owned());
            }
            let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            let length: usize = length.unwrap_or(0);
            if answer.len() >= end + 4 + length {
                let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
                return Ok((status, String::from_utf8_lossy(&answer[end + 4..]).into_owned()));
            }
        }
    }
}

/// Writes restores through the ledger's own API.
async fn fill(url: &LedgerUrl, count: usize, ended: bool) -> Result<(), String> {
    let begun = Instant::now();
    let ledger = restore_ledger::open(url, OpenOptions::default()).await.map_err(text)?;
    if ledger.list(restore_ledger::Query { limit: 1, ..Default::default() }).await.map_err(text)?.is_empty() {
        let now = SystemClock.now();
        let over = if ended { ENDED_OVER } else { UNFINISHED_OVER };
        for first in (0..count).step_by(GROUP) {
            let group = (first..count.min(first + GROUP)).map(|number| {
                let share = i64::try_from(number * 1_000_000 / count).unwrap_or(0);
                one(&*ledger, number, now.plus_micros((share - 1_000_000) * over), ended)
            });
            try_join_all(group).await?;
        }
    }
    ledger.close().await;
    println!("{count} restores written in {:.0} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// One restore that was accepted and runs, or has ended well.
async fn one(ledger: &dyn Ledger, number: usize, at: Timestamp, ended: bool) -> Result<(), String> {
    let Accept::New(entry) = ledger.accept(ask(number, at)?).await.map_err(text)? else {
        return Err("a restore was not new".to_owned());
    };
    let task = Some(TaskRef { kind: "job".to_owned(), id: format!("4010a7c9-528b-1f3e-0152-{number:012}") });
    let mut kinds = vec![EventKind::Started {
        task,
        upstream_status: Some("RUNNING".to_owned()),
        progress: None,
        request_id: None,
        clock_offset_ms: Some(0),
    }];
    kinds.extend(ended.then_some(EventKind::Succeeded));
    let events = (3..).zip(kinds).map(|(seq, kind)| event(seq, at, kind)).collect();
    ledger.append(entry.intent.id, 2, events).await.map(drop).map_err(text)
}

fn ask(number: usize, now: Timestamp) -> Result<NewEntry, String> {
    let disk = |disk: usize| -> Result<Mapping, String> {
        Ok(Mapping {
            backup_id: format!("5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b0{disk}").parse().map_err(text)?,
            volume_id: format!("c0ffee{disk:02}-1111-4222-8333-{number:012}").parse().map_err(text)?,
        })
    };
    let request = RestoreRequest {
        project_id: format!("{:032x}", number % 100 + 1).parse().map_err(text)?,
        source: Source {
            backup_id: "0f9e8d7c-6b5a-4948-8372-615049382716".parse().map_err(text)?,
            checkpoint_id: None,
        },
        target: Target::Server {
            server_id: format!("7d2f6c1e-3b0a-4c55-9a51-{number:012}").parse().map_err(text)?,
            power_on: true,
            volumes: (0..DISKS).map(disk).collect::<Result<_, _>>()?,
        },
    };
    Ok(NewEntry {
        intent: Intent {
            id: RestoreId::at(now),
            caller: "anonymous".to_owned(),
            fingerprint: request.fingerprint(),
            request,
            key: Some(format!("nightly-{number}")),
            origin: None,
            fallback: None,
            route: RoutePin {
                upstream: "bench".to_owned(),
                generation: "cbr-v3".to_owned(),
                reason: "rule 1".to_owned(),
                baseline: false,
                overdue_seconds: 86_400,
                steps: Vec::new(),
                at: None,
            },
            created_at: now,
            trace_id: "0".repeat(32),
            span_id: "0".repeat(16),
        },
        events: vec![
            event(1, now, EventKind::Accepted),
            event(2, now, EventKind::Submitting { attempt: 1, step: 0 }),
        ],
        idempotency_key_ttl_seconds: 86_400,
        dedup_window_seconds: 900,
        may_keep_key: true,
        clock: None,
    })
}

fn event(seq: u32, at: Timestamp, kind: EventKind) -> Event {
    let evidence = Evidence::new("request", Strength::Strong, at);
    Event { seq, at, cause: Cause::Gateway, evidence, trace_id: "0".repeat(32), kind }
}

/// The same upstream that the restores were accepted for, with the callers' own tokens.
fn config(url: &str) -> String {
    format!(
        r#"
[listen]
api = "127.0.0.1:{GATEWAY}"
admin = "127.0.0.1:{admin}"
[ledger]
url = "{url}"
[telemetry]
log_level = "error"
[[upstreams]]
name = "bench"
generation = "cbr-v3"
endpoint = "http://127.0.0.1:{UPSTREAM}"
[[routes]]
upstream = "bench"
baseline_read = false
"#,
        admin = GATEWAY + 1,
    )
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
