//! The crash campaign: is a restore really sent at most once, whatever is killed, stopped, broken
//! or sent twice? A schedule is drawn from a seed ([`schedule`]), played against real gateways over
//! real sockets with simulated clouds ([`play`]), and judged by what the clouds say was applied
//! ([`judge`]). The same seed draws the same schedule; how the processes interleave is theirs.

pub mod judge;
pub mod play;
pub mod schedule;
pub mod simulation;

use restore_test_postgres::Postgres;

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
/// What the judge found, or what did not come to an end; with the schedule.
pub async fn run(seed: u64, store: Store, postgres: Option<&Postgres>) -> Result<Tally, String> {
    let steps = schedule::draw(seed, store);
    let told = |why: String| {
        let steps: Vec<String> = steps.iter().map(|step| format!("  {step:?}")).collect();
        format!("seed {seed} over {}: {why}\n{}", store.as_str(), steps.join("\n"))
    };
    let played = play::play(seed, store, postgres, &steps).await.map_err(&told)?;
    judge::judge(played).await.map_err(&told)
}
