//! API keys: long random texts from the operator. The gateway keeps only their hashes. The configuration contains the
//! hash, or names the file or variable with the key, so a reader of the configuration cannot use the key. A key has as
//! many bits as a hash, so one round of SHA-256 is enough.

use restore_engine::Identity;
use restore_upstream::SecretCell;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::{Row, Unknown};

/// Prefix of every key, so that scanners recognise lost keys.
const PREFIX: &str = "rgk_";
/// Random bytes of a key.
const LENGTH: usize = 32;

/// The keys of one listener.
#[derive(Default)]
pub(crate) struct Keys(Vec<(SecretCell<[u8; 32]>, Row)>);

impl Keys {
    /// Takes in a key by its hash, which may be replaced.
    pub(crate) fn add(&mut self, hash: SecretCell<[u8; 32]>, row: Row) {
        self.0.push((hash, row));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose key this is. All hashes are compared, whatever the first ones say, so that the time
    /// shows nothing of the existing keys.
    pub(super) fn identify(&self, key: &str) -> Result<Identity, Unknown> {
        let hash = hash_of(key);
        let mut found = u64::MAX;
        for (index, (known, _)) in (0_u64..).zip(&self.0) {
            let same: Choice = known.current().ct_eq(&hash);
            found.conditional_assign(&index, same);
        }
        let row = usize::try_from(found).ok().and_then(|index| self.0.get(index));
        row.map(|(_, row)| row.caller()).ok_or(Unknown::Refused("a key that nobody has"))
    }
}

/// The hash of a key.
pub(crate) fn hash_of(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// A hash as configuration writes it.
///
/// # Errors
/// When that is not `sha256:` and 64 hexadecimal digits.
pub(crate) fn read_hash(hash: &str) -> Result<[u8; 32], String> {
    let bytes = hash.strip_prefix("sha256:").and_then(|digits| hex::decode(digits).ok());
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| "its hash is not sha256:…".to_owned())
}

/// A new key and its hash.
///
/// # Errors
/// When the system gives no random bytes.
pub fn new_key() -> Result<(String, String), String> {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut bytes = [0; LENGTH];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "the system gives no random bytes")?;
    let key = format!("{PREFIX}{}", hex::encode(bytes));
    let hash = format!("sha256:{}", hex::encode(hash_of(&key)));
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
        let cell = SecretCell::new(read_hash(&hash).unwrap());
        keys.add(cell.clone(), row("one"));
        keys.add(SecretCell::new(read_hash(&other_hash).unwrap()), row("two"));
        assert_eq!(&*keys.identify(&key).unwrap().name, "one");
        assert_eq!(&*keys.identify(&other).unwrap().name, "two");
        for wrong in ["", "rgk_", &key[1..], &format!("{key}0"), &hash, &key.to_uppercase()] {
            assert!(matches!(keys.identify(wrong), Err(Unknown::Refused(_))), "{wrong}");
        }
        assert!(Keys::default().identify(&key).is_err());
        assert!(read_hash("sha256:00").is_err() && read_hash(&key).is_err());

        // A key that is replaced is nobody's from then on.
        let (next, _) = new_key().unwrap();
        cell.replace(hash_of(&next));
        assert!(keys.identify(&key).is_err());
        assert_eq!(&*keys.identify(&next).unwrap().name, "one");
    }
}
