//! Converts rows of earlier versions. Up to schema 3 of SQLite and 1 of PostgreSQL an accepted restore could become
//! several rows: the restore of each disk of a server, and the restore by a fallback upstream after a rejection. This
//! module makes them independent rows, in the transaction of the migration of either store.

use std::collections::BTreeSet;

use restore_model::{Cause, Event, EventKind, Intent, ResolvedAs, State, Timestamp};
use serde_json::{Value, json};

use crate::LedgerError;
use crate::text::parse;

/// Prefix of keys that an earlier version made up for its own rows; no caller can send it.
const PSEUDO_KEY: char = '\u{1}';

/// Evidence of an event that an earlier version wrote for a restore because of its child restores.
const OF_PARTS: &str = "parts";

/// The transaction of a migration: both stores support the statements of [`to_one_row`].
pub(crate) trait Rows {
    /// Permits the rewriting of events, which are append-only otherwise.
    const REWRITABLE: &'static str;
    /// Ends that permission.
    const APPENDED_ONLY: &'static str;

    /// Executes a statement without parameters.
    async fn run(&mut self, sql: &'static str) -> Result<(), LedgerError>;

    /// Returns the rows of two columns that this query finds for `$1`.
    async fn read(&mut self, sql: &'static str, of: &str) -> Result<Vec<(String, String)>, LedgerError>;

    /// Executes a statement with these texts from `$1` on, followed by this number, if there is one.
    async fn write(
        &mut self,
        sql: &'static str,
        texts: &[&str],
        number: Option<i64>,
    ) -> Result<(), LedgerError>;
}

/// Gives JSON members, events and problem codes the current names of the API.
///
/// # Errors
/// If the store fails. The transaction must then not be committed.
pub(crate) async fn to_standard_names<R: Rows>(rows: &mut R) -> Result<(), LedgerError> {
    rows.run(R::REWRITABLE).await?;
    rows.run(include_str!("../migrations/names.sql")).await?;
    rows.run(R::APPENDED_ONLY).await
}

/// Makes each row independent.
///
/// # Errors
/// If an unfinished restore consists of several rows, or the store fails. The transaction must then not be committed.
pub(crate) async fn to_one_row(rows: &mut impl Rows) -> Result<(), LedgerError> {
    // The following code reads histories, and supports only the current names.
    to_standard_names(rows).await?;
    const OPEN: &str = "select id, id from restores where finished_at is null and id > $1";
    const PAGE: &str = "select id, intent from restores where id > $1 order by id limit 500";
    const READ: &str = "select id, intent from restores where id = $1";
    const MOVE_KEY: &str = "update keys set restore_id = $3 where caller = $1 and key = $2";
    const FORGET_KEYS: &str = "delete from keys where substr(key, 1, 1) = $1";
    let open: BTreeSet<String> = rows.read(OPEN, "").await?.into_iter().map(|(id, _)| id).collect();
    let (mut replaced, mut several) = (Vec::new(), Vec::new());
    let mut after = String::new();
    loop {
        let page = rows.read(PAGE, &after).await?;
        let Some((last, _)) = page.last() else { break };
        after.clone_from(last);
        for (id, intent) in page {
            let old = Old::read(&intent)?;
            if let Some(refused) = old.replaces() {
                replaced.push((id.clone(), refused.to_owned()));
            }
            let is_one_of_several = old.is_one_of_several();
            let key = old.key().map(str::to_owned);
            old.keep(rows, &id, key).await?;
            if is_one_of_several {
                several.push(id);
            }
        }
    }
    let unfinished: Vec<&str> = several.iter().map(String::as_str).filter(|id| open.contains(*id)).collect();
    if !unfinished.is_empty() {
        return Err(refusal(&unfinished));
    }
    for (id, refused) in replaced {
        let (before, own) = (rows.read(READ, &refused).await?, rows.read(READ, &id).await?);
        let (Some((_, before)), Some((_, own))) = (before.first(), own.first()) else { continue };
        let old = Old::read(before)?;
        let Some(key) = old.key().map(str::to_owned) else { continue };
        rows.write(MOVE_KEY, &[old.caller(), &key, &id], None).await?;
        old.keep(rows, &refused, None).await?;
        Old::read(own)?.keep(rows, &id, Some(key)).await?;
    }
    rows.write(FORGET_KEYS, &[&PSEUDO_KEY.to_string()], None).await?;
    end_by_decision(rows, &several).await
}

/// Rewrites the histories of finished per-disk restores that need it: see [`history`].
async fn end_by_decision<R: Rows>(rows: &mut R, several: &[String]) -> Result<(), LedgerError> {
    const EVENTS: &str = "select restore_id, event from events where restore_id = $1 order by seq";
    const REWRITE: &str = "update events set event = $2 where restore_id = $1 and seq = $3";
    const MOVE: &str = "update restores set status = $2, state = $3, finished_at = $4 where id = $1";
    rows.run(R::REWRITABLE).await?;
    for id in several {
        let events: Vec<String> = rows.read(EVENTS, id).await?.into_iter().map(|(_, event)| event).collect();
        let Some((events, state)) = history(&events)? else { continue };
        for (seq, event) in (1..).zip(&events) {
            rows.write(REWRITE, &[id, event], Some(seq)).await?;
        }
        let ended = state.finished_at.map(Timestamp::as_micros);
        rows.write(MOVE, &[id, state.status.as_str(), &crate::text::json(&state)?], ended).await?;
    }
    rows.run(R::APPENDED_ONLY).await
}

/// A row as an earlier version wrote it.
#[derive(Debug)]
struct Old {
    intent: Value,
}

impl Old {
    fn read(intent: &str) -> Result<Self, LedgerError> {
        Ok(Self { intent: parse(intent)? })
    }

    fn is_by_disk(&self) -> bool {
        self.intent["route"]["fan_out"] == json!(true)
    }

    /// Returns true if it was one of several rows of a per-disk restore.
    fn is_one_of_several(&self) -> bool {
        self.is_by_disk() || !self.intent["part_of"].is_null()
    }

    /// Returns the rejected restore that this one replaced: both have the same key.
    fn replaces(&self) -> Option<&str> {
        self.intent["instead_of"].as_str()
    }

    /// Returns the caller.
    fn caller(&self) -> &str {
        self.intent["caller"].as_str().unwrap_or_default()
    }

    /// Returns the caller's own key.
    fn key(&self) -> Option<&str> {
        self.intent["key"].as_str().filter(|key| !key.starts_with(PSEUDO_KEY))
    }

    /// Writes the row in the format of this version, with this key.
    async fn keep(mut self, rows: &mut impl Rows, id: &str, key: Option<String>) -> Result<(), LedgerError> {
        const KEEP: &str = "update restores set intent = $2, fingerprint = $3 where id = $1";
        if let Some(members) = self.intent.as_object_mut() {
            members.remove("part_of");
            members.remove("instead_of");
            members.remove("key");
            if let Some(key) = key {
                members.insert("key".to_owned(), json!(key));
            }
        }
        if let Some(route) = self.intent["route"].as_object_mut() {
            route.remove("fan_out");
        }
        let mut intent: Intent = parse(&self.intent.to_string())?;
        intent.fingerprint = intent.own_fingerprint();
        rows.write(KEEP, &[id, &crate::text::json(&intent)?, &intent.fingerprint], None).await
    }
}

/// Returns the reason why a ledger with unfinished per-disk restores stays unchanged.
fn refusal(unfinished: &[&str]) -> LedgerError {
    LedgerError::Unavailable(format!(
        "it was written by an earlier version and holds {} unfinished row(s) of restores of servers disk by disk ({}), \
         which this version cannot safely go on with: a disk could be restored twice. Nothing was changed. Let the \
         earlier version finish them, or resolve them there, and start this version then",
        unfinished.len(),
        unfinished.join(", ")
    ))
}

/// Returns the new history of a finished per-disk restore of which no disk was restored. Earlier versions ended it as
/// `not_applied` because of its child restores, without reads of its own, which is no proof here. The child restores
/// ended on evidence from the cloud or by an operator's decision. So the status stays, and the end becomes a decision
/// that names this upgrade. Any other status would count as an effect and shorten the windows of other restores. `None`
/// if the history needs no change.
fn history(events: &[String]) -> Result<Option<(Vec<String>, State)>, LedgerError> {
    let mut changed = false;
    let mut texts = Vec::with_capacity(events.len());
    let mut kept = Vec::with_capacity(events.len());
    for text in events {
        let mut event: Event = parse(text)?;
        let by_parts = event.kind == EventKind::NotApplied && event.evidence.kind == OF_PARTS;
        if by_parts {
            event.cause = Cause::Operator;
            event.kind = EventKind::Resolved {
                outcome: ResolvedAs::NotApplied,
                by: "ledger upgrade".to_owned(),
                reason: "the restore of each of its disks ended without effect".to_owned(),
                early: true,
            };
            changed = true;
        }
        texts.push(if by_parts { crate::text::json(&event)? } else { text.clone() });
        kept.push(event);
    }
    if !changed {
        return Ok(None);
    }
    Ok(Some((texts, State::fold(&[], &kept)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pseudo_key_is_no_callers_key() {
        let old = Old::read(r#"{"key": "\u0001part x", "part_of": "p", "route": {}}"#).unwrap();
        assert_eq!((old.key(), old.is_one_of_several()), (None, true));
        let old = Old::read(r#"{"key": "mine", "route": {"fan_out": true}}"#).unwrap();
        assert_eq!((old.key(), old.is_one_of_several()), (Some("mine"), true));
        assert!(!Old::read(r#"{"route": {"fan_out": false}}"#).unwrap().is_one_of_several());
    }
}
