//! Use of each source API: restores from the ledger of all replicas, and requests that this process has seen since its
//! start. Both are bounded and report when something was left out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use restore_engine::{Caller, Engine, Page};
use restore_generations::source_api;
use restore_ledger::{Entry, Query};
use restore_model::{Problem, Timestamp};
use serde_json::{Value, json};

use super::endpoints::AtEndpoint;

/// Callers and projects with separate counts in memory; further ones are counted together.
const MAX_PROGRAMS: usize = 1_000;
/// The name by which they are counted.
const OTHERS: &str = "(others)";
/// Restores that are looked through for one report, more or less.
const LOOKED_THROUGH: usize = 20_000;
/// Restores per read.
const PAGE: usize = 500;

/// A user of a source API: the name of a known caller, else the project of the path.
type Who = (&'static str, String);

#[derive(Clone, Copy)]
struct Seen {
    requests: u64,
    first: Timestamp,
    last: Timestamp,
}

/// Requests at the compatibility endpoints of this process.
#[derive(Clone)]
pub(crate) struct Usage {
    since: Timestamp,
    seen: Arc<Mutex<HashMap<Who, Seen>>>,
}

impl Usage {
    /// None yet.
    pub(crate) fn new(since: Timestamp) -> Self {
        Self { since, seen: Arc::default() }
    }

    /// One request more, of somebody who was let in.
    pub(crate) fn count(&self, at: &AtEndpoint, caller: &Caller, now: Timestamp) {
        if at.is_public() {
            return;
        }
        // Without a project in its path it is of nobody, and is refused.
        let Ok(named) = at.named() else { return };
        let who = caller.name().map_or_else(|| named.project.to_string(), str::to_owned);
        self.note((at.endpoint.endpoint.source_api(), who), now);
    }

    fn note(&self, mut key: Who, now: Timestamp) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MAX_PROGRAMS && !seen.contains_key(&key) {
            key.1 = OTHERS.to_owned();
        }
        let one = seen.entry(key).or_insert(Seen { requests: 0, first: now, last: now });
        one.requests += 1;
        one.last = now;
    }

    /// The report, of what this caller may see.
    pub(crate) async fn report(&self, engine: &Engine, caller: &Caller) -> Result<Value, Problem> {
        let mut rows: BTreeMap<(String, String), Row> = BTreeMap::new();
        let (mut looked, mut before) = (0, None);
        loop {
            let query = Query { before, limit: PAGE, ..Query::default() };
            let Page { entries, next } = engine.list(query, caller).await?;
            looked += entries.len();
            for entry in &entries {
                if let Some(origin) = &entry.intent.origin {
                    let key = (origin.source_api.clone(), entry.intent.caller.clone());
                    rows.entry(key).or_default().add(entry);
                }
            }
            before = next;
            if before.is_none() || looked >= LOOKED_THROUGH {
                break;
            }
        }
        // Requests are counted by caller, and of no restore that could be shown or not.
        let counted = caller.sees_everybody();
        for ((source_api, who), seen) in
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|_| counted)
        {
            rows.entry(((*source_api).to_owned(), who.clone())).or_default().seen = Some(*seen);
        }
        let source_apis: Vec<Value> = source_api::ALL
            .iter()
            .map(|endpoint| {
                let own = rows.iter().filter(|((source_api, _), _)| source_api == endpoint.source_api());
                let users: Vec<Value> = own.map(|((_, who), row)| row.show(who)).collect();
                json!({ "source_api": endpoint.source_api(), "old": endpoint.closed_on().is_some(), "users": users })
            })
            .collect();
        Ok(json!({
            "source_apis": source_apis,
            "requests_since": counted.then_some(self.since),
            "restores_looked_through": looked,
            "restores_cut": before.is_some(),
        }))
    }
}

/// Requests and restores of one user of a source API.
#[derive(Default)]
struct Row {
    restores: u64,
    times: Option<(Timestamp, Timestamp)>,
    targets: BTreeSet<&'static str>,
    served_by: BTreeSet<(String, String)>,
    seen: Option<Seen>,
}

impl Row {
    fn add(&mut self, entry: &Entry) {
        let intent = &entry.intent;
        let (at, route) = (intent.created_at, entry.state.route(intent));
        self.restores += 1;
        self.times = Some(self.times.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
        self.targets.insert(intent.request.target.kind().as_str());
        self.served_by.insert((route.upstream.clone(), route.generation.clone()));
    }

    fn show(&self, who: &str) -> Value {
        let served: Vec<Value> = self
            .served_by
            .iter()
            .map(|(name, generation)| json!({ "upstream": name, "generation": generation }))
            .collect();
        json!({
            "caller": who,
            "restores": self.restores,
            "first_restore": self.times.map(|(first, _)| first),
            "last_restore": self.times.map(|(_, last)| last),
            "targets": self.targets,
            "served_by": served,
            "requests": self.seen.map_or(0, |seen| seen.requests),
            "first_request": self.seen.map(|seen| seen.first),
            "last_request": self.seen.map(|seen| seen.last),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_beyond_the_bound_is_counted_with_the_others() {
        let now = "2026-11-22T10:00:00Z".parse::<Timestamp>().unwrap();
        let usage = Usage::new(now);
        for number in 0..MAX_PROGRAMS + 5 {
            usage.note(("csbs-v1", number.to_string()), now);
        }
        usage.note(("csbs-v1", "0".to_owned()), now);
        let seen = usage.seen.lock().unwrap();
        assert_eq!(seen.len(), MAX_PROGRAMS + 1);
        assert_eq!(seen[&("csbs-v1", OTHERS.to_owned())].requests, 5);
        assert_eq!(seen[&("csbs-v1", "0".to_owned())].requests, 2);
    }
}
