//! The crash campaign: is a restore really sent at most once, whatever is killed, stopped, broken
//! or sent twice? A schedule is drawn from a seed ([`schedule`]), played against real gateways over
//! real sockets with simulated clouds ([`play`]), and judged by what the clouds say was applied
//! ([`simulation::judge`]). The same seed draws the same schedule; how the processes interleave is theirs.

pub mod play;
pub mod schedule;
pub mod simulation;

use std::sync::{Mutex, PoisonError};

use restore_test_postgres::Postgres;

use simulation::judge::judge;

/// Where the gateways of a schedule keep their ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// One gateway, one file.
    Sqlite,
    /// Two gateways, one database.
    Postgres,
}

impl Store {
    /// The word for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// What a schedule came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Schedules that were played.
    pub schedules: usize,
    /// Restores that were accepted.
    pub accepted: usize,
    /// Restores that the clouds applied.
    pub applied: usize,
    /// Processes that were killed, at a crash point or from outside.
    pub killed: usize,
    /// Restores that needed an operator, who looked into the clouds.
    pub resolved: usize,
    /// Restores by their end.
    pub ends: std::collections::BTreeMap<String, usize>,
}

impl Tally {
    /// Both together.
    pub fn add(&mut self, other: &Self) {
        self.schedules += other.schedules;
        self.accepted += other.accepted;
        self.applied += other.applied;
        self.killed += other.killed;
        self.resolved += other.resolved;
        for (end, count) in &other.ends {
            *self.ends.entry(end.clone()).or_default() += count;
        }
    }
}

/// Draws, plays and judges one schedule.
///
/// # Errors
/// The promise that was broken, or what did not come to an end; with the schedule, and the file that has the logs.
pub async fn run(seed: u64, store: Store, postgres: Option<&Postgres>) -> Result<Tally, String> {
    let schedule = schedule::draw(seed, store);
    let logs = Mutex::default();
    let played = play::play(seed, store, postgres, &schedule, &logs).await;
    let judged = match played {
        Ok(play::Stood { played, clouds }) => {
            clouds.stop().await;
            judge(&played).map(|()| simulation::tally(&played)).map_err(|why| {
                let histories = played.records.iter().map(|record| format!("{record:#?}\n"));
                (why, histories.chain(played.applied.iter().map(|one| format!("{one:?}\n"))).collect())
            })
        }
        Err(why) => Err((why, String::new())),
    };
    judged.map_err(|(why, histories): (String, String)| {
        let steps: Vec<String> = schedule.steps.iter().map(|step| format!("  {step:?}")).collect();
        let setup = &schedule.setup;
        let logs = logs.into_inner().unwrap_or_else(PoisonError::into_inner);
        let file = std::env::temp_dir().join(format!("restore-campaign-{}-{seed}.log", store.as_str()));
        let kept = std::fs::write(&file, format!("{why}\n{histories}\n{logs}"));
        let kept = kept.map_or_else(|error| error.to_string(), |()| file.display().to_string());
        format!("seed {seed} over {}: {why}\n{setup:?}\n{}\nlogs: {kept}", store.as_str(), steps.join("\n"))
    })
}
