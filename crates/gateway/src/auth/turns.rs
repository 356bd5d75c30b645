//! Fair turns for requests that wait for a provider (IAM, or the issuer of a token) to identify their sender. Anyone
//! can invent tokens, so the turns are divided by the address of the connection, which a stranger cannot choose freely
//! (S54).
//!
//! [`Room`] limits the waiting requests, [`Turns`] the simultaneous calls to the provider. In both an address may hold
//! as many places as are otherwise free: a single address gets half of them, and the next address always finds one.
//! Waiting requests take turns by address.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::web::pool::Neighbour;

/// Requests that wait at one provider.
const WAITING: usize = 128;
/// Questions to one provider at once.
const QUESTIONS: usize = 32;
/// A question takes its turn for this time at least, so that one address asks ten times a second and all together twenty:
/// invented tokens must not flood the provider.
const LEAST: Duration = Duration::from_millis(1_600);
/// Longest wait for a turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// Places by who holds them.
#[derive(Default)]
struct Held {
    by: HashMap<Neighbour, usize>,
    all: usize,
}

impl Held {
    /// Takes one of `most` places, if the share of this waiter allows it.
    fn take(&mut self, most: usize, waiter: Neighbour) -> bool {
        let own = self.by.get(&waiter).copied().unwrap_or(0);
        let allowed = self.all < most && own < most - self.all;
        if allowed {
            self.by.insert(waiter, own + 1);
            self.all += 1;
        }
        allowed
    }

    fn give_back(&mut self, waiter: Neighbour) {
        self.all -= 1;
        match self.by.get_mut(&waiter) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                self.by.remove(&waiter);
            }
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Room for those who wait.
#[derive(Clone, Default)]
pub(super) struct Room(Arc<Mutex<Held>>);

/// One place in a [`Room`], until it is dropped.
pub(super) struct Place {
    room: Room,
    waiter: Neighbour,
}

impl Room {
    /// A place, if there is one for this waiter.
    pub(super) fn enter(&self, waiter: Neighbour) -> Option<Place> {
        lock(&self.0).take(WAITING, waiter).then(|| Place { room: self.clone(), waiter })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.room.0).give_back(self.waiter);
    }
}

/// Turns to ask a provider.
#[derive(Clone, Default)]
pub(super) struct Turns(Arc<Mutex<Line>>);

#[derive(Default)]
struct Line {
    held: Held,
    queues: HashMap<Neighbour, VecDeque<oneshot::Sender<Turn>>>,
    /// Those who have a queue, the next one first.
    order: VecDeque<Neighbour>,
}

/// The right to ask one question, until it is dropped.
pub(super) struct Turn {
    turns: Turns,
    waiter: Neighbour,
    since: Instant,
}

impl Turns {
    /// Waits for a turn; none where it does not come in time. At most as many wait as have a place in a [`Room`].
    pub(super) async fn next(&self, waiter: Neighbour) -> Option<Turn> {
        let turn = {
            let mut line = lock(&self.0);
            let (turn, wait) = oneshot::channel();
            let queue = line.queues.entry(waiter).or_default();
            queue.push_back(turn);
            if queue.len() == 1 {
                line.order.push_back(waiter);
            }
            wait
        };
        self.give();
        tokio::time::timeout(PATIENCE, turn).await.ok()?.ok()
    }

    /// Gives the turns that are free to those who wait, address by address.
    fn give(&self) {
        let mut given = Vec::new();
        {
            let mut line = lock(&self.0);
            let Line { held, queues, order } = &mut *line;
            let mut passed_over = 0;
            while passed_over < order.len()
                && let Some(waiter) = order.pop_front()
            {
                let queue = queues.entry(waiter).or_default();
                while queue.front().is_some_and(oneshot::Sender::is_closed) {
                    queue.pop_front();
                }
                if !queue.is_empty() && !held.take(QUESTIONS, waiter) {
                    order.push_back(waiter);
                    passed_over += 1;
                    continue;
                }
                if let Some(sender) = queue.pop_front() {
                    given.push((sender, Turn { turns: self.clone(), waiter, since: Instant::now() }));
                }
                if queue.is_empty() {
                    queues.remove(&waiter);
                } else {
                    order.push_back(waiter);
                }
                passed_over = 0;
            }
        }
        for (sender, turn) in given {
            // A disconnected caller returns it.
            drop(sender.send(turn));
        }
    }

    fn give_back(&self, waiter: Neighbour) {
        lock(&self.0).held.give_back(waiter);
        self.give();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (turns, waiter) = (self.turns.clone(), self.waiter);
        let rest = LEAST.saturating_sub(self.since.elapsed());
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if !rest.is_zero() => {
                runtime.spawn(async move {
                    tokio::time::sleep(rest).await;
                    turns.give_back(waiter);
                });
            }
            _ => turns.give_back(waiter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> Neighbour {
        Neighbour::from(address.parse::<std::net::IpAddr>().unwrap())
    }

    #[test]
    fn s54_whoever_comes_next_finds_room_to_wait() {
        let room = Room::default();
        let mut held = Vec::new();
        for address in ["10.0.0.1", "10.0.0.2", "10.0.0.3"] {
            let before = held.len();
            held.extend(std::iter::from_fn(|| room.enter(at(address))));
            assert!(held.len() > before && held.len() < WAITING, "{address}");
        }
        drop(held);
        let held: Vec<_> = std::iter::from_fn(|| room.enter(at("10.0.0.1"))).collect();
        assert_eq!(held.len(), WAITING / 2, "one alone");
    }

    /// Asks as fast as it gets turns, each question as long as it takes.
    fn crowd(turns: &Turns, address: &'static str, tasks: usize, takes: Duration) -> Arc<Mutex<usize>> {
        let asked = Arc::new(Mutex::new(0));
        for _ in 0..tasks {
            let (turns, asked) = (turns.clone(), Arc::clone(&asked));
            tokio::spawn(async move {
                loop {
                    if let Some(turn) = turns.next(at(address)).await {
                        *lock(&asked) += 1;
                        tokio::time::sleep(takes).await;
                        drop(turn);
                    }
                }
            });
        }
        asked
    }

    #[tokio::test(start_paused = true)]
    async fn s54_a_newcomer_has_its_turn_at_once_whatever_a_crowd_does() {
        let turns = Turns::default();
        // The provider hangs, to the end of everybody's patience.
        crowd(&turns, "10.0.0.1", 64, Duration::from_secs(10));
        tokio::time::sleep(Duration::from_secs(60)).await;
        let begun = Instant::now();
        let mut mine = Vec::new();
        for _ in 0..8 {
            mine.push(turns.next(at("10.0.0.2")).await.expect("a turn"));
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        // Behind many crowds it waits for a round at most.
        drop(mine);
        for address in ["10.0.1.1", "10.0.1.2", "10.0.1.3", "10.0.1.4", "10.0.1.5", "10.0.1.6"] {
            crowd(&turns, address, 64, Duration::from_secs(1));
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        let begun = Instant::now();
        assert!(turns.next(at("10.0.0.3")).await.is_some());
        assert!(begun.elapsed() <= LEAST, "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn s54_a_provider_is_not_flooded() {
        let turns = Turns::default();
        let one = crowd(&turns, "10.0.0.1", 64, Duration::ZERO);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let alone = *lock(&one);
        assert!((590..=620).contains(&alone), "{alone} in a minute");
        let other = crowd(&turns, "10.0.0.2", 64, Duration::ZERO);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let both = [*lock(&one) - alone, *lock(&other)];
        assert!(both.iter().sum::<usize>() <= 1_240 && both[0].abs_diff(both[1]) < 60, "{both:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn s54_whoever_goes_away_takes_no_turn_along() {
        let turns = Turns::default();
        let held: Vec<_> =
            futures_util::future::join_all((0..QUESTIONS / 2).map(|_| turns.next(at("10.0.0.1")))).await;
        for _ in 0..1_000 {
            let gone = tokio::time::timeout(Duration::from_millis(1), turns.next(at("10.0.0.1"))).await;
            assert!(gone.is_err(), "it has its share");
        }
        drop(held);
        tokio::time::sleep(LEAST).await;
        assert!(turns.next(at("10.0.0.1")).await.is_some());
        tokio::time::sleep(LEAST * 2).await;
        let line = lock(&turns.0);
        assert!(
            line.held.by.is_empty() && line.held.all == 0 && line.queues.is_empty() && line.order.is_empty()
        );
    }
}
