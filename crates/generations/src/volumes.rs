//! The state of disks, read from the block storage service (EVS, Cinder's `GET /volumes/{id}`), because CBR and VBS do
//! not show it. Shared by the generations whose checks need it.

use restore_model::{Id, ProjectId, RestoreRequest, Target};

use crate::call::{Answer, Call, Host, Unread};
use crate::lenient::{self, same_id};
use crate::{Check, Step, classify, errors, path};

/// The known properties of one disk.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    pub(crate) id: String,
    pub(crate) status: String,
    /// Size in GB.
    pub(crate) size: Option<f64>,
    pub(crate) bootable: Option<bool>,
}

/// The disks of a target, if they could be read.
#[derive(Clone, Debug, Default)]
pub(crate) struct States {
    disks: Vec<Disk>,
    missing: usize,
    unread: Option<String>,
}

/// The read of one disk.
pub(crate) fn get(project: &ProjectId, volume: &Id) -> Call {
    Call::read("/v2/{project_id}/volumes/{volume_id}", path("v2", project, format_args!("volumes/{volume}")))
        .on(Host::Volumes)
}

/// Reads a disk out of an answer.
pub(crate) fn read(answer: &Answer) -> Option<Disk> {
    let reply = answer.as_ref().ok().filter(|reply| reply.status == 200)?;
    let body = reply.json()?;
    Some(Disk {
        id: lenient::text(&body, &["volume", "id"])?,
        status: lenient::word(&body, &["volume", "status"])?,
        size: lenient::number(&body, &["volume", "size"]),
        bootable: lenient::truth(&body, &["volume", "bootable"]),
    })
}

/// Reads every disk that the request overwrites, one read each; no reads if there is no endpoint.
pub(crate) fn states<'a>(
    request: &RestoreRequest,
    answers: &mut impl Iterator<Item = &'a Answer>,
) -> Step<States> {
    let wanted: Vec<&Id> = match &request.target {
        Target::Server { volumes, .. } => volumes.iter().map(|mapping| &mapping.volume_id).collect(),
        Target::Volume { volume_id } => vec![volume_id],
        Target::Resource { .. } => Vec::new(),
    };
    let mut states = States::default();
    for volume in wanted {
        let Some(answer) = answers.next() else { return Step::Ask(get(&request.project_id, volume)) };
        match (read(answer), answer) {
            (Some(disk), _) => states.disks.push(disk),
            (None, Ok(reply)) if errors::not_there(reply) => states.missing += 1,
            (None, Ok(reply)) => states.unread = Some(classify(reply).into_problem().detail),
            (None, Err(unread)) => {
                states.unread = Some(unread.explain().0);
                if *unread == Unread::NoEndpoint {
                    break;
                }
            }
        }
    }
    Step::Done(states)
}

impl States {
    /// Returns one disk, if it could be read.
    pub(crate) fn of(&self, id: &str) -> Option<&Disk> {
        self.disks.iter().find(|disk| same_id(&disk.id, id))
    }

    /// Checks that all disks exist.
    pub(crate) fn exist(&self, code: &str) -> Vec<Check> {
        vec![match (&self.unread, self.missing) {
            (_, missing @ 1..) => {
                Check::failed("disks_exist", code, format!("{missing} disk(s) do not exist"))
            }
            (Some(why), 0) => Check::not_run("disks_exist", why.clone()),
            (None, 0) => Check::passed("disks_exist"),
        }]
    }

    /// Applies one check to each disk; `None` if it was not possible.
    pub(crate) fn each(
        &self,
        name: &'static str,
        code: &str,
        answers: impl IntoIterator<Item = Option<bool>>,
    ) -> Check {
        let answers: Vec<_> = answers.into_iter().collect();
        let wrong = answers.iter().filter(|answer| **answer == Some(false)).count();
        if wrong > 0 {
            return Check::failed(name, code, format!("does not hold for {wrong} disk(s)"));
        }
        if answers.iter().any(Option::is_none) {
            let why = self.unread.clone().unwrap_or_else(|| "a disk or its backup does not say".to_owned());
            return Check::not_run(name, why);
        }
        Check::passed(name)
    }
}
