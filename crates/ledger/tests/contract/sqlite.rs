//! What only a file must do: survive, refuse what it does not know, and say why it cannot write.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use restore_ledger::sqlite::{SqliteLedger, Tuning};
use restore_ledger::{Accept, Ledger, LedgerError, LedgerUrl, OpenOptions};
use restore_model::{EventKind, State, Status};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Executor};
use tempfile::TempDir;

use crate::support::{ask, at, event, push, server, sqlite, started, succeed, take, unfinished, volume};

async fn raw(folder: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(folder.join("ledger.db")).connect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_there_after_a_crash() {
    let folder = TempDir::new().unwrap();
    let ledger = Arc::new(sqlite(folder.path()).await);
    let mut tasks = Vec::new();
    for n in 0..100 {
        let ledger = Arc::clone(&ledger);
        tasks.push(tokio::spawn(async move {
            let mut answered = Vec::new();
            let name = format!("v{n}");
            let Ok(Accept::New(entry)) = ledger.accept(ask("ann", Some(&name), volume(&name), n)).await
            else {
                return answered;
            };
            answered.push(entry.clone());
            let submitting = vec![event(2, at(n), EventKind::Submitting { attempt: 1, step: 0 })];
            let Ok(entry) = ledger.append(entry.intent.id, 1, submitting).await else { return answered };
            answered.push(entry.clone());
            let ended = vec![event(3, at(n), started(&name)), event(4, at(n), EventKind::Succeeded)];
            answered.extend(ledger.append(entry.intent.id, 2, ended).await);
            answered
        }));
    }
    // Half of them are answered, the rest are anywhere. What the disk holds now is what a machine
    // that loses its power now would find.
    let mut rest = tasks.split_off(50);
    let certain: Vec<_> = join_all(tasks).await.into_iter().flat_map(Result::unwrap).collect();
    let crashed = TempDir::new().unwrap();
    // The file before its log: a log that is longer than the file knows is what a crash leaves.
    for name in ["ledger.db", "ledger.db-wal"] {
        std::fs::copy(folder.path().join(name), crashed.path().join(name)).unwrap();
    }
    for task in &mut rest {
        task.abort();
    }
    join_all(rest).await;
    drop(ledger);

    let again = sqlite(crashed.path()).await;
    assert_eq!(certain.len(), 150);
    for entry in &certain {
        let found = again.get(entry.intent.id).await.unwrap().unwrap();
        assert_eq!(found.intent, entry.intent);
        assert!(found.state.seq >= entry.state.seq, "an answer was lost");
        assert_eq!(State::fold(&[], &again.events(entry.intent.id).await.unwrap()).unwrap(), found.state);
    }
    // Whole transactions or nothing: whatever is there has its events, its key and its locks.
    for entry in unfinished(&again).await {
        assert_eq!(State::fold(&[], &again.events(entry.intent.id).await.unwrap()).unwrap(), entry.state);
        let key = entry.intent.key.clone().unwrap();
        let request = entry.intent.request.clone();
        let replayed = again.accept(ask("ann", Some(&key), request.clone(), 500)).await.unwrap();
        assert_eq!(replayed, Accept::Replayed(entry.clone()));
        assert_eq!(again.accept(ask("bob", None, request, 500)).await.unwrap(), Accept::Busy(entry));
    }
}

#[tokio::test]
async fn dropped_without_a_close_and_opened_again() {
    let folder = TempDir::new().unwrap();
    let ledger = sqlite(folder.path()).await;
    let open = take(&ledger, ask("ann", Some("k"), server("s1", &["v1"]), 0)).await;
    let ended = take(&ledger, ask("ann", None, volume("v2"), 1)).await;
    let ended = succeed(&ledger, &ended, 2).await;
    drop(ledger);

    let again = sqlite(folder.path()).await;
    assert_eq!(unfinished(&again).await, std::slice::from_ref(&open));
    assert_eq!(again.get(ended.intent.id).await.unwrap().as_ref(), Some(&ended));
    let same = again.accept(ask("ann", Some("k"), server("s1", &["v1"]), 3)).await.unwrap();
    assert_eq!(same, Accept::Replayed(open.clone()));
    assert_eq!(again.accept(ask("bob", None, volume("v1"), 3)).await.unwrap(), Accept::Busy(open));
    assert_eq!(again.accept(ask("ann", None, volume("v2"), 3)).await.unwrap(), Accept::Replayed(ended));
}

#[tokio::test]
async fn close_writes_what_is_queued() {
    let folder = TempDir::new().unwrap();
    let ledger = Arc::new(sqlite(folder.path()).await);
    let asks: Vec<_> = (0..300).map(|n| ask("ann", None, volume(&format!("v{n}")), n)).collect();
    let writes = join_all(asks.into_iter().map(|new| ledger.accept(new)));
    let (answers, ()) = tokio::join!(writes, async {
        tokio::task::yield_now().await;
        ledger.close().await;
    });
    assert!(ledger.ready().await.unwrap_err().to_string().contains("closed"));
    let again = sqlite(folder.path()).await;
    let answered = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(unfinished(&again).await.len(), answered);
    assert_eq!(answered, 300);
}

#[tokio::test]
async fn a_newer_schema_is_refused_unless_it_has_room_for_older_programs() {
    let folder = TempDir::new().unwrap();
    sqlite(folder.path()).await.close().await;
    let path = folder.path().join("ledger.db");
    let set = async |oldest_reader: i64| {
        let mut connection = raw(folder.path()).await;
        connection.execute("update meta set value = 99 where name = 'schema_version'").await.unwrap();
        sqlx::query("update meta set value = $1 where name = 'oldest_reader'")
            .bind(oldest_reader)
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    };
    set(98).await;
    for error in
        [SqliteLedger::open(&path).await, SqliteLedger::open_to_read(&path).await].map(Result::unwrap_err)
    {
        let why = error.to_string();
        assert!(
            why.contains("version 99") && why.contains("knows version 98") && why.contains("newer"),
            "{why}"
        );
    }
    // Its programs left room for this one.
    set(3).await;
    let ledger = sqlite(folder.path()).await;
    let entry = take(&ledger, ask("ann", None, volume("v1"), 0)).await;
    let reader = SqliteLedger::open_to_read(&path).await.unwrap();
    assert_eq!(reader.get(entry.intent.id).await.unwrap(), Some(entry));
}

#[tokio::test]
async fn what_is_no_ledger_is_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ledger.db");
    std::fs::write(&path, "not a database, ".repeat(100)).unwrap();
    let error = SqliteLedger::open(&path).await.unwrap_err().to_string();
    assert!(error.contains("ledger.db") && error.contains("not a database"), "{error}");

    let lost = folder.path().join("missing").join("ledger.db");
    let error = restore_ledger::open(&LedgerUrl::Sqlite(lost), OpenOptions::default())
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("folder") && error.contains("does not exist"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_belongs_to_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    let folder = TempDir::new().unwrap();
    let ledger = sqlite(folder.path()).await;
    ledger.ready().await.unwrap();
    for name in ["ledger.db", "ledger.db-wal", "ledger.db.lock"] {
        let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn events_are_only_ever_appended() {
    let folder = TempDir::new().unwrap();
    let ledger = sqlite(folder.path()).await;
    take(&ledger, ask("ann", None, volume("v1"), 0)).await;
    ledger.close().await;
    let mut connection = raw(folder.path()).await;
    for statement in ["update events set at = 0", "delete from events"] {
        let error = connection.execute(statement).await.unwrap_err().to_string();
        assert!(error.contains("only ever appended"), "{error}");
    }
}

#[tokio::test]
async fn a_full_disk_is_unavailable_and_keeps_what_it_has() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ledger.db");
    let mut tuning = Tuning::default();
    tuning.max_pages = Some(40);
    let ledger = SqliteLedger::open_tuned(&path, tuning).await.unwrap();
    let mut answered = Vec::new();
    let error = loop {
        let n = i64::try_from(answered.len()).unwrap();
        match ledger.accept(ask("ann", None, volume(&format!("v{n}")), n)).await {
            Ok(Accept::New(entry)) => answered.push(entry),
            Err(error) => break error,
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(&error, LedgerError::Unavailable(why) if why.contains("full")), "{error}");
    assert!(answered.len() > 5);
    assert_eq!(unfinished(&ledger).await, answered, "reads go on");
    drop(ledger);

    let again = SqliteLedger::open(&path).await.unwrap();
    assert_eq!(unfinished(&again).await, answered);
    again.ready().await.unwrap();
    take(&again, ask("ann", None, volume("next"), 9999)).await;
}

#[tokio::test]
async fn the_writer_recovers_when_it_can_write_again() {
    let folder = TempDir::new().unwrap();
    let mut tuning = Tuning::default();
    tuning.busy_timeout = Duration::from_millis(20);
    let ledger = SqliteLedger::open_tuned(&folder.path().join("ledger.db"), tuning).await.unwrap();
    let entry = take(&ledger, ask("ann", None, volume("v1"), 0)).await;

    let mut other = raw(folder.path()).await;
    other.execute("begin immediate").await.unwrap();
    let why = ledger.ready().await.unwrap_err().to_string();
    assert!(why.contains("locked"), "{why}");
    let refused = ledger.accept(ask("ann", None, volume("v2"), 1)).await;
    assert!(matches!(refused, Err(LedgerError::Unavailable(_))), "{refused:?}");
    assert_eq!(ledger.get(entry.intent.id).await.unwrap(), Some(entry), "reads go on");
    other.execute("rollback").await.unwrap();

    ledger.ready().await.unwrap();
    take(&ledger, ask("ann", None, volume("v2"), 2)).await;
}

#[tokio::test]
async fn one_that_cannot_be_read_does_not_spoil_its_group() {
    let folder = TempDir::new().unwrap();
    let ledger = sqlite(folder.path()).await;
    let spoilt = take(&ledger, ask("ann", None, volume("v1"), 0)).await;
    let sound = take(&ledger, ask("ann", None, volume("v2"), 1)).await;
    ledger.close().await;
    let mut other = raw(folder.path()).await;
    sqlx::query("update restores set state = '{}' where id = $1")
        .bind(spoilt.intent.id.to_string())
        .execute(&mut other)
        .await
        .unwrap();
    other.close().await.unwrap();

    let ledger = sqlite(folder.path()).await;
    let submit =
        |id| ledger.append(id, 1, vec![event(2, at(2), EventKind::Submitting { attempt: 1, step: 0 })]);
    let (spoilt, sound, new) = tokio::join!(
        submit(spoilt.intent.id),
        submit(sound.intent.id),
        ledger.accept(ask("ann", None, volume("v3"), 2))
    );
    assert!(matches!(spoilt, Err(LedgerError::Corrupt(_))), "{spoilt:?}");
    // Whose it is cannot be read; that it is locked is known all the same.
    let clash = ledger.accept(ask("ann", None, volume("v1"), 3)).await;
    assert!(matches!(clash, Err(LedgerError::Corrupt(_))), "{clash:?}");
    assert_eq!(sound.unwrap().state.seq, 2);
    assert!(matches!(new, Ok(Accept::New(_))));
}

/// A file in which somebody has changed something behind the gateway's back.
async fn tampered(statement: &'static str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let ledger = sqlite(folder.path()).await;
    take(&ledger, ask("ann", None, volume("v1"), 0)).await;
    take(&ledger, ask("ann", None, volume("v2"), 1)).await;
    ledger.close().await;
    let mut other = raw(folder.path()).await;
    other.execute(statement).await.unwrap();
    other.close().await.unwrap();
    folder
}

/// Statements that return a file to the schema without an index of the locks.
const AS_VERSION_5: &str =
    "drop table held; drop table tally; drop index restores_status; drop index restores_open_project;
    drop index restores_oldest; update meta set value = 5 where name in ('schema_version', 'oldest_reader')";

#[tokio::test]
async fn i3_a_file_has_room_for_one_holder_of_a_lock() {
    let folder = tampered("select 1").await;
    let mut other = raw(folder.path()).await;
    let error = other.execute("update held set target = 'v1'").await.unwrap_err().to_string();
    assert!(error.contains("UNIQUE"), "{error}");

    // An earlier version kept names that nothing but the gateway held apart.
    other.execute(AS_VERSION_5).await.unwrap();
    other.execute("update locks set names = (select min(names) from locks)").await.unwrap();
    other.close().await.unwrap();
    let opened = SqliteLedger::open(&folder.path().join("ledger.db")).await;
    let why = opened.expect_err("nothing is decided on it").to_string();
    assert!(why.contains("hold") && why.contains("both"), "{why}");
}

#[tokio::test]
async fn a_file_of_version_5_gets_its_indexes_and_counts() {
    let folder = TempDir::new().unwrap();
    let ledger = sqlite(folder.path()).await;
    let open = take(&ledger, ask("ann", None, server("s1", &["v1", "v2"]), 0)).await;
    let submitting = EventKind::Submitting { attempt: 1, step: 0 };
    let stale = EventKind::Stale { awaiting_credential: true };
    let open = push(&ledger, &open, 1, vec![submitting, started("t1"), stale, EventKind::Overdue]).await;
    let ended = take(&ledger, ask("ann", None, volume("v3"), 2)).await;
    succeed(&ledger, &ended, 3).await;
    let counted = ledger.unfinished().await.unwrap();
    ledger.close().await;
    let mut other = raw(folder.path()).await;
    other.execute(AS_VERSION_5).await.unwrap();
    other.close().await.unwrap();

    let ledger = sqlite(folder.path()).await;
    assert_eq!(ledger.unfinished().await.unwrap(), counted);
    assert_eq!((counted.overdue, counted.stale, counted.awaiting_credential), (1, 1, 1));
    assert_eq!(counted.oldest, Some(at(0)));
    for request in [server("s1", &["v9"]), volume("v1"), volume("V-2")] {
        let clash = ledger.accept(ask("bob", None, request, 4)).await.unwrap();
        assert_eq!(clash, Accept::Busy(open.clone()));
    }
    take(&ledger, ask("bob", None, volume("v3"), 5)).await;
    assert_eq!(ledger.unfinished().await.unwrap().by_status.iter().map(|(_, count)| count).sum::<u64>(), 2);
}

/// Memory is bounded: the decisions are the same for more restores than are kept between groups.
#[tokio::test]
async fn i3_locks_are_found_of_restores_that_memory_let_go() {
    let folder = TempDir::new().unwrap();
    let ledger = sqlite(folder.path()).await;
    let first = take(&ledger, ask("ann", Some("first"), server("first", &["v1"]), 0)).await;
    for group in 0..10 {
        let news = (0..300).map(|n| {
            let name = format!("g{group}-{n}");
            ledger.accept(ask("ann", Some(&name), volume(&name), group))
        });
        assert!(join_all(news).await.into_iter().all(|accept| matches!(accept, Ok(Accept::New(_)))));
    }
    assert_eq!(ledger.unfinished().await.unwrap().by_status, [(Status::Accepted, 3_001)]);
    let busy = ledger.accept(ask("bob", None, volume("v1"), 20)).await.unwrap();
    assert_eq!(busy, Accept::Busy(first.clone()));
    let equal = ledger.accept(ask("ann", None, server("first", &["v1"]), 20)).await.unwrap();
    assert_eq!(equal, Accept::Replayed(first.clone()));
    let again = ledger.accept(ask("ann", Some("first"), server("first", &["v1"]), 20)).await.unwrap();
    assert_eq!(again, Accept::Replayed(first.clone()));
    let ended = push(&ledger, &first, 21, vec![EventKind::Cancelled]).await;
    assert!(ended.state.status.is_final());
    take(&ledger, ask("bob", None, volume("v1"), 22)).await;
    assert_eq!(ledger.unfinished().await.unwrap().by_status, [(Status::Accepted, 3_001)]);
}

#[tokio::test]
async fn i12_a_check_finds_what_does_not_follow_from_the_history() {
    for (statement, word) in [
        ("select 1", ""),
        ("update restores set state = replace(state, 'accepted', 'running')", "folds to accepted"),
        ("delete from locks where restore_id = (select min(id) from restores)", "holds 0 of 1 locks"),
        (
            "update restores set intent = replace(intent, '\"fingerprint\":\"', '\"fingerprint\":\"0')",
            "fingerprint",
        ),
    ] {
        let folder = tampered(statement).await;
        let url = LedgerUrl::Sqlite(folder.path().join("ledger.db"));
        let ledger = restore_ledger::open_to_read(&url, OpenOptions::default()).await.unwrap();
        let mut faults = Vec::new();
        let checked = restore_ledger::check(&*ledger, |fault| faults.push(fault)).await.unwrap();
        assert_eq!((checked.restores, checked.faults), (2, faults.len()));
        let found = faults.iter().any(|fault| fault.contains(word));
        assert_eq!(found, !word.is_empty(), "{word}: {faults:?}");
    }
}

#[tokio::test]
async fn one_file_has_one_gateway() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ledger.db");
    let ledger = sqlite(folder.path()).await;
    let refused = |error| match error {
        LedgerError::Unavailable(why) => {
            assert!(why.contains("ledger.db") && why.contains("another gateway"), "{why}");
        }
        other => panic!("{other:?}"),
    };
    refused(SqliteLedger::open(&path).await.unwrap_err());
    refused(SqliteLedger::open_tuned(&path, Tuning::default()).await.unwrap_err());
    #[cfg(unix)]
    {
        let by_another_name = folder.path().join("link-to-ledger.db");
        std::os::unix::fs::symlink("ledger.db", &by_another_name).unwrap();
        refused(SqliteLedger::open(&by_another_name).await.unwrap_err());
    }
    let entry = take(&ledger, ask("ann", None, volume("v1"), 0)).await;

    ledger.close().await;
    assert!(folder.path().join("ledger.db.lock").exists(), "it is let go and stays");
    let next = sqlite(folder.path()).await;
    assert_eq!(unfinished(&next).await, [entry]);
    refused(SqliteLedger::open(&path).await.unwrap_err());
}

#[tokio::test]
async fn a_ledger_that_was_not_opened_holds_nothing() {
    let folder = TempDir::new().unwrap();
    sqlite(folder.path()).await.close().await;
    let set = |version| {
        format!("update meta set value = {version} where name in ('schema_version', 'oldest_reader')")
    };
    let mut connection = raw(folder.path()).await;
    let known: i64 = sqlx::query_scalar("select value from meta where name = 'schema_version'")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    connection.execute(sqlx::AssertSqlSafe(set(99))).await.unwrap();
    SqliteLedger::open(&folder.path().join("ledger.db")).await.unwrap_err();
    connection.execute(sqlx::AssertSqlSafe(set(known))).await.unwrap();
    sqlite(folder.path()).await.ready().await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_is_gone_is_not_written() {
    let folder = TempDir::new().unwrap();
    let (here, away) = (folder.path().join("ledger.db"), folder.path().join("away.db"));
    let ledger = sqlite(folder.path()).await;
    let first = take(&ledger, ask("ann", None, volume("v1"), 0)).await;
    let refuses = async || {
        let asked = ledger.accept(ask("ann", None, volume("v2"), 1)).await.map(|_| ());
        let moved = vec![event(2, at(1), EventKind::Submitting { attempt: 1, step: 0 })];
        let moved = ledger.append(first.intent.id, 1, moved).await.map(|_| ());
        for outcome in [asked, moved, ledger.ready().await] {
            let why = outcome.unwrap_err().to_string();
            assert!(why.contains("moved or deleted") && why.contains("restart the gateway"), "{why}");
        }
    };

    std::fs::rename(&here, &away).unwrap();
    refuses().await;
    // What stands in its place may hold the same and is another file.
    std::fs::copy(&away, &here).unwrap();
    refuses().await;
    assert_eq!(unfinished(&ledger).await, std::slice::from_ref(&first), "nothing was written; reads go on");

    std::fs::rename(&away, &here).unwrap();
    ledger.ready().await.unwrap();
    take(&ledger, ask("ann", None, volume("v2"), 1)).await;
}

/// The lock was deleted, or the file system keeps none: whoever opened the file last is the one that writes it.
#[tokio::test]
async fn of_two_processes_on_one_file_the_earlier_one_writes_no_more() {
    let folder = TempDir::new().unwrap();
    let earlier = sqlite(folder.path()).await;
    let first = take(&earlier, ask("ann", None, volume("v1"), 0)).await;
    std::fs::remove_file(folder.path().join("ledger.db.lock")).unwrap();
    let later = sqlite(folder.path()).await;
    let asked = earlier.accept(ask("ann", None, volume("v2"), 1)).await.map(|_| ());
    let send = vec![event(2, at(1), EventKind::Submitting { attempt: 1, step: 0 })];
    let moved = earlier.append(first.intent.id, 1, send.clone()).await.map(|_| ());
    for outcome in [asked, moved, earlier.ready().await] {
        let why = outcome.unwrap_err().to_string();
        assert!(why.contains("another process has opened the ledger"), "{why}");
    }
    later.append(first.intent.id, 1, send).await.unwrap();
    take(&later, ask("ann", None, volume("v2"), 1)).await;
}

#[tokio::test]
async fn a_full_disk_is_not_ready_until_there_is_room() {
    let folder = TempDir::new().unwrap();
    let mut tuning = Tuning::default();
    tuning.max_pages = Some(120);
    let ledger = SqliteLedger::open_tuned(&folder.path().join("ledger.db"), tuning).await.unwrap();
    let mut other = raw(folder.path()).await;
    let fill = "create table filler (content blob); insert into filler values (zeroblob(250000))";
    other.execute(fill).await.unwrap();
    let first = ask("ann", Some("first"), volume("first"), 0);
    let entry = take(&ledger, first.clone()).await;
    ledger.ready().await.unwrap();
    let mut n = 1;
    while ledger.accept(ask("ann", None, volume(&format!("v{n}")), n)).await.is_ok() {
        n += 1;
    }

    for _ in 0..2 {
        let why = ledger.ready().await.unwrap_err().to_string();
        assert!(why.contains("full"), "{why}");
        // Nothing had to be written for this one, so it proves nothing.
        assert_eq!(ledger.accept(first.clone()).await.unwrap(), Accept::Replayed(entry.clone()));
    }
    other.execute("drop table filler").await.unwrap();
    ledger.ready().await.unwrap();
    let kept: i64 = sqlx::query_scalar("select count(*) from meta where typeof(value) = 'blob'")
        .fetch_one(&mut other)
        .await
        .unwrap();
    assert_eq!(kept, 0, "the proof is taken back");
    take(&ledger, ask("ann", None, volume("next"), 9999)).await;
}

#[tokio::test]
async fn more_writes_than_may_wait_are_refused_at_once() {
    let folder = TempDir::new().unwrap();
    let ledger = sqlite(folder.path()).await;
    let mut other = raw(folder.path()).await;
    other.execute("begin immediate").await.unwrap();
    let asks = (0..5000).map(|n| ledger.accept(ask("ann", None, volume(&format!("v{n}")), n)));
    let (answers, ()) = tokio::join!(join_all(asks), async {
        tokio::task::yield_now().await;
        other.execute("rollback").await.unwrap();
    });
    let refused = answers.iter().filter_map(|answer| answer.as_ref().err()).map(ToString::to_string);
    let refused: Vec<String> = refused.collect();
    assert!(!refused.is_empty() && refused.len() < 1000, "{}", refused.len());
    assert!(refused.iter().all(|why| why.contains("writes wait already")), "{}", refused[0]);
    assert_eq!(unfinished(&ledger).await.len() + refused.len(), 5000);
}

#[tokio::test]
async fn what_is_not_ours_or_too_new_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let mut other = SqliteConnectOptions::new()
        .filename(folder.path().join("ledger.db"))
        .create_if_missing(true)
        .connect()
        .await
        .unwrap();
    other.execute("create table shopping (item text)").await.unwrap();
    other.close().await.unwrap();
    let path = folder.path().join("ledger.db");
    let url = LedgerUrl::Sqlite(path.clone());
    let why = SqliteLedger::open(&path).await.unwrap_err().to_string();
    assert!(why.contains("another program"), "{why}");
    assert!(restore_ledger::vacuum(&url, OpenOptions::default()).await.is_err());

    let newer =
        tampered("update meta set value = 99 where name in ('schema_version', 'oldest_reader')").await;
    let url = LedgerUrl::Sqlite(newer.path().join("ledger.db"));
    let why = restore_ledger::vacuum(&url, OpenOptions::default()).await.unwrap_err().to_string();
    assert!(why.contains("99"), "{why}");
}
