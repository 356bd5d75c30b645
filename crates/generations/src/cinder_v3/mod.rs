//! Cinder v3 (`cinder-v3`): OpenStack's own block storage, one disk per call. There is no job. The disk shows the
//! outcome, and the messages of the request ID give the reason of a failure (cloud APIs 2.4). The compatibility
//! endpoint of the same name is its native API as programs know it. VBS serves that API, too.

use restore_model::{Id, Problem, ProjectId, RestoreRequest, TargetKind};

use crate::{
    Answer, Backup, Call, Capability, Check, Encoded, Expressible, Generation, Known, Outcome, Prepare,
    Prepared, Reading, Reply, Schema, SignatureRefusal, Step, Watch, schemas::schemas,
};

mod backup;
mod check;
mod decode;
mod encode;
mod follow;
mod prepare;
mod wire;

/// The generation.
pub(crate) struct CinderV3;

impl Generation for CinderV3 {
    fn name(&self) -> &'static str {
        "cinder-v3"
    }

    /// Keystone's catalogs list the service under its current type or under the type of this version.
    fn services(&self) -> &'static [&'static str] {
        &["block-storage", "volumev3"]
    }

    fn closed_on(&self) -> Option<&'static str> {
        None
    }

    /// `/v3/project/…`; a path without the project needs a later API version than the gateway requests.
    fn project_segment(&self) -> usize {
        1
    }

    /// Keystone always answers 401 (cloud APIs 1.9).
    fn refuses_credential(&self, reply: &Reply) -> bool {
        reply.status == 401
    }

    /// OpenStack supports tokens only.
    fn signature_refusal(&self, _reply: &Reply) -> Option<SignatureRefusal> {
        None
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

    /// A backup names its disk and no server, and a disk that can be restored is detached (cloud APIs 3.4).
    fn tells_server_of_disk(&self) -> bool {
        false
    }

    fn checks_natively(&self) -> bool {
        false
    }

    fn tells_progress(&self) -> bool {
        false
    }

    /// Lists show running restores, but neither their backups nor ended restores (cloud APIs 2.4).
    fn lists_restores(&self) -> bool {
        false
    }

    fn schemas(&self) -> &'static [Schema] {
        schemas![
            "cinder-v3-restore-request",
            "cinder-v3-restore-response",
            "cinder-v3-backup",
            "cinder-v3-volume",
            "cinder-v3-messages",
        ]
    }

    /// One cheap read is enough: every 5 s for the first minute, then every 15 s.
    fn poll_interval(&self, age_seconds: u64) -> u64 {
        if age_seconds < 60 { 5 } else { 15 }
    }

    fn prepare(&self, ask: &Prepare<'_>, answers: &[Answer]) -> Step<Result<Prepared, Problem>> {
        prepare::prepare(ask, answers)
    }

    fn encode(&self, request: &RestoreRequest, _known: &Known) -> Result<Encoded, Problem> {
        encode::encode(self, request)
    }

    fn decode(&self, request: &RestoreRequest, reply: &Reply) -> Outcome {
        decode::decode(request, reply)
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
