//! Pools with a share per peer: a limited amount of something (places, bytes) is in use at once, and one address has at
//! most its share of it, so that others always find some. A taken part is a [`Held`], which returns it when it is
//! dropped.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How much one peer may take of each pool, as a part of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share(pub(crate) f64);

impl Share {
    /// How many of so many that are; one at least.
    pub(crate) fn of(self, most: usize) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a part of a count that is small"
        )]
        let share = (most as f64 * self.0).ceil() as usize;
        share.clamp(1, most.max(1))
    }
}

/// A taker: the addresses that one stranger can have. For IPv6 that is a whole network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Neighbour(IpAddr);

impl Neighbour {
    /// The other end of a connection; all unknown peers are one.
    pub(crate) fn at(peer: Option<SocketAddr>) -> Self {
        peer.map_or_else(|| Self::from(IpAddr::from([0, 0, 0, 0])), Self::from)
    }
}

impl From<IpAddr> for Neighbour {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => Self(Ipv6Addr::from_bits(address.to_bits() & (!0 << 64)).into()),
            address @ IpAddr::V4(_) => Self(address),
        }
    }
}

impl From<SocketAddr> for Neighbour {
    fn from(address: SocketAddr) -> Self {
        Self::from(address.ip())
    }
}

/// Why nothing could be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// Everything is taken.
    All,
    /// The peer has its share.
    Share,
}

impl Full {
    /// The key of `limits` that it is about, where `all` is that of the whole pool.
    pub(crate) const fn limit(self, all: &'static str) -> &'static str {
        match self {
            Self::All => all,
            Self::Share => "max_share_per_address",
        }
    }
}

/// A pool. Clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Pool(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    most: usize,
    share: usize,
    all: usize,
    by: HashMap<Neighbour, usize>,
}

impl Pool {
    /// At most `most` at once.
    pub(crate) fn new(most: usize, share: Share) -> Self {
        let pool = Self(Arc::default());
        pool.resize(most, share);
        pool
    }

    /// Has another size from now on; what is taken stays taken.
    pub(crate) fn resize(&self, most: usize, share: Share) {
        let mut taken = self.taken();
        (taken.most, taken.share) = (most, share.of(most));
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one for a peer.
    pub(crate) fn take(&self, peer: Neighbour) -> Result<Held, Full> {
        self.take_many(peer, 1)
    }

    /// Takes so many for a peer, or none.
    pub(crate) fn take_many(&self, peer: Neighbour, count: usize) -> Result<Held, Full> {
        let mut taken = self.taken();
        let all = taken.all.saturating_add(count);
        if all > taken.most {
            return Err(Full::All);
        }
        let own = taken.by.get(&peer).copied().unwrap_or(0).saturating_add(count);
        if own > taken.share {
            return Err(Full::Share);
        }
        taken.by.insert(peer, own);
        taken.all = all;
        drop(taken);
        Ok(Held { pool: self.clone(), peer, count })
    }

    /// How many are left.
    pub(crate) fn free(&self) -> usize {
        let taken = self.taken();
        taken.most.saturating_sub(taken.all)
    }
}

/// The taken places.
#[derive(Debug)]
pub(crate) struct Held {
    pool: Pool,
    peer: Neighbour,
    count: usize,
}

impl Held {
    /// The pool it is of.
    pub(crate) const fn pool(&self) -> &Pool {
        &self.pool
    }

    /// How much it is.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// Holds what another one of the same peer and pool held.
    pub(crate) fn join(&mut self, mut other: Self) {
        self.count += std::mem::take(&mut other.count);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut taken = self.pool.taken();
        taken.all -= self.count;
        match taken.by.get_mut(&self.peer) {
            Some(own) if *own > self.count => *own -= self.count,
            _ => {
                taken.by.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Neighbour {
        Neighbour::from(address.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn s49_s51_one_peer_takes_its_share_and_no_more() {
        let pool = Pool::new(5, Share(0.5));
        let mut held: Vec<Held> = (0..3).map(|_| pool.take(peer("192.0.2.1")).unwrap()).collect();
        assert_eq!(pool.take(peer("192.0.2.1")).unwrap_err(), Full::Share);
        assert_eq!(pool.take(peer("::ffff:192.0.2.1")).unwrap_err(), Full::Share, "another spelling of it");
        held.push(pool.take(peer("2001:db8::1")).unwrap());
        held.push(pool.take(peer("2001:db8::2")).unwrap());
        assert_eq!(pool.take(peer("192.0.2.9")).unwrap_err(), Full::All);
        held.remove(0);
        assert_eq!(pool.free(), 1);
        assert_eq!(pool.take_many(peer("192.0.2.1"), 2).unwrap_err(), Full::All, "so many or none");
        held.push(pool.take(peer("192.0.2.1")).unwrap());
        drop(held);
        assert!(pool.free() == 5 && pool.taken().by.is_empty(), "nothing is left behind");
    }

    #[test]
    fn a_share_is_one_at_least_and_never_more_than_there_are() {
        let shares: Vec<usize> = [(1, 0.5), (2, 0.5), (3, 0.5), (64, 0.01), (64, 1.0)]
            .map(|(most, share)| Share(share).of(most))
            .to_vec();
        assert_eq!(shares, [1, 1, 2, 1, 64]);
    }

    #[test]
    fn s54_a_network_is_one_neighbour() {
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::2"));
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:1:2:3"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_eq!(peer("::ffff:192.0.2.1"), peer("192.0.2.1"));
        assert_ne!(peer("192.0.2.1"), peer("192.0.2.2"));
    }
}
