//! Checks for VBS, which has no call for them. The gateway reads the backup, the disk and the running backups of the
//! disk instead (cloud APIs 4, "equivalents elsewhere").

use restore_model::{Code, Id, Target};
use serde_json::Value;

use super::wire::{get_backup, list_creating};
use crate::call::Answer;
use crate::{Check, Prepare, Step, classify, lenient, volumes};

const UNREADABLE: &str = "the upstream's answer cannot be read";

pub(super) fn check(ask: &Prepare<'_>, answers: &[Answer]) -> Step<Vec<Check>> {
    let request = ask.request;
    let project = &request.project_id;
    let Target::Volume { volume_id } = &request.target else {
        return Step::Done(vec![Check::failed("expressible", "", "vbs-v2 restores one disk per call")]);
    };
    let mut answers = answers.iter();

    let Some(answer) = answers.next() else {
        return Step::Ask(get_backup(project, &request.source.backup_id));
    };
    let backup = match answer {
        Ok(reply) if reply.status == 200 => {
            let body = reply.json().unwrap_or_default();
            if lenient::at(&body, &["backup"]).is_none() {
                return Step::Done(vec![Check::not_run("backup_exists", UNREADABLE)]);
            }
            body
        }
        Ok(reply) => {
            return Step::Done(vec![Check::unfound("backup_exists", "VolumeBackup.0111", reply)]);
        }
        Err(unread) => return Step::Done(vec![Check::not_run("backup_exists", unread.explain().0)]),
    };
    let status = lenient::word(&backup, &["backup", "status"]).unwrap_or_default();
    let mut checks = vec![
        Check::passed("backup_exists"),
        Check::of(
            "backup_available",
            status == "available",
            "VolumeBackup.0089",
            format!("its status is {status:?}"),
        ),
    ];

    if let Some(server) = ask.server {
        checks.push(disk_of_server(server, volume_id, &backup));
    }

    let Some(answer) = answers.next() else { return Step::Ask(list_creating(project, volume_id)) };
    checks.push(idle_check(answer));

    match volumes::states(request, &mut answers) {
        Step::Ask(call) => Step::Ask(call),
        Step::Done(disks) => {
            let disk = disks.of(volume_id.as_str());
            checks.extend(disks.exist("VolumeBackup.0207"));
            let needed = lenient::number(&backup, &["backup", "size"]);
            checks.push(disks.each(
                "disk_large_enough",
                "VolumeBackup.0209",
                [needed.and_then(|needed| Some(disk?.size? >= needed))],
            ));
            let status = disk.map(|disk| disk.status.as_str());
            let code = if status == Some("error") { "VolumeBackup.0202" } else { "VolumeBackup.0205" };
            checks.push(disks.each("disk_available", code, [status.map(|status| status == "available")]));
            Step::Done(checks)
        }
    }
}

/// Checks that the disk belongs to the server. For a disk backup that is part of a server backup, VBS reports the
/// server and the disk (cloud APIs 3.3). The disk itself is detached by then and does not show its server.
fn disk_of_server(server: &Id, volume: &Id, backup: &Value) -> Check {
    let name = "disk_of_server";
    let service = match lenient::at(backup, &["backup", "service_metadata"]) {
        Some(Value::String(text)) => serde_json::from_str(text).unwrap_or_default(),
        other => other.cloned().unwrap_or_default(),
    };
    let told = lenient::text(&service, &["VMID"]).zip(lenient::text(backup, &["backup", "volume_id"]));
    let check = match told {
        Some((of, disk)) => Check::of(
            name,
            lenient::same_id(&of, server.as_str()) && lenient::same_id(&disk, volume.as_str()),
            "",
            format!(
                "the upstream says that the backup is of disk {disk} of server {of}, not of this disk of this server"
            ),
        ),
        None => Check::not_run(name, "the upstream does not say which server the disk belongs to"),
    };
    check.required(Code::TargetIncompatible)
}

fn idle_check(answer: &Answer) -> Check {
    let name = "no_backup_in_progress";
    match answer {
        Ok(reply) if reply.status == 200 => {
            let body = reply.json().unwrap_or_default();
            let Some(backups) = lenient::at(&body, &["backups"]).and_then(Value::as_array) else {
                return Check::not_run(name, UNREADABLE);
            };
            let busy = backups
                .iter()
                .any(|backup| lenient::word(backup, &["status"]).as_deref() == Some("creating"));
            Check::of(name, !busy, "VolumeBackup.0206", "a backup of the disk is being made")
        }
        Ok(reply) => Check::not_run(name, classify(reply).into_problem().detail),
        Err(unread) => Check::not_run(name, unread.explain().0),
    }
}
