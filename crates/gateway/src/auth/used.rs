//! Used signatures: a signed request that changes something counts once.
//!
//! The gateway remembers a signature from its verification until it can no longer be verified, whatever happens to the
//! request. The decoded signature is the key, so another spelling of it is the same signature. A repetition gets the
//! restore of the first request, or a rejection, and never starts anything.
//!
//! The memory has a share per access key. Only a holder of the secret key can fill that share. A full share rejects
//! requests, and no signature is forgotten early.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use restore_model::{Code, Effect, Problem, RestoreId};
use tokio::time::Instant;

use super::LIFE;

/// Signatures of one access key that are remembered: ten changes a second, all of the time.
const SHARE: usize = 20_000;

/// The signatures that were used at this process.
#[derive(Clone)]
pub(crate) struct UsedSignatures {
    shares: Arc<Mutex<HashMap<Arc<str>, Share>>>,
    most: usize,
}

/// Those of one access key.
#[derive(Default)]
struct Share {
    outcomes: HashMap<[u8; 32], Outcome>,
    /// The same, the oldest first, with the end of its time.
    ends: VecDeque<(Instant, [u8; 32])>,
}

/// Outcome of a signed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Nobody knows here: it is under way, or its caller hung up before the answer.
    Open,
    /// It was refused before anything began.
    Refused,
    /// This restore.
    Restore(RestoreId),
}

/// A signature in use, for the handler of its request.
#[derive(Clone)]
pub(crate) struct Signature {
    used: UsedSignatures,
    access_key: Arc<str>,
    signature: [u8; 32],
    restore: Option<RestoreId>,
}

impl UsedSignatures {
    pub(crate) fn new() -> Self {
        Self { shares: Arc::default(), most: SHARE }
    }

    fn shares(&self) -> MutexGuard<'_, HashMap<Arc<str>, Share>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a verified signature into use. One that was used before is let through only where a restore came of it, to show
    /// that.
    ///
    /// # Errors
    /// [`Code::SignatureReplayed`]; [`Code::RateLimited`] where the access key has no room left.
    pub(crate) fn begin(&self, access_key: &str, signature: [u8; 32]) -> Result<Signature, Problem> {
        let now = Instant::now();
        let mut shares = self.shares();
        shares.retain(|_, share| {
            while share.ends.front().is_some_and(|(end, _)| *end <= now) {
                if let Some((_, old)) = share.ends.pop_front() {
                    share.outcomes.remove(&old);
                }
            }
            !share.ends.is_empty()
        });
        let access_key =
            shares.get_key_value(access_key).map_or_else(|| access_key.into(), |(key, _)| Arc::clone(key));
        let share = shares.entry(Arc::clone(&access_key)).or_default();
        let restore = match share.outcomes.get(&signature) {
            Some(Outcome::Restore(id)) => Some(*id),
            Some(Outcome::Refused) => {
                let detail = "this signature was used before, for a request that was refused; nothing was sent; sign the request again";
                return Err(Problem::new(Code::SignatureReplayed, detail));
            }
            Some(Outcome::Open) => {
                let detail = "this signature was used before, and the answer to that request is not known yet; nothing was sent \
                              for this one; look at the restores of the target before the request is signed again";
                return Err(Problem::new(Code::SignatureReplayed, detail).effect(Effect::Possible));
            }
            None => {
                if share.ends.len() >= self.most {
                    let free = share.ends.front().map(|(end, _)| end.duration_since(now)).unwrap_or_default();
                    let seconds = u32::try_from(free.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
                    let detail =
                        "this access key has signed as many changes as are remembered; nothing was sent";
                    return Err(Problem::new(Code::RateLimited, detail).after(seconds));
                }
                share.outcomes.insert(signature, Outcome::Open);
                share.ends.push_back((now + LIFE, signature));
                None
            }
        };
        Ok(Signature { used: self.clone(), access_key, signature, restore })
    }
}

impl Signature {
    /// The restore that came of an earlier request with this signature.
    pub(crate) const fn restore(&self) -> Option<RestoreId> {
        self.restore
    }

    /// A restore came of the request.
    pub(crate) fn became(&self, id: RestoreId) {
        self.conclude(Outcome::Restore(id));
    }

    /// The request was refused, and nothing began.
    pub(crate) fn refused(&self) {
        self.conclude(Outcome::Refused);
    }

    fn conclude(&self, outcome: Outcome) {
        let mut shares = self.used.shares();
        let known =
            shares.get_mut(&self.access_key).and_then(|share| share.outcomes.get_mut(&self.signature));
        // A restore stays, whatever is said later: a repetition can be refused for reasons of its own.
        if let Some(known) = known.filter(|known| **known == Outcome::Open) {
            *known = outcome;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use restore_model::Timestamp;

    use super::*;

    fn code(begun: &Result<Signature, Problem>) -> Option<Code> {
        begun.as_ref().err().map(|problem| problem.code)
    }

    #[tokio::test(start_paused = true)]
    async fn s50_a_signature_counts_once_until_it_is_no_longer_good() {
        let used = UsedSignatures::new();
        let id = RestoreId::at(Timestamp::from_micros(0));
        let first = used.begin("key", [1; 32]).unwrap();
        assert_eq!(first.restore(), None);
        // While it is under way, and when its caller has hung up.
        let again = used.begin("key", [1; 32]);
        assert_eq!(code(&again), Some(Code::SignatureReplayed));
        assert_eq!(again.err().unwrap().effect, Effect::Possible);
        first.became(id);
        first.refused();
        assert_eq!(used.begin("key", [1; 32]).unwrap().restore(), Some(id));
        used.begin("key", [2; 32]).unwrap().refused();
        let again = used.begin("key", [2; 32]);
        assert_eq!(
            (code(&again), again.err().unwrap().effect),
            (Some(Code::SignatureReplayed), Effect::None)
        );
        // The same bytes of another key are another signature.
        assert!(used.begin("other", [2; 32]).is_ok());
        tokio::time::advance(LIFE - Duration::from_secs(1)).await;
        assert_eq!(used.begin("key", [1; 32]).unwrap().restore(), Some(id));
        assert_eq!(code(&used.begin("key", [2; 32])), Some(Code::SignatureReplayed));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(used.begin("key", [3; 32]).unwrap().restore(), None);
        assert_eq!(
            used.shares().values().map(|share| share.outcomes.len()).sum::<usize>(),
            1,
            "nothing is left behind"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn s50_a_flood_of_one_key_forgets_nothing_and_costs_no_other_key() {
        let used = UsedSignatures { most: 3, ..UsedSignatures::new() };
        for number in 0..3 {
            used.begin("key", [number; 32]).unwrap().refused();
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        for number in 3..100 {
            let full = used.begin("key", [number; 32]);
            assert_eq!(code(&full), Some(Code::RateLimited));
            assert_eq!(full.err().unwrap().retry_after, Some(u32::try_from(LIFE.as_secs()).unwrap() - 2));
        }
        for number in 0..3 {
            assert_eq!(code(&used.begin("key", [number; 32])), Some(Code::SignatureReplayed));
        }
        assert!(used.begin("other", [0; 32]).is_ok());
        tokio::time::advance(LIFE).await;
        assert!(used.begin("key", [3; 32]).is_ok());
    }
}
