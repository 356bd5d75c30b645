//! A ledger held against itself (I12): every history folds to what is stored, and the locks are held
//! by the unfinished alone (I3, I8).

use std::collections::{BTreeMap, BTreeSet};

use restore_model::{RestoreId, State};

use crate::{Ledger, LedgerError, Record};

/// Restores looked at in one go.
const PAGE: usize = 200;

/// What [`check`] has looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Restores.
    pub restores: usize,
    /// Their events.
    pub events: usize,
    /// What is wrong.
    pub faults: usize,
}

/// Looks at every restore, and tells each fault in a sentence. Of a ledger that is being written a
/// restore may be looked at in the middle of a change of its neighbours, never of its own.
///
/// # Errors
/// When the ledger cannot be read; a fault is no error.
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
