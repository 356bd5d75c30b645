//! What becomes of a file over the years: older schemas, older copies, readers beside the gateway,
//! forgetting, and starts.

use std::path::{Path, PathBuf};

use restore_ledger::{Accept, Claim, Entry, Ledger, LedgerError, LedgerUrl, OpenOptions, Position, Pruned};
use restore_model::{EventKind, State, Timestamp};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Executor};
use tempfile::TempDir;

use crate::support::{
    ask, at, event, push, server, sqlite, started, succeed, take, told, unfinished, volume,
};

async fn raw(folder: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(folder.join("ledger.db")).create_if_missing(true);
    options.foreign_keys(true).connect().await.unwrap()
}

fn url(folder: &Path) -> LedgerUrl {
    LedgerUrl::Sqlite(folder.join("ledger.db"))
}

/// What the first version would have written of one restore, in the state its events lead to.
async fn write_as_version_1(connection: &mut SqliteConnection, new: &restore_ledger::NewEntry) -> State {
    let (intent, state) = (&new.intent, State::fold(&[], &new.events).unwrap());
    let id = intent.id.to_string();
    sqlx::query("insert into restores values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)")
        .bind(&id)
        .bind(&intent.caller)
        .bind(intent.request.project_id.to_string())
        .bind(&intent.route.upstream)
        .bind(state.task.as_ref().map(|task| task.id.clone()))
        .bind(state.status.as_str())
        .bind(&intent.fingerprint)
        .bind(intent.created_at.as_micros())
        .bind(state.finished_at.map(Timestamp::as_micros))
        .bind(serde_json::to_string(intent).unwrap())
        .bind(serde_json::to_string(&state).unwrap())
        .execute(&mut *connection)
        .await
        .unwrap();
    for event in &new.events {
        sqlx::query("insert into events values ($1, $2, $3, $4)")
            .bind(&id)
            .bind(event.seq)
            .bind(event.at.as_micros())
            .bind(serde_json::to_string(event).unwrap())
            .execute(&mut *connection)
            .await
            .unwrap();
    }
    for lock in intent.request.locks() {
        let target = lock.rsplit_once('/').unwrap().1.to_owned();
        sqlx::query("insert into targets values ($1, $2)")
            .bind(target)
            .bind(&id)
            .execute(&mut *connection)
            .await
            .unwrap();
        if !state.status.is_final() {
            sqlx::query("insert into locks values ($1, $2)")
                .bind(lock)
                .bind(&id)
                .execute(&mut *connection)
                .await
                .unwrap();
        }
    }
    if let Some(key) = &intent.key {
        sqlx::query("insert into keys values ($1, $2, $3)")
            .bind(&intent.caller)
            .bind(key)
            .bind(&id)
            .execute(&mut *connection)
            .await
            .unwrap();
    }
    state
}

#[tokio::test]
async fn a_file_of_the_first_version_is_brought_up_to_date_with_all_it_holds() {
    let folder = TempDir::new().unwrap();
    let mut connection = raw(folder.path()).await;
    connection.execute("pragma journal_mode = wal").await.unwrap();
    connection.execute(sqlx::raw_sql(include_str!("../../migrations/0001_ledger.sql"))).await.unwrap();
    connection
        .execute(sqlx::raw_sql(
            "create table meta (name text primary key not null, value integer not null) without rowid;
             insert into meta values ('schema_version', 1), ('writable', 3)",
        ))
        .await
        .unwrap();
    let open = ask("ann", Some("open"), server("s1", &["v1"]), 0);
    let mut over = ask("ann", Some("over"), volume("v2"), 1);
    over.events.extend([
        event(2, at(2), EventKind::Submitting { attempt: 1, step: 0 }),
        event(3, at(3), started("h")),
        event(4, at(4), EventKind::Succeeded),
    ]);
    let mut entries = Vec::new();
    for new in [&over, &open] {
        let state = write_as_version_1(&mut connection, new).await;
        entries.push(Entry { intent: new.intent.clone().into(), state });
    }
    connection.close().await.unwrap();

    let ledger = sqlite(folder.path()).await;
    for (entry, new) in entries.iter().zip([&over, &open]) {
        assert_eq!(ledger.get(new.intent.id).await.unwrap().as_ref(), Some(entry));
        assert_eq!(ledger.events(new.intent.id).await.unwrap(), new.events);
    }
    assert_eq!(unfinished(&ledger).await, entries[1..]);
    let feed: Vec<_> =
        told(&ledger, Position::START, 5).await.into_iter().map(|told| told.event.at).collect();
    assert_eq!(feed, [at(0), at(1), at(2), at(3), at(4)], "the old history, as far as it has an order");
    for (entry, new) in entries.iter().zip([over, open]) {
        let again = ask("ann", new.intent.key.as_deref(), new.intent.request, 9);
        assert_eq!(ledger.accept(again).await.unwrap(), Accept::Replayed(entry.clone()));
    }
    let busy = ledger.accept(ask("bob", None, volume("v1"), 9)).await.unwrap();
    assert_eq!(busy, Accept::Busy(entries[1].clone()));
    assert_eq!(ledger.claim(Claim::All, 9).await.unwrap(), entries[1..]);
    succeed(&ledger, &entries[1], 10).await;
    let pruned = ledger.prune(Some(at(5)), at(5), 9).await.unwrap();
    assert_eq!(pruned, Pruned { restores: 1, keys: 1 });
}

#[tokio::test]
async fn a_start_hands_out_what_is_unfinished_once() {
    let folder = TempDir::new().unwrap();
    let ledger = sqlite(folder.path()).await;
    let mut open = Vec::new();
    for n in 0..5 {
        open.push(take(&ledger, ask("ann", None, volume(&format!("v{n}")), n)).await);
    }
    succeed(&ledger, &open.remove(1), 9).await;
    ledger.close().await;

    let again = sqlite(folder.path()).await;
    let new = take(&again, ask("ann", None, volume("v9"), 9)).await;
    let over = push(&again, &open[3], 9, vec![EventKind::Cancelled]).await;
    assert!(again.take(open[0].intent.id).await.unwrap(), "taken out of turn");
    assert!(!again.take(over.intent.id).await.unwrap());
    assert_eq!(again.claim(Claim::All, 1).await.unwrap(), open[1..2]);
    assert_eq!(again.claim(Claim::All, 9).await.unwrap(), open[2..3]);
    assert!(again.claim(Claim::All, 9).await.unwrap().is_empty());
    assert_eq!(unfinished(&again).await.last(), Some(&new));
}

#[tokio::test]
async fn an_older_copy_begins_recovery_mode() {
    let (folder, backup) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (here, copy) = (folder.path().join("ledger.db"), backup.path().join("ledger.db"));
    let ledger = sqlite(folder.path()).await;
    take(&ledger, ask("ann", None, volume("v1"), 0)).await;
    ledger.close().await;
    std::fs::copy(&here, &copy).unwrap();

    // Opened again and again the same file is no older copy of itself.
    for n in 2..4 {
        let ledger = sqlite(folder.path()).await;
        assert_eq!(ledger.recovery().await.unwrap(), None);
        take(&ledger, ask("ann", None, volume(&format!("v{n}")), n)).await;
        ledger.close().await;
    }
    let newer = std::fs::read(&here).unwrap();
    std::fs::copy(&copy, &here).unwrap();
    for _ in 0..2 {
        let ledger = sqlite(folder.path()).await;
        let recovery = ledger.recovery().await.unwrap().unwrap();
        assert_eq!(recovery.since, Timestamp::from_micros(0));
        assert!(
            recovery.reason.contains("older copy")
                && recovery.reason.contains("has 1 events and was opened 1 times"),
            "{recovery:?}"
        );
        assert!(recovery.reason.contains("had 3 and was opened 3 times"), "{recovery:?}");
        ledger.close().await;
    }
    let ledger = sqlite(folder.path()).await;
    ledger.set_recovery(None).await.unwrap();
    ledger.close().await;
    let ledger = sqlite(folder.path()).await;
    assert_eq!(ledger.recovery().await.unwrap(), None, "the operator's word holds");
    ledger.close().await;

    // The one that was missed has not been here since.
    std::fs::write(&here, newer).unwrap();
    let ledger = sqlite(folder.path()).await;
    assert!(ledger.recovery().await.unwrap().is_some());
    ledger.close().await;
}

/// F42: any trace of a ledger that was here before begins recovery mode where the file is not that ledger.
#[tokio::test]
async fn f42_a_file_that_is_missing_emptied_or_replaced_begins_recovery_mode() {
    type Harm = fn(&Path, &Path);
    let harms: [(&str, Harm); 8] = [
        ("deleted", |here, _| std::fs::remove_file(here).unwrap()),
        ("emptied", |here, _| std::fs::write(here, "").unwrap()),
        ("replaced by another ledger", |here, other| assert!(std::fs::copy(other, here).unwrap() > 0)),
        ("deleted, its log left", |here, _| {
            std::fs::remove_file(here).unwrap();
            std::fs::write(beside(here, "-wal"), "a log").unwrap();
        }),
        ("deleted with its lock, its log left", |here, _| {
            std::fs::remove_file(here).unwrap();
            std::fs::remove_file(beside(here, ".lock")).unwrap();
            std::fs::write(beside(here, "-wal"), "a log").unwrap();
        }),
        ("deleted with its lock, the index of its log left", |here, _| {
            std::fs::remove_file(here).unwrap();
            std::fs::remove_file(beside(here, ".lock")).unwrap();
            std::fs::write(beside(here, "-shm"), "an index").unwrap();
        }),
        ("deleted, its lock unreadable", |here, _| {
            std::fs::remove_file(here).unwrap();
            std::fs::write(beside(here, ".lock"), "not a note").unwrap();
        }),
        ("emptied, its log left", |here, _| {
            std::fs::write(here, "").unwrap();
            std::fs::write(beside(here, "-wal"), "a log").unwrap();
        }),
    ];
    for (how, harm) in harms {
        let (folder, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        for folder in [&folder, &elsewhere] {
            let ledger = sqlite(folder.path()).await;
            assert_eq!(ledger.recovery().await.unwrap(), None, "the first start of all");
            take(&ledger, ask("ann", None, volume("v1"), 0)).await;
            ledger.close().await;
        }
        harm(&folder.path().join("ledger.db"), &elsewhere.path().join("ledger.db"));
        for _ in 0..2 {
            let ledger = sqlite(folder.path()).await;
            let recovery = ledger.recovery().await.unwrap();
            let recovery = recovery.unwrap_or_else(|| panic!("{how}: no recovery mode"));
            assert!(recovery.reason.contains("here before"), "{how}: {recovery:?}");
            ledger.close().await;
        }
        let ledger = sqlite(folder.path()).await;
        ledger.set_recovery(None).await.unwrap();
        ledger.close().await;
        assert_eq!(sqlite(folder.path()).await.recovery().await.unwrap(), None, "{how}: once confirmed");
    }
}

/// F42: a start that came to nothing before a ledger was there leaves no trace that counts.
#[tokio::test]
async fn f42_a_first_start_that_failed_begins_no_recovery_mode() {
    let folder = TempDir::new().unwrap();
    let here = folder.path().join("ledger.db");
    std::fs::write(&here, "").unwrap();
    std::fs::write(beside(&here, ".lock"), "").unwrap();
    assert_eq!(sqlite(folder.path()).await.recovery().await.unwrap(), None);
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

#[tokio::test]
async fn a_reader_stands_beside_the_gateway_and_writes_nothing() {
    let folder = TempDir::new().unwrap();
    let missing = restore_ledger::open_to_read(&url(folder.path()), OpenOptions::default()).await;
    assert!(matches!(missing, Err(LedgerError::Unavailable(_))));
    assert!(!folder.path().join("ledger.db").exists());

    let ledger = sqlite(folder.path()).await;
    let entry = take(&ledger, ask("ann", None, volume("v1"), 0)).await;
    let reader = restore_ledger::open_to_read(&url(folder.path()), OpenOptions::default()).await.unwrap();
    assert_eq!(reader.get(entry.intent.id).await.unwrap().as_ref(), Some(&entry));
    let entry = succeed(&ledger, &entry, 1).await;
    assert_eq!(reader.audit(None, 9).await.unwrap()[0].entry, entry);
    assert_eq!(told(&*reader, Position::START, 4).await.len(), 4);
    let refused = [
        reader.accept(ask("ann", None, volume("v2"), 1)).await.map(|_| ()),
        reader.ready().await,
        reader.set_recovery(None).await,
        reader.prune(None, at(9), 9).await.map(|_| ()),
    ];
    for refused in refused {
        let why = refused.unwrap_err().to_string();
        assert!(why.contains("only to be read"), "{why}");
    }
    reader.close().await;
    ledger.close().await;
    // Nor does it need one.
    let reader = restore_ledger::open_to_read(&url(folder.path()), OpenOptions::default()).await.unwrap();
    assert_eq!(reader.get(entry.intent.id).await.unwrap(), Some(entry));
    sqlite(folder.path()).await.ready().await.unwrap();
}

#[tokio::test]
async fn an_older_schema_is_not_read_as_it_is() {
    let folder = TempDir::new().unwrap();
    sqlite(folder.path()).await.close().await;
    raw(folder.path())
        .await
        .execute("update meta set value = 1 where name = 'schema_version'")
        .await
        .unwrap();
    let error =
        restore_ledger::open_to_read(&url(folder.path()), OpenOptions::default()).await.err().unwrap();
    assert!(error.to_string().contains("start the gateway once"), "{error}");
}

#[tokio::test]
async fn a_vacuum_gives_back_the_room_of_what_was_forgotten() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ledger.db");
    let vacuum = || async { restore_ledger::vacuum(&url(folder.path()), OpenOptions::default()).await };
    assert!(vacuum().await.unwrap_err().to_string().contains("no such file"));
    assert!(!path.exists());

    let ledger = sqlite(folder.path()).await;
    for n in 0..200 {
        let entry = take(&ledger, ask("ann", None, volume("v"), n * 1000)).await;
        succeed(&ledger, &entry, n * 1000).await;
    }
    let end = ledger.position().await.unwrap();
    let forever = at(1_000_000);
    assert_eq!(ledger.prune(Some(forever), forever, 1000).await.unwrap().restores, 200);
    assert!(vacuum().await.unwrap_err().to_string().contains("another gateway"));
    ledger.close().await;

    let before = path.metadata().unwrap().len();
    vacuum().await.unwrap();
    let after = path.metadata().unwrap().len();
    assert!(after * 2 < before, "{before} {after}");
    let ledger = sqlite(folder.path()).await;
    assert_eq!(ledger.position().await.unwrap(), end, "positions go on where they were");
    assert_eq!(ledger.recovery().await.unwrap(), None);
}

#[tokio::test]
async fn what_is_kept_is_kept_from_everyone() {
    let folder = TempDir::new().unwrap();
    let ledger = sqlite(folder.path()).await;
    let open = take(&ledger, ask("ann", None, volume("v1"), 0)).await;
    let over = take(&ledger, ask("ann", None, volume("v2"), 0)).await;
    succeed(&ledger, &over, 1).await;
    ledger.close().await;
    let mut connection = raw(folder.path()).await;
    let delete = |entry: &Entry| format!("delete from restores where id = '{}'", entry.intent.id);
    let refused = connection.execute(sqlx::AssertSqlSafe(delete(&open))).await.unwrap_err().to_string();
    assert!(refused.contains("unfinished is never forgotten"), "{refused}");
    let refused = connection.execute(sqlx::AssertSqlSafe(delete(&over))).await.unwrap_err().to_string();
    assert!(refused.contains("FOREIGN KEY"), "not without its history: {refused}");
}
