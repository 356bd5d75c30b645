//! Judges what a simulation left behind, by the clouds' own truth. Nothing here asks how the engine came to what it says.

use std::collections::BTreeMap;
use std::time::Duration;

use restore_ledger::Entry;
use restore_model::{Effect, ResolvedAs, RestoreId, Status, Strength, Target};

use super::play::{Answered, Applied, Outcome, Played, key_of};
use super::schedule::Ask;
use super::store::{Row, short};

/// How much of a restore was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Nothing.
    Nothing,
    /// Some of its disks.
    Part,
    /// All of it.
    Whole,
}

/// Whether a restore is about what was overwritten: the server itself, or a disk that it names.
fn is_about(row: &Row, applied: &Applied) -> bool {
    match &row.intent.request.target {
        Target::Volume { volume_id } => applied.kind == "volume" && volume_id.as_str() == applied.target,
        Target::Server { server_id, volumes, .. } => match applied.kind.as_str() {
            "server" => server_id.as_str() == applied.target,
            _ => volumes.iter().any(|mapping| mapping.volume_id.as_str() == applied.target),
        },
        Target::Resource { .. } => false,
    }
}

/// The disks that it names.
fn disks(row: &Row) -> Vec<&str> {
    match &row.intent.request.target {
        Target::Volume { volume_id } => vec![volume_id.as_str()],
        Target::Server { volumes, .. } => volumes.iter().map(|mapping| mapping.volume_id.as_str()).collect(),
        Target::Resource { .. } => Vec::new(),
    }
}

/// What an operator finds who looks at what the present call of a restore is about: the target, or the disk of the present
/// step.
pub fn found(row: &Row, applied: &[Applied], now: Duration) -> ResolvedAs {
    let request = row.entry.state.request(&row.intent);
    let target = request.target.id().as_str();
    let own = applied
        .iter()
        .rfind(|one| !one.by_console && one.target == target && one.at >= row.created && one.at <= now);
    match own {
        None => ResolvedAs::NotApplied,
        Some(one) if one.status == "failed" => ResolvedAs::Failed,
        Some(_) => ResolvedAs::Applied,
    }
}

fn extent(row: &Row, own: &[&Applied]) -> Extent {
    if own.iter().any(|one| one.kind == "server") {
        return Extent::Whole;
    }
    let disks = disks(row);
    let done = disks.iter().filter(|disk| own.iter().any(|one| one.target == **disk)).count();
    match done {
        0 => Extent::Nothing,
        done if done == disks.len() => Extent::Whole,
        _ => Extent::Part,
    }
}

/// The first promise that was broken.
///
/// # Errors
/// Which one, and by what.
pub fn judge(played: &Played) -> Result<(), String> {
    if let Some(fault) = played.faults.first() {
        return Err(format!("I12: {fault}"));
    }
    let own = attributed(played)?;
    for row in &played.rows {
        truthful(row, own.get(&row.intent.id).map_or(&[][..], Vec::as_slice), played)?;
    }
    written_first(played)?;
    nobody_starves(played)?;
    one_key_one_restore(played)?;
    equal_requests(played)?;
    for answer in &played.answers {
        if let Outcome::Refused("internal_error" | "internal") = answer.outcome {
            return Err(format!("a client was refused for a fault of the gateway's own: {answer:?}"));
        }
        if let Outcome::Taken(id) = answer.outcome
            && row_of(played, id).is_none()
        {
            return Err(format!("I7: a client was shown {id}, which the ledger never had"));
        }
    }
    Ok(())
}

/// How far back a reader looks that has nothing to compare with.
const SKEW: Duration = Duration::from_secs(600);

/// Whether somebody restored the same backup to the same disk so close that no reader of the cloud could tell whose it is:
/// while the restore was open, or so shortly before that the cloud did not show it yet; where the configuration forgo the
/// reads before a send, as long before as clocks may differ. Where the cloud names no disk, the backup alone counts, but
/// what rests on that must not be called strong.
fn cannot_be_told_apart(row: &Row, played: &Played) -> bool {
    let (world, state) = (&played.setup.world, &row.entry.state);
    let lag = Duration::from_secs(world["cbr_oplog_lag_seconds"].as_u64().unwrap_or(0) + 3);
    // Without the reads before the send, or where they failed, the gateway does not call its evidence strong.
    let strong = state.evidence.strength == Strength::Strong;
    let before = if played.setup.baseline && strong { lag } else { lag + SKEW };
    let names_no_disk = world["cbr_oplog_restore_block"] == false && !strong;
    let request = state.request(&row.intent);
    let backup = request.source.backup_id.as_str();
    played.applied.iter().any(|one| {
        one.by_console
            && (names_no_disk || one.backup == backup && is_about(row, one))
            && one.at >= row.created.saturating_sub(before)
            && row.is_open_at(one.at.max(row.created))
    })
}

/// The order in which restores came in: of two that share a moment, the later came in when the earlier had ended.
fn came_in(row: &Row) -> (Duration, Duration) {
    (row.created, row.finished.unwrap_or(Duration::MAX))
}

fn shown(row: &Row) -> String {
    let state = &row.entry.state;
    format!("{} of {} ({})", short(row.intent.id), row.intent.caller, state.status.as_str())
}

/// Whose each restore of the clouds is: of the one restore of the ledger that was open for its target then.
fn attributed(played: &Played) -> Result<BTreeMap<RestoreId, Vec<&Applied>>, String> {
    let mut own: BTreeMap<RestoreId, Vec<&Applied>> = BTreeMap::new();
    let rows: Vec<&Row> = played.rows.iter().chain(&played.lost).collect();
    for one in played.applied.iter().filter(|one| !one.by_console) {
        let about: Vec<&&Row> = rows.iter().filter(|row| is_about(row, one)).collect();
        let open: Vec<&&&Row> = about.iter().filter(|row| row.is_open_at(one.at)).collect();
        let Some(row) = open.iter().max_by_key(|row| came_in(row)) else {
            let ended =
                about.iter().filter(|row| row.finished.is_some_and(|end| end < one.at)).map(|row| shown(row));
            return Err(format!(
                "at {:.3} s {} {} was overwritten, and no restore was open for it; ended before: {}",
                one.at.as_secs_f64(),
                one.kind,
                one.target,
                ended.collect::<Vec<_>>().join(", ")
            ));
        };
        let applied = own.entry(row.intent.id).or_default();
        if applied.iter().any(|other| other.target == one.target && other.kind == one.kind) {
            return Err(format!("I2: twice for one request: {} {} for {}", one.kind, one.target, shown(row)));
        }
        applied.push(one);
    }
    Ok(own)
}

/// Whether what is said of a restore is so.
fn truthful(row: &Row, own: &[&Applied], played: &Played) -> Result<(), String> {
    if row.rewound {
        return Ok(());
    }
    let Entry { state, .. } = &row.entry;
    let extent = extent(row, own);
    let wrong = |what: &str| {
        Err(format!("{what}: {}, and the clouds carried out {extent:?} of it: {own:?}", shown(row)))
    };
    if row.intent.caller == "servers" {
        let free = own.iter().find(|one| one.kind == "volume" && one.target.starts_with("d15c0000"));
        if free.is_some() {
            return wrong("S46: who may restore servers has overwritten a disk of none");
        }
    }
    match state.status {
        Status::Succeeded | Status::Failed
            if extent == Extent::Nothing && cannot_be_told_apart(row, played) =>
        {
            Ok(())
        }
        Status::Succeeded if extent == Extent::Nothing => {
            let somebody = played.applied.iter().any(|one| one.by_console && is_about(row, one));
            wrong(if somebody {
                "succeeded on what somebody else did"
            } else {
                "succeeded without having been"
            })
        }
        Status::Succeeded if extent == Extent::Part => wrong("succeeded, and not all of it"),
        Status::Succeeded | Status::Failed if !row.by_operator && cannot_be_told_apart(row, played) => Ok(()),
        Status::Succeeded if !row.by_operator && own.iter().any(|one| one.status != "succeeded") => {
            wrong("succeeded, and it failed")
        }
        Status::Failed if extent == Extent::Nothing => match &state.error {
            Some(problem) if problem.effect != Effect::None && !row.by_operator => {
                wrong("failed with an effect, and nothing was done")
            }
            _ => Ok(()),
        },
        Status::Failed
            if !row.by_operator
                && extent == Extent::Whole
                && own.iter().all(|one| one.status == "succeeded") =>
        {
            wrong("failed, and it succeeded")
        }
        Status::Rejected | Status::NotApplied | Status::Cancelled | Status::Expired
            if extent != Extent::Nothing && !(row.by_operator && extent == Extent::Part) =>
        {
            wrong("said to have had no effect")
        }
        status if !status.is_final() => wrong("not ended"),
        _ => bound_to_own(row, own, played),
    }
}

/// Whether the task that a restore goes by is its own.
fn bound_to_own(row: &Row, own: &[&Applied], played: &Played) -> Result<(), String> {
    let state = &row.entry.state;
    let of_steps = state.steps.iter().filter_map(|step| step.task.as_ref());
    for bound in of_steps.chain(state.task.as_ref()) {
        let task = played.applied.iter().find(|one| one.task == bound.id);
        match task {
            Some(task) if task.by_console && cannot_be_told_apart(row, played) => {}
            Some(task) if !own.iter().any(|one| one.task == task.task) => {
                let whose = if task.by_console { "somebody's at the console" } else { "another restore's" };
                return Err(format!("F48: {} goes by task {}, which is {whose}", shown(row), bound.id));
            }
            _ => {}
        }
    }
    Ok(())
}

/// I1, I2: no restore call arrived that was not written down before.
fn written_first(played: &Played) -> Result<(), String> {
    if !played.lost.is_empty() || played.rows.iter().any(|row| row.rewound) {
        return Ok(());
    }
    // What was forgotten since has no history any more.
    if played.records.len() < played.rows.len() {
        return Ok(());
    }
    let events = played.records.iter().flat_map(|record| &record.events);
    let written = events.filter(|event| event.kind.as_str() == "submitting").count();
    if played.calls > written {
        return Err(format!("I1: {} restore calls arrived, {written} were written down", played.calls));
    }
    Ok(())
}

/// F52: checks of one caller hold up neither the sends nor the reads of another's restores.
fn nobody_starves(played: &Played) -> Result<(), String> {
    if !played.setup.crowd {
        return Ok(());
    }
    let lasts = Duration::from_secs(played.setup.world["restore_seconds"].as_u64().unwrap_or(0));
    for row in &played.rows {
        if row.entry.state.status == Status::Rejected {
            return Err(format!("F52: beside a caller who only checks, {} was refused", shown(row)));
        }
        let one = played.applied.iter().rfind(|one| !one.by_console && is_about(row, one));
        let (Some(one), Some(end)) = (one, row.finished) else { continue };
        let unread = end.saturating_sub(one.at + lasts);
        if unread > played.unread {
            return Err(format!(
                "F52: beside a caller who only checks, the end of {} went unread for {:.1} s",
                shown(row),
                unread.as_secs_f64()
            ));
        }
    }
    Ok(())
}

fn row_of(played: &Played, id: RestoreId) -> Option<&Row> {
    played.rows.iter().chain(&played.lost).find(|row| row.intent.id == id)
}

/// How much earlier than it is written the end of a restore may be dated: its process may be stopped in between.
const STOPPED: Duration = Duration::from_secs(16);

/// I4: within its window, a key is one restore, and nobody who sends it again is refused.
fn one_key_one_restore(played: &Played) -> Result<(), String> {
    if !played.lost.is_empty() || played.rows.iter().any(|row| row.rewound) {
        return Ok(());
    }
    let window = Duration::from_secs(played.setup.key_window).saturating_sub(played.skew + STOPPED);
    let mut by_key: BTreeMap<Ask, Vec<&Answered>> = BTreeMap::new();
    for answer in played.answers.iter().filter(|answer| answer.ask.key.is_some()) {
        by_key.entry(answer.ask).or_default().push(answer);
    }
    for (ask, answers) in by_key {
        let Some(key) = ask.key else { continue };
        let name = key_of(ask.what, key);
        // Those that clients were shown for it, and those that the ledger has under it.
        let mut rows: Vec<&Row> = played
            .rows
            .iter()
            .filter(|row| row.intent.caller == ask.who.name() && row.intent.key.as_deref() == Some(&name))
            .collect();
        for answer in &answers {
            if let Outcome::Taken(id) = answer.outcome {
                let Some(row) = row_of(played, id) else {
                    return Err(format!("I7: a client was shown {id}, which the ledger never had"));
                };
                if !rows.iter().any(|known| known.intent.id == id) {
                    rows.push(row);
                }
            }
        }
        rows.sort_by_key(|row| came_in(row));
        for (nth, later) in rows.iter().enumerate() {
            for earlier in &rows[..nth] {
                let stands = earlier.finished.is_none_or(|end| later.created < end + window);
                if stands {
                    return Err(format!(
                        "I4: key {name} of {} is {} and, at {:.3} s, {}",
                        ask.who.name(),
                        shown(earlier),
                        later.created.as_secs_f64(),
                        shown(later)
                    ));
                }
            }
        }
        for answer in answers {
            let Outcome::Refused(code @ ("target_busy" | "idempotency_key_conflict" | "generation_retired")) =
                answer.outcome
            else {
                continue;
            };
            let stood = rows.iter().find(|row| {
                row.created < answer.asked && row.finished.is_none_or(|end| answer.answered < end + window)
            });
            if let Some(row) = stood {
                return Err(format!(
                    "I4: key {name} of {} was refused with {code} at {:.3} s, and stands for {}",
                    ask.who.name(),
                    answer.asked.as_secs_f64(),
                    shown(row)
                ));
            }
        }
    }
    Ok(())
}

/// An equal request without a key is the same restore until its window is over, or something else was restored there.
fn equal_requests(played: &Played) -> Result<(), String> {
    if !played.lost.is_empty() || played.rows.iter().any(|row| row.rewound) {
        return Ok(());
    }
    let window = Duration::from_secs(played.setup.duplicate_window).saturating_sub(played.skew + STOPPED);
    let mut rows: Vec<&Row> = played.rows.iter().collect();
    rows.sort_by_key(|row| came_in(row));
    for (nth, later) in rows.iter().enumerate() {
        if later.intent.key.is_some() {
            continue;
        }
        for (place, earlier) in rows[..nth].iter().enumerate() {
            let equal = earlier.intent.key.is_none()
                && earlier.intent.caller == later.intent.caller
                && earlier.intent.fingerprint == later.intent.fingerprint;
            let had_effect = matches!(earlier.entry.state.status, Status::Succeeded | Status::Failed);
            if !equal || !had_effect || earlier.finished.is_none_or(|end| later.created >= end + window) {
                continue;
            }
            let locks = earlier.intent.locks();
            let overwritten = rows[place + 1..nth].iter().any(|other| {
                other.intent.locks().iter().any(|lock| locks.contains(lock))
                    && (other.finished.is_none_or(|end| end >= later.created)
                        || matches!(other.entry.state.status, Status::Succeeded | Status::Failed))
            });
            if !overwritten {
                return Err(format!(
                    "an equal request of {} was {} and, {:.3} s after its end, {}",
                    later.intent.caller,
                    shown(earlier),
                    later.created.saturating_sub(earlier.finished.unwrap_or_default()).as_secs_f64(),
                    shown(later)
                ));
            }
        }
    }
    Ok(())
}
