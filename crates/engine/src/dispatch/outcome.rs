//! Writes the outcome of an attempt, and waits for the ledger if necessary.

use std::time::Duration;

use restore_generations::{Outcome, Reply};
use restore_ledger::{Entry, LedgerError};
use restore_model::{Cause, EventKind, Evidence, RestoreId, RestoreRequest, Status, Strength};
use restore_upstream::Fault;

use super::{Dispatcher, by_the_clock};
use crate::journal::Kinds;
use crate::routing::{Plan, whose};

impl Dispatcher {
    /// Meaning of the response to an attempt, or of its absence.
    pub(super) fn outcome(
        &self,
        plan: &Plan,
        request: &RestoreRequest,
        result: Result<Reply, Fault>,
    ) -> Kinds {
        let now = self.journal.now();
        let reply = match result {
            Ok(reply) => reply,
            Err(fault) => {
                let problem = Box::new(fault.to_problem());
                let evidence = Evidence::new("no_answer", Strength::Strong, now).detail(fault.kind.as_str());
                return vec![match fault.proof {
                    Some(_) => (EventKind::Rejected { problem }, evidence),
                    None => (
                        EventKind::OutcomeUnclear { reason: fault.to_string(), problem: Some(problem) },
                        evidence,
                    ),
                }];
            }
        };
        let evidence =
            Evidence::new("answer", Strength::Strong, now).detail(format!("HTTP status {}", reply.status));
        let mut anomaly = None;
        let kind = match plan.upstream.generation().decode(request, &reply) {
            Outcome::Started { task, status, anomaly: odd } => {
                anomaly = odd;
                EventKind::Started {
                    task,
                    upstream_status: status,
                    progress: None,
                    request_id: reply.request_id.clone(),
                    clock_offset_ms: self.offset(&reply),
                }
            }
            Outcome::Failed(problem) => EventKind::Failed { problem: Box::new(problem) },
            Outcome::Refused(problem) => {
                let problem =
                    whose(by_the_clock(problem, plan.upstream.generation(), &reply, now), &plan.upstream);
                EventKind::Rejected { problem: Box::new(problem) }
            }
            Outcome::Unsure { reason, problem } => {
                EventKind::OutcomeUnclear { reason, problem: Some(Box::new(problem)) }
            }
        };
        let mut kinds = vec![(kind, evidence.clone())];
        if let Some(what) = anomaly {
            kinds.push((EventKind::Anomaly { what }, evidence));
        }
        kinds
    }

    /// Writes what is already true in the cloud. The ledger may be away for a while; then this
    /// waits, for there is nothing better to do with the knowledge. If the process ends first, the
    /// restore is found `submitting` and becomes unknown; so it does when another replica takes it
    /// over while this one cannot be heard, and then the answer settles what was left open.
    pub(super) async fn write_for_sure(&self, sent: Entry, kinds: Kinds) -> Result<Entry, LedgerError> {
        let id = sent.intent.id;
        let (attempts, step, route) = (sent.state.attempts, sent.state.step, sent.state.rerouted.is_some());
        let tells = !matches!(kinds.first(), Some((EventKind::OutcomeUnclear { .. }, _)));
        let mut entry = sent;
        let mut kinds = kinds;
        let mut wait = Duration::from_millis(100);
        loop {
            let why = match self.journal.append(&entry, Cause::Upstream, kinds.clone()).await {
                Err(LedgerError::Unavailable(why)) => why,
                // An upstream that gives two restores one name: what it called this one is not known then.
                Err(LedgerError::TaskTaken { task, holder }) => {
                    nameless(&mut kinds, &task, holder);
                    continue;
                }
                Err(LedgerError::Stale(_)) => match self.ledger.get(id).await {
                    Ok(Some(now)) => {
                        // A further attempt that was written but not reported was not made.
                        let ours = [attempts, attempts + 1].contains(&now.state.attempts)
                            && (step, route) == (now.state.step, now.state.rerouted.is_some());
                        let open = match now.state.status {
                            Status::Submitting => ours,
                            Status::Unknown => ours && tells,
                            _ => false,
                        };
                        if !open {
                            return Ok(self.too_late(now, &kinds).await);
                        }
                        if now.state.status == Status::Unknown {
                            // Another process has taken it over; it is not sent from here any more.
                            stay(&mut kinds);
                        }
                        entry = now;
                        continue;
                    }
                    Ok(None) => return Err(LedgerError::NotFound(id)),
                    Err(error) => error.to_string(),
                },
                other => return other,
            };
            tracing::error!(restore.id = %id, error = why, "restore outcome waits for the ledger");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(5));
        }
    }

    /// An answer that came after the restore was ended without it, by a person say. It changes
    /// nothing any more (I5); that it contradicts is kept, for disks may have been overwritten.
    async fn too_late(&self, mut entry: Entry, kinds: &Kinds) -> Entry {
        let id = entry.intent.id;
        let Some((answer, evidence)) = kinds.first() else { return entry };
        for _ in 0..4 {
            let status = entry.state.status;
            let took_place = matches!(answer, EventKind::Started { .. } | EventKind::Failed { .. });
            let contradicts = took_place && status.is_without_effect();
            if !contradicts {
                break;
            }
            let task = match answer {
                EventKind::Started { task: Some(task), .. } => format!(", {} {}", task.kind, task.id),
                _ => String::new(),
            };
            let said = evidence.detail.as_deref().unwrap_or(answer.as_str());
            let what = format!(
                "after {} the answer to its send came and says it began: {said}{task}",
                status.as_str()
            );
            tracing::error!(restore.id = %id, what, "finished restore was applied after all");
            let kind = EventKind::Anomaly { what };
            match self.journal.append(&entry, Cause::Upstream, vec![(kind, evidence.clone())]).await {
                Ok(entry) => return entry,
                Err(LedgerError::Stale(_)) => match self.ledger.get(id).await {
                    Ok(Some(now)) => entry = now,
                    _ => break,
                },
                Err(error) => {
                    tracing::error!(restore.id = %id, error = %error, "failed to record late outcome");
                    break;
                }
            }
        }
        entry
    }
}

/// The same outcome of a send without the upstream's name for it, which belongs to another restore.
fn nameless(kinds: &mut Kinds, task: &str, holder: RestoreId) {
    let what = format!("the upstream named task {task}, which belongs to restore {holder}");
    let mut evidence = None;
    for (kind, on) in kinds.iter_mut() {
        if let EventKind::Started { task, .. } | EventKind::Progress { task, .. } = kind {
            *task = None;
            evidence = Some(on.clone());
        }
    }
    kinds.extend(evidence.map(|evidence| (EventKind::Anomaly { what }, evidence)));
}

/// The same outcome without another route, which only who holds a restore may send it by.
fn stay(kinds: &mut Kinds) {
    for (kind, _) in kinds {
        if let EventKind::Rerouted { problem, .. } = kind {
            *kind = EventKind::Rejected { problem: problem.clone() };
        }
    }
}
