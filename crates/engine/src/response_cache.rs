//! Recent responses of clouds to proxied reads. Programs of the old source APIs poll every second or faster, many of
//! them for the same object; the cloud is read once. Stands below admission, which invalidates it.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use restore_generations::{Call, Host, Method, Reply};
use restore_ledger::Entry;
use restore_model::{Problem, RestoreId};

use crate::callers::Caller;

/// How long an answer is given again.
const FRESH: Duration = Duration::from_secs(1);
/// Bytes of answers that are kept at most.
const KEPT: u64 = 32 * 1024 * 1024;

/// The key of a response. A response to one caller is never given to another, because the cloud decides on their rights.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    caller: Option<String>,
    token: Option<[u8; 32]>,
    upstream: String,
    volumes: bool,
    path: String,
    of: Option<(RestoreId, u32)>,
}

/// An answer that is not given again, or why there is none.
#[derive(Debug)]
enum Unkept {
    Reply(Reply),
    Problem(Problem),
}

/// The responses, and one read for simultaneous requests.
pub(crate) struct ResponseCache(Cache<Key, Reply>);

impl Default for ResponseCache {
    fn default() -> Self {
        let weight = |key: &Key, reply: &Reply| {
            u32::try_from(reply.body.len() + key.path.len() + 256).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(KEPT).weigher(weight).time_to_live(FRESH).build())
    }
}

impl ResponseCache {
    /// A response from before the acceptance of a restore does not show that restore, so it is not repeated.
    pub(crate) fn forget(&self) {
        self.0.invalidate_all();
    }

    /// The answer of a moment ago, else that of `ask`, which runs once for all who want the same meanwhile. `about` is the
    /// restore that shows in the answer: one from before its last change is not given again.
    pub(crate) async fn once(
        &self,
        upstream: &str,
        call: &Call,
        caller: &Caller,
        about: Option<&Entry>,
        ask: impl Future<Output = Result<Reply, Problem>>,
    ) -> Result<Reply, Problem> {
        if call.method != Method::Get {
            return ask.await;
        }
        let key = Key {
            caller: caller.name().map(str::to_owned),
            token: caller.token.as_ref().map(restore_upstream::Token::digest),
            upstream: upstream.to_owned(),
            volumes: call.host == Host::Volumes,
            path: call.path.clone(),
            of: about.map(|entry| (entry.intent.id, entry.state.seq)),
        };
        let asked = async {
            match ask.await {
                // What it was refused for may be over in a moment.
                Ok(reply) if matches!(reply.status, 200..=299 | 404) => Ok(reply),
                Ok(reply) => Err(Unkept::Reply(reply)),
                Err(problem) => Err(Unkept::Problem(problem)),
            }
        };
        self.0.try_get_with(key, asked).await.or_else(|unkept: Arc<Unkept>| match &*unkept {
            Unkept::Reply(reply) => Ok(reply.clone()),
            Unkept::Problem(problem) => Err(problem.clone()),
        })
    }
}
