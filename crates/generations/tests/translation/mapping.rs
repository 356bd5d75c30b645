//! The page `docs/reference/status-mapping.md`: each word of each cloud is read by its generation, and what comes of it
//! is what stands there. `UPDATE_REFERENCE=1` writes it anew.

use std::fmt::Write;
use std::path::Path;

use restore_generations::{Answer, Found, Reading, Reply};
use serde_json::{Value, json};

use crate::support::{
    DATA_BACKUP, DATA_DISK, Followed, ITEM, SERVER_BACKUP, UPSTREAM_NOW, after, disk, nobody, ok, server,
    wire,
};

const LOG: &str = "9d8c7b6a-5f4e-4d3c-8b2a-190807060504";
const JOB: &str = "4010a7c9528b1f3e01528cc0d9e24f7b";
const RESTORE: &str = "e5d4c3b2-a190-4f8e-8d7c-6b5a49382716";
const ANYTHING: &str = "unheard_of";

/// A place where a cloud tells what becomes of a restore.
struct Place {
    generation: &'static str,
    title: &'static str,
    words: &'static [&'static str],
    read: fn(&str) -> Reading,
}

const PLACES: &[Place] = &[
    Place {
        generation: "cbr-v3",
        title: "`operation_log.status`, the log being known",
        words: &["waiting", "running", "success", "failed", "timeout", "skipped", ANYTHING],
        read: |word| {
            let log = json!({"operation_log": {"id": LOG, "operation_type": "restore", "status": word}});
            let followed = Followed::new(server(SERVER_BACKUP)).notes(json!({"known": []}));
            followed.task("operation_log", LOG).round("cbr-v3", |_| ok(log.clone())).0
        },
    },
    Place {
        generation: "cbr-v3",
        title: "`backup.status`, accepted and no log there 5 minutes later",
        words: CBR_BACKUP,
        read: |word| cbr_backup(Followed::new(server(SERVER_BACKUP)), word),
    },
    Place {
        generation: "cbr-v3",
        title: "`backup.status`, no answer to the send and no log",
        words: CBR_BACKUP,
        read: |word| cbr_backup(Followed::new(server(SERVER_BACKUP)).unproven(), word),
    },
    Place {
        generation: "csbs-v1",
        title: "`checkpoint_item.status`, never seen restoring, within `polling.visibility_grace_seconds`",
        words: ITEM_WORDS,
        read: |word| item(&Value::Null, 10, word),
    },
    Place {
        generation: "csbs-v1",
        title: "`checkpoint_item.status`, never seen restoring, later",
        words: ITEM_WORDS,
        read: |word| item(&Value::Null, 1000, word),
    },
    Place {
        generation: "csbs-v1",
        title: "`checkpoint_item.status`, seen restoring before",
        words: ITEM_WORDS,
        read: |word| item(&json!({"seen_running": true}), 1000, word),
    },
    Place {
        generation: "csbs-v1",
        title: "`restore.status`, where the cloud has that read",
        words: &[
            "in_progress",
            "started",
            "running",
            "waiting",
            "success",
            "succeeded",
            "available",
            "fail",
            "failed",
            "failure",
            "error",
            ANYTHING,
        ],
        read: |word| {
            let followed = Followed::new(server(ITEM)).task("restore", RESTORE);
            let said = json!({"restore": {"id": RESTORE, "status": word}});
            let answer = |path: &str| match path.split('/').next() {
                Some("checkpoint_items") => of_item("available"),
                _ => ok(said.clone()),
            };
            followed.round("csbs-v1", answer).0
        },
    },
    Place {
        generation: "vbs-v2",
        title: "`job.status`",
        words: &["INIT", "RUNNING", "PENDING_PAYMENT", "SUCCESS", "FAIL", ANYTHING],
        read: |word| {
            let mut job = wire("vbs.job.response");
            job["status"] = json!(word);
            Followed::new(disk()).task("job", JOB).round("vbs-v2", |_| ok(job.clone())).0
        },
    },
    Place {
        generation: "vbs-v2",
        title: "`backup.status`, no job known, never seen restoring",
        words: &["restoring", "available", "error_restoring", ANYTHING],
        read: |word| vbs_backup(json!({"baseline": "available"}), word, "available"),
    },
    Place {
        generation: "vbs-v2",
        title: "`volume.status`, no job known, the backup seen restoring and available again",
        words: &["available", "in-use", "error", "error_restoring", "restoring-backup"],
        read: |word| {
            let notes = json!({"baseline": "available", "seen_running": true});
            vbs_backup(notes, "available", word)
        },
    },
    Place {
        generation: "cinder-v3",
        title: "`volume.status`, accepted, the disk bearing the backup's mark since the send",
        words: CINDER_DISK,
        read: |word| cinder_disk(Followed::new(disk()), false, true, word),
    },
    Place {
        generation: "cinder-v3",
        title: "`volume.status`, accepted, no mark on a disk that the backup is not of",
        words: CINDER_DISK,
        read: |word| cinder_disk(Followed::new(disk()), false, false, word),
    },
    Place {
        generation: "cinder-v3",
        title: "`volume.status`, accepted, in place, no message of the request",
        words: CINDER_DISK,
        read: |word| cinder_disk(Followed::new(disk()), true, false, word),
    },
    Place {
        generation: "cinder-v3",
        title: "`volume.status`, no answer to the send, the backup restoring, no mark",
        words: CINDER_DISK,
        read: |word| cinder_disk(Followed::new(disk()).unproven(), false, false, word),
    },
];

const CINDER_DISK: &[&str] =
    &["restoring-backup", "available", "in-use", "error_restoring", "error", ANYTHING];

const CBR_BACKUP: &[&str] = &["waiting_restore", "restoring", "available", ANYTHING];
const ITEM_WORDS: &[&str] = &[
    "waiting_restore",
    "restoring",
    "available",
    "error",
    "deleting",
    "deleted",
    "waiting_delete",
    "waiting_protect",
    "protecting",
    ANYTHING,
];

fn cbr_backup(followed: Followed, word: &str) -> Reading {
    let mut backup = wire("cbr.backup.response");
    backup["backup"]["status"] = json!(word);
    let none = ok(json!({"count": 0, "limit": 1000, "offset": 0, "operation_logs": []}));
    let none = none.map(|reply| Reply { date: Some(after(UPSTREAM_NOW)), ..reply });
    let answer = |path: &str| if path.starts_with("backups/") { ok(backup.clone()) } else { none.clone() };
    followed.notes(json!({"known": []})).age(400).round("cbr-v3", answer).0
}

fn of_item(word: &str) -> Answer {
    let mut body = wire("csbs.item.response");
    body["checkpoint_item"]["status"] = json!(word);
    ok(body)
}

fn item(notes: &Value, age: i64, word: &str) -> Reading {
    let mut followed = Followed::new(server(ITEM)).notes(notes.clone()).age(age).task("restore", RESTORE);
    followed.no_restore_read = true;
    let answer =
        |path: &str| if path.starts_with("checkpoint_items/") { of_item(word) } else { nobody(path) };
    followed.round("csbs-v1", answer).0
}

fn vbs_backup(notes: Value, word: &str, of_disk: &str) -> Reading {
    let mut backup = wire("vbs.backup.response");
    backup["backup"]["status"] = json!(word);
    let volume = ok(json!({"volume": {"id": DATA_DISK, "status": of_disk, "size": 100, "attachments": []}}));
    let answer = |path: &str| if path.contains("backups/") { ok(backup.clone()) } else { volume.clone() };
    Followed::new(disk()).notes(notes).round("vbs-v2", answer).0
}

/// A disk that has moved since the send.
fn cinder_disk(mut followed: Followed, in_place: bool, marked: bool, word: &str) -> Reading {
    let baseline = json!({"updated_at": "2026-11-22T10:14:00.000000", "marked": false, "in_place": in_place});
    followed.request_id = Some("req-32085d2a-baaa-4739-9405-7d4c0ab3e483");
    let mut volume = wire("cinder.volume.response");
    volume["volume"]["status"] = json!(word);
    if marked {
        volume["volume"]["metadata"] = json!({"src_backup_id": DATA_BACKUP});
    }
    let mut backup = wire("cinder.backup.response");
    backup["backup"]["status"] = json!("restoring");
    let answer = |path: &str| match path.split(['/', '?']).next() {
        Some("volumes") => ok(volume.clone()),
        Some("messages") => ok(json!({"messages": []})),
        _ => ok(backup.clone()),
    };
    followed.notes(json!({"baseline": baseline})).round("cinder-v3", answer).0
}

fn outcome(reading: &Reading) -> String {
    let odd = if reading.anomaly.is_some() { ", and noted in the history" } else { "" };
    let what = match &reading.found {
        Found::Running => "`running`".to_owned(),
        Found::Succeeded => "`succeeded`".to_owned(),
        Found::Failed(problem) if problem.effect == restore_model::Effect::None => {
            "`failed`, effect `none`".to_owned()
        }
        Found::Failed(_) => "`failed`, effect `possible`".to_owned(),
        Found::Absent => "stays; the third such read, late enough, makes it `not_applied`".to_owned(),
        Found::Nothing => "stays; looked at again".to_owned(),
        Found::Lost(why) => format!("`unknown`: {}", why.trim_matches('"')),
        Found::Unreadable { .. } => "stays, `last_poll_failed_since`".to_owned(),
    };
    format!("{what}{odd}")
}

fn page() -> String {
    let mut page = "# Words of the clouds\n\nWhat a word of a cloud makes of a restore that was sent. *Strength* is how \
        much the word proves, as `evidence.strength` tells. Words are read in any case of letters, and `in-use` is \
        `in_use`. A word that is not known never ends a restore.\n\nMade by reading each word: \
        `UPDATE_REFERENCE=1 cargo test -p restore-generations --test translation mapping`; a test fails when it is stale.\n"
        .to_owned();
    let mut generation = "";
    for place in PLACES {
        if place.generation != generation {
            generation = place.generation;
            let _ = write!(page, "\n## {generation}\n");
        }
        let _ = write!(page, "\n### {}\n\n| word | becomes | strength |\n|---|---|---|\n", place.title);
        for word in place.words {
            let reading = (place.read)(word);
            let shown = if *word == ANYTHING { "any other".to_owned() } else { format!("`{word}`") };
            let strength = json!(reading.strength);
            let _ = writeln!(
                page,
                "| {shown} | {} | {} |",
                outcome(&reading).replace(ANYTHING, "that word"),
                strength.as_str().unwrap()
            );
        }
    }
    page
}

#[test]
fn the_page_says_what_is_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/status-mapping.md");
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == page(),
        "docs/reference/status-mapping.md is stale: run this test with UPDATE_REFERENCE=1"
    );
}

/// Every word that the code takes a decision on stands on the page.
#[test]
fn the_page_leaves_no_word_out() {
    let sources = [
        include_str!("../../src/cbr_v3/follow.rs"),
        include_str!("../../src/csbs_v1/follow.rs"),
        include_str!("../../src/csbs_v1/decode.rs"),
        include_str!("../../src/vbs_v2/follow.rs"),
        include_str!("../../src/cinder_v3/follow.rs"),
    ];
    let told: Vec<String> =
        PLACES.iter().flat_map(|place| place.words).map(|word| word.replace('-', "_")).collect();
    let mut arms = 0;
    for line in sources.iter().flat_map(|source| source.lines()) {
        let Some((patterns, _)) = line.split_once("=>") else { continue };
        // The text of a guard is no word of a cloud.
        let patterns = patterns.split(" if ").next().unwrap_or_default();
        for word in patterns.split('"').skip(1).step_by(2).filter(|word| !word.is_empty()) {
            arms += 1;
            assert!(told.iter().any(|known| known == word), "{word:?} is decided on and not on the page");
        }
    }
    assert!(arms > 30, "{arms}");
}
