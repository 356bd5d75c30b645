//! The reads before a send: what is remembered, and what is refused before anything is sent.

use restore_generations::{Answer, Unread};
use restore_model::{Code, Effect};
use serde_json::{Value, json};

use crate::support::{ITEM, SERVER_BACKUP, answer, disk, error, ok, prepare, server, wire};

fn silence() -> Answer {
    Err(Unread::NoAnswer("timed out".to_owned()))
}

fn code(name: &str, read: &Answer) -> Option<Code> {
    let request = match name {
        "csbs-v1" => server(ITEM),
        "cbr-v3" => server(SERVER_BACKUP),
        _ => disk(),
    };
    let (prepared, _) = prepare(name, &request, |_| read.clone());
    let problem = prepared.err()?;
    assert_eq!(problem.effect, Effect::None, "{problem}");
    Some(problem.code)
}

fn item(change: impl FnOnce(&mut Value)) -> Answer {
    let mut item = wire("csbs.item.response");
    item["checkpoint_item"]["status"] = json!("available");
    change(&mut item["checkpoint_item"]);
    ok(item)
}

#[test]
fn csbs_remembers_the_item_and_its_checkpoint() {
    let (prepared, asked) = prepare("csbs-v1", &server(ITEM), |_| item(|_| {}));
    let prepared = prepared.unwrap();
    assert_eq!(asked, [format!("checkpoint_items/{ITEM}")]);
    assert_eq!(prepared.facts.get("checkpoint_id").unwrap().as_str(), "11aa22bb-33cc-44dd-95ee-66ff77008811");
    assert_eq!(prepared.notes["baseline"]["updated_at"], "2026-11-22T10:15:04.680638");
}

#[test]
fn csbs_refuses_what_the_item_forbids() {
    let status = |word: &'static str| code("csbs-v1", &item(|item| item["status"] = json!(word)));
    assert_eq!(status("restoring"), Some(Code::UpstreamBusy));
    assert_eq!(status("waiting_restore"), Some(Code::UpstreamBusy));
    assert_eq!(status("error"), Some(Code::BackupNotReady));
    assert_eq!(status("Available"), None);
    let na = item(|item| item["extend_info"]["supported_restore_mode"] = json!("na"));
    assert_eq!(code("csbs-v1", &na), Some(Code::UpstreamUnsupported));
    assert_eq!(code("csbs-v1", &error(404, "CSBS.3001")), Some(Code::BackupNotFound));
    assert_eq!(code("csbs-v1", &error(401, "APIGW.0301")), Some(Code::UpstreamUnauthorized));
    assert_eq!(code("csbs-v1", &answer(503, "")), Some(Code::UpstreamUnavailable));
    assert_eq!(code("csbs-v1", &silence()), Some(Code::UpstreamUnavailable));
    assert_eq!(code("csbs-v1", &ok(json!({}))), Some(Code::UpstreamUnavailable));
}

#[test]
fn csbs_refuses_a_checkpoint_of_another_backup() {
    let mut request = server(ITEM);
    request.source.checkpoint_id = Some("another-checkpoint".parse().unwrap());
    let (prepared, _) = prepare("csbs-v1", &request, |_| item(|_| {}));
    assert_eq!(prepared.unwrap_err().code, Code::BackupNotFound);
}

fn logs(count: usize, from: usize, total: usize) -> Answer {
    let logs: Vec<Value> = (from..from + count)
        .map(|n| {
            json!({"id": format!("log-{n}"), "status": "success",
            "extra_info": {"restore": {"backup_id": SERVER_BACKUP}}})
        })
        .collect();
    ok(json!({"count": total, "limit": 1000, "offset": from, "operation_logs": logs}))
}

fn cbr_notes(upstream: impl Fn(&str) -> Answer) -> (Value, Vec<String>) {
    let (prepared, asked) = prepare("cbr-v3", &server(SERVER_BACKUP), upstream);
    (prepared.unwrap().notes, asked)
}

#[test]
fn cbr_remembers_every_restore_of_the_last_day() {
    let (notes, asked) = cbr_notes(|_| logs(2, 0, 2));
    assert_eq!(notes, json!({"known": ["log-0", "log-1"], "known_from": "2026-11-21T10:14:59Z"}));
    assert_eq!(asked, ["operation-logs?operation_type=restore&start_time=2026-11-21T10:14:59Z&limit=1000"]);
}

#[test]
fn cbr_reads_page_after_page_and_gives_up_the_baseline_rather_than_the_restore() {
    let (notes, asked) =
        cbr_notes(
            |path| if path.contains("offset=1000") { logs(3, 1000, 1003) } else { logs(1000, 0, 1003) },
        );
    assert_eq!((asked.len(), notes["known"].as_array().unwrap().len()), (2, 1003));
    assert_eq!(notes.get("baseline"), None);

    let (notes, asked) = cbr_notes(|_| logs(1000, 0, 100_000));
    assert_eq!((asked.len(), &notes["baseline"]), (5, &json!("incomplete")));
}

#[test]
fn cbr_believes_a_server_that_cuts_pages_shorter() {
    let (notes, asked) =
        cbr_notes(|path| if path.contains("offset=50") { logs(20, 50, 70) } else { logs(50, 0, 70) });
    assert_eq!((asked.len(), notes["known"].as_array().unwrap().len()), (2, 70));
}

#[test]
fn cbr_continues_without_a_list_unless_the_token_is_refused() {
    assert_eq!(code("cbr-v3", &error(401, "APIGW.0301")), Some(Code::UpstreamUnauthorized));
    assert_eq!(code("cbr-v3", &error(500, "BackupService.9998")), Some(Code::UpstreamUnauthorized));
    for read in [
        error(403, "APIGW.0302"),
        answer(500, ""),
        answer(503, "<html>"),
        error(429, "APIGW.0308"),
        silence(),
        // no list at all, and the wrong key that one client expects
        answer(200, "<html>"),
        ok(json!({"count": 0, "operation_log": []})),
    ] {
        let (notes, _) = cbr_notes(|_| read.clone());
        assert_eq!(notes["baseline"], "incomplete", "{read:?}");
    }
}

#[test]
fn vbs_wants_the_backup_available() {
    let backup = |word: &str| {
        let mut backup = wire("vbs.backup.response");
        backup["backup"]["status"] = json!(word);
        ok(backup)
    };
    let (prepared, _) = prepare("vbs-v2", &disk(), |_| backup("available"));
    assert_eq!(prepared.unwrap().notes, json!({"baseline": "available"}));
    assert_eq!(code("vbs-v2", &backup("restoring")), Some(Code::BackupNotReady));
    assert_eq!(code("vbs-v2", &error(401, "APIGW.0301")), Some(Code::UpstreamUnauthorized));
    assert_eq!(code("vbs-v2", &error(400, "BackupService.4003")), Some(Code::GenerationRetired));
    assert_eq!(code("vbs-v2", &silence()), Some(Code::UpstreamUnavailable));
    for gone in
        [answer(404, r#"{"itemNotFound":{"code":404,"message":"gone"}}"#), error(404, "VolumeBackup.0111")]
    {
        assert_eq!(code("vbs-v2", &gone), Some(Code::BackupNotFound));
    }
    assert_eq!(code("vbs-v2", &answer(200, "<html>")), Some(Code::UpstreamUnavailable));
    // who may restore need not be allowed to read backups
    let (prepared, _) = prepare("vbs-v2", &disk(), |_| error(403, "VolumeBackup.0042"));
    assert_eq!(prepared.unwrap().notes, Value::Null);
}

#[test]
fn without_a_baseline_nothing_is_read_that_is_not_needed() {
    use restore_generations::{Known, Prepare, Step};
    let mut request = server(ITEM);
    request.source.checkpoint_id = Some("c".parse().unwrap());
    let known = Known::default();
    for name in restore_generations::names() {
        let request = if name == "vbs-v2" { disk() } else { request.clone() };
        let ask = Prepare {
            request: &request,
            known: &known,
            baseline: false,
            server: None,
            now: crate::support::after(0),
        };
        let step = crate::support::generation(name).prepare(&ask, &[]);
        assert!(matches!(step, Step::Done(Ok(_))), "{name}: {step:?}");
    }
}
