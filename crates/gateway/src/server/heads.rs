//! Memory of incomplete request heads and TLS handshakes. Anyone can make a gateway hold these bytes, before the sender
//! is known and before the request has a place. So their sum has a limit, with a share per address, and a connection
//! without room is closed (S49).

use std::io;

use crate::web::pool::{Held, Neighbour, Pool};

/// Bytes that each connection may hold without being counted: most heads are smaller, and the count of connections
/// bounds them.
const FREE: usize = 2 * 1024;
/// Memory for each byte beyond those: two buffers, each of which doubles as it grows.
const COST: usize = 4;
/// Bytes of heads where memory has no ceiling.
const UNBOUNDED: usize = 128 * 1024 * 1024;

/// Bytes for all heads at once: an eighth of the memory that the process may hold, of which 0 is no bound.
pub(crate) const fn bytes(memory: usize) -> usize {
    match memory / 8 {
        0 => UNBOUNDED,
        eighth => eighth,
    }
}

/// Memory that one connection holds. Buffers keep their size until the connection ends, and so does this count.
#[derive(Debug)]
pub(crate) struct HeadMemory {
    pool: Pool,
    peer: Neighbour,
    held: Option<Held>,
}

impl HeadMemory {
    /// Nothing yet.
    pub(crate) const fn new(pool: Pool, peer: Neighbour) -> Self {
        Self { pool, peer, held: None }
    }

    /// Counts a head that has grown to so many bytes.
    ///
    /// # Errors
    /// The key of `limits` that leaves no room for it.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), &'static str> {
        let counted = self.held.as_ref().map_or(0, Held::count);
        let more = bytes.saturating_sub(FREE).saturating_mul(COST).saturating_sub(counted);
        if more == 0 {
            return Ok(());
        }
        let more = self.pool.take_many(self.peer, more).map_err(|full| full.limit("max_memory_bytes"))?;
        match &mut self.held {
            Some(held) => held.join(more),
            none => *none = Some(more),
        }
        Ok(())
    }
}

/// Why a connection is closed that finds no room.
pub(crate) fn no_room() -> io::Error {
    io::Error::other("the heads of unfinished requests hold as much memory as they may")
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::web::pool::Share;

    #[test]
    fn s49_heads_of_one_address_leave_room_for_others() {
        let pool = Pool::new(64 * 1024, Share(0.5));
        let head = |last| HeadMemory::new(pool.clone(), Neighbour::from(IpAddr::from([192, 0, 2, last])));
        let mut small = head(1);
        assert_eq!(small.grow_to(FREE), Ok(()));
        assert_eq!(pool.free(), 64 * 1024, "a small one is not counted");
        let mut grown = head(1);
        for bytes in (1..=8).map(|kib| kib * 1024) {
            assert_eq!(grown.grow_to(bytes), Ok(()));
        }
        assert_eq!(pool.free(), 40 * 1024);
        assert_eq!(grown.grow_to(1024), Ok(()), "the next one on the same connection");
        assert_eq!(head(1).grow_to(8 * 1024), Err("max_share_per_address"));
        let mut other = head(2);
        assert_eq!(other.grow_to(8 * 1024), Ok(()));
        assert_eq!(head(3).grow_to(8 * 1024), Err("max_memory_bytes"));
        drop((small, grown, other));
        assert_eq!(pool.free(), 64 * 1024);
    }
}
