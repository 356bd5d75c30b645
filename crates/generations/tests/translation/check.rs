//! "May this restore be done?": each obstacle names the code that the restore would meet, and a
//! question that could not be asked says so.

use restore_generations::{Answer, Unread};
use serde_json::{Value, json};

use crate::support::{
    DATA_DISK, ITEM, SERVER, SERVER_BACKUP, SYSTEM_DISK, answer, check, disk, error, ok, resource, server,
    wire,
};

type Row = (&'static str, &'static str, String);

fn failed(checks: &[Row]) -> Vec<(&'static str, &str)> {
    checks.iter().filter(|row| row.1 == "failed").map(|row| (row.0, row.2.as_str())).collect()
}

fn not_run(checks: &[Row]) -> Vec<&'static str> {
    checks.iter().filter(|row| row.1 == "not_run").map(|row| row.0).collect()
}

/// A cloud in which everything is well, and what differs.
#[derive(Clone)]
struct Cloud {
    backup: Answer,
    vault: Answer,
    logs: Answer,
    creating: Answer,
    system: Answer,
    data: Answer,
}

fn volume(id: &str, status: &str, size: u32, bootable: &str) -> Answer {
    ok(json!({"volume": {"id": id, "status": status, "size": size, "bootable": bootable}}))
}

fn cbr() -> Cloud {
    Cloud {
        backup: ok(wire("cbr.backup.response")),
        vault: ok(json!({"vault": {"id": "v", "billing": {"status": "available"}}})),
        logs: ok(json!({"count": 0, "operation_logs": []})),
        creating: ok(json!({"backups": []})),
        system: volume(SYSTEM_DISK, "in-use", 40, "true"),
        data: volume(DATA_DISK, "in-use", 100, "false"),
    }
}

fn cbr_disk() -> Cloud {
    let mut backup = wire("cbr.backup.response")["backup"]["children"][1].clone();
    backup["extend_info"]["supported_restore_mode"] = json!("backup");
    Cloud {
        backup: ok(json!({"backup": backup})),
        data: volume(DATA_DISK, "available", 100, "false"),
        ..cbr()
    }
}

fn vbs() -> Cloud {
    Cloud { backup: ok(wire("vbs.backup.response")), ..cbr_disk() }
}

impl Cloud {
    fn answer(&self, path: &str) -> Answer {
        let of = [
            ("backups/detail", &self.creating),
            ("backups/", &self.backup),
            ("vaults/", &self.vault),
            ("operation-logs", &self.logs),
            ("volumes/c0ffee00", &self.system),
            ("volumes/c0ffee01", &self.data),
        ];
        of.into_iter()
            .find(|(start, _)| path.starts_with(start))
            .unwrap_or_else(|| panic!("{path}"))
            .1
            .clone()
    }

    fn server(&self) -> Vec<Row> {
        check("cbr-v3", &server(SERVER_BACKUP), |path| self.answer(path))
    }

    fn disk(&self, name: &str) -> Vec<Row> {
        check(name, &disk(), |path| self.answer(path))
    }
}

fn changed(mut body: Value, change: impl FnOnce(&mut Value)) -> Answer {
    change(&mut body);
    ok(body)
}

fn backup(change: impl FnOnce(&mut Value)) -> Cloud {
    Cloud { backup: changed(wire("cbr.backup.response"), |body| change(&mut body["backup"])), ..cbr() }
}

#[test]
fn where_all_is_well_all_passes() {
    // a locked vault restores; another task of the same server is no restore
    let vault = ok(json!({"vault": {"billing": {"status": "lock"}}}));
    let logs = ok(json!({"operation_logs": [{"id": "l", "status": "running", "operation_type": "backup",
        "extra_info": {"resource": {"id": SERVER}}}]}));
    let locked = Cloud { vault, logs, ..cbr() };
    for checks in [locked.server(), cbr().server(), cbr_disk().disk("cbr-v3"), vbs().disk("vbs-v2")] {
        assert!(checks.iter().all(|row| row.1 == "passed"), "{checks:?}");
    }
}

#[test]
fn cbr_obstacles_of_the_backup_name_their_codes() {
    let obstacle = |cloud: Cloud| {
        let checks = cloud.server();
        failed(&checks).into_iter().map(|(name, code)| format!("{name} {code}")).collect::<Vec<_>>()
    };
    let rows: [(Cloud, &str); 9] = [
        (backup(|b| b["status"] = json!("protecting")), "backup_available BackupService.2005"),
        (
            backup(|b| b["extend_info"]["supported_restore_mode"] = json!("na")),
            "backup_restorable BackupService.2005",
        ),
        (backup(|b| b["image_type"] = json!("replication")), "backup_not_replicated BackupService.2004"),
        (backup(|b| b["resource_type"] = json!("OS::Cinder::Volume")), "resource_type BackupService.6300"),
        (
            backup(|b| b["children"].as_array_mut().unwrap().push(json!({"id": "third"}))),
            "all_disks_mapped BackupService.2012",
        ),
        (
            Cloud { vault: ok(json!({"vault": {"billing": {"status": "frozen"}}})), ..cbr() },
            "vault_open BackupService.6202",
        ),
        (
            Cloud {
                logs: ok(json!({"operation_logs": [{"id": "l", "status": "RUNNING",
                    "extra_info": {"restore": {"target_resource_id": SERVER}}}]})),
                ..cbr()
            },
            "target_idle BackupService.2010",
        ),
        (
            Cloud { data: volume(DATA_DISK, "in-use", 99, "false"), ..cbr() },
            "disk_large_enough BackupService.2001",
        ),
        (
            Cloud { data: volume(DATA_DISK, "in-use", 100, "true"), ..cbr() },
            "system_disk_onto_system_disk BackupService.2013",
        ),
    ];
    for (cloud, expected) in rows {
        assert_eq!(obstacle(cloud), [expected]);
    }
    let gone = Cloud { vault: error(404, "BackupService.6105"), ..cbr() };
    assert_eq!(obstacle(gone), ["vault_open BackupService.6105"]);
    let gone = Cloud { data: answer(404, r#"{"itemNotFound":{"code":404,"message":"gone"}}"#), ..cbr() };
    assert_eq!(obstacle(gone), ["disks_exist BackupService.7000"]);
}

#[test]
fn a_backup_that_is_gone_is_named_as_the_restore_would() {
    let gone = |answer: Answer| Cloud { backup: answer, ..cbr() };
    assert_eq!(
        failed(&gone(error(404, "BackupService.6200")).server()),
        [("backup_exists", "BackupService.6200")]
    );
    assert_eq!(failed(&gone(answer(404, "")).server()), [("backup_exists", "BackupService.6200")]);
    let fault = answer(404, r#"{"itemNotFound":{"code":404,"message":"gone"}}"#);
    assert_eq!(failed(&gone(fault).disk("vbs-v2")), [("backup_exists", "VolumeBackup.0111")]);
}

#[test]
fn what_could_not_be_read_is_not_an_obstacle() {
    let silence: Answer = Err(Unread::NoAnswer("timed out".to_owned()));
    for read in
        [error(403, "APIGW.0302"), error(404, "APIGW.0101"), answer(503, ""), answer(200, "<html>"), silence]
    {
        let lost = Cloud { backup: read.clone(), ..cbr() };
        for checks in [lost.server(), lost.disk("cbr-v3"), lost.disk("vbs-v2")] {
            assert_eq!((failed(&checks), not_run(&checks)), (vec![], vec!["backup_exists"]), "{read:?}");
        }
        let unlisted = Cloud { logs: read.clone(), vault: read.clone(), ..cbr() };
        let checks = unlisted.server();
        assert_eq!(
            (failed(&checks), not_run(&checks)),
            (vec![], vec!["vault_open", "target_idle"]),
            "{read:?}"
        );
        let blind = Cloud { system: read.clone(), data: read.clone(), ..cbr() };
        let checks = blind.server();
        let disks = vec!["disks_exist", "disk_large_enough", "system_disk_onto_system_disk"];
        assert_eq!((failed(&checks), not_run(&checks)), (vec![], disks), "{read:?}");
        let blind = Cloud { data: read.clone(), creating: read.clone(), ..vbs() };
        let checks = blind.disk("vbs-v2");
        let unasked = vec!["no_backup_in_progress", "disks_exist", "disk_large_enough", "disk_available"];
        assert_eq!((failed(&checks), not_run(&checks)), (vec![], unasked), "{read:?}");
    }
}

#[test]
fn without_an_endpoint_for_disks_only_their_questions_are_left_out() {
    let none: Answer = Err(Unread::NoEndpoint);
    let reads = std::cell::Cell::new(0);
    let cloud = Cloud { system: none.clone(), data: none, ..cbr() };
    let checks = check("cbr-v3", &server(SERVER_BACKUP), |path| {
        reads.set(reads.get() + i32::from(path.starts_with("volumes/")));
        cloud.answer(path)
    });
    assert_eq!(reads.get(), 1, "every disk was asked for in vain");
    assert_eq!(not_run(&checks), ["disks_exist", "disk_large_enough", "system_disk_onto_system_disk"]);
    assert!(failed(&checks).is_empty());
}

#[test]
fn an_incomplete_list_does_not_prove_a_target_idle() {
    let logs: Vec<Value> = (0..1000).map(|n| json!({"id": format!("l{n}"), "status": "success"})).collect();
    let checks = Cloud { logs: ok(json!({"operation_logs": logs})), ..cbr() }.server();
    assert_eq!(not_run(&checks), ["target_idle"]);
}

#[test]
fn a_disk_restore_wants_a_free_disk() {
    let attached = Cloud { data: volume(DATA_DISK, "in-use", 100, "false"), ..cbr_disk() };
    assert_eq!(failed(&attached.disk("cbr-v3")), [("disk_available", "BackupService.2011")]);
    let attached = Cloud { data: volume(DATA_DISK, "in-use", 100, "false"), ..vbs() };
    assert_eq!(failed(&attached.disk("vbs-v2")), [("disk_available", "VolumeBackup.0205")]);
}

#[test]
fn vbs_obstacles_name_their_codes() {
    let broken = Cloud { data: volume(DATA_DISK, "error", 100, "false"), ..vbs() };
    assert_eq!(failed(&broken.disk("vbs-v2")), [("disk_available", "VolumeBackup.0202")]);
    let small = Cloud { data: volume(DATA_DISK, "available", 99, "false"), ..vbs() };
    assert_eq!(failed(&small.disk("vbs-v2")), [("disk_large_enough", "VolumeBackup.0209")]);
    let busy = Cloud { creating: ok(json!({"backups": [{"id": "b", "status": "creating"}]})), ..vbs() };
    assert_eq!(failed(&busy.disk("vbs-v2")), [("no_backup_in_progress", "VolumeBackup.0206")]);
    let restoring =
        changed(wire("vbs.backup.response"), |body| body["backup"]["status"] = json!("restoring"));
    let restoring = Cloud { backup: restoring, ..vbs() };
    assert_eq!(failed(&restoring.disk("vbs-v2")), [("backup_available", "VolumeBackup.0089")]);
    let gone = Cloud { data: answer(404, ""), ..vbs() };
    assert_eq!(failed(&gone.disk("vbs-v2")), [("disks_exist", "VolumeBackup.0207")]);
}

#[test]
fn other_resources_are_not_asked_about_disks() {
    let checks = check("cbr-v3", &resource(), |path| cbr().answer(path));
    assert!(checks.iter().all(|row| !row.0.contains("disk")), "{checks:?}");
}

#[test]
fn csbs_asks_the_upstream_itself() {
    let ask = |read: Answer| check("csbs-v1", &server(ITEM), move |_| read.clone());
    let expected: Row = ("check_restorable", "failed", "CSBS.6018".to_owned());
    assert_eq!(ask(ok(wire("csbs.check.response"))), [expected]);

    let said = |items: Value| ask(ok(json!({"restorable": items})))[0].1;
    let own = json!({"result": true, "resource_id": SERVER, "error_code": "", "error_msg": ""});
    let other = json!({"result": false, "resource_id": "other", "error_code": "CSBS.6000", "error_msg": "m"});
    assert_eq!(said(json!([other, own])), "passed", "by id");
    assert_eq!(said(json!([other])), "failed", "by place, as the published sample needs");
    assert_eq!(said(json!([])), "not_run");
    for read in [error(403, "CSBS.9009"), answer(500, ""), answer(200, "<html>"), Err(Unread::NoCredential)] {
        assert_eq!(ask(read)[0].1, "not_run");
    }
}
