//! Judges what a schedule left behind: the ledger by itself (I2, I5, I6, I12, locks), the clouds
//! against the ledger (nothing twice, nothing silently zero), and clients against both (I4, I7).

use std::collections::{BTreeMap, HashMap, HashSet};

use restore_ledger::{OpenOptions, Record};
use restore_model::Status;
use restore_tests::Http;
use restore_tests::world::is_restore_call;
use serde_json::{Value, json};

use crate::Tally;
use crate::play::{Played, target_of, truth_target_of};

/// Judges one schedule.
///
/// # Errors
/// The first promise that was broken.
pub async fn judge(played: Played) -> Result<Tally, String> {
    let records = records(&played).await?;
    let clouds = played.clouds.url();
    let http = Http::default();
    let read =
        async |path: &str| http.send(http::Method::GET, &format!("{clouds}{path}"), &[], "").await.json();
    let truth = read("/_sim/restores").await;
    let applied = truth["restores"].as_array().cloned().unwrap_or_default();
    let arrived = read("/_sim/requests").await;
    let sent = arrived["requests"].as_array().into_iter().flatten().filter(|r| is_restore_call(r)).count();

    // I1, I2: nothing reached a cloud that was not written down before, one record for each send.
    let written: usize = records
        .iter()
        .flat_map(|record| &record.events)
        .filter(|event| event.kind.as_str() == "submitting")
        .count();
    if sent > written {
        return Err(format!("I1: {sent} restore calls arrived, {written} were written down"));
    }

    // At most once, and never silently zero: target by target, for those share nothing.
    let mut of_target: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for restore in &applied {
        of_target.entry(truth_target_of(restore)).or_default().0 += 1;
    }
    for record in &records {
        let counts = of_target.entry(target_of(&json!(record.entry.intent.request.target))).or_default();
        match record.entry.state.status {
            Status::Succeeded | Status::Failed => counts.1 += 1,
            status if status.is_final() => {}
            status => return Err(format!("{} is {} at the end", record.entry.intent.id, status.as_str())),
        }
    }
    for (target, (applied, accepted)) in &of_target {
        if applied != accepted {
            return Err(format!(
                "target {target}: the clouds applied {applied}, the ledger says {accepted}\n{}",
                histories(&records, target)
            ));
        }
    }

    // I4: one key, one restore; I7: what a client was told exists.
    let known: HashSet<String> = records.iter().map(|record| record.entry.intent.id.to_string()).collect();
    let mut by_key: HashMap<(String, u32), &str> = HashMap::new();
    for told in &played.told {
        if told.status >= 500 && told.status != 502 && told.status != 503 {
            return Err(format!("a client was told {}: {told:?}", told.status));
        }
        let Some(id) = told.id.as_deref() else { continue };
        if !known.contains(id) {
            return Err(format!("I7: a client was told of {id}, which the ledger does not know"));
        }
        // A conflict names the restore of somebody else.
        let Some(key) = told.key.filter(|_| told.status != 409) else { continue };
        let first = by_key.entry((format!("{:?}", told.what), key)).or_insert(id);
        if *first != id {
            return Err(format!("I4: key {key} of {:?} is {first} and {id}", told.what));
        }
    }

    let mut tally = Tally {
        schedules: 1,
        accepted: records.len(),
        applied: applied.len(),
        killed: played.killed,
        resolved: played.resolved,
        ..Tally::default()
    };
    for record in &records {
        *tally.ends.entry(record.entry.state.status.as_str().to_owned()).or_default() += 1;
    }
    played.clouds.stop().await;
    Ok(tally)
}

/// Everything in the ledger, after it was checked by itself.
async fn records(played: &Played) -> Result<Vec<Record>, String> {
    let ledger = restore_ledger::open_to_read(&played.ledger, OpenOptions::default())
        .await
        .map_err(|e| e.to_string())?;
    let mut faults = Vec::new();
    restore_ledger::check(&*ledger, |fault| faults.push(fault)).await.map_err(|error| error.to_string())?;
    if !faults.is_empty() {
        return Err(format!("I12: {}", faults.join("; ")));
    }
    let mut records = Vec::new();
    loop {
        let after = records.last().map(|record: &Record| record.entry.intent.id);
        let page = ledger.audit(after, 500).await.map_err(|error| error.to_string())?;
        if page.is_empty() {
            ledger.close().await;
            return Ok(records);
        }
        records.extend(page);
    }
}

/// The histories of one target, for whoever has to find out.
fn histories(records: &[Record], target: &str) -> String {
    let of_target = records.iter().filter(|r| target_of(&json!(r.entry.intent.request.target)) == target);
    let lines = of_target.map(|record| {
        let events: Vec<Value> = record.events.iter().map(|event| json!(event)).collect();
        let lines: Vec<String> = events.iter().map(|event| format!("    {event}")).collect();
        format!("  {}\n{}", record.entry.intent.id, lines.join("\n"))
    });
    lines.collect::<Vec<_>>().join("\n")
}
