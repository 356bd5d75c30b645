//! A secret, or a value made from one, that can be replaced while it is in use (S26).

use std::sync::{Arc, PoisonError, RwLock};

use secrecy::SecretString;

/// Holds a value for all who use it; whoever rotates it replaces it for all of them at once. What is replaced is wiped
/// when the last user lets go of it, if it is of a kind that is wiped. It is shown nowhere.
pub struct SecretCell<T = SecretString>(Arc<RwLock<(u64, Arc<T>)>>);

impl<T> SecretCell<T> {
    /// Holds this value.
    pub fn new(value: T) -> Self {
        Self(Arc::new(RwLock::new((0, Arc::new(value)))))
    }

    /// The present value.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        self.versioned().1
    }

    /// The present value, and how often it was replaced before.
    #[must_use]
    pub fn versioned(&self) -> (u64, Arc<T>) {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        (held.0, Arc::clone(&held.1))
    }

    /// True if somebody has another handle of it.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Puts another value in its place.
    pub fn replace(&self, value: T) {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *held = (held.0 + 1, Arc::new(value));
    }

    /// Puts another value in its place, if it is another.
    pub fn replace_if(&self, value: T, differs: impl FnOnce(&T, &T) -> bool) {
        if differs(&self.current(), &value) {
            self.replace(value);
        }
    }
}

impl<T> Clone for SecretCell<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> std::fmt::Debug for SecretCell<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretCell([redacted])")
    }
}

impl From<String> for SecretCell {
    fn from(secret: String) -> Self {
        Self::new(secret.into())
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn all_who_share_it_see_what_it_was_replaced_with() {
        let cell = SecretCell::from("one".to_owned());
        let (user, before) = (cell.clone(), cell.current());
        let differs = |old: &SecretString, new: &SecretString| old.expose_secret() != new.expose_secret();
        cell.replace_if("one".to_owned().into(), differs);
        assert_eq!(user.versioned().0, 0, "nothing is new");
        cell.replace_if("two".to_owned().into(), differs);
        let (version, after) = user.versioned();
        assert_eq!((version, after.expose_secret(), before.expose_secret()), (1, "two", "one"));
        assert!(!format!("{user:?}").contains("two"));
    }
}
