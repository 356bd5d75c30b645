//! The operator's ID map: the IDs of backups in two generations.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use restore_model::Id;

/// The key of a row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    from: String,
    to: String,
    /// As [`Id::folded`] spells it.
    id: String,
}

/// The operator's own table: which backup of one generation is which of another. Can be replaced as a whole.
#[derive(Debug, Default)]
pub struct Pairs(RwLock<HashMap<Key, Id>>);

/// A row of that table.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The generation that has the first id.
    pub from: String,
    /// That id.
    pub from_id: Id,
    /// The generation that has the second one.
    pub to: String,
    /// That id.
    pub to_id: Id,
}

impl Pairs {
    /// Takes these in the place of all that were there.
    ///
    /// # Errors
    /// When one id would stand for two; nothing is replaced then.
    pub fn replace(&self, rows: impl IntoIterator<Item = Pair>) -> Result<usize, String> {
        let mut pairs = HashMap::new();
        for row in rows {
            let key = Key { from: row.from, to: row.to, id: row.from_id.folded() };
            if let Some(other) = pairs.insert(key.clone(), row.to_id.clone())
                && !other.is_same(&row.to_id)
            {
                return Err(format!("{} of {} stands for two backups of {}", row.from_id, key.from, key.to));
            }
        }
        let count = pairs.len();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = pairs;
        Ok(count)
    }

    pub(crate) fn find(&self, from: &str, to: &str, id: &Id) -> Option<Id> {
        let key = Key { from: from.to_owned(), to: to.to_owned(), id: id.folded() };
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(from_id: &str, to_id: &str) -> Pair {
        let (from, to) = ("csbs-v1".to_owned(), "cbr-v3".to_owned());
        Pair { from, from_id: from_id.parse().unwrap(), to, to_id: to_id.parse().unwrap() }
    }

    #[test]
    fn a_table_that_says_two_things_replaces_nothing() {
        let pairs = Pairs::default();
        let find = || pairs.find("csbs-v1", "cbr-v3", &"a".parse().unwrap()).map(|id| id.to_string());
        assert_eq!(pairs.replace([row("a", "b"), row("A", "b")]), Ok(1));
        assert!(pairs.replace([row("a", "c"), row("a", "d")]).is_err());
        assert_eq!(find().as_deref(), Some("b"));
        assert_eq!(pairs.replace([]), Ok(0));
        assert_eq!(find(), None);
    }
}
