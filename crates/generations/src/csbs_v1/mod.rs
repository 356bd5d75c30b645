//! CSBS v1 (`csbs-v1`), the oldest generation: whole servers. Its 200 may already be a failure. The documentation
//! defines no call to read a restore. The outcome is derived from the backup item and a failure marker on it (cloud
//! APIs 2.1).

use restore_model::{Id, Problem, ProjectId, RestoreRequest, TargetKind};

use crate::{
    Answer, Backup, Call, Capability, Check, Encoded, Expressible, Generation, Known, Outcome, Prepare,
    Prepared, Reading, Reply, Schema, SignatureRefusal, Step, Watch, errors, schemas::schemas,
};

mod backup;
mod check;
mod decode;
mod encode;
mod follow;
mod prepare;
pub(crate) mod source_api;
mod wire;

/// The generation.
pub(crate) struct CsbsV1;

impl Generation for CsbsV1 {
    fn name(&self) -> &'static str {
        "csbs-v1"
    }

    fn services(&self) -> &'static [&'static str] {
        &["data-protect"]
    }

    /// Closed to new projects of Open Telekom Cloud (its change history; cloud APIs 8.1). No end date is published.
    fn closed_on(&self) -> Option<&'static str> {
        Some("2025-07-28")
    }

    /// `/version/project/…` (cloud APIs 1.1).
    fn project_segment(&self) -> usize {
        1
    }

    fn refuses_credential(&self, reply: &Reply) -> bool {
        errors::refuses_credential(reply)
    }

    fn signature_refusal(&self, reply: &Reply) -> Option<SignatureRefusal> {
        errors::signature_refusal(reply)
    }

    fn capability(&self, target: TargetKind) -> Capability {
        match target {
            TargetKind::Server => Capability {
                verdict: Expressible::Lossless,
                conditions: &[
                    "every disk of the backup is mapped",
                    "every mapped disk is attached to the server",
                    "the project was there before the service was closed to new ones",
                ],
                lost: &[],
            },
            TargetKind::Volume | TargetKind::Resource => {
                Capability { verdict: Expressible::Impossible, conditions: &[], lost: &[] }
            }
        }
    }

    /// The restore call needs the checkpoint of the backup.
    fn wanted_facts(&self, request: &RestoreRequest) -> &'static [&'static str] {
        if request.source.checkpoint_id.is_some() { &[] } else { &[wire::CHECKPOINT] }
    }

    fn tells_server_of_disk(&self) -> bool {
        false
    }

    fn checks_natively(&self) -> bool {
        true
    }

    fn tells_progress(&self) -> bool {
        false
    }

    fn lists_restores(&self) -> bool {
        false
    }

    fn schemas(&self) -> &'static [Schema] {
        schemas![
            "csbs-restore-request",
            "csbs-restore-response",
            "csbs-check-restorable-request",
            "csbs-check-restorable-response",
            "csbs-checkpoint-item",
        ]
    }

    /// Every 10 s, growing to 60 s (cloud APIs 2.1, step 3).
    fn poll_interval(&self, age_seconds: u64) -> u64 {
        (age_seconds / 10).clamp(10, 60)
    }

    fn prepare(&self, ask: &Prepare<'_>, answers: &[Answer]) -> Step<Result<Prepared, Problem>> {
        prepare::prepare(ask, answers)
    }

    fn encode(&self, request: &RestoreRequest, known: &Known) -> Result<Encoded, Problem> {
        encode::encode(self, request, known)
    }

    fn decode(&self, _request: &RestoreRequest, reply: &Reply) -> Outcome {
        decode::decode(reply)
    }

    fn read_backup(&self, project: &ProjectId, id: &Id) -> Call {
        wire::get_item(project, id)
    }

    fn backup(&self, reply: &Reply) -> Option<Backup> {
        backup::one(reply)
    }

    fn list_backups(&self, project: &ProjectId, resource: &Id, kind: TargetKind) -> Option<Call> {
        backup::list(project, resource, kind)
    }

    fn backups(&self, reply: &Reply) -> Option<Vec<Backup>> {
        backup::many(reply)
    }

    fn follow(&self, watch: &Watch<'_>, answers: &[Answer]) -> Step<Reading> {
        follow::follow(watch, answers)
    }

    fn check(&self, ask: &Prepare<'_>, answers: &[Answer]) -> Step<Vec<Check>> {
        check::check(ask, answers)
    }
}
