//! What each generation declares of itself, held against what it does: nothing else in the workspace may know it.

use restore_generations::{ALL, Call, Generation, Known, Reply, Step};
use restore_model::{Id, ProjectId, RestoreRequest, TargetKind, Timestamp};

use super::support::{CHECKPOINT, ITEM, PROJECT, after, disk, error, generation, resource, server};

/// A request for each kind of target.
fn requests() -> [RestoreRequest; 3] {
    [server(ITEM), disk(), resource()]
}

/// As much as a restore call may need.
fn everything(own: &dyn Generation, request: &RestoreRequest) -> Known {
    let mut known = Known::default();
    for fact in own.wanted_facts(request) {
        known.learn(Known::of(fact, CHECKPOINT.parse().unwrap()));
    }
    known
}

/// The first read of each kind, and the restore call.
fn calls(own: &dyn Generation) -> Vec<Call> {
    let project: ProjectId = PROJECT.parse().unwrap();
    let id: Id = ITEM.parse().unwrap();
    let mut calls = vec![own.read_backup(&project, &id)];
    calls.extend(TargetKind::ALL.into_iter().filter_map(|kind| own.list_backups(&project, &id, kind)));
    for request in requests().iter().filter(|request| own.restores(request.target.kind())) {
        let known = everything(own, request);
        calls.push(own.encode(request, &known).unwrap().call);
        let ask = restore_generations::Prepare {
            request,
            known: &known,
            baseline: true,
            server: None,
            now: after(-1),
        };
        if let Step::Ask(call) = own.check(&ask, &[]) {
            calls.push(call);
        }
    }
    calls
}

/// A credential of the gateway's own opens no other project's paths: that is asked of the project found here.
#[test]
fn the_project_stands_where_it_is_declared() {
    for own in ALL {
        let calls = calls(*own);
        assert!(calls.len() >= 3, "{}", own.name());
        for call in calls {
            assert_eq!(own.project_in(&call.path), Some(PROJECT), "{} {}", own.name(), call.path);
        }
        assert_eq!(own.project_in("/"), None, "{}", own.name());
    }
}

#[test]
fn a_closing_date_is_a_day() {
    let closed: Vec<_> = ALL.iter().filter_map(|own| Some((own.name(), own.closed_on()?))).collect();
    assert_eq!(closed, [("csbs-v1", "2025-07-28"), ("vbs-v2", "2025-07-28")]);
    for (name, day) in closed {
        assert!(format!("{day}T00:00:00Z").parse::<Timestamp>().is_ok(), "{name}");
    }
}

/// What is wanted is what the call lacks: without it nothing can be encoded, with it everything can.
#[test]
fn the_facts_that_are_wanted_are_those_that_the_call_lacks() {
    for own in ALL {
        for mut request in requests() {
            let wanted = own.wanted_facts(&request);
            let able = own.restores(request.target.kind());
            let encodes = |known: &Known| own.encode(&request, known).is_ok();
            assert_eq!(encodes(&Known::default()), able && wanted.is_empty(), "{}", own.name());
            assert_eq!(encodes(&everything(*own, &request)), able, "{}", own.name());
            request.source.checkpoint_id = Some(CHECKPOINT.parse().unwrap());
            assert!(own.wanted_facts(&request).is_empty(), "{}", own.name());
        }
    }
    assert_eq!(generation("csbs-v1").wanted_facts(&server(ITEM)), ["checkpoint_id"]);
}

#[test]
fn a_fact_that_was_read_counts_for_more_than_one_that_was_known() {
    let mut known = Known::of("a", "old".parse().unwrap());
    known.learn(Known::of("b", "other".parse().unwrap()));
    known.learn(Known::of("a", "new".parse().unwrap()));
    assert_eq!(known.get("a").map(Id::as_str), Some("new"));
    assert_eq!(known.get("b").map(Id::as_str), Some("other"));
    assert!(Known::default().is_empty() && !known.is_empty());
}

/// An API gateway of the clouds says 403 at times, and then its code tells.
#[test]
fn a_rejected_credential_differs_from_a_rejected_restore() {
    for own in ALL {
        let refuses = |reply: Result<Reply, _>| own.refuses_credential(&reply.unwrap());
        assert!(refuses(error(401, "anything")), "{}", own.name());
        assert!(!refuses(error(404, "APIGW.0301")) && !refuses(error(403, "APIGW.0302")), "{}", own.name());
    }
    // OpenStack has no such API gateway, and no signatures.
    assert!(!generation("cinder-v3").refuses_credential(&error(403, "APIGW.0301").unwrap()));
    for name in ["csbs-v1", "vbs-v2", "cbr-v3"] {
        assert!(generation(name).refuses_credential(&error(403, "APIGW.0301").unwrap()), "{name}");
        let body = r#"{"error_code": "APIGW.0301", "error_msg": "verify aksk signature fail, now:20261130T010203Z"}"#;
        let reply = Reply { status: 401, body: body.into(), ..Reply::default() };
        let refusal = generation(name).signature_refusal(&reply).unwrap();
        assert_eq!(refusal.upstream_time, Some("2026-11-30T01:02:03Z".parse().unwrap()), "{name}");
        assert_eq!(generation(name).signature_refusal(&error(403, "BackupService.6034").unwrap()), None);
    }
}
