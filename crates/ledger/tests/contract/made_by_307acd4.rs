//! Ledgers written by commit 307acd4, which kept one accepted request as several rows. Made by that commit's own binary:
//! see `307acd4/README.md`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use restore_ledger::{
    Accept, Claim, Entry, Ledger, LedgerError, LedgerUrl, NewEntry, OpenOptions, Query, open,
};
use restore_model::{Effect, Event, EventKind, Intent, ResolvedAs, RestoreId, Status, Timestamp};
use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;

use crate::support::{KEY_WINDOW, new_database, push, server_of_all, unfinished};

const FINISHED: [&str; 2] =
    [include_str!("307acd4/finished.sqlite.sql"), include_str!("307acd4/finished.postgres.sql")];
const UNFINISHED: [&str; 2] =
    [include_str!("307acd4/unfinished.sqlite.sql"), include_str!("307acd4/unfinished.postgres.sql")];

/// A restore as the old binary wrote it.
#[derive(Debug)]
struct Old {
    id: RestoreId,
    status: String,
    intent: Value,
    state: Value,
    task: Option<String>,
    events: Vec<Value>,
}

impl Old {
    fn key(&self) -> Option<&str> {
        self.intent["key"].as_str().filter(|key| !key.starts_with('\u{1}'))
    }

    fn replaces(&self) -> Option<RestoreId> {
        self.intent["instead_of"].as_str().map(|id| id.parse().unwrap())
    }

    fn is_whole(&self) -> bool {
        self.intent["route"]["fan_out"] == true
    }

    fn is_part(&self) -> bool {
        self.intent["part_of"].is_string()
    }
}

/// A database with a dump in it.
enum Place {
    File(TempDir),
    Server(LedgerUrl),
}

impl Place {
    async fn of(dumps: [&'static str; 2]) -> [Self; 2] {
        let folder = TempDir::new().unwrap();
        let mut file = raw_file(folder.path()).await;
        sqlx::raw_sql(dumps[0]).execute(&mut file).await.unwrap();
        file.close().await.unwrap();
        let url = new_database(server_of_all());
        let mut server = raw_server(&url).await;
        sqlx::raw_sql(dumps[1]).execute(&mut server).await.unwrap();
        server.close().await.unwrap();
        [Self::File(folder), Self::Server(url)]
    }

    fn url(&self) -> LedgerUrl {
        match self {
            Self::File(folder) => LedgerUrl::Sqlite(folder.path().join("ledger.db")),
            Self::Server(url) => url.clone(),
        }
    }

    async fn open(&self) -> Result<Arc<dyn Ledger>, LedgerError> {
        open(&self.url(), OpenOptions::default()).await
    }

    /// The rows of a query whose columns are all text.
    async fn rows<R>(&self, query: &str) -> Vec<R>
    where
        R: for<'r> sqlx::FromRow<'r, sqlx::sqlite::SqliteRow>
            + for<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow>
            + Send
            + Unpin,
    {
        let query = AssertSqlSafe(query.to_owned());
        match self {
            Self::File(folder) => {
                let mut file = raw_file(folder.path()).await;
                let rows = sqlx::query_as(query).fetch_all(&mut file).await.unwrap();
                file.close().await.unwrap();
                rows
            }
            Self::Server(url) => {
                let mut server = raw_server(url).await;
                let rows = sqlx::query_as(query).fetch_all(&mut server).await.unwrap();
                server.close().await.unwrap();
                rows
            }
        }
    }

    async fn run(&self, statement: &str) {
        let statement = AssertSqlSafe(statement.to_owned());
        match self {
            Self::File(folder) => {
                let mut file = raw_file(folder.path()).await;
                sqlx::raw_sql(statement).execute(&mut file).await.unwrap();
                file.close().await.unwrap();
            }
            Self::Server(url) => {
                let mut server = raw_server(url).await;
                sqlx::raw_sql(statement).execute(&mut server).await.unwrap();
                server.close().await.unwrap();
            }
        }
    }

    /// What the old binary left.
    async fn old(&self) -> Vec<Old> {
        let events: Vec<(String, String)> =
            self.rows("select restore_id, event from events order by restore_id, seq").await;
        let mut histories: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for (id, event) in events {
            histories.entry(id).or_default().push(serde_json::from_str(&event).unwrap());
        }
        let rows: Vec<(String, String, String, String, Option<String>)> =
            self.rows("select id, status, intent, state, handle_id from restores order by id").await;
        rows.into_iter()
            .map(|(id, status, intent, state, task)| Old {
                events: histories.remove(&id).unwrap(),
                id: id.parse().unwrap(),
                status,
                intent: serde_json::from_str(&intent).unwrap(),
                state: serde_json::from_str(&state).unwrap(),
                task,
            })
            .collect()
    }

    /// All that the database holds, but for what a start writes about itself.
    async fn all(&self) -> Vec<(String,)> {
        let tables = match self {
            Self::File(_) => {
                vec!["deliveries", "events", "hooks", "keys", "locks", "meta", "restores", "targets"]
            }
            Self::Server(_) => {
                vec![
                    "deliveries",
                    "events",
                    "hooks",
                    "keys",
                    "locks",
                    "meta",
                    "replicas",
                    "restores",
                    "targets",
                ]
            }
        };
        let (tables_of, columns_of) = match self {
            Self::File(_) => (
                "select name || ' ' || sql from sqlite_schema where sql is not null order by 1",
                "json_array",
            ),
            Self::Server(_) => (
                "select table_name::text || ' ' || column_name::text from information_schema.columns
                  where table_schema = 'public' order by 1",
                "",
            ),
        };
        let mut all = self.rows(tables_of).await;
        for table in tables {
            let query = if columns_of.is_empty() {
                format!("select t::text from {table} t order by 1")
            } else {
                let columns: Vec<(String,)> =
                    self.rows(&format!("select name from pragma_table_info('{table}')")).await;
                let columns: Vec<String> = columns.into_iter().map(|(name,)| name).collect();
                format!("select {columns_of}({}) from {table} order by 1", columns.join(", "))
            };
            all.extend(self.rows::<(String,)>(&query).await);
        }
        all
    }
}

/// Without foreign keys: a dump has its tables in the order of their names.
async fn raw_file(folder: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(folder.join("ledger.db")).create_if_missing(true);
    options.foreign_keys(false).connect().await.unwrap()
}

async fn raw_server(url: &LedgerUrl) -> PgConnection {
    PgConnection::connect(&url.to_string()).await.unwrap()
}

/// The same request from the same caller, with that key or without one, a minute after the last of the dump.
fn again(entry: &Entry, key: Option<&str>, now: Timestamp) -> NewEntry {
    let intent = Intent {
        id: RestoreId::at(now),
        key: key.map(str::to_owned),
        created_at: now,
        ..(*entry.intent).clone()
    };
    NewEntry {
        intent,
        events: vec![crate::support::event(1, now, EventKind::Accepted)],
        idempotency_key_ttl_seconds: KEY_WINDOW.unsigned_abs(),
        dedup_window_seconds: KEY_WINDOW.unsigned_abs(),
        may_keep_key: true,
        clock: None,
    }
}

/// A minute after the last restore of the dump was accepted.
fn later(old: &[Old]) -> Timestamp {
    let last = old.iter().map(|old| old.intent["created_at"].as_str().unwrap()).max().unwrap();
    last.parse::<Timestamp>().unwrap().plus_seconds(60)
}

async fn kept(ledger: &dyn Ledger, id: RestoreId) -> Entry {
    ledger.get(id).await.unwrap().unwrap_or_else(|| panic!("{id} is lost"))
}

/// Whether the old row is the restore of a server of which no disk was restored.
fn had_no_disk(old: &Old) -> bool {
    old.is_whole() && old.status == "not_applied"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_of_307acd4_opens_with_every_restore() {
    for place in Place::of(FINISHED).await {
        let old = place.old().await;
        assert_eq!(old.len(), 23);
        let ledger = place.open().await.unwrap();
        let mut faults = Vec::new();
        let checked = restore_ledger::check(&*ledger, |fault| faults.push(fault)).await.unwrap();
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!((checked.restores, checked.faults), (old.len(), 0));
        assert_eq!(checked.events, old.iter().map(|old| old.events.len()).sum::<usize>());

        for old in &old {
            let entry = kept(&*ledger, old.id).await;
            let events = ledger.events(old.id).await.unwrap();
            assert_eq!(events.len(), old.events.len());
            for (event, written) in events.iter().zip(&old.events) {
                let same = serde_json::from_str::<Event>(&in_present_names(written)).unwrap();
                if had_no_disk(old) && same.kind == EventKind::NotApplied {
                    let EventKind::Resolved { outcome, by, early: true, .. } = &event.kind else {
                        panic!("{event:?}")
                    };
                    assert_eq!((*outcome, &**by), (ResolvedAs::NotApplied, "ledger upgrade"));
                    assert_eq!((event.at, &event.evidence), (same.at, &same.evidence));
                } else {
                    assert_eq!(*event, same);
                }
            }
            assert_eq!(entry.state.status.as_str(), old.status, "{}", old.id);
            if had_no_disk(old) {
                assert_eq!(entry.state.error.as_ref().map(|error| error.effect), Some(Effect::None));
            }
            assert_eq!(
                entry.state.finished_at.map(Timestamp::as_micros),
                old.state["finished_at"].as_str().map(|at| at.parse::<Timestamp>().unwrap().as_micros())
            );
            assert!(entry.state.steps.is_empty() && entry.state.rerouted.is_none());
        }
        // All of them, and nothing twice.
        let list = ledger.list(Query { limit: 100, ..Query::default() }).await.unwrap();
        let mut ids: Vec<RestoreId> = list.iter().map(|entry| entry.intent.id).collect();
        ids.reverse();
        assert_eq!(ids, old.iter().map(|old| old.id).collect::<Vec<_>>());
        ledger.close().await;

        // The next start finds nothing left to do.
        let before = place
            .rows::<(String, String, String)>("select id, intent, state from restores order by id")
            .await;
        place.open().await.unwrap().close().await;
        let after = place
            .rows::<(String, String, String)>("select id, intent, state from restores order by id")
            .await;
        assert_eq!(before, after);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f46_a_key_of_307acd4_means_the_restore_that_took_place() {
    for place in Place::of(FINISHED).await {
        let old = place.old().await;
        let now = later(&old);
        let ledger = place.open().await.unwrap();
        let mut keys = Vec::new();
        for row in old.iter().filter(|row| row.key().is_some()) {
            let did = old.iter().find(|other| other.replaces() == Some(row.id)).unwrap_or(row);
            let entry = kept(&*ledger, row.id).await;
            let answer = ledger.accept(again(&entry, row.key(), now)).await.unwrap();
            let expected = kept(&*ledger, did.id).await;
            assert_eq!(answer, Accept::Replayed(expected.clone()), "{:?}", row.key());
            assert_eq!(expected.intent.key.as_deref(), row.key());
            assert_eq!(entry.intent.key.is_none(), did.id != row.id, "one restore has the key");
            // Another request with that key is no repetition.
            let mut other = again(&entry, row.key(), now);
            other.intent.request.source.backup_id = "another".parse().unwrap();
            other.intent.fingerprint = other.intent.own_fingerprint();
            assert_eq!(ledger.accept(other).await.unwrap(), Accept::KeyConflict(did.id));
            keys.push((row.key().unwrap(), expected.state.status));
        }
        keys.sort_by_key(|(key, _)| *key);
        let expected = [
            ("disk-done", Status::Succeeded),
            ("disk-refused", Status::Rejected),
            ("moved", Status::Succeeded),
            ("moving", Status::Running),
            ("running", Status::Running),
            ("server-done", Status::Succeeded),
            ("server-none", Status::NotApplied),
        ];
        assert_eq!(keys, expected);
        let caller = old[0].intent["caller"].as_str().unwrap();
        assert_eq!(
            ledger.keys(caller, 100).await.unwrap(),
            expected.len(),
            "none is left of those that no caller sent"
        );
        ledger.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f43_requests_of_307acd4_are_known_within_their_window() {
    for place in Place::of(FINISHED).await {
        let old = place.old().await;
        let now = later(&old);
        let ledger = place.open().await.unwrap();
        let mut replayed = BTreeMap::<&str, usize>::new();
        for row in old.iter().filter(|row| row.key().is_none() && !row.is_part()) {
            let did = old.iter().find(|other| other.replaces() == Some(row.id)).unwrap_or(row);
            let entry = kept(&*ledger, row.id).await;
            let resolved = row.events.iter().find(|event| event["event"] == "resolved");
            // What had no effect may be asked for again.
            if did.status == "not_applied" {
                let kind = &ledger.events(row.id).await.unwrap().pop().unwrap().kind;
                assert!(matches!(
                    kind,
                    EventKind::Resolved { outcome: ResolvedAs::NotApplied, early: false, .. }
                ));
                continue;
            }
            let answer = ledger.accept(again(&entry, None, now)).await.unwrap();
            assert_eq!(answer, Accept::Replayed(kept(&*ledger, did.id).await), "{row:?}");
            *replayed.entry(if resolved.is_some() { "resolved" } else { &did.status }).or_default() += 1;
        }
        let expected = [("failed", 2), ("resolved", 1), ("succeeded", 4), ("running", 1), ("unknown", 1)];
        assert_eq!(replayed, expected.into());
        ledger.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f48_tasks_of_307acd4_are_bound_and_open_restores_continue() {
    for place in Place::of(FINISHED).await {
        let old = place.old().await;
        let ledger = place.open().await.unwrap();
        // The database is another one than the dump was made in; an operator confirms that.
        ledger.set_recovery(None).await.unwrap();
        let mut bound = 0;
        for row in &old {
            let Some(task) = &row.task else { continue };
            let project = row.intent["request"]["project_id"].as_str().unwrap().parse().unwrap();
            assert_eq!(ledger.task_holder(&project, task).await.unwrap(), Some(row.id));
            bound += 1;
        }
        assert!(bound > 8, "{bound}");
        let open = unfinished(&*ledger).await;
        assert_eq!(
            open.iter().map(|entry| entry.state.status).collect::<Vec<_>>(),
            [Status::Running, Status::Running, Status::Unknown]
        );
        assert_eq!(ledger.claim(Claim::All, 9).await.unwrap().len(), 3);
        for entry in open {
            let now = entry.intent.created_at.plus_seconds(600);
            let mut other = again(&entry, Some("new"), now);
            other.intent.request.source.backup_id = "another".parse().unwrap();
            other.intent.fingerprint = other.intent.own_fingerprint();
            assert_eq!(ledger.accept(other.clone()).await.unwrap(), Accept::Busy(entry.clone()));
            let over = push(&*ledger, &entry, 0, vec![EventKind::Succeeded]).await;
            assert_eq!(over.state.status, Status::Succeeded);
            assert!(matches!(ledger.accept(other).await.unwrap(), Accept::New(_)), "its lock is free");
            let over = ledger.list(Query { limit: 1, ..Query::default() }).await.unwrap().remove(0);
            push(&*ledger, &over, 0, vec![EventKind::Cancelled]).await;
        }
        ledger.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f45_an_unfinished_restore_by_disks_of_307acd4_is_refused() {
    for place in Place::of(UNFINISHED).await {
        let old = place.old().await;
        let before = place.all().await;
        for _ in 0..2 {
            let refusal = place.open().await.err().expect("a refusal").to_string();
            for row in old.iter().filter(|row| row.is_whole() || row.is_part()) {
                assert!(refusal.contains(&row.id.to_string()), "{refusal}");
            }
            assert!(refusal.contains("3 unfinished"), "{refusal}");
            assert!(refusal.contains("Nothing was changed"), "{refusal}");
            assert_eq!(place.all().await, before);
        }
    }
}

/// An operator could end the restore of a server while one of its disks was still being restored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f45_an_open_disk_of_an_ended_restore_of_307acd4_is_refused() {
    for place in Place::of(UNFINISHED).await {
        let old = place.old().await;
        let whole = old.iter().find(|row| row.is_whole()).unwrap().id;
        place.run(&format!("update restores set finished_at = created_at where id = '{whole}'")).await;
        let before = place.all().await;
        let refusal = place.open().await.err().expect("a refusal").to_string();
        for row in old.iter().filter(|row| row.is_part()) {
            assert!(refusal.contains(&row.id.to_string()), "{refusal}");
        }
        assert!(refusal.contains("2 unfinished"), "{refusal}");
        assert_eq!(place.all().await, before);
    }
}

/// An event of that commit with the names that the migration gives it.
fn in_present_names(written: &Value) -> String {
    let renames = include_str!("../../migrations/names.sql")
        .lines()
        .filter_map(|line| line.trim().strip_prefix('\'')?.split_once("')")?.0.split_once("', '"));
    renames.fold(written.to_string(), |text, (old, new)| text.replace(old, new))
}
