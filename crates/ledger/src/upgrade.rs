//! Rows of earlier versions as this one writes them. Up to schema 3 of SQLite and 1 of PostgreSQL an accepted restore
//! could become several rows: the restore of each disk of a server, and the restore by a fallback upstream after a
//! refusal. Here they become rows that stand for themselves. Pure functions on documents; each store brings its own SQL.

use restore_model::{Cause, Event, EventKind, Intent, ResolvedAs, State, Timestamp};
use serde_json::{Value, json};

use crate::LedgerError;
use crate::text::parse;

/// What a key begins with that an earlier version made up for a row of its own; no caller can send it.
const PSEUDO_KEY: char = '\u{1}';

/// The evidence of an event that an earlier version wrote about a restore because of its parts.
const OF_PARTS: &str = "parts";

/// A row as an earlier version wrote it.
#[derive(Debug)]
pub(crate) struct Old {
    intent: Value,
}

/// The intent and its fingerprint as this version writes them.
#[derive(Debug)]
pub(crate) struct Upgraded {
    pub(crate) intent: String,
    pub(crate) fingerprint: String,
}

impl Old {
    pub(crate) fn read(intent: &str) -> Result<Self, LedgerError> {
        Ok(Self { intent: parse(intent)? })
    }

    fn is_by_disk(&self) -> bool {
        self.intent["route"]["fan_out"] == json!(true)
    }

    /// Whether it was one of several rows of a per-disk restore.
    pub(crate) fn is_part_of_several(&self) -> bool {
        self.is_by_disk() || !self.intent["part_of"].is_null()
    }

    /// The refused restore that this one was made in place of: its key is this one's.
    pub(crate) fn replaces(&self) -> Option<&str> {
        self.intent["instead_of"].as_str()
    }

    /// Who asked.
    pub(crate) fn caller(&self) -> &str {
        self.intent["caller"].as_str().unwrap_or_default()
    }

    /// The caller's own key.
    pub(crate) fn key(&self) -> Option<&str> {
        self.intent["key"].as_str().filter(|key| !key.starts_with(PSEUDO_KEY))
    }

    /// The row with this key.
    pub(crate) fn upgraded(mut self, key: Option<String>) -> Result<Upgraded, LedgerError> {
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
        let fingerprint = intent.fingerprint.clone();
        Ok(Upgraded { intent: crate::text::json(&intent)?, fingerprint })
    }
}

/// Why a ledger with unfinished per-disk restores is left as it is.
pub(crate) fn refusal(unfinished: &[String]) -> LedgerError {
    LedgerError::Unavailable(format!(
        "it was written by an earlier version and holds {} unfinished row(s) of restores of servers disk by disk ({}), \
         which this version cannot safely go on with: a disk could be restored twice. Nothing was changed. Let the \
         earlier version finish them, or resolve them there, and start this version then",
        unfinished.len(),
        unfinished.join(", ")
    ))
}

/// The history of a finished per-disk restore of which no disk was restored. Earlier versions ended it as `not_applied`
/// on the word of its parts, without reads of its own, which is no proof here. The parts ended on the cloud's word or on
/// an operator's, so the status stays and the end becomes a decision that names this upgrade. Any other status would
/// count as an effect and shorten the windows of other restores. None where the history needs no change.
pub(crate) fn history(events: &[String]) -> Result<Option<(Vec<String>, State)>, LedgerError> {
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

/// When a state became final, as its column has it.
pub(crate) fn finished_at(state: &State) -> Option<i64> {
    state.finished_at.map(Timestamp::as_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pseudo_key_is_no_callers_key() {
        let old = Old::read(r#"{"key": "\u0001part x", "part_of": "p", "route": {}}"#).unwrap();
        assert_eq!((old.key(), old.is_part_of_several()), (None, true));
        let old = Old::read(r#"{"key": "mine", "route": {"fan_out": true}}"#).unwrap();
        assert_eq!((old.key(), old.is_part_of_several()), (Some("mine"), true));
        assert!(!Old::read(r#"{"route": {"fan_out": false}}"#).unwrap().is_part_of_several());
    }
}
