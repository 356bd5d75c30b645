//! The conductor: starts upstream, bare proxy and gateways, lets the load run against each in turn,
//! several rounds, and prints medians, ratios and their spread.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::hostile;

pub(crate) const UPSTREAM: u16 = 18_900;
const BARE: u16 = 18_901;
pub(crate) const GATEWAY: u16 = 18_910;
/// Kernel ticks per second of `/proc/PID/stat`.
const TICKS: f64 = 100.0;

/// One proxy under test.
struct Contender {
    name: &'static str,
    port: u16,
    child: Child,
    samples: Vec<Sample>,
}

/// One round of one contender.
#[derive(Clone, Copy)]
struct Sample {
    cpu_micros: f64,
    per_second: f64,
    p99: f64,
}

/// A gateway under test: its name, its ledger (`sqlite` is a file of its own), its telemetry.
type Setup = (&'static str, &'static str, &'static str);

const MEMORY: Setup = ("memory", "memory:", "");
const SQLITE: Setup = ("sqlite", "sqlite", "");
const TRACED: [Setup; 2] = [
    ("memory, traced 1 %", "memory:", "otlp_endpoint = \"http://127.0.0.1:18900\"\nsample_ratio = 0.01"),
    ("memory, traced 100 %", "memory:", "otlp_endpoint = \"http://127.0.0.1:18900\"\nsample_ratio = 1.0"),
];
/// Connections of the comparison of ledgers.
const CROWD: u32 = 128;

/// Runs everything, or with `ledgers` first the comparison of ledgers alone, with `hostile` what a hostile crowd does to
/// good callers, with `start` how soon a gateway answers and what it holds idle, with `scale` the same with very many restores
/// in its ledger. Options: rounds, seconds per round, connections.
pub(crate) async fn run(options: &[&str]) -> Result<(), String> {
    let (part, options) = match options {
        [part @ ("ledgers" | "hostile" | "start" | "scale"), rest @ ..] => (*part, rest),
        all => ("", all),
    };
    let number =
        |index: usize, default: u32| options.get(index).and_then(|word| word.parse().ok()).unwrap_or(default);
    let (rounds, seconds, connections) = (number(0, 7), number(1, 3), number(2, 32));
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let folder = std::env::temp_dir().join(format!("restore-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let _upstream = pinned(1, &own, &["upstream", &UPSTREAM.to_string()])?;
    if part == "start" {
        let gateway = own.with_file_name("restore-gateway");
        crate::start::run(&gateway, &folder, number(0, 21)).await?;
        let _ = std::fs::remove_dir_all(&folder);
        return Ok(());
    }
    if part == "scale" {
        let gateway = own.with_file_name("restore-gateway");
        let measured = crate::scale::run(&gateway, &folder, options).await;
        let _ = std::fs::remove_dir_all(&folder);
        return measured;
    }
    if part == "hostile" {
        let (rounds, seconds) = (number(0, 7), number(1, 5));
        let field = start(&own, &folder, &[MEMORY, SQLITE]).await?;
        let kinds = options.get(2).copied().unwrap_or_default();
        // The bare proxy too, though it waits for bodies of any size and refuses none: what the machine itself does to
        // the good ones.
        beside_a_crowd(&own, &field, rounds, seconds, kinds).await?;
        let _ = std::fs::remove_dir_all(&folder);
        return Ok(());
    }
    if part.is_empty() {
        let [one_percent, all] = TRACED;
        let mut field = start(&own, &folder, &[MEMORY, one_percent, all, SQLITE]).await?;
        println!("idle resident memory of a gateway: {:.1} MiB", resident(&field[1].child)?);
        compete(&own, &mut field, rounds, connections, seconds).await?;
        report(&field, connections, rounds);
        for contender in &mut field {
            // Its port is needed again.
            contender.child.kill().await.map_err(|error| error.to_string())?;
        }
    }
    // Started anew: what a ledger holds from before must not count.
    let mut field = start(&own, &folder, &[MEMORY, SQLITE]).await?;
    compete(&own, &mut field[1..], rounds, CROWD, seconds).await?;
    report_ledgers(&field[1], &field[2], rounds);
    let _ = std::fs::remove_dir_all(&folder);
    Ok(())
}

/// Starts the bare proxy and these gateways.
async fn start(own: &PathBuf, folder: &Path, setups: &[Setup]) -> Result<Vec<Contender>, String> {
    let gateway = own.with_file_name("restore-gateway");
    if !gateway.exists() {
        return Err(format!("{} is missing: build restore-gateway with the same profile", gateway.display()));
    }
    let bare = pinned(0, own, &["passthrough", &BARE.to_string(), &UPSTREAM.to_string()])?;
    let mut field = vec![Contender { name: "bare hyper", port: BARE, child: bare, samples: Vec::new() }];
    for (port, (name, ledger, telemetry)) in (GATEWAY..).step_by(2).zip(setups) {
        let ledger = match *ledger {
            "sqlite" => format!("sqlite:{}", folder.join(format!("{}.db", setups.len())).display()),
            other => other.to_owned(),
        };
        let config = config(port, &ledger, telemetry, folder)?;
        let child = pinned(0, &gateway, &["serve", "--config", &config.display().to_string()])?;
        field.push(Contender { name, port, child, samples: Vec::new() });
    }
    for contender in &field {
        wait_for(contender.port).await?;
    }
    Ok(field)
}

/// Lets the load run against each in turn, so many rounds.
async fn compete(
    own: &PathBuf,
    field: &mut [Contender],
    rounds: u32,
    connections: u32,
    seconds: u32,
) -> Result<(), String> {
    for round in 0..=rounds {
        for contender in &mut *field {
            let sample = measure(own, contender, connections, seconds).await?;
            // The first round warms up.
            if round > 0 {
                contender.samples.push(sample);
            }
        }
    }
    Ok(())
}

async fn measure(
    own: &PathBuf,
    contender: &Contender,
    connections: u32,
    seconds: u32,
) -> Result<Sample, String> {
    let before = cpu_seconds(&contender.child)?;
    let target = format!("127.0.0.1:{}", contender.port);
    let output = Command::new("taskset")
        .args(["-c", "1"])
        .arg(own)
        .args(["load", &target, &connections.to_string(), &seconds.to_string(), "0"])
        .output()
        .await
        .map_err(|error| format!("taskset: {error}"))?;
    if !output.status.success() {
        return Err(format!("{}: {}", contender.name, String::from_utf8_lossy(&output.stderr)));
    }
    let cpu = cpu_seconds(&contender.child)? - before;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [count, _, p99, took] = numbers.as_slice() else { return Err(format!("the load said {text:?}")) };
    Ok(Sample { cpu_micros: cpu * 1e6 / count, per_second: count / took, p99: *p99 })
}

/// The bar of hostile load: the good ones' p99 at most doubles. Contenders in turn.
async fn beside_a_crowd(
    own: &Path,
    field: &[Contender],
    rounds: u32,
    seconds: u32,
    kinds: &str,
) -> Result<(), String> {
    let mut ratios = vec![Vec::new(); field.len()];
    for round in 0..=rounds {
        for (contender, ratios) in field.iter().zip(&mut ratios) {
            let alone = hostile::good(own, contender.port, seconds, None).await?;
            let beside = hostile::good(own, contender.port, seconds, Some(kinds)).await?;
            println!(
                "{}: {} restores, p50 {} µs, p99 {} µs alone; {}, {}, {} beside the crowd",
                contender.name, alone.0, alone.1, alone.2, beside.0, beside.1, beside.2
            );
            // The first round warms up.
            if round > 0 {
                ratios.push(beside.2 / alone.2);
            }
        }
    }
    for (contender, ratios) in field.iter().zip(ratios) {
        let ratio = spread(ratios.into_iter());
        let held = resident(&contender.child)?;
        println!(
            "{}: p99 beside a hostile crowd to p99 alone: {:.2} ({:.2} to {:.2}); the bar is 2; {held:.0} MiB held",
            contender.name, ratio.1, ratio.0, ratio.2
        );
    }
    Ok(())
}

/// The group commit's bar: at least half of what memory does.
fn report_ledgers(memory: &Contender, sqlite: &Contender, rounds: u32) {
    println!("\nthroughput at {CROWD} connections, {rounds} interleaved rounds; median (min to max)\n");
    for contender in [memory, sqlite] {
        let rate = spread(contender.samples.iter().map(|sample| sample.per_second));
        let cpu = spread(contender.samples.iter().map(|sample| sample.cpu_micros));
        println!(
            "{:<8} {:>7.0} ({:>6.0} to {:>6.0}) restores/s {:>8.1} µs CPU/restore",
            contender.name, rate.1, rate.0, rate.2, cpu.1
        );
    }
    let pairs = sqlite.samples.iter().zip(&memory.samples);
    let ratio = spread(pairs.map(|(sqlite, memory)| sqlite.per_second / memory.per_second));
    println!("sqlite to memory: {:.2} ({:.2} to {:.2}); the bar is 0.5", ratio.1, ratio.0, ratio.2);
}

fn report(contenders: &[Contender], connections: u32, rounds: u32) {
    println!("{connections} connections, {rounds} interleaved rounds; median (min to max)\n");
    println!(
        "{:<22} {:>22} {:>16} {:>12} {:>12}",
        "", "CPU ratio", "CPU µs/restore", "restores/s", "p99 ratio"
    );
    let bare = &contenders[0].samples;
    for contender in contenders {
        let ratios =
            spread(contender.samples.iter().zip(bare).map(|(own, bare)| own.cpu_micros / bare.cpu_micros));
        let tails = spread(contender.samples.iter().zip(bare).map(|(own, bare)| own.p99 / bare.p99));
        let cpu = spread(contender.samples.iter().map(|sample| sample.cpu_micros));
        let rate = spread(contender.samples.iter().map(|sample| sample.per_second));
        println!(
            "{:<22} {:>6.2} ({:>5.2} to {:>5.2}) {:>16.1} {:>12.0} {:>12.2}",
            contender.name, ratios.1, ratios.0, ratios.2, cpu.1, rate.1, tails.1
        );
    }
}

/// Least, median, greatest.
pub(crate) fn spread(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    (at(0), at(values.len() / 2), at(values.len().saturating_sub(1)))
}

fn config(port: u16, ledger: &str, telemetry: &str, folder: &Path) -> Result<PathBuf, String> {
    let text = format!(
        r#"
[listen]
api = "127.0.0.1:{port}"
admin = "127.0.0.1:{admin}"
[ledger]
url = "{ledger}"
[polling]
interval_seconds = 3600
[telemetry]
log_level = "warn"
{telemetry}
[[upstreams]]
name = "bench"
generation = "cbr-v3"
endpoint = "http://127.0.0.1:{UPSTREAM}"
max_concurrency = 256
[[routes]]
upstream = "bench"
baseline_read = false
"#,
        admin = port + 1,
    );
    let path = folder.join(format!("{port}.toml"));
    std::fs::write(&path, text).map_err(|error| error.to_string())?;
    Ok(path)
}

pub(crate) fn pinned(core: u32, program: &PathBuf, arguments: &[&str]) -> Result<Child, String> {
    Command::new("taskset")
        .args(["-c", &core.to_string()])
        .arg(program)
        .args(arguments)
        .env("WEBHOOK_SECRET", "whsec_cmVzdG9yZS1nYXRld2F5LWJlbmNoLTAwMDAwMDAw")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("taskset: {error}"))
}

async fn wait_for(port: u16) -> Result<(), String> {
    for _ in 0..200 {
        if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(format!("nothing listens on {port}"))
}

/// User and system time of a process; taskset replaces itself, so the child is the program.
pub(crate) fn cpu_seconds(child: &Child) -> Result<f64, String> {
    let stat = proc_file(child, "stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    Ok((ticks(11) + ticks(12)) / TICKS)
}

pub(crate) fn resident(child: &Child) -> Result<f64, String> {
    let status = proc_file(child, "status")?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.map(|kib| kib / 1024.0).ok_or_else(|| "no VmRSS".to_owned())
}

fn proc_file(child: &Child, name: &str) -> Result<String, String> {
    let id = child.id().ok_or("a process has ended")?;
    std::fs::read_to_string(format!("/proc/{id}/{name}")).map_err(|error| error.to_string())
}
