//! Consistency check of a ledger (I12): every history must fold to the stored state, and only unfinished restores may
//! hold locks (I3, I8).

use std::collections::{BTreeMap, BTreeSet};

use restore_model::{RestoreId, State};

use crate::{Ledger, LedgerError, Record};

/// Number of restores per read.
const PAGE: usize = 200;

/// Result of [`check`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Number of checked restores.
    pub restores: usize,
    /// Number of their events.
    pub events: usize,
    /// Number of inconsistencies.
    pub faults: usize,
}

/// Checks every restore and reports each inconsistency in a sentence. If the ledger is being written, a check may see a
/// restore during a change of its neighbours, never during its own.
///
/// # Errors
/// If the ledger cannot be read. An inconsistency is not an error.
pub async fn check(ledger: &dyn Ledger, mut tell: impl FnMut(String)) -> Result<Checked, LedgerError> {
    let mut checked = Checked::default();
    let mut holders: BTreeMap<String, RestoreId> = BTreeMap::new();
    let mut after = None;
    loop {
        let records = ledger.audit(after, PAGE).await?;
        let Some(last) = records.last() else { return Ok(checked) };
        after = Some(last.entry.intent.id);
        for record in records {
            let id = record.entry.intent.id;
            checked.restores += 1;
            checked.events += record.events.len();
            let mut faults = faults_of(&record);
            for lock in record.locks {
                if let Some(other) = holders.insert(lock.clone(), id) {
                    faults.push(format!("{lock} is also held by {other}"));
                }
            }
            checked.faults += faults.len();
            for fault in faults {
                tell(format!("{id}: {fault}"));
            }
        }
    }
}

fn faults_of(record: &Record) -> Vec<String> {
    let (intent, state) = (&record.entry.intent, &record.entry.state);
    let mut faults = Vec::new();
    match State::fold(&intent.route.steps, &record.events) {
        Ok(folded) if folded == *state => {}
        Ok(folded) => faults.push(format!(
            "its history folds to {} after event {}, stored is {} after event {}",
            folded.status.as_str(),
            folded.seq,
            state.status.as_str(),
            state.seq
        )),
        Err(error) => faults.push(format!("its history does not fold: {error}")),
    }
    for event in &record.events {
        let traced = event.trace_id.len() == 32 && event.trace_id.bytes().all(|b| b.is_ascii_hexdigit());
        if !traced || event.evidence.kind.is_empty() {
            faults.push(format!("event {} has no trace id or no evidence", event.seq));
        }
    }
    let due: BTreeSet<String> =
        if state.status.is_final() { BTreeSet::new() } else { intent.locks().into_iter().collect() };
    let held: BTreeSet<String> = record.locks.iter().cloned().collect();
    if due != held {
        faults.push(format!(
            "it is {} and holds {} of {} locks",
            state.status.as_str(),
            held.len(),
            due.len()
        ));
    }
    if intent.fingerprint != intent.own_fingerprint() {
        faults.push("its fingerprint is another request's".to_owned());
    }
    faults
}
