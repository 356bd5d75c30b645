//! CBR v3 (`cbr-v3`), the current generation: server and disk restores, and on Huawei Cloud other resources. The
//! restore call answers 202, usually without a body. The outcome is in the operation log, which is found by correlation
//! ([`follow`], cloud APIs 2.3.1).

use restore_model::{Id, Problem, ProjectId, RestoreRequest, TargetKind, Timestamp};

use crate::{
    Answer, Backup, Call, Capability, Check, Encoded, Expressible, Generation, Known, Listed, Outcome,
    Prepare, Prepared, Reading, Reply, Schema, SignatureRefusal, Step, Watch, errors, schemas::schemas,
};

mod audit;
mod backup;
mod check;
mod decode;
mod encode;
mod follow;
mod prepare;
pub(crate) mod source_api;
mod wire;

/// The generation.
pub(crate) struct CbrV3;

impl Generation for CbrV3 {
    fn name(&self) -> &'static str {
        "cbr-v3"
    }

    fn services(&self) -> &'static [&'static str] {
        &["cbr"]
    }

    fn closed_on(&self) -> Option<&'static str> {
        None
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
        let lost: &[&str] = &["source.checkpoint_id: the call has no place for it"];
        match target {
            TargetKind::Server => Capability {
                verdict: Expressible::Lossless,
                conditions: &[
                    "every disk of the backup is mapped",
                    "the backup is a server backup in a CBR vault",
                ],
                lost,
            },
            TargetKind::Volume => Capability {
                verdict: Expressible::Lossless,
                conditions: &["the disk is detached or its server is stopped"],
                lost,
            },
            TargetKind::Resource => Capability {
                verdict: Expressible::Lossless,
                conditions: &["Huawei Cloud only; Open Telekom Cloud has no such field"],
                lost,
            },
        }
    }

    fn tells_server_of_disk(&self) -> bool {
        false
    }

    fn checks_natively(&self) -> bool {
        false
    }

    fn tells_progress(&self) -> bool {
        true
    }

    fn lists_restores(&self) -> bool {
        true
    }

    fn schemas(&self) -> &'static [Schema] {
        schemas!["cbr-restore-request", "cbr-restore-response", "cbr-operation-log", "cbr-backup",]
    }

    /// Every 5 s for the first 30 s, then every 15 s (cloud APIs 2.3.1).
    fn poll_interval(&self, age_seconds: u64) -> u64 {
        if age_seconds < 30 { 5 } else { 15 }
    }

    fn prepare(&self, ask: &Prepare<'_>, answers: &[Answer]) -> Step<Result<Prepared, Problem>> {
        prepare::prepare(ask, answers)
    }

    fn encode(&self, request: &RestoreRequest, _known: &Known) -> Result<Encoded, Problem> {
        Ok(encode::encode(request))
    }

    fn decode(&self, _request: &RestoreRequest, reply: &Reply) -> Outcome {
        decode::decode(reply)
    }

    fn read_backup(&self, project: &ProjectId, id: &Id) -> Call {
        wire::get_backup(project, id)
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

    fn audit(
        &self,
        project: &ProjectId,
        since: Timestamp,
        answers: &[Answer],
    ) -> Step<Result<Vec<Listed>, Problem>> {
        audit::audit(project, since, answers)
    }
}
