//! How many restores a second each store takes in, moves on and reads back, and what that costs
//! in processor time (on Linux). The folder is where the SQLite file is put; its disk is measured.
//! The store is `memory`, `sqlite` or the URL of an empty PostgreSQL database; without one the first two.
//!
//! `cargo run --release -p restore-ledger --example throughput -- [FOLDER] [CALLERS] [SECONDS] [STORE]`

use std::sync::Arc;
use std::time::{Duration, Instant};

use restore_ledger::{Accept, Ledger, LedgerUrl, NewEntry, OpenOptions};
use restore_model::{
    Clock, Event, EventKind, Evidence, Intent, Mapping, RestoreId, RestoreRequest, RoutePin, Source,
    Strength, SystemClock, Target, TaskRef, Timestamp,
};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| ".".to_owned());
    let callers = arguments.next().map_or(Ok(128), |text| text.parse())?;
    let seconds = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let only = arguments.next();
    let folder = tempfile::TempDir::new_in(folder)?;
    let file = LedgerUrl::Sqlite(folder.path().join("ledger.db"));
    let urls = match only.as_deref() {
        None => vec![LedgerUrl::Memory, file],
        Some("memory") => vec![LedgerUrl::Memory],
        Some("sqlite") => vec![file],
        Some(url) => vec![url.parse()?],
    };
    for url in urls {
        let name = match url {
            LedgerUrl::Memory => "memory",
            LedgerUrl::Sqlite(_) => "sqlite",
            LedgerUrl::Postgres(_) => "postgres",
        };
        let ledger = restore_ledger::open(&url, OpenOptions::default()).await?;
        let lease = ledger.lease();
        let (begin, cpu) = (Instant::now(), processor_time());
        let deadline = begin + Duration::from_secs(seconds);
        let tasks: Vec<_> = (0..callers)
            .map(|caller: usize| tokio::spawn(drive(Arc::clone(&ledger), caller, deadline)))
            .collect();
        let mut done: u32 = 0;
        for task in tasks {
            done += task.await??;
        }
        let took = begin.elapsed();
        print!("{name}: {callers} callers, {:.0} restores/s", f64::from(done) / took.as_secs_f64());
        match cpu.zip(processor_time()) {
            Some((before, after)) => {
                println!(", {:.1} us of processor time each", (after - before) / f64::from(done) * 1e6);
            }
            None => println!(),
        }
        if !lease.is_current() {
            return Err("the lease lapsed under load".into());
        }
        ledger.close().await;
    }
    Ok(())
}

/// One caller: a restore after the other, each accepted, submitted, ended and read.
async fn drive(ledger: Arc<dyn Ledger>, caller: usize, deadline: Instant) -> Outcome<u32> {
    let mut done = 0;
    while Instant::now() < deadline {
        let now = SystemClock.now();
        let Accept::New(entry) = ledger.accept(ask(caller, now, done)?).await? else {
            return Err("a restore was not new".into());
        };
        let task = Some(TaskRef { kind: "job".to_owned(), id: format!("{caller}-{done}") });
        let started = EventKind::Started {
            task,
            upstream_status: None,
            progress: None,
            request_id: None,
            clock_offset_ms: None,
        };
        let events = vec![event(3, now, started), event(4, now, EventKind::Succeeded)];
        ledger.append(entry.intent.id, 2, events).await?;
        ledger.get(entry.intent.id).await?.ok_or("a restore was lost")?;
        done += 1;
    }
    Ok(done)
}

fn ask(caller: usize, now: Timestamp, turn: u32) -> Outcome<NewEntry> {
    let mapping = |disk: u32| -> Outcome<Mapping> {
        Ok(Mapping {
            backup_id: format!("5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b0{disk}").parse()?,
            volume_id: format!("c0ffee{disk:02}-1111-4222-8333-{caller:012}").parse()?,
        })
    };
    let request = RestoreRequest {
        project_id: "0a1b2c3d4e5f60718293a4b5c6d7e8f9".parse()?,
        source: Source { backup_id: "0f9e8d7c-6b5a-4948-8372-615049382716".parse()?, checkpoint_id: None },
        target: Target::Server {
            server_id: format!("7d2f6c1e-3b0a-4c55-9a51-{caller:012}").parse()?,
            power_on: true,
            volumes: vec![mapping(0)?, mapping(1)?],
        },
    };
    Ok(NewEntry {
        intent: Intent {
            id: RestoreId::at(now),
            caller: "nightly-job".to_owned(),
            fingerprint: request.fingerprint(),
            request,
            key: Some(format!("{caller}-{turn}")),
            origin: None,
            fallback: None,
            route: RoutePin {
                upstream: "eu-de-cbr".to_owned(),
                generation: "cbr-v3".to_owned(),
                reason: "rule 1".to_owned(),
                baseline: false,
                overdue_seconds: 3600,
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
    Event {
        seq,
        at,
        cause: restore_model::Cause::Gateway,
        evidence: Evidence::new("request", Strength::Strong, at),
        trace_id: "0".repeat(32),
        kind,
    }
}

/// User and system time of this process so far in seconds, at the usual 100 ticks a second.
fn processor_time() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / 100.0)
}
