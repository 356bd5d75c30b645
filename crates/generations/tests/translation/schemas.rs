//! The schemas hold what they promise: every documented example is valid, every mistake listed is
//! not, and nothing is ever sent that its strict schema refuses.

use std::collections::BTreeSet;

use restore_generations::{Known, Step, schemas};
use restore_model::schema::compile;
use serde_json::{Value, json};

use crate::support::{CHECKPOINT, ITEM, SERVER_BACKUP, after, disk, generation, resource, server, wire};

/// Each example of docs/reference/cloud-apis.md and the schema it follows.
const EXAMPLES: &[(&str, &str)] = &[
    ("csbs.restore.request", "csbs-restore-request"),
    ("csbs.restore.response", "csbs-restore-response"),
    ("csbs.check.request", "csbs-check-restorable-request"),
    ("csbs.check.response", "csbs-check-restorable-response"),
    ("csbs.item.response", "csbs-checkpoint-item"),
    ("cbr.restore.server.request", "cbr-restore-request"),
    ("cbr.restore.disk.request", "cbr-restore-request"),
    ("cbr.restore.resource.request", "cbr-restore-request"),
    ("cbr.restore.response.jobid", "cbr-restore-response"),
    ("cbr.oplog.response", "cbr-operation-log"),
    ("cbr.oplogs.response", "cbr-operation-log"),
    ("cbr.backup.response", "cbr-backup"),
    ("vbs.restore.request", "vbs-restore-request"),
    ("vbs.restore.response", "vbs-restore-response"),
    ("vbs.native.restore.response", "vbs-native-restore-response"),
    ("vbs.job.response", "vbs-job"),
    ("vbs.job.failed", "vbs-job"),
    ("vbs.backup.response", "vbs-backup"),
    ("cinder.restore.request", "cinder-v3-restore-request"),
    ("cinder.restore.response", "cinder-v3-restore-response"),
    ("cinder.volume.response", "cinder-v3-volume"),
    ("cinder.backup.response", "cinder-v3-backup"),
    ("cinder.messages.response", "cinder-v3-messages"),
    ("err.e1", "upstream-error"),
    ("err.e2", "upstream-error"),
    ("err.e3", "upstream-error"),
    ("err.e5", "upstream-error"),
    ("err.e5s", "upstream-error"),
    ("err.e6", "upstream-error"),
    ("err.e7", "upstream-error"),
    ("iam.token.password.request", "iam-token-request"),
    ("iam.token.agency.request", "iam-token-request"),
    ("iam.token.token.request", "iam-token-request"),
    ("iam.token.response", "iam-token-response"),
    ("iam.tempcred.response", "iam-temporary-credential"),
];

fn is_valid(schema: &str, body: &Value) -> bool {
    compile(schemas::text(schema).unwrap_or_else(|| panic!("no schema {schema}"))).unwrap().is_valid(body)
}

#[test]
fn every_schema_compiles_offline_and_is_named_after_its_file() {
    let mut names = BTreeSet::new();
    for (name, text) in schemas::all() {
        compile(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let schema: Value = serde_json::from_str(text).unwrap();
        assert_eq!(schema["$id"], format!("urn:restore-gateway:schema:{name}:1"));
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert!(names.insert(name), "{name} twice");
    }
    assert_eq!(names.len(), 24);
}

#[test]
fn every_example_of_the_reference_is_valid() {
    for (example, schema) in EXAMPLES {
        assert!(is_valid(schema, &wire(example)), "{example} against {schema}");
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), EXAMPLES.len(), "an example is not listed");
}

#[test]
fn every_other_body_is_judged_as_listed() {
    let cases: Value = serde_json::from_str(include_str!("../schema-cases.json")).unwrap();
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len() + EXAMPLES.len(), 66);
    for case in cases {
        let schema = case["schema"].as_str().unwrap();
        assert_eq!(
            json!(is_valid(schema, &case["body"])),
            case["valid"],
            "{} against {schema}",
            case["case"]
        );
    }
}

#[test]
fn what_is_sent_follows_its_strict_schema() {
    let known = Known::of("checkpoint_id", CHECKPOINT.parse().unwrap());
    for (name, request, schema) in [
        ("csbs-v1", server(ITEM), "csbs-restore-request"),
        ("cbr-v3", server(SERVER_BACKUP), "cbr-restore-request"),
        ("cbr-v3", disk(), "cbr-restore-request"),
        ("cbr-v3", resource(), "cbr-restore-request"),
        ("vbs-v2", disk(), "vbs-restore-request"),
        ("cinder-v3", disk(), "cinder-v3-restore-request"),
    ] {
        let body = generation(name).encode(&request, &known).unwrap().call.body_json();
        assert!(is_valid(schema, &body), "{name}: {body}");
    }

    let request = server(ITEM);
    let ask = restore_generations::Prepare {
        request: &request,
        known: &known,
        baseline: true,
        server: None,
        now: after(0),
    };
    let Step::Ask(call) = generation("csbs-v1").check(&ask, &[]) else { panic!("nothing asked") };
    assert!(is_valid("csbs-check-restorable-request", &call.body_json()));
    assert_eq!(call.body_json(), wire("csbs.check.request"));
    assert!(!call.restores);
}
