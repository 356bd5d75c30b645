//! IDs that the clouds create: random, or reproducible if a thread uses a seed.

use std::cell::Cell;

use uuid::{Builder, Uuid};

thread_local! {
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Makes this thread create the IDs of a seed from now on, or random IDs.
pub(crate) fn play(seed: Option<u64>) {
    SEED.set(seed);
}

/// Returns the next ID.
pub(crate) fn uuid() -> Uuid {
    let Some(seed) = SEED.get() else { return Uuid::new_v4() };
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&mixed(seed).to_be_bytes());
    bytes[8..].copy_from_slice(&mixed(!seed).to_be_bytes());
    SEED.set(Some(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)));
    Builder::from_random_bytes(bytes).into_uuid()
}

/// SplitMix64.
const fn mixed(seed: u64) -> u64 {
    let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_ids_again_and_each_once() {
        let first = |seed| {
            play(Some(seed));
            (0..1_000).map(|_| uuid()).collect::<Vec<_>>()
        };
        let ids = first(7);
        assert_eq!(ids, first(7));
        assert_ne!(ids, first(8));
        assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), ids.len());
        play(None);
        assert_ne!(uuid(), uuid());
    }
}
