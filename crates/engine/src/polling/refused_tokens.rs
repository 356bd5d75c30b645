//! Remembers for a short time which tokens of callers an upstream refused.

use std::time::Duration;

use moka::future::Cache;
use restore_generations::{Found, Reading};
use restore_ledger::Entry;

use crate::callers::Caller;
use crate::routing::Access;

/// How long a refused token is known as such.
const REFUSED: Duration = Duration::from_secs(5);

/// The place of an upstream, the project, and the digest of the token.
type Key = (String, String, [u8; 32]);

/// Tokens of callers that upstreams refused a moment ago.
pub(crate) struct RefusedTokens(Cache<Key, ()>);

impl Default for RefusedTokens {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(10_000).time_to_live(REFUSED).build())
    }
}

impl RefusedTokens {
    /// Takes note of a reading that a token did not bring.
    pub(super) async fn note(&self, entry: &Entry, access: &Access, reading: &Reading) {
        if let (Access::Token(token), Found::Unreadable { credential: true, .. }) = (access, &reading.found) {
            self.0.insert(key(entry, token.digest()), ()).await;
        }
    }

    pub(crate) fn knows(&self, entry: &Entry, caller: &Caller) -> bool {
        let token = caller.token.as_ref();
        token.is_some_and(|token| self.0.contains_key(&key(entry, token.digest())))
    }
}

fn key(entry: &Entry, token: [u8; 32]) -> Key {
    let route = entry.state.route(&entry.intent);
    let place = route.at.as_ref().unwrap_or(&route.upstream);
    (place.clone(), entry.intent.request.project_id.to_string(), token)
}
