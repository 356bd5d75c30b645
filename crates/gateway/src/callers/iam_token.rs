//! Tokens of IAM: the `X-Auth-Token` that a caller brings for the cloud also says who it is. IAM is
//! asked, and its word is believed for a minute at most; a token is remembered by its hash.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use moka::Expiry;
use moka::future::Cache;
use restore_engine::Identity;
use restore_model::{Clock, ProjectId};
use restore_upstream::{Token, TokenJudge, Vouched};

use super::{Row, Unknown};
use crate::names::is_name;

/// How long IAM's word on a good token is believed.
const GOOD: Duration = Duration::from_secs(60);
/// How long its word on a bad one is.
const BAD: Duration = Duration::from_secs(5);
const HOUR: Duration = Duration::from_secs(60 * 60);
/// Tokens that are remembered.
const TOKENS: u64 = 10_000;
/// Questions to IAM per second, and at once. A token that is remembered asks none, so that whoever
/// makes tokens up cannot have IAM flooded; those that were good within the hour have a share of
/// their own, which made-up ones cannot use up.
const QUESTIONS: (NonZeroU32, NonZeroU32) = (NonZeroU32::new(10).unwrap(), NonZeroU32::new(50).unwrap());

/// The callers whose tokens one IAM knows.
pub(crate) struct IamTokens {
    judge: TokenJudge,
    domains: Vec<String>,
    projects: Vec<ProjectId>,
    row: Row,
    clock: Arc<dyn Clock>,
    words: Cache<[u8; 32], Word>,
    questions: DefaultDirectRateLimiter,
    /// Tokens that were good within the hour, and their share.
    once_good: Cache<[u8; 32], ()>,
    reserved: DefaultDirectRateLimiter,
}

/// What IAM said.
#[derive(Clone)]
struct Word {
    vouched: Option<Arc<Vouched>>,
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
        judge: TokenJudge,
        domains: Vec<String>,
        projects: Vec<ProjectId>,
        row: Row,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let words = Cache::builder().max_capacity(TOKENS).expire_after(ForAsLong).build();
        let share = || RateLimiter::direct(Quota::per_second(QUESTIONS.0).allow_burst(QUESTIONS.1));
        let once_good = Cache::builder().max_capacity(TOKENS).time_to_live(HOUR).build();
        let (questions, reserved) = (share(), share());
        Self { judge, domains, projects, row, clock, words, questions, once_good, reserved }
    }

    pub(super) async fn identify(&self, token: &Token) -> Result<Identity, Unknown> {
        let word = self.words.try_get_with(token.digest(), self.ask(token)).await;
        let word = word.map_err(|why| Unknown::Unavailable(why.to_string()))?;
        let Some(vouched) = word.vouched else { return Err(Unknown::Refused("IAM does not know the token")) };
        if vouched.expires_at <= self.clock.now() {
            return Err(Unknown::Refused("the token has expired"));
        }
        // On a public cloud everybody's token is good: only these are callers of ours.
        if !self.domains.contains(&vouched.domain) && !self.projects.contains(&vouched.project) {
            return Err(Unknown::Refused("a token of another domain or project"));
        }
        if !is_name(&vouched.user_id) {
            return Err(Unknown::Refused("a user that has no name"));
        }
        Ok(self.row.one_of(&vouched.user_id, Some([vouched.project.clone()].into())))
    }

    async fn ask(&self, token: &Token) -> Result<Word, String> {
        let known = self.once_good.contains_key(&token.digest());
        let share = if known { &self.reserved } else { &self.questions };
        if share.check().is_err() {
            return Err("IAM is being asked about too many tokens".to_owned());
        }
        let vouched = self.judge.judge(token).await?.map(Arc::new);
        let lasts = if vouched.is_some() { GOOD } else { BAD };
        if vouched.is_some() {
            self.once_good.insert(token.digest(), ()).await;
        }
        Ok(Word { vouched, lasts })
    }

    /// Forgets what is believed of a token.
    pub(super) fn doubt(&self, token: &Token) {
        let words = self.words.clone();
        let digest = token.digest();
        // Invalidation is a future of the cache's; nobody waits for it.
        tokio::spawn(async move { words.invalidate(&digest).await });
    }
}
