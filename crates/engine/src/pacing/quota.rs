//! The read quota of one upstream: a bucket that fills evenly, so that no minute has more reads than the configuration
//! allows. An upstream that asks for a pause gets it.
//!
//! Restores come first:
//! - Attempts start at once, whatever is left. They count.
//! - Reads before an attempt start at once until they alone exceed a minute's worth. Then they have half of the rate,
//!   and callers take turns. Attempts do not delay them: after an outage with many attempts, the next restore is sent
//!   at once.
//! - Half of the rate is for polls, as long as polls and accepted attempts alone stay within the limit. An attempt that
//!   the upstream rejects does not count against them: one caller of such restores must not stop the polls of all.
//! - Checks and proxied reads get the rest. Callers take turns, so that one caller does not delay another.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use restore_generations::Reply;
use restore_model::{Code, Problem};
use restore_upstream::Behalf;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Seconds that are waited where an upstream throttles and does not say for how long.
const PAUSE: Duration = Duration::from_secs(10);
/// The longest pause that an upstream can request.
const LONGEST_PAUSE: Duration = Duration::from_secs(900);

/// How long a question waits for its turn, and a read before a send.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));

/// The reads of one upstream.
#[derive(Debug)]
pub(crate) struct ReadQuota {
    state: Mutex<Tokens>,
    /// Somebody's turn may have come.
    changed: Notify,
}

/// Those who wait, by caller, and whose turn it is.
#[derive(Debug, Default)]
struct Turns {
    order: VecDeque<Arc<str>>,
    tickets: HashMap<Arc<str>, VecDeque<u64>>,
}

impl Turns {
    fn push(&mut self, caller: &Arc<str>, ticket: u64) {
        let own = self.tickets.entry(Arc::clone(caller)).or_default();
        if own.is_empty() {
            self.order.push_back(Arc::clone(caller));
        }
        own.push_back(ticket);
    }

    fn first(&self) -> Option<u64> {
        self.tickets.get(self.order.front()?)?.front().copied()
    }

    /// Takes a ticket out; the turn of a caller that was served goes to the next one.
    fn remove(&mut self, caller: &Arc<str>, ticket: u64, served: bool) {
        let Some(own) = self.tickets.get_mut(caller) else { return };
        own.retain(|other| *other != ticket);
        let is_empty = own.is_empty();
        if is_empty {
            self.tickets.remove(caller);
        }
        if is_empty || served {
            self.order.retain(|other| other != caller);
        }
        if served && !is_empty {
            self.order.push_back(Arc::clone(caller));
        }
    }
}

/// All who wait for a read.
#[derive(Debug, Default)]
struct Queue {
    tickets: u64,
    polls: VecDeque<u64>,
    restores: Turns,
    questions: Turns,
}

impl Queue {
    fn push(&mut self, behalf: &Behalf) -> u64 {
        self.tickets += 1;
        match behalf {
            Behalf::Poll => self.polls.push_back(self.tickets),
            Behalf::Restore(caller) => self.restores.push(caller, self.tickets),
            Behalf::Question(caller) => self.questions.push(caller, self.tickets),
        }
        self.tickets
    }

    fn remove(&mut self, behalf: &Behalf, ticket: u64, served: bool) {
        match behalf {
            Behalf::Poll => self.polls.retain(|other| *other != ticket),
            Behalf::Restore(caller) => self.restores.remove(caller, ticket, served),
            Behalf::Question(caller) => self.questions.remove(caller, ticket, served),
        }
    }

    /// Whose turn it is among those who ask on the same kind of behalf.
    fn first(&self, behalf: &Behalf) -> Option<u64> {
        match behalf {
            Behalf::Poll => self.polls.front().copied(),
            Behalf::Restore(_) => self.restores.first(),
            Behalf::Question(_) => self.questions.first(),
        }
    }

    /// True while a poll or a read before a send waits; polls do not count while the upstream wants quiet.
    fn is_needed(&self, quiet: bool) -> bool {
        self.restores.first().is_some() || (!quiet && !self.polls.is_empty())
    }
}

/// A place in the queue, which is left when it is dropped.
struct Ticket<'a> {
    quota: &'a ReadQuota,
    behalf: &'a Behalf,
    number: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.quota.state().queue.remove(self.behalf, self.number, false);
        self.quota.changed.notify_waiters();
    }
}

/// Why it is not one's turn.
enum NotYet {
    /// In so long there may be a read.
    Wait(Duration),
    /// Others come first.
    Others,
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

    /// The most that is kept for polls, and for reads before a send.
    fn reserve(self) -> f64 {
        (self.most / 2.0).max(1.0)
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
    /// Reads that polls may make although nothing is left: half of the rate is theirs.
    polls: f64,
    /// Reads that restores may make before a send although nothing is left: the other half. Below zero, they owe.
    restores: f64,
    /// The quota that would be left without checks and proxied reads.
    strict: f64,
    at: Instant,
    queue: Queue,
    /// The upstream requested a pause until then.
    quiet_until: Option<Instant>,
}

impl ReadQuota {
    /// At most so many calls within any minute; 0 is no limit.
    pub(crate) fn per_minute(calls: u32) -> Self {
        let rate = Rate::of(calls, 1);
        let left = rate.map_or(0.0, |rate| rate.most);
        let at = Instant::now();
        let polls = rate.map_or(0.0, Rate::reserve);
        let (queue, quiet_until) = (Queue::default(), None);
        let tokens = Tokens {
            per_minute: calls,
            processes: 1,
            rate,
            left,
            polls,
            restores: polls,
            strict: left,
            at,
            queue,
            quiet_until,
        };
        Self { state: Mutex::new(tokens), changed: Notify::new() }
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
            state.polls = (state.polls + flown / 2.0).min(rate.reserve());
            state.restores = (state.restores + flown / 2.0).min(rate.reserve());
            state.strict = (state.strict + flown).min(rate.most);
        }
        state.at = now;
        state
    }

    /// Counts a call that is made whatever is left.
    pub(crate) fn spend(&self) {
        let mut state = self.state();
        let least = state.rate.map_or(0.0, |rate| rate.least);
        state.left = (state.left - 1.0).max(least);
        state.strict = (state.strict - 1.0).max(least);
    }

    /// Does not count a send against the polls any more, for it was refused.
    pub(crate) fn forgive(&self) {
        let mut state = self.state();
        let most = state.rate.map_or(0.0, |rate| rate.most);
        state.strict = (state.strict + 1.0).min(most);
    }

    /// Takes back the count of a call on this behalf that was never made.
    pub(crate) fn give_back(&self, behalf: &Behalf) {
        let mut state = self.state();
        let Some(rate) = state.rate else { return };
        state.left = (state.left + 1.0).min(rate.most);
        match behalf {
            Behalf::Poll => state.strict = (state.strict + 1.0).min(rate.most),
            Behalf::Restore(_) => state.restores = (state.restores + 1.0).min(rate.reserve()),
            Behalf::Question(_) => {}
        }
    }

    /// Waits for the right to one poll.
    pub(crate) async fn take(&self) {
        self.queue_for(&Behalf::Poll).await;
    }

    /// Waits for the right to one read on this behalf; whether it came in time.
    pub(crate) async fn turn(&self, behalf: &Behalf) -> bool {
        let patience = match behalf {
            Behalf::Question(_) => PATIENCE.0,
            Behalf::Poll | Behalf::Restore(_) => PATIENCE.1,
        };
        // Nobody is kept waiting for a turn that does not come in time.
        let hopeless = matches!(behalf, Behalf::Question(_)) && self.quiet() > patience;
        !hopeless && tokio::time::timeout(patience, self.queue_for(behalf)).await.is_ok()
    }

    async fn queue_for(&self, behalf: &Behalf) {
        let number = self.state().queue.push(behalf);
        let ticket = Ticket { quota: self, behalf, number };
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.serve(&ticket) {
                Ok(()) => break,
                Err(NotYet::Others) => changed.await,
                Err(NotYet::Wait(wait)) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep(wait) => {}
                },
            }
        }
    }

    /// Takes one read for a ticket whose turn it is.
    fn serve(&self, ticket: &Ticket<'_>) -> Result<(), NotYet> {
        let mut state = self.state();
        let quiet = state.quiet_until.map(|until| until.saturating_duration_since(state.at));
        let quiet = quiet.filter(|quiet| !quiet.is_zero());
        if let Some(quiet) = quiet.filter(|_| !matches!(ticket.behalf, Behalf::Restore(_))) {
            return Err(NotYet::Wait(quiet));
        }
        let is_question = matches!(ticket.behalf, Behalf::Question(_));
        if state.queue.first(ticket.behalf) != Some(ticket.number)
            || (is_question && state.queue.is_needed(quiet.is_some()))
        {
            return Err(NotYet::Others);
        }
        if let Some(rate) = state.rate {
            // The reads that are theirs although nothing is left.
            let own = match ticket.behalf {
                Behalf::Poll => Some(state.polls.min(state.strict)),
                Behalf::Restore(_) => Some(state.restores - rate.least),
                Behalf::Question(_) => None,
            };
            if state.left < 1.0 && own.is_none_or(|own| own < 1.0) {
                // A little more, so that rounding never lets it come back for a fraction.
                let until = |missing: f64, per_second: f64| {
                    Duration::from_secs_f64(missing / per_second) + Duration::from_millis(1)
                };
                let wait = until(1.0 - state.left, rate.per_second);
                let sooner = own.map(|own| until(1.0 - own, rate.per_second / 2.0));
                return Err(NotYet::Wait(sooner.map_or(wait, |sooner| wait.min(sooner))));
            }
            state.left = (state.left - 1.0).max(rate.least);
            match ticket.behalf {
                Behalf::Poll => {
                    state.polls = (state.polls - 1.0).max(0.0);
                    state.strict = (state.strict - 1.0).max(rate.least);
                }
                Behalf::Restore(_) => state.restores = (state.restores - 1.0).max(rate.least),
                Behalf::Question(_) => {}
            }
        }
        state.queue.remove(ticket.behalf, ticket.number, true);
        Ok(())
    }

    /// How long the upstream has asked to be left alone, from now on; zero where it has not.
    pub(crate) fn quiet(&self) -> Duration {
        let state = self.state();
        state.quiet_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(state.at))
    }

    /// Refuses a question while the upstream wants quiet for longer than a turn is waited for.
    pub(crate) fn refuse_while_quiet(&self, upstream: &str) -> Result<(), Problem> {
        let quiet = self.quiet();
        if quiet <= PATIENCE.0 {
            return Ok(());
        }
        Err(asked_enough(upstream, u32::try_from(quiet.as_secs()).unwrap_or(u32::MAX).saturating_add(1)))
    }

    /// Hears what the upstream answered: one that throttles is left alone for a while.
    pub(crate) fn observe(&self, reply: &Reply) {
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

/// The refusal of a question whose turn does not come.
pub(crate) fn asked_enough(upstream: &str, after: u32) -> Problem {
    let detail = format!("upstream {upstream} was asked often enough for now; nothing was asked");
    Problem::new(Code::UpstreamThrottled, detail).after(after)
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
            let quota = ReadQuota::per_minute(limit);
            let mut taken: Vec<Instant> = Vec::new();
            let end = Instant::now() + Duration::from_secs(600);
            loop {
                quota.take().await;
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
        let both = [(); 2].map(|()| Arc::new(ReadQuota::per_minute(120)));
        let end = Instant::now() + Duration::from_secs(60);
        let taken = both.each_ref().map(|quota| {
            quota.share_among(2);
            let quota = Arc::clone(quota);
            tokio::spawn(async move {
                let mut taken = 0;
                while tokio::time::timeout_at(end, quota.take()).await.is_ok() {
                    taken += 1;
                }
                taken
            })
        });
        let mut all = 0;
        for taken in taken {
            all += taken.await.unwrap();
        }
        assert!((100..=122).contains(&all), "{all}");
    }

    fn question(caller: &str) -> Behalf {
        Behalf::Question(caller.into())
    }

    #[tokio::test(start_paused = true)]
    async fn sends_go_first_and_count() {
        let quota = ReadQuota::per_minute(60);
        for _ in 0..30 {
            quota.spend();
        }
        let before = Instant::now();
        quota.queue_for(&question("a")).await;
        assert!(before.elapsed() >= Duration::from_secs(29), "{:?}", before.elapsed());
        let free = ReadQuota::per_minute(0);
        for _ in 0..10_000 {
            free.take().await;
        }
        assert!(before.elapsed() < Duration::from_secs(40));
    }

    /// F52: half of the rate is for what restores need, however much callers ask.
    #[tokio::test(start_paused = true)]
    async fn f52_polls_and_reads_before_a_send_keep_their_half() {
        let quota = Arc::new(ReadQuota::per_minute(600));
        let greedy: Vec<_> = (0..200)
            .map(|_| {
                let quota = Arc::clone(&quota);
                tokio::spawn(async move {
                    loop {
                        quota.turn(&question("greedy")).await;
                        // Refused at once, after one read.
                        quota.turn(&Behalf::Restore("greedy".into())).await;
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_secs(60)).await;
        let other = Behalf::Restore("other".into());
        for behalf in [&Behalf::Poll, &other] {
            let begun = Instant::now();
            for _ in 0..100 {
                quota.queue_for(behalf).await;
            }
            // Polls and the reads before a send share that half.
            assert!(begun.elapsed() <= Duration::from_secs(42), "{behalf:?}: {:?}", begun.elapsed());
        }
        greedy.iter().for_each(tokio::task::JoinHandle::abort);
    }

    /// F52: those who ask take turns.
    #[tokio::test(start_paused = true)]
    async fn f52_one_who_asks_much_holds_up_nobody_who_asks_little() {
        for [greedy, other] in [
            [question("greedy"), question("other")],
            [Behalf::Restore("greedy".into()), Behalf::Restore("other".into())],
        ] {
            let quota = Arc::new(ReadQuota::per_minute(60));
            let many: Vec<_> = (0..100)
                .map(|_| {
                    let (quota, greedy) = (Arc::clone(&quota), greedy.clone());
                    tokio::spawn(async move { quota.queue_for(&greedy).await })
                })
                .collect();
            tokio::time::sleep(Duration::from_secs(5)).await;
            let begun = Instant::now();
            quota.queue_for(&other).await;
            assert!(begun.elapsed() <= Duration::from_secs(4), "{:?}", begun.elapsed());
            many.iter().for_each(tokio::task::JoinHandle::abort);
        }
    }

    /// Many restores at once are sent at once; more than a minute's worth wait their turn.
    #[tokio::test(start_paused = true)]
    async fn reads_before_a_send_wait_once_a_minutes_worth_is_owed() {
        let quota = ReadQuota::per_minute(600);
        let one = Behalf::Restore("one".into());
        let begun = Instant::now();
        for _ in 0..500 {
            assert!(quota.turn(&one).await);
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        for _ in 0..200 {
            assert!(quota.turn(&one).await);
        }
        assert!(begun.elapsed() > Duration::from_secs(5), "{:?}", begun.elapsed());
    }

    /// An outage with many sends is over: the next restore is sent at once, polls pay the sends back.
    #[tokio::test(start_paused = true)]
    async fn sends_hold_back_polls_and_no_read_before_a_send() {
        let quota = ReadQuota::per_minute(600);
        for _ in 0..10_000 {
            quota.spend();
        }
        let begun = Instant::now();
        assert!(quota.turn(&Behalf::Restore("one".into())).await);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        quota.take().await;
        assert_eq!(begun.elapsed().as_secs(), 60);
    }

    /// F52: restores that are refused, however many, leave the polls their half.
    #[tokio::test(start_paused = true)]
    async fn f52_refused_sends_hold_back_no_polls() {
        let quota = Arc::new(ReadQuota::per_minute(600));
        let sends = tokio::spawn({
            let quota = Arc::clone(&quota);
            async move {
                loop {
                    quota.spend();
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    quota.forgive();
                }
            }
        });
        tokio::time::sleep(Duration::from_secs(120)).await;
        let begun = Instant::now();
        for _ in 0..100 {
            quota.take().await;
        }
        assert!(begun.elapsed() <= Duration::from_secs(22), "{:?}", begun.elapsed());
        sends.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_holds_nobody_up() {
        let quota = ReadQuota::per_minute(1);
        quota.take().await;
        for _ in 0..10 {
            assert!(!quota.turn(&question("a")).await);
        }
        let state = quota.state();
        assert!(state.queue.questions.order.is_empty() && state.queue.questions.tickets.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_were_sent_questions_are_held_back_for_a_minute_at_most() {
        let quota = ReadQuota::per_minute(60);
        for _ in 0..10_000 {
            quota.spend();
        }
        let before = Instant::now();
        quota.queue_for(&question("a")).await;
        assert_eq!(before.elapsed().as_secs(), 61);
        // What was never made holds nothing back, and is not saved up either.
        for _ in 0..10 {
            quota.spend();
            quota.give_back(&Behalf::Poll);
        }
        quota.give_back(&Behalf::Poll);
        let before = Instant::now();
        quota.queue_for(&question("a")).await;
        assert_eq!(before.elapsed(), Duration::ZERO);
        quota.queue_for(&question("a")).await;
        assert!(before.elapsed() > Duration::ZERO);
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
            let quota = ReadQuota::per_minute(0);
            quota.observe(&answer);
            let before = Instant::now();
            quota.take().await;
            assert_eq!(before.elapsed().as_secs(), seconds, "{answer:?}");
        }
    }
}
