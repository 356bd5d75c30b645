//! `restore-campaign virtual [--schedules N] [--seed S] [--jobs N] [--keep-going] [--trace]`: schedules in virtual time.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use restore_campaign::Tally;
use restore_campaign::simulation::{self, Ran};

/// What is asked for.
struct Options {
    schedules: u64,
    seed: u64,
    jobs: usize,
    /// Whether it goes on after the first broken promise, to count how many there are of each.
    keep_going: bool,
    /// Whether the trace of a schedule is printed that breaks none.
    trace: bool,
}

fn options(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { schedules: 2_000, seed: 1, jobs: 2, keep_going: false, trace: false };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--keep-going" => options.keep_going = true,
            "--trace" => options.trace = true,
            "--schedules" | "--seed" | "--jobs" => {
                let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
                let number = value.parse::<u64>().map_err(|_| format!("{word}: {value} is no number"))?;
                match word.as_str() {
                    "--schedules" => options.schedules = number,
                    "--seed" => options.seed = number,
                    _ => options.jobs = usize::try_from(number).unwrap_or(1).max(1),
                }
            }
            _ => return Err(format!("no option is called {word}")),
        }
    }
    Ok(options)
}

/// Plays them.
pub(crate) fn main(words: impl Iterator<Item = String>) -> ExitCode {
    let options = match options(words) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("error: {why}");
            return ExitCode::from(2);
        }
    };
    let next = AtomicU64::new(options.seed);
    let end = options.seed + options.schedules;
    let found = AtomicBool::new(false);
    let tally = Mutex::new(Tally::default());
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| {
                while options.keep_going || !found.load(Ordering::SeqCst) {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= end {
                        return;
                    }
                    let Ran { lines, judged, hash } = simulation::run(seed);
                    match judged {
                        Ok(played) => {
                            if options.trace {
                                println!(
                                    "{}\nseed {seed}: no promise was broken, trace {hash:016x}",
                                    lines.join("\n")
                                );
                            }
                            tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner).add(&played);
                        }
                        Err(why) => {
                            found.store(true, Ordering::SeqCst);
                            if options.keep_going {
                                let first = why.lines().next().unwrap_or_default();
                                println!("{first}");
                            } else {
                                println!("{}\n{why}\ntrace {hash:016x}", lines.join("\n"));
                                println!("once more: ./dev campaign virtual --schedules 1 --seed {seed}");
                            }
                        }
                    }
                }
            });
        }
    });
    let tally = tally.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "virtual: {} schedules (seeds {} to {}) in {seconds:.1} s: {} restores accepted, {} applied; {} kills, \
         {} resolved by an operator; ends: {:?}",
        tally.schedules,
        options.seed,
        end - 1,
        tally.accepted,
        tally.applied,
        tally.killed,
        tally.resolved,
        tally.ends,
    );
    if found.load(Ordering::SeqCst) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
