//! Several processes over one database, as several ledgers in this one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{join_all, try_join_all};
use restore_ledger::{Accept, Claim, Entry, Ledger, LedgerError, LedgerUrl, OpenOptions, Position, open};
use restore_model::{EventKind, RestoreId};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::postgres::raw;
use crate::support::{
    ask, at, event, new_database, push, server, server_of_all, succeed, take, told, volume,
};

/// So many replicas over a new database.
async fn replicas(count: usize) -> (LedgerUrl, Vec<Arc<dyn Ledger>>) {
    let url = new_database(server_of_all());
    let opened = (0..count).map(|_| open(&url, OpenOptions::default()));
    // All at once: the first makes the tables, the others find them.
    let ledgers = try_join_all(opened).await.unwrap();
    (url, ledgers)
}

fn submitting(seq: u32) -> Vec<restore_model::Event> {
    vec![event(seq, at(1), EventKind::Submitting { attempt: 1, step: 0 })]
}

async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn epoch(url: &LedgerUrl, id: RestoreId) -> i64 {
    let query = sqlx::query_scalar("select epoch from restores where id = $1").bind(id.to_string());
    query.fetch_one(&mut raw(url).await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_on_many_replicas_at_once_is_one_restore() {
    let (_, ledgers) = replicas(3).await;
    for round in 0..10 {
        let (key, disk) = (format!("k{round}"), format!("v{round}"));
        let asks = (0..12).map(|n| {
            let (ledger, new) = (Arc::clone(&ledgers[n % 3]), ask("ann", Some(&key), volume(&disk), round));
            tokio::spawn(async move { ledger.accept(new).await.unwrap() })
        });
        let answers: Vec<Accept> = join_all(asks).await.into_iter().map(Result::unwrap).collect();
        let new: Vec<&Entry> = answers
            .iter()
            .filter_map(|a| if let Accept::New(entry) = a { Some(entry) } else { None })
            .collect();
        assert_eq!(new.len(), 1, "{answers:?}");
        assert_eq!(answers.iter().filter(|a| **a == Accept::Replayed(new[0].clone())).count(), 11);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clashing_targets_on_two_replicas_at_once_are_one_restore() {
    let (_, ledgers) = replicas(2).await;
    for round in 0..20 {
        let disk = format!("v{round}");
        let whole = ask("ann", None, server(&format!("s{round}"), &["w", &disk]), round);
        let part = ask("bob", None, volume(&disk), round);
        let (whole, part) = tokio::join!(ledgers[0].accept(whole), ledgers[1].accept(part));
        let (whole, part) = (whole.unwrap(), part.unwrap());
        let (winner, loser) = if matches!(whole, Accept::New(_)) { (whole, part) } else { (part, whole) };
        let Accept::New(winner) = winner else { panic!("neither came in") };
        assert_eq!(loser, Accept::Busy(winner.clone()));
        push(&*ledgers[1], &winner, round, vec![EventKind::Cancelled]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_equal_request_on_another_replica_is_replayed() {
    let (_, ledgers) = replicas(2).await;
    let asks = (0..10).map(|n| ledgers[n % 2].accept(ask("ann", None, volume("v1"), 0)));
    let answers = join_all(asks).await;
    assert_eq!(answers.iter().filter(|a| matches!(a, Ok(Accept::New(_)))).count(), 1);
    assert_eq!(answers.iter().filter(|a| matches!(a, Ok(Accept::Replayed(_)))).count(), 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_holder_submits_and_everybody_may_write_what_became_known() {
    let (_, ledgers) = replicas(2).await;
    let entry = take(&*ledgers[0], ask("ann", None, volume("v1"), 0)).await;
    let id = entry.intent.id;
    assert!(
        matches!(ledgers[1].append(id, 1, submitting(2)).await, Err(LedgerError::NotHeld(of)) if of == id)
    );
    assert!(!ledgers[1].take(id).await.unwrap());
    assert!(ledgers[1].claim(Claim::All, 9).await.unwrap().is_empty());
    assert_eq!(ledgers[1].events(id).await.unwrap().len(), 1, "nothing of it was written");
    let entry = push(&*ledgers[1], &entry, 1, vec![EventKind::Checking]).await;
    ledgers[0].append(id, entry.state.seq, submitting(3)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_closed_replica_held_is_free_at_once() {
    let (url, ledgers) = replicas(2).await;
    let one = take(&*ledgers[0], ask("ann", None, volume("v1"), 0)).await;
    let two = take(&*ledgers[0], ask("ann", None, volume("v2"), 1)).await;
    let over = take(&*ledgers[0], ask("ann", None, volume("v3"), 2)).await;
    succeed(&*ledgers[0], &over, 3).await;
    let lease = ledgers[0].lease();
    ledgers[0].close().await;
    assert!(!lease.is_current());
    assert!(ledgers[1].take(two.intent.id).await.unwrap());
    assert_eq!(ledgers[1].claim(Claim::All, 9).await.unwrap(), std::slice::from_ref(&one));
    assert!(ledgers[1].claim(Claim::All, 9).await.unwrap().is_empty());
    assert_eq!((epoch(&url, one.intent.id).await, epoch(&url, two.intent.id).await), (2, 2));
    ledgers[1].append(one.intent.id, 1, submitting(2)).await.unwrap();
    assert!(ledgers[1].take(one.intent.id).await.unwrap());
    assert_eq!(epoch(&url, one.intent.id).await, 2, "it was its already");
}

/// A way to the server that can be cut.
struct Detour {
    url: LedgerUrl,
    /// From then on it takes connections and says nothing: the worst way to be away.
    silence: CancellationToken,
    /// Ends the connections there are; others may be made.
    sever: Arc<Notify>,
}

async fn detour(url: &LedgerUrl) -> Detour {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (server, port) = (server_of_all().port(), listener.local_addr().unwrap().port());
    let text = url.to_string().replace(&format!(":{server}/"), &format!(":{port}/"));
    let (silence, sever) = (CancellationToken::new(), Arc::new(Notify::new()));
    let detour = Detour { url: text.parse().unwrap(), silence: silence.clone(), sever: Arc::clone(&sever) };
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (silence, sever) = (silence.clone(), Arc::clone(&sever));
            tokio::spawn(async move {
                let relay = async {
                    let mut server = TcpStream::connect(("127.0.0.1", server)).await?;
                    copy_bidirectional(&mut client, &mut server).await
                };
                tokio::select! {
                    _ = relay => {}
                    () = sever.notified() => {}
                    () = silence.cancelled() => std::future::pending().await,
                }
            });
        }
    });
    detour
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_falls_silent_loses_what_it_held() {
    let url = new_database(server_of_all());
    let detour = detour(&url).await;
    let mut brief = OpenOptions::default();
    brief.lease = Duration::from_secs(2);
    let silent = open(&detour.url, brief.clone()).await.unwrap();
    let other = open(&url, OpenOptions::default()).await.unwrap();
    let entry = take(&*silent, ask("ann", None, volume("v1"), 0)).await;
    let id = entry.intent.id;
    // It lives for longer than one lease.
    let begin = Instant::now();
    let lease = silent.lease();
    while begin.elapsed() < brief.lease * 2 {
        assert!(lease.is_current());
        assert!(!other.take(id).await.unwrap());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    detour.silence.cancel();
    let cut_at = Instant::now();
    until("the other takes over", || async {
        let was_current = lease.is_current();
        let taken = other.claim(Claim::All, 9).await.unwrap();
        assert!(taken.is_empty() || !was_current, "taken over from one that believes in its lease");
        taken == [entry.clone()]
    })
    .await;
    assert!(cut_at.elapsed() < brief.lease * 4);
    assert_eq!(epoch(&url, id).await, 2);
    assert!(!lease.is_current());
    let begin = Instant::now();
    let refused = silent.append(id, 1, submitting(2)).await;
    assert!(matches!(refused, Err(LedgerError::Unavailable(_))), "{refused:?}");
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
}

/// Has each commit that writes restores in this manner take a second.
async fn commit_slowly(url: &LedgerUrl, manner: &str) {
    let slowly = format!(
        "create function slowly() returns trigger language plpgsql as
           'begin perform pg_sleep(1); return null; end';
         create constraint trigger slowly after {manner} on restores deferrable initially deferred
           for each row execute function slowly()"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(slowly)).execute(&mut raw(url).await).await.unwrap();
}

/// Until one of those is under way.
async fn until_it_commits(url: &LedgerUrl) {
    let committing = "select count(*) from pg_stat_activity
        where datname = current_database() and query ilike 'commit' and wait_event = 'PgSleep'";
    until("it commits", || async {
        sqlx::query_scalar::<_, i64>(committing).fetch_one(&mut raw(url).await).await.unwrap() == 1
    })
    .await;
}

/// The answer to a commit is lost. Nobody works on what came in by it, so it must not stay held.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_in_unheard_is_free() {
    let url = new_database(server_of_all());
    let detour = detour(&url).await;
    let deaf = open(&detour.url, OpenOptions::default()).await.unwrap();
    let other = open(&url, OpenOptions::default()).await.unwrap();
    commit_slowly(&url, "insert").await;
    let new = ask("ann", Some("k"), volume("v1"), 0);
    let id = new.intent.id;
    let asked = tokio::spawn({
        let (deaf, new) = (Arc::clone(&deaf), new.clone());
        async move { deaf.accept(new).await }
    });
    until_it_commits(&url).await;
    detour.sever.notify_waiters();
    let unheard = asked.await.unwrap();
    assert!(matches!(unheard, Err(LedgerError::Unavailable(_))), "{unheard:?}");
    until("it is in", || async { other.get(id).await.unwrap().is_some() }).await;

    assert!(other.claim(Claim::All, 9).await.unwrap().is_empty(), "its holder lives");
    // The next write finds the way again, and lets go of it.
    deaf.ready().await.unwrap();
    assert!(matches!(deaf.append(id, 1, submitting(2)).await, Err(LedgerError::NotHeld(_))));
    assert_eq!(other.claim(Claim::All, 9).await.unwrap().len(), 1);
    assert!(matches!(deaf.accept(new).await.unwrap(), Accept::Replayed(_)));
}

/// The same of a claim: what it brought is held by a process that does not know, until that claims again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_claimed_unheard_is_claimed_again() {
    let url = new_database(server_of_all());
    let first = open(&url, OpenOptions::default()).await.unwrap();
    let entry = take(&*first, ask("ann", None, volume("v1"), 0)).await;
    first.close().await;
    let detour = detour(&url).await;
    let deaf = open(&detour.url, OpenOptions::default()).await.unwrap();
    let other = open(&url, OpenOptions::default()).await.unwrap();
    commit_slowly(&url, "update").await;
    let claimed = tokio::spawn({
        let deaf = Arc::clone(&deaf);
        async move { deaf.claim(Claim::All, 9).await }
    });
    until_it_commits(&url).await;
    detour.sever.notify_waiters();
    let unheard = claimed.await.unwrap();
    assert!(matches!(unheard, Err(LedgerError::Unavailable(_))), "{unheard:?}");
    until("it is claimed", || async { epoch(&url, entry.intent.id).await == 2 }).await;

    assert!(other.claim(Claim::All, 9).await.unwrap().is_empty(), "its holder lives");
    until("it is found again", || async {
        deaf.claim(Claim::All, 9).await.is_ok_and(|again| again == [entry.clone()])
    })
    .await;
    assert_eq!(epoch(&url, entry.intent.id).await, 2, "nobody else had it meanwhile");
    assert!(deaf.claim(Claim::All, 9).await.unwrap().is_empty(), "once is enough");
}

/// Found silent by another, a replica begins a new term, and what it held before may be another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lapsed_lease_never_comes_back() {
    let (url, ledgers) = replicas(2).await;
    let entry = take(&*ledgers[0], ask("ann", None, volume("v1"), 0)).await;
    let kept = take(&*ledgers[0], ask("ann", None, volume("v2"), 1)).await;
    let id = entry.intent.id;
    let lease = ledgers[0].lease();
    let lapse = "update replicas set lease_until = clock_timestamp() - interval '1 second'
        where id = (select owner from restores where id = $1)";
    sqlx::query(lapse).bind(id.to_string()).execute(&mut raw(&url).await).await.unwrap();
    assert!(ledgers[1].take(id).await.unwrap());
    let refused = ledgers[0].append(id, 1, submitting(2)).await;
    assert!(matches!(refused, Err(LedgerError::NotHeld(of)) if of == id), "{refused:?}");
    assert!(!lease.is_current());
    assert!(ledgers[0].lease().is_current(), "there is a new one");
    // What nobody took it still holds, under the new one.
    ledgers[0].append(kept.intent.id, 1, submitting(2)).await.unwrap();
    ledgers[1].append(id, 1, submitting(2)).await.unwrap();
    assert_eq!(epoch(&url, id).await, 2);
}

/// As long as nobody came between, a renewal that is late is a renewal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_renewal_that_nobody_noticed_counts() {
    let (url, ledgers) = replicas(1).await;
    let entry = take(&*ledgers[0], ask("ann", None, volume("v1"), 0)).await;
    let lease = ledgers[0].lease();
    let lapse = "update replicas set lease_until = clock_timestamp() - interval '1 hour'";
    sqlx::query(lapse).execute(&mut raw(&url).await).await.unwrap();
    ledgers[0].append(entry.intent.id, 1, submitting(2)).await.unwrap();
    assert!(lease.is_current());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_is_one_replicas_alone() {
    let (_, ledgers) = replicas(4).await;
    for n in 0..60 {
        take(&*ledgers[3], ask("ann", None, volume(&format!("v{n}")), n)).await;
    }
    ledgers[3].close().await;
    let claims = (0..3).map(|n| {
        let ledger = Arc::clone(&ledgers[n]);
        tokio::spawn(async move {
            let mut claimed = Vec::new();
            while claimed.len() < 60 {
                let some = ledger.claim(Claim::All, 7).await.unwrap();
                assert!(some.len() <= 7 && some.is_sorted_by_key(|entry| entry.intent.id));
                if some.is_empty() {
                    break;
                }
                claimed.extend(some.into_iter().map(|entry| entry.intent.id));
            }
            claimed
        })
    });
    let claimed: Vec<RestoreId> = join_all(claims).await.into_iter().flat_map(Result::unwrap).collect();
    let once: BTreeSet<&RestoreId> = claimed.iter().collect();
    assert_eq!((claimed.len(), once.len()), (60, 60));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_skips_nothing_that_several_replicas_commit_at_once() {
    const EACH: usize = 40;
    let (_, ledgers) = replicas(3).await;
    let writers: Vec<_> = (0..3)
        .flat_map(|replica| (0..EACH).map(move |n| (replica, n)))
        .map(|(replica, n)| {
            let ledger = Arc::clone(&ledgers[replica]);
            tokio::spawn(async move {
                let entry = take(&*ledger, ask("ann", None, volume(&format!("v{replica}-{n}")), 0)).await;
                succeed(&*ledger, &entry, 1).await;
            })
        })
        .collect();
    let readers = ledgers.iter().map(|ledger| async {
        let (mut after, mut seen) = (Position::START, Vec::new());
        while seen.len() < 3 * EACH * 4 {
            for told in told(&**ledger, after, 1).await {
                assert!(told.position > after);
                after = told.position;
                seen.push((told.entry.intent.id, told.event.seq));
            }
        }
        seen
    });
    let seen = join_all(readers).await;
    join_all(writers).await.into_iter().for_each(Result::unwrap);
    let once: BTreeSet<_> = seen[0].iter().collect();
    assert_eq!((once.len(), seen[0].len()), (3 * EACH * 4, 3 * EACH * 4));
    assert!(seen.iter().all(|of_one| *of_one == seen[0]), "all read the same");
}

/// One transaction that is slow to commit holds the feed back, and is then told in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_waits_for_the_slowest() {
    let (url, ledgers) = replicas(1).await;
    let mut slow = raw(&url).await;
    sqlx::query("begin").execute(&mut slow).await.unwrap();
    sqlx::query("select pg_current_xact_id()").execute(&mut slow).await.unwrap();
    let entry = take(&*ledgers[0], ask("ann", None, volume("v1"), 0)).await;
    assert!(ledgers[0].feed(Position::START, 9).await.unwrap().is_empty());
    let end = ledgers[0].position().await.unwrap();
    sqlx::query("commit").execute(&mut slow).await.unwrap();
    let after = told(&*ledgers[0], end, 1).await;
    assert_eq!((after.len(), &after[0].entry), (1, &entry));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_read_is_one_replicas() {
    let (_, ledgers) = replicas(3).await;
    let entry = take(&*ledgers[0], ask("ann", None, volume("v1"), 0)).await;
    let brief = Duration::from_millis(300);
    for _ in 0..3 {
        let reserved =
            join_all(ledgers.iter().map(|ledger| ledger.reserve_read(entry.intent.id, brief))).await;
        assert_eq!(reserved.into_iter().filter(|reserved| matches!(reserved, Ok(true))).count(), 1);
        until("the next read is free", || async {
            ledgers[0].reserve_read(entry.intent.id, Duration::ZERO).await.unwrap()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_is_one_replicas_at_a_time() {
    let (_, ledgers) = replicas(3).await;
    for n in 0..30 {
        take(&*ledgers[0], ask("ann", None, volume(&format!("v{n}")), n)).await;
    }
    let all = told(&*ledgers[0], Position::START, 30).await;
    let message_refs: Vec<_> = all
        .iter()
        .map(|told| restore_ledger::MessageRef { restore: told.entry.intent.id, seq: told.event.seq })
        .collect();
    let posts = ledgers.iter().map(|ledger| ledger.post("h", None, all[29].position, message_refs.clone()));
    assert_eq!(join_all(posts).await.into_iter().filter(|posted| matches!(posted, Ok(true))).count(), 1);
    let due = (0..12).map(|n| ledgers[n % 3].due("h", at(0), Duration::from_secs(60), 5));
    let due: Vec<_> = join_all(due).await.into_iter().flat_map(Result::unwrap).collect();
    let once: BTreeSet<_> = due.iter().map(|due| due.restore).collect();
    assert_eq!((due.len(), once.len()), (30, 30));
}
