//! API keys: long random words that the operator gives out. Only their hashes are known here, so
//! that who reads the settings cannot use them; a key has as many bits as a hash, which is why one
//! round of SHA-256 is enough.

use restore_engine::Identity;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::{Row, Unknown};

/// What every key begins with, for those who look for lost ones.
const PREFIX: &str = "rgk_";
/// Random bytes of a key.
const LENGTH: usize = 32;

/// The keys of one listener.
#[derive(Default)]
pub(crate) struct Keys(Vec<([u8; 32], Row)>);

impl Keys {
    /// Takes in a key by its hash.
    ///
    /// # Errors
    /// When that is not `sha256:` and 64 hexadecimal digits.
    pub(crate) fn add(&mut self, hash: &str, row: Row) -> Result<(), String> {
        let bytes = hash.strip_prefix("sha256:").and_then(|digits| hex::decode(digits).ok());
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok()).ok_or("its hash is not sha256:…")?;
        self.0.push((bytes, row));
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose key this is. All hashes are compared, whatever the first ones say, so that the time
    /// tells nothing of which are there.
    pub(super) fn identify(&self, key: &str) -> Result<Identity, Unknown> {
        let hash: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let mut found = u64::MAX;
        for (index, (known, _)) in (0_u64..).zip(&self.0) {
            let same: Choice = known.ct_eq(&hash);
            found.conditional_assign(&index, same);
        }
        let row = usize::try_from(found).ok().and_then(|index| self.0.get(index));
        row.map(|(_, row)| row.caller()).ok_or(Unknown::Refused("a key that nobody has"))
    }
}

/// A new key and its hash.
///
/// # Errors
/// When the system gives no random bytes.
pub(crate) fn new_key() -> Result<(String, String), String> {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut bytes = [0; LENGTH];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "the system gives no random bytes")?;
    let key = format!("{PREFIX}{}", hex::encode(bytes));
    let hash = format!("sha256:{}", hex::encode(Sha256::digest(key.as_bytes())));
    Ok((key, hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str) -> Row {
        Row { name: name.into(), grants: [].into() }
    }

    #[test]
    fn a_key_is_known_by_its_hash_alone() {
        let ((key, hash), (other, other_hash)) = (new_key().unwrap(), new_key().unwrap());
        assert!(key != other && hash != other_hash && !hash.contains(&key));
        let mut keys = Keys::default();
        keys.add(&hash, row("one")).unwrap();
        keys.add(&other_hash, row("two")).unwrap();
        assert_eq!(&*keys.identify(&key).unwrap().name, "one");
        assert_eq!(&*keys.identify(&other).unwrap().name, "two");
        for wrong in ["", "rgk_", &key[1..], &format!("{key}0"), &hash, &key.to_uppercase()] {
            assert!(matches!(keys.identify(wrong), Err(Unknown::Refused(_))), "{wrong}");
        }
        assert!(Keys::default().identify(&key).is_err());
        assert!(keys.add("sha256:00", row("x")).is_err() && keys.add(&key, row("x")).is_err());
    }
}
