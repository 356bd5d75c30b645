//! Every native request and every table of capabilities, as it stands: a change is seen in review.

use restore_generations::Known;
use restore_model::TargetKind;
use serde_json::{Value, json};

use crate::support::{CHECKPOINT, ITEM, SERVER_BACKUP, disk, generation, resource, server};

fn assert(name: &str, value: &Value) {
    let mut config = insta::Settings::clone_current();
    config.set_snapshot_path("../snapshots");
    config.set_prepend_module_to_snapshot(false);
    config.set_omit_expression(true);
    config.bind(|| insta::assert_json_snapshot!(name, value));
}

#[test]
fn native_requests() {
    for (name, form, request) in [
        ("csbs-v1", "server", server(ITEM)),
        ("cbr-v3", "server", server(SERVER_BACKUP)),
        ("cbr-v3", "volume", disk()),
        ("cbr-v3", "resource", resource()),
        ("vbs-v2", "volume", disk()),
        ("cinder-v3", "volume", disk()),
    ] {
        let known = Known::of("checkpoint_id", CHECKPOINT.parse().unwrap());
        let encoded = generation(name).encode(&request, &known).unwrap();
        let call = &encoded.call;
        assert(
            &format!("{name}-{form}"),
            &json!({
                "method": call.method.as_str(),
                "path": call.path,
                "template": call.template,
                "body": call.body_json(),
                "defaults": encoded.defaults,
                "dropped_fields": encoded.dropped_fields,
            }),
        );
    }
}

#[test]
fn capabilities() {
    for generation in restore_generations::ALL {
        let targets: serde_json::Map<String, Value> = TargetKind::ALL
            .into_iter()
            .map(|target| {
                let able = generation.capability(target);
                let told = json!({"verdict": able.verdict.as_str(), "conditions": able.conditions, "lost": able.lost});
                (target.as_str().to_owned(), told)
            })
            .collect();
        let poll_interval = [0, 29, 30, 59, 60, 300, 3_600].map(|age| generation.poll_interval(age));
        let schemas: Vec<&str> = generation.schemas().iter().map(|(name, _)| *name).collect();
        assert(
            &format!("{}-capabilities", generation.name()),
            &json!({
                "targets": targets,
                "checks_natively": generation.checks_natively(),
                "tells_progress": generation.tells_progress(),
                "lists_restores": generation.lists_restores(),
                "rhythm": poll_interval,
                "schemas": schemas,
            }),
        );
    }
}

#[test]
fn what_cannot_be_expressed_names_who_could() {
    for (name, request, others) in [
        ("csbs-v1", disk(), "vbs-v2, cbr-v3, cinder-v3 could"),
        ("csbs-v1", resource(), "cbr-v3 could"),
        ("vbs-v2", server(SERVER_BACKUP), "csbs-v1, cbr-v3 could"),
        ("cinder-v3", server(SERVER_BACKUP), "csbs-v1, cbr-v3 could"),
        ("cinder-v3", resource(), "cbr-v3 could"),
    ] {
        let problem = generation(name).encode(&request, &Known::default()).unwrap_err();
        assert!(problem.detail.ends_with(others), "{problem}");
    }
}
