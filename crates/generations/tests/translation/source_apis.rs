//! Compatibility endpoints, there and back: what a program of a source API asks for is what its own generation would be asked for, and what it
//! is answered has the documented shape, whichever generation carries the restore out.

use std::collections::BTreeSet;

use proptest::prelude::*;
use restore_generations::source_api::{self, Form, Named, Refusal, RestoreView, SourceApi, Verdict};
use restore_generations::{Backup, DiskBackup, Known, schemas};
use restore_model::{
    Cause, Code, Event, EventKind, Evidence, Id, Intent, Origin, Problem, RestoreRequest, RoutePin, State,
    Status, Strength, Target, TargetKind, UpstreamError,
};
use serde_json::{Value, json};

use crate::properties::id;
use crate::support::{PROJECT, after, disk, generation, server, wire};

fn at(name: &str) -> &'static dyn SourceApi {
    source_api::by_name(name).unwrap()
}

/// A native call as programs of a source API write it, and as its own generation has it.
#[derive(Clone, Debug)]
struct Call {
    source_api: &'static str,
    form: Form,
    backup: Option<Id>,
    written: Value,
    /// Path and body.
    meant: (String, Value),
}

/// Mappings with every disk once, whatever the ids.
fn mappings() -> impl Strategy<Value = Value> {
    prop::collection::vec(("[A-Za-z0-9][A-Za-z0-9_-]{0,40}", "[A-Za-z0-9][A-Za-z0-9_-]{0,40}"), 1..6).prop_map(
        |pairs| {
            let pair = |(n, (backup, volume)): (usize, (String, String))| {
                json!({"backup_id": format!("{backup}{n}"), "volume_id": format!("{volume}{n}")})
            };
            Value::Array(pairs.into_iter().enumerate().map(pair).collect())
        },
    )
}

fn csbs() -> impl Strategy<Value = Call> {
    let extras = prop_oneof![
        Just(json!({})),
        Just(json!({"restore_target": null, "restore_auth": {}})),
        Just(json!({"restore_auth": null})),
        Just(json!({"restore_target": "https://iam.example/v3"})),
    ];
    (id(), id(), id(), any::<bool>(), mappings(), extras).prop_map(
        |(checkpoint, item, server, on, volumes, extras)| {
            let meant = json!({"restore": {
                "provider_id": "fc4d5750-22e7-4798-8a46-f48f62c4c1da",
                "checkpoint_id": checkpoint,
                "parameters": {"checkpoint_item_id": item, "power_on": on,
                    "targets": {"server_id": server, "volumes": volumes}},
            }});
            let mut written = meant.clone();
            written["restore"].as_object_mut().unwrap().extend(extras.as_object().unwrap().clone());
            let meant = (format!("/v1/{PROJECT}/restores"), meant);
            Call { source_api: "csbs-v1", form: Form::Own, backup: None, written, meant }
        },
    )
}

fn cbr() -> impl Strategy<Value = Call> {
    let server = (id(), prop::option::of(any::<bool>()), mappings()).prop_map(|(server, on, mappings)| {
        let meant = json!({"server_id": server, "power_on": on.unwrap_or(true), "mappings": mappings});
        let mut written = meant.clone();
        if on.is_none() {
            written.as_object_mut().unwrap().remove("power_on");
        }
        (written, meant)
    });
    // Ignored for a disk by the service itself, and sent all the same by one command line.
    let volume = (id(), any::<bool>()).prop_map(|(volume, more)| {
        let meant = json!({"volume_id": volume});
        let more = if more {
            json!({"volume_id": volume, "mappings": [], "power_on": false})
        } else {
            meant.clone()
        };
        (more, meant)
    });
    let resource = (id(), prop::option::of("[a-z/]{1,64}")).prop_map(|(resource, folder)| {
        let meant = match folder {
            Some(folder) => json!({"resource_id": resource, "details": {"destination_path": folder}}),
            None => json!({"resource_id": resource}),
        };
        (meant.clone(), meant)
    });
    (id(), prop_oneof![server, volume, resource]).prop_map(|(backup, (written, meant))| Call {
        source_api: "cbr-v3",
        form: Form::Own,
        written: json!({ "restore": written }),
        meant: (format!("/v3/{PROJECT}/backups/{backup}/restore"), json!({ "restore": meant })),
        backup: Some(backup),
    })
}

fn vbs() -> impl Strategy<Value = Call> {
    (id(), id(), 0..5_usize).prop_map(|(backup, volume, which)| {
        let meant = json!({"restore": {"volume_id": volume}});
        let (source_api, form, written) = match which {
            0 => ("vbs-v2", Form::Own, meant.clone()),
            1 => ("vbs-v2", Form::Own, json!({"restore": {}, "volume_id": volume})),
            2 => ("vbs-v2", Form::Cinder, meant.clone()),
            3 => ("cinder-v3", Form::Cinder, json!({"restore": {"volume_id": volume, "name": null}})),
            _ => ("cinder-v3", Form::Cinder, json!({"restore": {"volume_id": volume, "name": "a disk"}})),
        };
        let meant = (format!("/v2/{PROJECT}/cloudbackups/{backup}/restore"), meant);
        Call { source_api, form, backup: Some(backup), written, meant }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn there_and_back_nothing_is_lost_or_added(call in prop_oneof![csbs(), cbr(), vbs()]) {
        let source_api = at(call.source_api);
        let named = Named { project: PROJECT.parse().unwrap(), id: call.backup.clone() };
        let wanted = source_api.restore(call.form, &named, call.written.clone()).unwrap();
        let sent = generation(source_api.generation()).encode(&wanted.request, &Known::default()).unwrap().call;
        prop_assert_eq!((sent.path.clone(), sent.body_json()), call.meant.clone());
        // And what it is answered repeats what it asked for, in the same words.
        let answer = source_api.taken(call.form, RestoreView { intent: &intent(&wanted.request, source_api, wanted.echo), state: &begun() });
        let body = answer.body.unwrap();
        if call.source_api == "csbs-v1" {
            prop_assert_eq!(&body["restore"]["parameters"], &call.meant.1["restore"]["parameters"]);
            let echoed = call.written["restore"].get("restore_target").cloned().unwrap_or_default();
            prop_assert_eq!(&body["restore"]["restore_target"], &echoed);
        } else if call.form == Form::Cinder {
            prop_assert_eq!(&body["restore"]["volume_id"], &call.meant.1["restore"]["volume_id"]);
        }
    }
}

fn intent(request: &RestoreRequest, source_api: &dyn SourceApi, echo: Value) -> Intent {
    Intent {
        id: "0199a7c4-8d5e-7c21-9f0e-5b1f3a2d4c6e".parse().unwrap(),
        caller: "job".to_owned(),
        request: request.clone(),
        fingerprint: request.fingerprint(),
        key: None,
        origin: Some(Origin {
            source_api: source_api.source_api().to_owned(),
            generation: source_api.generation().to_owned(),
            upstream: None,
            closed: false,
            echo,
        }),
        route: RoutePin {
            upstream: "u".to_owned(),
            generation: "cbr-v3".to_owned(),
            reason: "routes[0] matches any".to_owned(),
            baseline: true,
            overdue_seconds: 3_600,
            steps: Vec::new(),
            at: None,
        },
        fallback: None,
        created_at: after(0),
        trace_id: "0".repeat(32),
        span_id: "0".repeat(16),
    }
}

fn begun() -> State {
    let accepted = Event {
        seq: 1,
        at: after(0),
        cause: Cause::Caller,
        evidence: Evidence::new("request", Strength::Strong, after(0)),
        trace_id: "0".repeat(32),
        kind: EventKind::Accepted,
    };
    State::begin(&[], &accepted).unwrap()
}

/// Every status there is, with and without a problem of the upstream's.
fn states() -> Vec<State> {
    let said = UpstreamError {
        status: Some(400),
        code: Some("BackupService.2010".to_owned()),
        message: Some("The resource is being restored.".to_owned()),
        request_id: None,
    };
    let mut by_cloud = Problem::new(Code::RestoreFailed, "it has failed");
    by_cloud.upstream = Some(said);
    let mut all = Vec::new();
    for status in [
        Status::Accepted,
        Status::Checking,
        Status::Submitting,
        Status::Running,
        Status::Unknown,
        Status::Succeeded,
        Status::Failed,
        Status::Rejected,
        Status::NotApplied,
        Status::Cancelled,
        Status::Expired,
    ] {
        for error in [None, Some(by_cloud.clone()), Some(Problem::new(Code::Expired, "it took too long"))] {
            let finished_at = status.is_final().then(|| after(40));
            let submitted_at = Some(after(1));
            all.push(State { status, error, finished_at, submitted_at, updated_at: after(40), ..begun() });
        }
    }
    all
}

/// The places of all members, lists being taken together.
fn members(value: &Value, place: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(all) => {
            for (name, member) in all {
                let place = format!("{place}/{name}");
                found.insert(place.clone());
                members(member, &place, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| members(item, &format!("{place}[]"), found)),
        _ => {}
    }
}

/// Valid by the schema, with no member that the example does not have, but for `more`: a place or all below one.
fn is_documented(said: &Value, schema: &str, example: &str, more: &[&str]) {
    let text = schemas::text(schema).unwrap_or_else(|| panic!("no schema {schema}"));
    let faults = restore_model::schema::faults(&restore_model::schema::compile(text).unwrap(), said);
    assert!(faults.is_empty(), "{schema}: {faults:?} in {said}");
    let (mut ours, mut theirs) = (BTreeSet::new(), BTreeSet::new());
    members(said, "", &mut ours);
    members(&wire(example), "", &mut theirs);
    let known = |place: &str| {
        let place = place.replace("children[]/children[]", "children[]");
        theirs.contains(&place) || more.iter().any(|more| place.starts_with(more))
    };
    let invented: Vec<&String> = ours.iter().filter(|place| !known(place)).collect();
    assert!(invented.is_empty(), "{example} has no {invented:?}");
}

/// What the answer has of the members that the example has at the top, or below `place`.
fn has_all_of(said: &Value, example: &str, place: &str) {
    let names = |value: &Value| -> BTreeSet<String> {
        value.pointer(place).and_then(Value::as_object).unwrap().keys().cloned().collect()
    };
    let missing: Vec<String> = names(&wire(example)).difference(&names(said)).cloned().collect();
    assert!(missing.is_empty(), "{example}: {missing:?} are missing in {said}");
}

#[test]
fn restores_have_the_documented_shape_in_every_state() {
    let (csbs, cbr, vbs, cinder) = (at("csbs-v1"), at("cbr-v3"), at("vbs-v2"), at("cinder-v3"));
    for state in states() {
        let of_server = intent(&server("8a1b9c2d-3e4f-4506-9718-293a4b5c6d7e"), csbs, Value::Null);
        let of_disk = intent(&disk(), vbs, Value::Null);
        let (whole, one) = (
            RestoreView { intent: &of_server, state: &state },
            RestoreView { intent: &of_disk, state: &state },
        );
        let resources = ["/restore/resources_status/", "/restore/resources_reason/"];
        for answer in [csbs.taken(Form::Own, whole), csbs.restored(whole)] {
            assert_eq!(answer.status, 200);
            let body = answer.body.unwrap();
            is_documented(&body, "csbs-restore-response", "csbs.restore.response", &resources);
            has_all_of(&body, "csbs.restore.response", "/restore");
            assert!(
                ["in_progress", "success", "fail"].contains(&body["restore"]["status"].as_str().unwrap())
            );
        }
        for told in [whole, one] {
            let answer = cbr.taken(Form::Own, told);
            assert_eq!(answer.status, 202);
            is_documented(&answer.body.unwrap(), "cbr-restore-response", "cbr.restore.response.jobid", &[]);
            let log = cbr.restored(told).body.unwrap();
            is_documented(&log, "cbr-operation-log", "cbr.oplog.response", &[]);
            has_all_of(&log, "cbr.oplog.response", "/operation_log");
            let words = ["success", "failed", "running", "waiting"];
            assert!(words.contains(&log["operation_log"]["status"].as_str().unwrap()), "{log}");
            let list = cbr.restored_list("", &[told, told], None, None).unwrap().body.unwrap();
            has_all_of(&list, "cbr.oplogs.response", "");
            has_all_of(&list, "cbr.oplogs.response", "/operation_logs/0");
            assert_eq!(list["operation_logs"][0], log["operation_log"]);
        }
        let job = vbs.restored(one).body.unwrap();
        is_documented(&job, "vbs-job", "vbs.job.response", &[]);
        has_all_of(&job, "vbs.job.response", "");
        assert!(["INIT", "RUNNING", "SUCCESS", "FAIL"].contains(&job["status"].as_str().unwrap()));
        assert_eq!(job["error_code"].is_string(), job["status"] == "FAIL");
        let taken = vbs.taken(Form::Own, one);
        assert_eq!(taken.status, 200);
        is_documented(&taken.body.unwrap(), "vbs-restore-response", "vbs.restore.response", &[]);
        for taken in [vbs.taken(Form::Cinder, one), cinder.taken(Form::Cinder, one)] {
            assert_eq!(taken.status, 202);
            let body = taken.body.unwrap();
            is_documented(&body, "vbs-native-restore-response", "vbs.native.restore.response", &[]);
            has_all_of(&body, "vbs.native.restore.response", "/restore");
        }
    }
}

fn backup(kind: TargetKind, known: bool) -> Backup {
    let Target::Server { volumes, .. } = server("8a1b9c2d-3e4f-4506-9718-293a4b5c6d7e").target else {
        panic!("a server")
    };
    let disk = |mapping: &restore_model::Mapping| DiskBackup {
        id: mapping.backup_id.to_string(),
        volume_id: mapping.volume_id.to_string(),
        volume_name: String::new(),
        size_gb: known.then_some(40),
        bootable: known.then_some(true),
        created_at: known.then(|| after(0)),
    };
    Backup {
        id: "8a1b9c2d-3e4f-4506-9718-293a4b5c6d7e".to_owned(),
        name: "nightly".to_owned(),
        status: "available".to_owned(),
        kind: Some(kind),
        resource_id: "7d2f6c1e-3b0a-4c55-9a51-0f6c2b9e8d14".to_owned(),
        resource_name: String::new(),
        checkpoint_id: known.then(|| "11aa22bb-33cc-44dd-95ee-66ff77008811".to_owned()),
        created_at: known.then(|| after(0)),
        updated_at: known.then(|| after(1)),
        size_gb: known.then_some(40),
        zone: String::new(),
        disks: if kind == TargetKind::Server { volumes.iter().map(disk).collect() } else { Vec::new() },
    }
}

#[test]
fn backups_of_another_generation_have_the_documented_shape() {
    let named = Named { project: PROJECT.parse().unwrap(), id: None };
    for (source_api, kind, schema, example, more) in [
        ("csbs-v1", TargetKind::Server, "csbs-checkpoint-item", "csbs.item.response", &[][..]),
        ("cbr-v3", TargetKind::Server, "cbr-backup", "cbr.backup.response", &["/backup/children[]/"][..]),
        ("cbr-v3", TargetKind::Volume, "cbr-backup", "cbr.backup.response", &[]),
        (
            "vbs-v2",
            TargetKind::Volume,
            "vbs-backup",
            "vbs.backup.response",
            &["/backup/os-backup-project-attr"],
        ),
        (
            "cinder-v3",
            TargetKind::Volume,
            "vbs-backup",
            "vbs.backup.response",
            &["/backup/os-backup-project-attr"],
        ),
    ] {
        let source_api = at(source_api);
        for known in [true, false] {
            let as_it_is = source_api.backup(Form::Own, &named, &backup(kind, known));
            is_documented(&as_it_is, schema, example, more);
            for state in states() {
                let of_it = intent(&disk(), source_api, Value::Null);
                let mut shown = as_it_is.clone();
                source_api.restoring(Form::Own, &mut shown, RestoreView { intent: &of_it, state: &state });
                is_documented(
                    &shown,
                    schema,
                    example,
                    &[more, &["/checkpoint_item/extend_info/fail_code/"]].concat(),
                );
            }
        }
    }
}

#[test]
fn verdicts_have_the_documented_shape() {
    let request = server("8a1b9c2d-3e4f-4506-9718-293a4b5c6d7e");
    let no = Some(("CSBS.6018".to_owned(), "not every disk".to_owned()));
    let verdicts = [None, no].map(|obstacle| Verdict { request: &request, obstacle });
    let answer = at("csbs-v1").answer(&verdicts);
    assert_eq!(answer.status, 200);
    let body = answer.body.unwrap();
    is_documented(&body, "csbs-check-restorable-response", "csbs.check.response", &[]);
    has_all_of(&body, "csbs.check.response", "/restorable/0");
    assert_eq!(
        (&body["restorable"][0]["error_code"], &body["restorable"][1]["result"]),
        (&json!(""), &json!(false))
    );
}

#[test]
fn every_refusal_is_one_that_its_clients_read() {
    for code in Code::ALL {
        for source_api in source_api::ALL {
            for (restores, sent) in [(false, false), (true, false), (true, true)] {
                let problem = Problem::new(*code, "why");
                let refusal = Refusal { problem: &problem, restores, sent, request_id: Some("r") };
                let answer = source_api.refuse(&refusal);
                let name = format!("{} {code:?} {restores} {sent}", source_api.source_api());
                assert!(
                    (400..=503).contains(&answer.status) && answer.status != 500,
                    "{name}: {}",
                    answer.status
                );
                if restores {
                    assert!(!matches!(answer.status, 429 | 502 | 504), "{name}: {}", answer.status);
                    assert!(!sent || answer.status != 401, "{name}");
                }
                let body = answer.body.unwrap();
                let text = schemas::text("upstream-error").unwrap();
                assert!(restore_model::schema::compile(text).unwrap().is_valid(&body), "{name}: {body}");
                let spoken = body.as_object().unwrap().values().any(|member| member["message"].is_string());
                assert!(spoken, "{name}: the one form that every client shows: {body}");
            }
        }
    }
}
