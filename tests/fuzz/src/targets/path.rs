//! Ids out of arbitrary text, and the paths that are built of them. One line each: project, backup, checkpoint,
//! target, backup and disk of a mapping, folder.

use restore_generations::{ALL, Known};
use restore_model::{Id, ProjectId, RestoreId, RestoreRequest, Source, Target, schema};
use serde_json::{Value, json};

use crate::script::{BACKUP, PROJECT, SERVER};
use crate::wording;

pub(crate) const MAX_LEN: usize = 1_024;

pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (project, backup, checkpoint, target) = (next(), next(), next(), next());
    let (mapped, disk, folder) = (next(), next(), next());
    for line in [project, backup, checkpoint, target, mapped, disk] {
        is_one_segment(line);
    }
    assert_eq!(project.parse::<ProjectId>().is_ok(), hex32(project), "{project:?}");
    if let Ok(id) = target.parse::<RestoreId>() {
        assert_eq!(id.to_string(), target.to_lowercase(), "one restore has one name");
    }

    // Schema and types are of one mind: what one takes the other takes.
    let id = |text: &str, other: &str| text.parse().unwrap_or_else(|_| safe(other));
    for value in requests(project, backup, checkpoint, target, mapped, disk, folder) {
        if let Ok(request) = schema::parse_restore(value) {
            builds_safe_paths(&request);
        }
    }
    // And what the types alone let through is safe as well.
    let typed = RestoreRequest {
        project_id: project.parse().unwrap_or_else(|_| safe(PROJECT)),
        source: Source { backup_id: id(backup, BACKUP), checkpoint_id: checkpoint.parse().ok() },
        target: Target::Resource { resource_id: id(target, SERVER), destination_path: Some(folder.to_owned()) },
    };
    builds_safe_paths(&typed);
}

/// Each kind of target, with the given texts in every place of an id.
fn requests(
    project: &str,
    backup: &str,
    checkpoint: &str,
    target: &str,
    mapped: &str,
    disk: &str,
    folder: &str,
) -> [Value; 3] {
    let source = json!({"backup_id": backup, "checkpoint_id": checkpoint});
    [
        json!({"type": "server", "server_id": target, "power_on": true,
            "volumes": [{"backup_id": mapped, "volume_id": disk}]}),
        json!({"type": "volume", "volume_id": target}),
        json!({"type": "resource", "resource_id": target, "destination_path": folder}),
    ]
    .map(|target| json!({"project_id": project, "source": source, "target": target}))
}

fn builds_safe_paths(request: &RestoreRequest) {
    let known = Known::of("checkpoint_id", safe(BACKUP));
    for generation in ALL {
        let Ok(encoded) = generation.encode(request, &known) else { continue };
        wording::safe_path(&encoded.call);
        assert!(encoded.call.restores && !encoded.call.path.contains('?'), "{:?}", encoded.call);
        let id = request.source.backup_id.as_str();
        let body = encoded.call.body_json();
        let named = encoded.call.path.split('/').any(|segment| segment == id);
        let told = body.pointer("/restore/parameters/checkpoint_item_id").is_some_and(|told| told == id);
        assert!(named || told, "{id} is not in {:?}", encoded.call);
        assert_eq!(encoded.call.path.split('/').nth(2), Some(request.project_id.as_str()));
    }
}

/// An id is refused, or it is one segment of a path whatever is done to it.
fn is_one_segment(text: &str) {
    let fits = (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        && !text.starts_with(['_', '-']);
    match text.parse::<Id>() {
        Ok(id) => {
            assert!(fits, "{text:?} is no id");
            assert_eq!(id.as_str(), text);
            let folded = id.folded();
            let again: Id = folded.parse().unwrap_or_else(|why| panic!("{folded}: {why}"));
            assert!(again.is_same(&id) && again.folded() == folded);
        }
        Err(why) => {
            assert!(!fits, "{text:?} is an id");
            let place = format!("{{\"id\": {}}}", json!(text));
            assert!(!why.to_string().contains(&place));
        }
    }
}

fn hex32(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn safe<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text} is safe"))
}
