//! Checks for Cinder, which has no call for them. The gateway reads backup and disk instead. Cinder has no error codes
//! either, so the checks predict none.

use restore_model::{Code, Target};

use super::wire::{Volume, get_backup, get_volume};
use crate::call::Answer;
use crate::{Check, Prepare, Step};

const UNREADABLE: &str = "the upstream's answer cannot be read";

pub(super) fn check(ask: &Prepare<'_>, answers: &[Answer]) -> Step<Vec<Check>> {
    let request = ask.request;
    let project = &request.project_id;
    let Target::Volume { volume_id } = &request.target else {
        return Step::Done(vec![Check::failed("expressible", "", "cinder-v3 restores one disk per call")]);
    };
    let mut answers = answers.iter();

    let Some(answer) = answers.next() else {
        return Step::Ask(get_backup(project, &request.source.backup_id));
    };
    let backup = match answer {
        Ok(reply) if reply.status == 200 => match crate::backup::one_of_disk(reply) {
            Some(backup) => backup,
            None => return Step::Done(vec![Check::not_run("backup_exists", UNREADABLE)]),
        },
        Ok(reply) => return Step::Done(vec![Check::unfound("backup_exists", "", reply)]),
        Err(unread) => return Step::Done(vec![Check::not_run("backup_exists", unread.explain().0)]),
    };
    let mut checks = vec![
        Check::passed("backup_exists"),
        Check::of(
            "backup_available",
            backup.status == "available",
            "",
            format!("its status is {:?}", backup.status),
        ),
    ];
    if ask.server.is_some() {
        let check = Check::not_run("disk_of_server", "Cinder does not say which server a disk belongs to");
        checks.push(check.required(Code::TargetIncompatible));
    }

    let Some(answer) = answers.next() else { return Step::Ask(get_volume(project, volume_id)) };
    let volume = match answer {
        Ok(reply) if reply.status == 200 => Volume::read(reply).ok_or(UNREADABLE.to_owned()),
        Ok(reply) => {
            checks.push(Check::unfound("disks_exist", "", reply));
            return Step::Done(checks);
        }
        Err(unread) => Err(unread.explain().0),
    };
    match volume {
        Err(why) => checks.push(Check::not_run("disks_exist", why)),
        Ok(volume) => {
            checks.push(Check::passed("disks_exist"));
            let name = "disk_large_enough";
            checks.push(match backup.size_gb.map(|needed| needed as f64).zip(volume.size) {
                Some((needed, size)) => {
                    let detail = format!("it has {size} GB, and the backup is of {needed} GB");
                    Check::of(name, size >= needed, "", detail)
                }
                None => Check::not_run(name, "disk or backup does not say how large it is"),
            });
            let detail = format!("its status is {:?}", volume.status);
            checks.push(Check::of("disk_available", volume.status == "available", "", detail));
        }
    }
    Step::Done(checks)
}
