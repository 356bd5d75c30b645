//! VBS v2 (`vbs-v2`): one disk per call. The answer contains a job ID, and the job shows the outcome. There is no list
//! of jobs, so without a job ID only backup and disk show the outcome.

use restore_model::{Id, Problem, ProjectId, RestoreRequest, TargetKind};

use crate::{
    Answer, Backup, Call, Capability, Check, Encoded, Expressible, Generation, Known, Outcome, Prepare,
    Prepared, Reading, Reply, Schema, SignatureRefusal, Step, Watch, errors, schemas::schemas,
};

mod backup;
mod check;
pub(crate) mod cinder;
mod decode;
mod encode;
mod follow;
mod prepare;
pub(crate) mod source_api;
mod wire;

/// The generation.
pub(crate) struct VbsV2;

impl Generation for VbsV2 {
    fn name(&self) -> &'static str {
        "vbs-v2"
    }

    fn services(&self) -> &'static [&'static str] {
        &["vbs", "vbsv2"]
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
            TargetKind::Volume => Capability {
                verdict: Expressible::Lossless,
                conditions: &[
                    "the disk is available, that is detached",
                    "the disk is as large as the backup",
                ],
                lost: &["source.checkpoint_id: the call has no place for it"],
            },
            TargetKind::Server | TargetKind::Resource => {
                Capability { verdict: Expressible::Impossible, conditions: &[], lost: &[] }
            }
        }
    }

    fn tells_server_of_disk(&self) -> bool {
        true
    }

    fn checks_natively(&self) -> bool {
        false
    }

    fn tells_progress(&self) -> bool {
        false
    }

    fn lists_restores(&self) -> bool {
        false
    }

    fn schemas(&self) -> &'static [Schema] {
        schemas![
            "vbs-restore-request",
            "cinder-restore-request",
            "vbs-restore-response",
            "vbs-native-restore-response",
            "vbs-job",
            "vbs-backup",
        ]
    }

    /// Jobs are cheap to read and short: every 5 s for the first minute, then every 15 s.
    fn poll_interval(&self, age_seconds: u64) -> u64 {
        if age_seconds < 60 { 5 } else { 15 }
    }

    fn prepare(&self, ask: &Prepare<'_>, answers: &[Answer]) -> Step<Result<Prepared, Problem>> {
        prepare::prepare(ask, answers)
    }

    fn encode(&self, request: &RestoreRequest, _known: &Known) -> Result<Encoded, Problem> {
        encode::encode(self, request)
    }

    fn decode(&self, _request: &RestoreRequest, reply: &Reply) -> Outcome {
        decode::decode(reply)
    }

    fn read_backup(&self, project: &ProjectId, id: &Id) -> Call {
        wire::get_backup(project, id)
    }

    fn backup(&self, reply: &Reply) -> Option<Backup> {
        crate::backup::one_of_disk(reply)
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
