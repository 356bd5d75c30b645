//! The campaign in virtual time: gateways, the ledger they share, their configuration and the simulated clouds in one thread,
//! on a paused clock and a network in memory. A seed draws a schedule ([`schedule`]) and plays it ([`play`]) the same way
//! again each time; the clouds' own truth judges it ([`judge`]).
//!
//! | module | what it plays |
//! |---|---|
//! | [`process`] | a gateway as a process: killed, stopped, at a named point or between two polls; its clocks |
//! | [`net`] | the network between gateways and clouds |
//! | [`store`] | the ledger: leases, restarts, being away, locked or old |
//! | [`routing`] | upstreams and routes, as configuration |
//! | [`trace`] | what happened, as lines and as one number |

pub mod judge;
pub mod net;
pub mod play;
pub mod process;
pub mod requests;
pub mod routing;
pub mod schedule;
pub mod store;
pub mod trace;

use std::sync::{Arc, LazyLock};

use restore_model::Status;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::Tally;
use play::Played;
use trace::Trace;

/// What came of a seed.
pub struct Ran {
    /// The number of its trace.
    pub hash: u64,
    /// Its trace, line by line.
    pub lines: Vec<String>,
    /// What it came to, or the promise that was broken.
    pub judged: Result<Tally, String>,
}

/// The runtime of files, beside the simulation's own.
fn helper() -> Handle {
    static HELPER: LazyLock<Runtime> = LazyLock::new(|| {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime can be made")
    });
    HELPER.handle().clone()
}

/// Draws, plays and judges one schedule.
///
/// # Panics
/// When no runtime can be made.
#[must_use]
pub fn run(seed: u64) -> Ran {
    process::watch_points();
    let helper = helper();
    let schedule = schedule::draw(seed);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime can be made");
    let (trace, played) = runtime.block_on(async {
        let trace = Arc::new(Trace::new());
        trace.line(|| format!("{:?}", schedule.setup));
        let played = play::play(seed, &schedule, &trace, &helper).await;
        (trace, played)
    });
    let judged = played.and_then(|played| judge::judge(&played).map(|()| tally(&played)));
    drop(runtime);
    let judged = judged.map_err(|why| {
        let steps: Vec<String> = schedule.steps.iter().map(|step| format!("  {step:?}")).collect();
        format!("seed {seed}: {why}\n{:?}\n{}", schedule.setup, steps.join("\n"))
    });
    Ran { hash: trace.hash(), lines: trace.lines(), judged }
}

/// What a schedule came to.
pub(crate) fn tally(played: &Played) -> Tally {
    let rows = played.rows.iter().chain(&played.lost);
    let ends = rows.clone().map(|row| row.entry.state.status).filter(|status: &Status| status.is_final());
    Tally {
        schedules: 1,
        accepted: rows.count(),
        applied: played.applied.iter().filter(|one| !one.by_console).count(),
        killed: played.kills,
        resolved: played.resolved,
        ends: play::count(ends.map(Status::as_str)),
    }
}
