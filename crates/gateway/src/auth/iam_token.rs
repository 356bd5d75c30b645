//! Identifies callers by IAM token: the `X-Auth-Token` for the cloud also identifies the caller. IAM verifies it, and
//! the result is valid for a minute at most. The gateway keeps the hash of the token only.
//!
//! Invented tokens must not flood IAM, and must not keep other callers from it. A known token needs no call. For any
//! other token a request takes a place in the waiting room and then a turn ([`super::turns`]), both by the address of
//! its connection. Tokens that were valid within the last hour have separate turns.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::future::Cache;
use restore_engine::Identity;
use restore_model::{Clock, ProjectId};
use restore_upstream::{Token, TokenFacts, TokenIntrospection};

use super::turns::{Room, Turns};
use super::{Row, Unknown};
use crate::web::names::is_name;
use crate::web::pool::Neighbour;

/// How long IAM's word on a good token is believed.
const GOOD: Duration = Duration::from_secs(60);
/// How long its word on a bad one is.
const BAD: Duration = Duration::from_secs(5);
const HOUR: Duration = Duration::from_secs(60 * 60);
/// Tokens that are remembered.
const TOKENS: u64 = 10_000;

/// The callers whose tokens one IAM knows.
pub(crate) struct IamTokens {
    judge: TokenIntrospection,
    domains: Vec<String>,
    projects: Vec<ProjectId>,
    row: Row,
    clock: Arc<dyn Clock>,
    words: Cache<[u8; 32], Word>,
    /// Tokens that were good within the hour.
    once_good: Cache<[u8; 32], ()>,
    /// For tokens that nobody knows.
    unknown: Line,
    /// For those that were good within the hour.
    known: Line,
}

/// Where requests wait until IAM is asked.
#[derive(Default)]
struct Line {
    room: Room,
    turns: Turns,
}

/// Response of IAM.
#[derive(Clone)]
struct Word {
    facts: Option<Arc<TokenFacts>>,
    lasts: Duration,
}

struct ForAsLong;

impl Expiry<[u8; 32], Word> for ForAsLong {
    fn expire_after_create(&self, _: &[u8; 32], word: &Word, _: Instant) -> Option<Duration> {
        Some(word.lasts)
    }
}

impl IamTokens {
    /// Takes the tokens of these domains or these projects.
    pub(crate) fn new(
        judge: TokenIntrospection,
        domains: Vec<String>,
        projects: Vec<ProjectId>,
        row: Row,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let words = Cache::builder().max_capacity(TOKENS).expire_after(ForAsLong).build();
        let once_good = Cache::builder().max_capacity(TOKENS).time_to_live(HOUR).build();
        let (unknown, known) = (Line::default(), Line::default());
        Self { judge, domains, projects, row, clock, words, once_good, unknown, known }
    }

    pub(super) async fn identify(
        &self,
        token: &Token,
        peer: Option<SocketAddr>,
    ) -> Result<Identity, Unknown> {
        let word = match self.words.get(&token.digest()).await {
            Some(word) => word,
            None => self.ask(token, Neighbour::at(peer)).await?,
        };
        let Some(facts) = word.facts else { return Err(Unknown::Refused("IAM does not know the token")) };
        if facts.expires_at <= self.clock.now() {
            return Err(Unknown::Refused("the token has expired"));
        }
        // On a public cloud everybody's token is good: only these are callers of ours.
        if !self.domains.contains(&facts.domain) && !self.projects.contains(&facts.project) {
            return Err(Unknown::Refused("a token of another domain or project"));
        }
        if !is_name(&facts.user_id) {
            return Err(Unknown::Refused("a user that has no name"));
        }
        Ok(self.row.one_of(&facts.user_id, Some([facts.project.clone()].into())))
    }

    /// Current result of IAM, from one call for all requests with this token.
    async fn ask(&self, token: &Token, waiter: Neighbour) -> Result<Word, Unknown> {
        const MANY: &str = "IAM is being asked about too many tokens";
        let was_good = self.once_good.contains_key(&token.digest());
        let line = if was_good { &self.known } else { &self.unknown };
        let Some(_place) = line.room.enter(waiter) else { return Err(Unknown::Unavailable(MANY.to_owned())) };
        let asked = self.words.try_get_with(token.digest(), async {
            let _turn = line.turns.next(waiter).await.ok_or_else(|| MANY.to_owned())?;
            self.judged(token).await
        });
        asked.await.map_err(|why| Unknown::Unavailable(why.to_string()))
    }

    async fn judged(&self, token: &Token) -> Result<Word, String> {
        let facts = self.judge.judge(token).await?.map(Arc::new);
        let lasts = if facts.is_some() { GOOD } else { BAD };
        if facts.is_some() {
            self.once_good.insert(token.digest(), ()).await;
        }
        Ok(Word { facts, lasts })
    }

    /// Forgets what is believed of a token.
    pub(super) fn doubt(&self, token: &Token) {
        let words = self.words.clone();
        let digest = token.digest();
        // Invalidation is a future of the cache's; nobody waits for it.
        tokio::spawn(async move { words.invalidate(&digest).await });
    }
}
