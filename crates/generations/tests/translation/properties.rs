//! What holds for any request and any answer.

use proptest::prelude::*;
use restore_generations::{Call, Known, Outcome, Prepare, Reply, errors, schemas};
use restore_model::{Id, Mapping, RestoreRequest, Source, Target};
use serde_json::{Value, json};

use crate::support::{Followed, after, drive, generation};

pub(crate) fn id() -> impl Strategy<Value = Id> {
    "[A-Za-z0-9][A-Za-z0-9_-]{0,63}".prop_map(|text| text.parse().unwrap())
}

fn target() -> impl Strategy<Value = Target> {
    let mapping = (id(), id()).prop_map(|(backup_id, volume_id)| Mapping { backup_id, volume_id });
    let server = (id(), any::<bool>(), prop::collection::vec(mapping, 1..5)).prop_map(
        |(server_id, power_on, mut volumes)| {
            volumes.dedup();
            Target::Server { server_id, power_on, volumes }
        },
    );
    let resource = (id(), prop::option::of("\\PC{1,64}"))
        .prop_map(|(resource_id, destination_path)| Target::Resource { resource_id, destination_path });
    prop_oneof![server, id().prop_map(|volume_id| Target::Volume { volume_id }), resource]
}

pub(crate) fn request() -> impl Strategy<Value = RestoreRequest> {
    ("[0-9a-f]{32}", id(), prop::option::of(id()), target()).prop_map(
        |(project, backup_id, checkpoint_id, target)| RestoreRequest {
            project_id: project.parse().unwrap(),
            source: Source { backup_id, checkpoint_id },
            target,
        },
    )
}

/// What a service reads out of a native call; written from the documents, not from the encoder.
fn read_natively(name: &str, call: &Call) -> Value {
    let body = call.body_json();
    let restore = &body["restore"];
    let path: Vec<&str> = call.path.split('/').collect();
    let (source, target) = match (name, path.as_slice()) {
        ("csbs-v1", ["", "v1", _, "restores"]) => {
            let parameters = &restore["parameters"];
            let targets = &parameters["targets"];
            let target = json!({"type": "server", "server_id": targets["server_id"],
                "power_on": parameters["power_on"], "volumes": targets["volumes"]});
            (
                json!({"backup_id": parameters["checkpoint_item_id"], "checkpoint_id": restore["checkpoint_id"]}),
                target,
            )
        }
        ("cbr-v3", ["", "v3", _, "backups", backup, "restore"]) => {
            let target = if let Some(server) = restore.get("server_id") {
                json!({"type": "server", "server_id": server, "power_on": restore["power_on"],
                    "volumes": restore["mappings"]})
            } else if let Some(volume) = restore.get("volume_id") {
                json!({"type": "volume", "volume_id": volume})
            } else if let Some(details) = restore.get("details") {
                json!({"type": "resource", "resource_id": restore["resource_id"],
                    "destination_path": details["destination_path"]})
            } else {
                json!({"type": "resource", "resource_id": restore["resource_id"]})
            };
            (json!({"backup_id": backup}), target)
        }
        ("vbs-v2", ["", "v2", _, "cloudbackups", backup, "restore"]) => {
            (json!({"backup_id": backup}), json!({"type": "volume", "volume_id": restore["volume_id"]}))
        }
        ("cinder-v3", ["", "v3", _, "backups", backup, "restore"]) => {
            (json!({"backup_id": backup}), json!({"type": "volume", "volume_id": restore["volume_id"]}))
        }
        _ => panic!("{name}: {}", call.path),
    };
    json!({"project_id": path[2], "source": source, "target": target})
}

/// JSON made of the words that upstreams use, in any arrangement.
fn body() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(vec![
            "success",
            "FAIL",
            "restoring",
            "available",
            "",
            "a-1",
            "../x",
            "CSBS.6018",
            "2026-11-22T10:15:02"
        ])
        .prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    let names = vec![
        "restore",
        "id",
        "status",
        "job_id",
        "error",
        "code",
        "message",
        "error_code",
        "error_msg",
        "request_id",
        "checkpoint_item",
        "extend_info",
        "fail_op",
        "fail_code",
        "operation_log",
        "operation_logs",
        "extra_info",
        "count",
        "backup",
        "backups",
        "children",
        "volume",
        "size",
        "vault",
        "billing",
        "sub_jobs",
        "restorable",
        "result",
        "resources_reason",
        "started_at",
        "common",
        "progress",
    ];
    word.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(prop::sample::select(names.clone()), inner, 0..6).prop_map(
                |members| {
                    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
                }
            ),
        ]
    })
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..256),
        body().prop_map(|value| value.to_string().into_bytes()),
        "[<>{}\\[\\]\":,a-z0-9 \\\\]{0,80}".prop_map(String::into_bytes),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    let status = prop_oneof![Just(200_u16), Just(202), Just(404), any::<u16>()];
    (status, bytes()).prop_map(|(status, body)| Reply { status, body: body.into(), ..Reply::default() })
}

proptest! {
    #[test]
    fn what_is_sent_says_what_was_asked(request in request()) {
        let known = Known::of("checkpoint_id", "read".parse().unwrap());
        for name in restore_generations::names() {
            let Ok(encoded) = generation(name).encode(&request, &known) else { continue };
            let mut expected = serde_json::to_value(&request).unwrap();
            let source = expected["source"].as_object_mut().unwrap();
            if name == "csbs-v1" {
                source.entry("checkpoint_id").or_insert(json!("read"));
            } else {
                // the one documented loss
                prop_assert_eq!(source.remove("checkpoint_id").is_some(), !encoded.dropped_fields.is_empty());
            }
            prop_assert_eq!(read_natively(name, &encoded.call), expected);
            prop_assert!(encoded.call.restores);

            let strict = name.split('-').next().unwrap().to_owned() + "-restore-request";
            let schema = restore_model::schema::compile(schemas::text(&strict).unwrap()).unwrap();
            prop_assert!(schema.is_valid(&encoded.call.body_json()));
        }
    }

    #[test]
    fn no_id_changes_the_shape_of_a_path(request in request()) {
        let known = Known::of("checkpoint_id", "read".parse().unwrap());
        for name in restore_generations::names() {
            let Ok(encoded) = generation(name).encode(&request, &known) else { continue };
            let (path, template) = (&encoded.call.path, encoded.call.template);
            prop_assert_eq!(path.split('/').count(), template.split('/').count());
            prop_assert!(path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_-".contains(&b)), "{}", path);
        }
    }

    #[test]
    fn no_answer_is_too_odd_and_only_a_success_status_starts_a_restore(reply in reply(), request in request()) {
        for name in restore_generations::names() {
            let outcome = generation(name).decode(&request, &reply);
            let success = (200..300).contains(&reply.status);
            match outcome {
                Outcome::Started { task, .. } => {
                    prop_assert!(success, "{} {}", name, reply.status);
                    prop_assert!(task.is_none_or(|task| task.id.parse::<Id>().is_ok()));
                }
                Outcome::Failed(_) => prop_assert!(success),
                Outcome::Refused(problem) => prop_assert_eq!(problem.effect, restore_model::Effect::None),
                Outcome::Unsure { problem, .. } => prop_assert_eq!(problem.effect, restore_model::Effect::Possible),
            }
        }
    }

    #[test]
    fn what_an_upstream_says_is_bounded(reply in reply(), long in "\\PC{0,3}", times in 0_usize..400) {
        let long = long.repeat(times) + "\r\n";
        let shouting = json!({"error_code": long, "error_msg": long, "request_id": long}).to_string();
        for reply in [reply, Reply { status: 500, body: shouting.into(), ..Reply::default() }] {
            let error = errors::read(&reply);
            for text in [error.code, error.message, error.request_id].into_iter().flatten() {
                prop_assert!(text.chars().count() <= 512);
                prop_assert!(!text.chars().any(char::is_control), "{:?}", text);
            }
        }
    }

    #[test]
    fn readers_finish_for_any_response(
        request in request(),
        replies in prop::collection::vec(reply(), 1..6),
        notes in body(),
        accepted in any::<bool>(),
        age in -100_i64..1_000,
        task in prop::option::of("[a-z]{1,8}"),
    ) {
        let known = Known::default();
        for name in restore_generations::names() {
            let next = std::cell::Cell::new(0);
            let upstream = |_: &str| {
                next.set(next.get() + 1);
                Ok(replies[next.get() % replies.len()].clone())
            };
            let mut followed = Followed::new(request.clone()).notes(notes.clone()).age(age);
            followed.accepted = accepted;
            if let Some(id) = &task {
                followed = followed.task("restore", id);
            }
            followed.round(name, upstream);
            let ask = Prepare { request: &request, known: &known, baseline: true, server: None, now: after(0) };
            let _ = drive(|answers| generation(name).prepare(&ask, answers), upstream);
            drive(|answers| generation(name).check(&ask, answers), upstream);
        }
    }
}
