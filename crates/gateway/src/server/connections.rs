//! The connections of listeners that share a limit. One address has a share of it. Without room for another connection,
//! the one that has been idle longest (without a request in progress) is closed: one of the same address if that has
//! its share, otherwise one of the address with the most connections. A new connection waits only if none is idle.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::web::pool::{Neighbour, Share};

/// The connections that are open. Clones are one.
#[derive(Clone)]
pub(crate) struct Connections(Arc<Shared>);

struct Shared {
    most: usize,
    open: Mutex<Open>,
    /// Told when one has ended or become idle.
    room: Notify,
}

#[derive(Default)]
struct Open {
    share: usize,
    count: usize,
    /// Grows with everything that happens.
    tick: u64,
    by: HashMap<Neighbour, Own>,
    /// Addresses by how many connections they have.
    ranks: BTreeSet<(usize, Neighbour)>,
}

/// The connections of one address.
#[derive(Default)]
struct Own {
    count: usize,
    /// Those that are idle, by when they became so.
    idle: BTreeMap<u64, CancellationToken>,
}

impl Open {
    fn next(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    /// Counts one more or one less of an address.
    fn change(&mut self, peer: Neighbour, more: bool) {
        let own = self.by.entry(peer).or_default();
        self.ranks.remove(&(own.count, peer));
        if more {
            (own.count, self.count) = (own.count + 1, self.count + 1);
        } else {
            (own.count, self.count) = (own.count - 1, self.count - 1);
        }
        match own.count {
            0 => {
                self.by.remove(&peer);
            }
            count => {
                self.ranks.insert((count, peer));
            }
        }
    }

    /// Closes the connection of an address that has been idle longest, if one is; it counts no longer.
    fn evict(&mut self, peer: Neighbour) -> bool {
        let Some((_, close)) = self.by.get_mut(&peer).and_then(|own| own.idle.pop_first()) else {
            return false;
        };
        close.cancel();
        self.change(peer, false);
        true
    }

    /// The same, of the address that has most and has one.
    fn evict_any(&mut self) -> bool {
        let idle =
            |(_, peer): &&(usize, Neighbour)| self.by.get(peer).is_some_and(|own| !own.idle.is_empty());
        let most = self.ranks.iter().rev().find(idle).map(|(_, peer)| *peer);
        most.is_some_and(|peer| self.evict(peer))
    }
}

/// Outcome of an incoming connection.
pub(crate) enum Admission {
    /// It has a seat. The limit is the one for which another was closed, where one was.
    Seated(Seat, Option<&'static str>),
    /// Its address has its share, and none of those is idle.
    Refused,
    /// There is no room, and nobody is idle.
    Full,
}

impl Connections {
    /// At most `most` at once.
    pub(crate) fn new(most: usize, share: Share) -> Self {
        let connections = Self(Arc::new(Shared { most, open: Mutex::default(), room: Notify::new() }));
        connections.set_share(share);
        connections
    }

    /// Changes the share of one address.
    pub(crate) fn set_share(&self, share: Share) {
        self.open().share = share.of(self.0.most);
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a connection in, if there is room or can be made.
    pub(crate) fn admit(&self, peer: Neighbour) -> Admission {
        let mut open = self.open();
        let mut limit = None;
        // A share that is everything is none.
        let has_its_share =
            open.share < self.0.most && open.by.get(&peer).is_some_and(|own| own.count >= open.share);
        if has_its_share {
            if !open.evict(peer) {
                return Admission::Refused;
            }
            limit = Some("max_share_per_address");
        } else if open.count >= self.0.most {
            if !open.evict_any() {
                return Admission::Full;
            }
            limit = Some("max_connections");
        }
        open.change(peer, true);
        let (close, since) = (CancellationToken::new(), open.next());
        // Until it asks something it is idle.
        open.by.entry(peer).or_default().idle.insert(since, close.clone());
        drop(open);
        let work = Mutex::new(Work { requests: 0, since });
        Admission::Seated(Seat(Arc::new(Inner { of: self.clone(), peer, close, work })), limit)
    }

    /// Closes the one that has been idle longest, of the address that has most: for want of something else than a seat.
    pub(crate) fn make_room(&self) -> bool {
        self.open().evict_any()
    }

    /// Waits until there may be room again.
    pub(crate) async fn room(&self) {
        self.0.room.notified().await;
    }

    /// How many are open, and how many may be.
    pub(crate) fn count(&self) -> (usize, usize) {
        (self.open().count, self.0.most)
    }

    /// Why no connection can be let in, where that is so.
    pub(crate) fn reason(&self) -> Option<String> {
        let open = self.open();
        let is_full = open.count >= self.0.most && open.by.values().all(|own| own.idle.is_empty());
        is_full.then(|| {
            format!("connections: {} are open, all with requests under way, and limits.max_connections allows no more", open.count)
        })
    }
}

/// A connection's seat, given back when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Seat(Arc<Inner>);

struct Inner {
    of: Connections,
    peer: Neighbour,
    close: CancellationToken,
    work: Mutex<Work>,
}

struct Work {
    requests: usize,
    /// Since when it is idle, if it is: its place in the order of those.
    since: u64,
}

impl Inner {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Waits until the connection is to make room for another.
    pub(crate) async fn is_taken(&self) {
        self.0.close.cancelled().await;
    }

    /// True without a request under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.0.work().requests == 0
    }

    /// A request has begun; it is under way until this is dropped.
    pub(crate) fn request(&self) -> UnderWay {
        let mut work = self.0.work();
        work.requests += 1;
        if work.requests == 1 {
            let mut open = self.0.of.open();
            if let Some(own) = open.by.get_mut(&self.0.peer) {
                own.idle.remove(&work.since);
            }
        }
        drop(work);
        UnderWay(self.clone())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let since = self.work().since;
        let mut open = self.of.open();
        // Who was closed for another is counted no longer.
        if !self.close.is_cancelled() {
            if let Some(own) = open.by.get_mut(&self.peer) {
                own.idle.remove(&since);
            }
            open.change(self.peer, false);
        }
        drop(open);
        self.of.0.room.notify_one();
    }
}

/// A request that is under way on a connection.
pub(crate) struct UnderWay(Seat);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let inner = &self.0.0;
        let mut work = inner.work();
        work.requests -= 1;
        if work.requests > 0 {
            return;
        }
        let mut open = inner.of.open();
        if inner.close.is_cancelled() {
            return;
        }
        work.since = open.next();
        let since = work.since;
        if let Some(own) = open.by.get_mut(&inner.peer) {
            own.idle.insert(since, inner.close.clone());
        }
        drop((open, work));
        inner.of.0.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn peer(number: u8) -> Neighbour {
        Neighbour::from(IpAddr::from([192, 0, 2, number]))
    }

    fn seated(connections: &Connections, number: u8) -> (Seat, Option<&'static str>) {
        match connections.admit(peer(number)) {
            Admission::Seated(seat, limit) => (seat, limit),
            Admission::Refused => panic!("it is refused"),
            Admission::Full => panic!("there is no room"),
        }
    }

    fn is_taken(seat: &Seat) -> bool {
        seat.0.close.is_cancelled()
    }

    #[test]
    fn s51_whoever_has_its_share_loses_its_own_longest_idle_one() {
        let connections = Connections::new(4, Share(0.5));
        let seats: Vec<Seat> = (0..2).map(|_| seated(&connections, 1).0).collect();
        // The first asks and is answered: now the second has been idle longer.
        drop(seats[0].request());
        let (third, limit) = seated(&connections, 1);
        assert_eq!(limit, Some("max_share_per_address"));
        assert!(is_taken(&seats[1]) && !is_taken(&seats[0]) && !is_taken(&third));
        let busy = [seats[0].request(), third.request()];
        assert!(matches!(connections.admit(peer(1)), Admission::Refused), "none of its own is idle");
        let other = seated(&connections, 2).0;
        assert!(!is_taken(&other) && connections.count() == (3, 4));
        drop((busy, seats, third, other));
        let open = connections.open();
        assert!(open.count == 0 && open.by.is_empty() && open.ranks.is_empty(), "nothing is left behind");
    }

    #[test]
    fn s51_a_full_house_makes_room_at_whoever_has_most() {
        let connections = Connections::new(5, Share(0.6));
        let greedy: Vec<Seat> = (0..3).map(|_| seated(&connections, 1).0).collect();
        let modest = seated(&connections, 2).0;
        let last = seated(&connections, 3).0;
        assert!(connections.reason().is_none());
        let (newcomer, limit) = seated(&connections, 4);
        assert_eq!(limit, Some("max_connections"));
        assert!(is_taken(&greedy[0]) && !is_taken(&greedy[1]));
        // The connections of the greedy address are busy: the next idle one makes room.
        let mut busy: Vec<UnderWay> = greedy[1..].iter().map(Seat::request).collect();
        let other = seated(&connections, 5).0;
        assert!([&modest, &last, &newcomer].into_iter().filter(|seat| is_taken(seat)).count() == 1);
        busy.extend([&modest, &last, &newcomer, &other].map(Seat::request));
        assert!(matches!(connections.admit(peer(6)), Admission::Full));
        assert!(connections.reason().is_some_and(|why| why.contains("limits.max_connections")));
        busy.pop();
        assert!(is_taken(&other) || connections.reason().is_none());
        assert!(matches!(connections.admit(peer(6)), Admission::Seated(..)), "one is idle again");
    }

    #[tokio::test]
    async fn s51_a_connection_that_waits_for_room_is_notified() {
        let connections = Connections::new(1, Share(1.0));
        let seat = seated(&connections, 1).0;
        let request = seat.request();
        assert!(matches!(connections.admit(peer(2)), Admission::Full));
        drop(request);
        connections.room().await;
        seated(&connections, 2);
        seat.is_taken().await;
    }
}
