//! The campaigns, as a program.
//!
//! `restore-campaign virtual …` plays in virtual time: see `virtual_main`. Without that word it plays with real processes:
//! `restore-campaign [--schedules N] [--seed S] [--store sqlite|postgres|both] [--at-once N] [--keep-going]`. Either
//! prints what the schedules came to, and ends with failure where a promise was broken.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use restore_campaign::{Store, Tally, run};
use restore_test_postgres::Postgres;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

mod virtual_main;

struct Options {
    schedules: u64,
    seed: u64,
    stores: Vec<Store>,
    at_once: usize,
    /// Whether it continues after the first broken promise, to list them all.
    keep_going: bool,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        schedules: 250,
        seed: 1,
        stores: vec![Store::Sqlite, Store::Postgres],
        at_once: 4,
        keep_going: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--keep-going" {
            options.keep_going = true;
            continue;
        }
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{word}: {value} is no number"));
        match word.as_str() {
            "--schedules" => options.schedules = number()?,
            "--seed" => options.seed = number()?,
            "--at-once" => options.at_once = usize::try_from(number()?).unwrap_or(1).max(1),
            "--store" => {
                options.stores = match value.as_str() {
                    "sqlite" => vec![Store::Sqlite],
                    "postgres" => vec![Store::Postgres],
                    "both" => vec![Store::Sqlite, Store::Postgres],
                    _ => return Err(format!("no store is called {value}")),
                }
            }
            _ => return Err(format!("no option is called {word}")),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).peekable();
    if words.next_if(|word| word == "virtual").is_some() {
        return virtual_main::main(words);
    }
    processes()
}

#[tokio::main]
async fn processes() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(why) => {
            eprintln!("error: {why}");
            return ExitCode::from(2);
        }
    };
    let mut failed = false;
    for store in &options.stores {
        let begun = std::time::Instant::now();
        match campaign(*store, &options).await {
            Ok((tally, broken)) => {
                println!(
                    "{}: {} schedules (seeds {} to {}) in {} s: {} restores accepted, {} applied; \
                     {} kills, {} resolved by an operator; ends: {:?}",
                    store.as_str(),
                    tally.schedules,
                    options.seed,
                    options.seed + options.schedules - 1,
                    begun.elapsed().as_secs(),
                    tally.accepted,
                    tally.applied,
                    tally.killed,
                    tally.resolved,
                    tally.ends,
                );
                if broken > 0 {
                    eprintln!("{}: {broken} more schedules broke a promise", store.as_str());
                    failed = true;
                }
            }
            Err(why) => {
                eprintln!("{why}");
                failed = true;
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What the schedules that broke no promise came to, and how many broke one, where it goes on after those. Each worker
/// has a database server of its own, because schedules make it go away.
async fn campaign(store: Store, options: &Options) -> Result<(Tally, u64), String> {
    let next = Arc::new(AtomicU64::new(options.seed));
    let end = options.seed + options.schedules;
    let tally = Arc::new(Mutex::new(Tally::default()));
    let broken = Arc::new(AtomicU64::new(0));
    let keep_going = options.keep_going;
    let mut workers: JoinSet<Result<(), String>> = JoinSet::new();
    for _ in 0..options.at_once {
        let (next, tally, broken) = (Arc::clone(&next), Arc::clone(&tally), Arc::clone(&broken));
        workers.spawn(async move {
            let postgres = match store {
                Store::Postgres => Some(Postgres::start()),
                Store::Sqlite => None,
            };
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end {
                    return Ok(());
                }
                let played = match run(seed, store, postgres.as_ref()).await {
                    Ok(played) => played,
                    Err(why) if keep_going => {
                        broken.fetch_add(1, Ordering::Relaxed);
                        println!("{}", why.lines().next().unwrap_or_default());
                        continue;
                    }
                    Err(why) => {
                        let before = tally.lock().await.schedules;
                        return Err(format!("{why}\n{before} schedules before it broke no promise"));
                    }
                };
                let mut tally = tally.lock().await;
                tally.add(&played);
                if tally.schedules % 25 == 0 {
                    println!("{}: {} schedules", store.as_str(), tally.schedules);
                }
            }
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker.map_err(|error| error.to_string())??;
    }
    let tally = tally.lock().await.clone();
    Ok((tally, broken.load(Ordering::Relaxed)))
}
