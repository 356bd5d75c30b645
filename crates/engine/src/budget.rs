//! How often one upstream is read. A bucket that fills evenly, so that no minute sees more reads
//! than the settings allow; calls that belong to a send are made whatever is left and count all the
//! same, so that sends come first and the total still holds. An upstream that asks for time gets it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use restore_generations::Reply;
use tokio::time::Instant;

/// Seconds that are waited where an upstream throttles and does not say for how long.
const PAUSE: Duration = Duration::from_secs(10);
/// The longest wait that an upstream can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(900);

/// The reads of one upstream.
#[derive(Debug)]
pub(crate) struct Budget {
    state: Mutex<Tokens>,
}

#[derive(Clone, Copy, Debug)]
struct Rate {
    per_second: f64,
    /// As many reads may be made at once after a quiet time.
    most: f64,
    /// Sends hold reads back for a minute at most: no minute after that sees them.
    least: f64,
}

impl Rate {
    /// Whoever finds a full bucket empties it at once, and what flows in during the same minute
    /// comes on top: both together are the limit. `None` without one.
    fn of(per_minute: u32, processes: usize) -> Option<Self> {
        let calls = f64::from(per_minute) / f64::from(u32::try_from(processes).unwrap_or(u32::MAX).max(1));
        let most = (calls / 60.0).max(1.0);
        let per_second = (calls - most).max(calls / 2.0) / 60.0;
        (per_minute > 0).then(|| Self { per_second, most, least: (most - calls).min(0.0) })
    }
}

#[derive(Debug)]
struct Tokens {
    /// Of all processes together; 0 is no limit.
    per_minute: u32,
    processes: usize,
    /// `None` without a limit.
    rate: Option<Rate>,
    /// Below zero after sends.
    left: f64,
    at: Instant,
    /// The upstream has asked for quiet until then.
    quiet_until: Option<Instant>,
}

impl Budget {
    /// At most so many calls within any minute; 0 is no limit.
    pub(crate) fn per_minute(calls: u32) -> Self {
        let rate = Rate::of(calls, 1);
        let left = rate.map_or(0.0, |rate| rate.most);
        let at = Instant::now();
        let tokens = Tokens { per_minute: calls, processes: 1, rate, left, at, quiet_until: None };
        Self { state: Mutex::new(tokens) }
    }

    /// Shares the limit among so many processes that read the same upstream.
    pub(crate) fn share_among(&self, processes: usize) {
        let mut state = self.state();
        state.processes = processes;
        state.rate = Rate::of(state.per_minute, processes);
    }

    /// So many calls within any minute from now on.
    pub(crate) fn allow(&self, calls: u32) {
        let mut state = self.state();
        state.per_minute = calls;
        state.rate = Rate::of(calls, state.processes);
    }

    fn state(&self) -> MutexGuard<'_, Tokens> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(rate) = state.rate {
            let flown = now.duration_since(state.at).as_secs_f64() * rate.per_second;
            state.left = (state.left + flown).min(rate.most);
        }
        state.at = now;
        state
    }

    /// Counts a call that is made whatever is left.
    pub(crate) fn spend(&self) {
        let mut state = self.state();
        let least = state.rate.map_or(0.0, |rate| rate.least);
        state.left = (state.left - 1.0).max(least);
    }

    /// Takes back the count of a call that was never made.
    pub(crate) fn give_back(&self) {
        let mut state = self.state();
        let most = state.rate.map_or(0.0, |rate| rate.most);
        state.left = (state.left + 1.0).min(most);
    }

    /// Takes the right to one read, if there is one now.
    pub(crate) fn try_take(&self) -> bool {
        self.missing().is_none()
    }

    /// Waits for the right to one read.
    pub(crate) async fn take(&self) {
        while let Some(wait) = self.missing() {
            tokio::time::sleep(wait).await;
        }
    }

    /// Takes one, or says how long there will be none.
    fn missing(&self) -> Option<Duration> {
        let mut state = self.state();
        if let Some(until) = state.quiet_until.filter(|until| *until > state.at) {
            return Some(until - state.at);
        }
        let rate = state.rate?;
        if state.left >= 1.0 {
            state.left -= 1.0;
            return None;
        }
        // A little more, so that rounding never lets it come back for a fraction.
        Some(Duration::from_secs_f64((1.0 - state.left) / rate.per_second) + Duration::from_millis(1))
    }

    /// How long the upstream has asked to be left alone, from now on; zero where it has not.
    pub(crate) fn quiet(&self) -> Duration {
        let state = self.state();
        state.quiet_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(state.at))
    }

    /// Hears what the upstream answered: one that throttles is left alone for a while.
    pub(crate) fn heard(&self, reply: &Reply) {
        if !matches!(reply.status, 429 | 503) {
            return;
        }
        let asked = restore_upstream::retry_after(reply);
        let wait = match (reply.status, asked) {
            (_, Some(asked)) => asked.min(LONGEST_PAUSE),
            (429, None) => PAUSE,
            _ => return,
        };
        let mut state = self.state();
        let until = state.at + wait;
        state.quiet_until = Some(state.quiet_until.map_or(until, |before| before.max(until)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, retry_after: Option<&str>) -> Reply {
        Reply {
            status,
            request_id: None,
            date: None,
            retry_after: retry_after.map(str::to_owned),
            body: Default::default(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_minute_sees_more_than_the_limit() {
        for limit in [1_u32, 2, 60, 100, 600] {
            let budget = Budget::per_minute(limit);
            let mut taken: Vec<Instant> = Vec::new();
            let end = Instant::now() + Duration::from_secs(600);
            loop {
                budget.take().await;
                if Instant::now() > end {
                    break;
                }
                taken.push(Instant::now());
            }
            let most = (0..taken.len())
                .map(|first| {
                    taken[first..]
                        .iter()
                        .take_while(|at| **at - taken[first] < Duration::from_secs(60))
                        .count()
                })
                .max()
                .unwrap();
            assert!(most <= limit as usize, "{most} of {limit} in one minute");
            assert!(taken.len() >= limit as usize * 9 / 2, "{} of {limit} in ten minutes", taken.len());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn several_processes_share_one_limit() {
        let [one, other] = [(); 2].map(|()| Budget::per_minute(120));
        for budget in [&one, &other] {
            budget.share_among(2);
        }
        let begun = Instant::now();
        let mut taken = 0;
        while begun.elapsed() < Duration::from_secs(60) {
            taken += u32::from(one.try_take()) + u32::from(other.try_take());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!((100..=122).contains(&taken), "{taken}");
    }

    #[tokio::test(start_paused = true)]
    async fn sends_go_first_and_count() {
        let budget = Budget::per_minute(60);
        for _ in 0..30 {
            budget.spend();
        }
        let before = Instant::now();
        budget.take().await;
        assert!(before.elapsed() >= Duration::from_secs(29), "{:?}", before.elapsed());
        let free = Budget::per_minute(0);
        for _ in 0..10_000 {
            assert!(free.try_take());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_were_sent_reads_are_held_back_for_a_minute_at_most() {
        let budget = Budget::per_minute(60);
        for _ in 0..10_000 {
            budget.spend();
        }
        let before = Instant::now();
        budget.take().await;
        assert_eq!(before.elapsed().as_secs(), 61);
        // What was never made holds nothing back, and is not saved up either.
        for _ in 0..10 {
            budget.spend();
            budget.give_back();
        }
        budget.give_back();
        assert!(budget.try_take() && !budget.try_take());
    }

    #[tokio::test(start_paused = true)]
    async fn an_upstream_that_asks_for_time_gets_it_up_to_a_bound() {
        for (answer, seconds) in [
            (reply(429, Some("7")), 7),
            (reply(503, Some("7")), 7),
            (reply(429, None), 10),
            (reply(429, Some("1000000000")), 900),
            (reply(503, None), 0),
            (reply(200, Some("7")), 0),
        ] {
            let budget = Budget::per_minute(0);
            budget.heard(&answer);
            let before = Instant::now();
            budget.take().await;
            assert_eq!(before.elapsed().as_secs(), seconds, "{answer:?}");
        }
    }
}
