//! Checks for CBR, which has no call for them. Reads answer the same questions (cloud APIs 4, "equivalents elsewhere").
//! Each failed check names the error code that the restore would get.

use restore_model::{Id, Target};
use serde_json::Value;

use super::wire::{Page, get_backup, get_vault, list_logs};
use crate::call::Answer;
use crate::lenient::{self, same_id};
use crate::{Check, Prepare, Step, classify, volumes};

const UNREADABLE: &str = "the upstream's answer cannot be read";
/// The check searches the logs of the last day for running restores.
const LOOK_BACK_SECONDS: i64 = 24 * 3_600;

pub(super) fn check(ask: &Prepare<'_>, answers: &[Answer]) -> Step<Vec<Check>> {
    let request = ask.request;
    let project = &request.project_id;
    let mut answers = answers.iter();

    let Some(answer) = answers.next() else {
        return Step::Ask(get_backup(project, &request.source.backup_id));
    };
    let mut checks = Vec::new();
    let backup = match answer {
        Ok(reply) if reply.status == 200 => {
            let body = reply.json().unwrap_or_default();
            match lenient::at(&body, &["backup"]) {
                Some(backup) => backup.clone(),
                None => return Step::Done(vec![Check::not_run("backup_exists", UNREADABLE)]),
            }
        }
        Ok(reply) => {
            return Step::Done(vec![Check::unfound("backup_exists", "BackupService.6200", reply)]);
        }
        Err(unread) => return Step::Done(vec![Check::not_run("backup_exists", unread.explain().0)]),
    };
    checks.push(Check::passed("backup_exists"));
    checks.extend(backup_checks(&backup, &request.target));

    match lenient::text(&backup, &["vault_id"]).and_then(|id| id.parse::<Id>().ok()) {
        None => checks.push(Check::not_run("vault_open", "the backup names no vault")),
        Some(vault) => {
            let Some(answer) = answers.next() else { return Step::Ask(get_vault(project, &vault)) };
            checks.push(vault_check(answer));
        }
    }

    let Some(answer) = answers.next() else {
        return Step::Ask(list_logs(project, ask.now.plus_seconds(-LOOK_BACK_SECONDS), 0));
    };
    checks.push(idle_check(answer, request.target.id()));

    if matches!(request.target, Target::Resource { .. }) {
        return Step::Done(checks);
    }
    match volumes::states(request, &mut answers) {
        Step::Ask(call) => Step::Ask(call),
        Step::Done(disks) => {
            checks.extend(disk_checks(&backup, &request.target, &disks));
            Step::Done(checks)
        }
    }
}

fn backup_checks(backup: &Value, target: &Target) -> Vec<Check> {
    let status = lenient::word(backup, &["status"]).unwrap_or_default();
    let mode = lenient::word(backup, &["extend_info", "supported_restore_mode"]);
    let image = lenient::word(backup, &["image_type"]);
    let mut checks = vec![
        Check::of(
            "backup_available",
            status == "available",
            "BackupService.2005",
            format!("its status is {status:?}"),
        ),
        match mode.as_deref() {
            None => Check::not_run("backup_restorable", "the backup does not say how it may be restored"),
            Some(mode) => Check::of(
                "backup_restorable",
                mode == "backup",
                "BackupService.2005",
                format!("its supported_restore_mode is {mode:?}"),
            ),
        },
        Check::of(
            "backup_not_replicated",
            image.as_deref().is_none_or(|image| image != "replication"),
            "BackupService.2004",
            "it is a replica",
        ),
    ];
    let kind = lenient::text(backup, &["resource_type"]).unwrap_or_default();
    let fits = match target {
        // Nova, bare metal and native servers.
        Target::Server { .. } => kind.ends_with("Server"),
        Target::Volume { .. } => kind == "OS::Cinder::Volume",
        // A desktop, a file system or any other resource without a form of its own.
        Target::Resource { .. } => {
            !kind.is_empty() && !kind.ends_with("Server") && kind != "OS::Cinder::Volume"
        }
    };
    checks.push(Check::of("resource_type", fits, "BackupService.6300", format!("the backup is of a {kind}")));
    if matches!(target, Target::Server { .. }) {
        checks.extend(mapping_checks(backup, target));
    }
    checks
}

fn mapping_checks(backup: &Value, target: &Target) -> [Check; 2] {
    let children = lenient::items(backup, &["children"]);
    let ids: Vec<String> = children.iter().filter_map(|child| lenient::text(child, &["id"])).collect();
    let mapped = |id: &str| target.mappings().iter().any(|m| same_id(m.backup_id.as_str(), id));
    let missing = ids.iter().filter(|id| !mapped(id)).count();
    let foreign =
        target.mappings().iter().filter(|m| !ids.iter().any(|id| same_id(id, m.backup_id.as_str()))).count();
    [
        Check::of(
            "all_disks_mapped",
            missing == 0,
            "BackupService.2012",
            format!("{missing} disk backup(s) are not mapped"),
        ),
        Check::of(
            "mappings_of_this_backup",
            foreign == 0,
            "BackupService.2012",
            format!("{foreign} mapped disk backup(s) are not part of this backup"),
        ),
    ]
}

fn vault_check(answer: &Answer) -> Check {
    let name = "vault_open";
    match answer {
        Ok(reply) if reply.status == 200 => {
            let body = reply.json().unwrap_or_default();
            let Some(status) = lenient::word(&body, &["vault", "billing", "status"]) else {
                return Check::not_run(name, UNREADABLE);
            };
            let open = matches!(status.as_str(), "available" | "lock" | "locked");
            Check::of(name, open, "BackupService.6202", format!("the vault's status is {status:?}"))
        }
        Ok(reply) => Check::unfound(name, "BackupService.6105", reply),
        Err(unread) => Check::not_run(name, unread.explain().0),
    }
}

fn idle_check(answer: &Answer, target: &Id) -> Check {
    let name = "target_idle";
    match answer {
        Ok(reply) if reply.status == 200 => {
            let Some(page) = Page::read(reply) else { return Check::not_run(name, UNREADABLE) };
            let busy = page.logs.iter().any(|log| {
                let id = log.target_id.as_deref().or(log.resource_id.as_deref());
                log.is_restore() && log.is_open() && id.is_some_and(|id| same_id(id, target.as_str()))
            });
            if !busy && page.more(page.length) {
                return Check::not_run(name, "more restores in a day than one page of the list holds");
            }
            Check::of(name, !busy, "BackupService.2010", "a restore of this target is running")
        }
        Ok(reply) => Check::not_run(name, classify(reply).into_problem().detail),
        Err(unread) => Check::not_run(name, unread.explain().0),
    }
}

/// Checks of the disks: size, a system disk is restored only to a system disk, and a single disk is free.
fn disk_checks(backup: &Value, target: &Target, disks: &volumes::States) -> Vec<Check> {
    let children = lenient::items(backup, &["children"]);
    let pairs: Vec<(&Value, &str)> = match target {
        Target::Server { volumes, .. } => volumes
            .iter()
            .filter_map(|mapping| {
                let child = children.iter().find(|child| {
                    lenient::text(child, &["id"]).is_some_and(|id| same_id(&id, mapping.backup_id.as_str()))
                })?;
                Some((child, mapping.volume_id.as_str()))
            })
            .collect(),
        Target::Volume { volume_id } => vec![(backup, volume_id.as_str())],
        Target::Resource { .. } => Vec::new(),
    };
    let mut checks = disks.exist("BackupService.7000");
    checks.push(disks.each(
        "disk_large_enough",
        "BackupService.2001",
        pairs.iter().map(|(backup, volume)| {
            let needed = lenient::number(backup, &["resource_size"])?;
            Some(disks.of(volume)?.size? >= needed)
        }),
    ));
    if matches!(target, Target::Server { .. }) {
        checks.push(disks.each(
            "system_disk_onto_system_disk",
            "BackupService.2013",
            pairs.iter().map(|(backup, volume)| {
                let boots = lenient::truth(backup, &["extend_info", "bootable"])?;
                Some(boots == disks.of(volume)?.bootable?)
            }),
        ));
    } else if let Target::Volume { volume_id } = target {
        checks.push(disks.each(
            "disk_available",
            "BackupService.2011",
            [disks.of(volume_id.as_str()).map(|disk| disk.status == "available")],
        ));
    }
    checks
}
