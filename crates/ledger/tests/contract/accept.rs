//! Who comes in: I3, I4, and the duplicate without a key.

use std::sync::Arc;

use futures_util::future::join_all;
use restore_ledger::{Accept, AcceptClock, Ledger, LedgerError, NewEntry};
use restore_model::{Clock, EventKind, Origin, RestoreRequest, Source, Status, Timestamp};

use crate::support::{
    DUPLICATE_WINDOW, KEY_WINDOW, ask, at, event, problem, push, server, started, succeed, take, unfinished,
    volume,
};

crate::on_every_store!(
    a_new_restore_is_there_at_once,
    a_key_is_one_restore,
    a_key_keeps_its_request_when_the_routes_change,
    f46_a_repetition_without_a_key_is_one_when_the_routes_change,
    a_key_answers_for_its_window,
    keys_of_two_callers_are_two_keys,
    a_new_key_is_a_new_intent_but_the_lock_holds,
    an_equal_request_without_a_key_is_replayed,
    what_had_no_effect_may_be_asked_again_at_once,
    the_last_end_with_an_effect_answers,
    what_was_overwritten_since_is_restored_again,
    a_restore_of_one_of_its_disks_overwrites_a_server,
    what_came_in_later_counts_as_later_whatever_its_clock_says,
    a_held_target_is_busy,
    a_server_and_its_disk_exclude_each_other,
    projects_do_not_share_targets,
    fifty_with_one_key_are_one_restore,
    two_clashing_targets_at_once_are_one_restore,
    equal_requests_at_once_are_one_restore,
    a_restore_that_begins_at_its_end_holds_nothing,
    an_illegal_beginning_writes_nothing,
    an_id_is_used_once,
    a_caller_at_its_maximum_of_keys_gets_an_error,
    an_acceptance_is_dated_when_the_ledger_decides,
);

async fn a_new_restore_is_there_at_once(ledger: Arc<dyn Ledger>) {
    let new = ask("ann", Some("k"), server("s1", &["v1", "v2"]), 0);
    let entry = take(&*ledger, new.clone()).await;
    assert_eq!((&*entry.intent, entry.state.status), (&new.intent, Status::Accepted));
    assert_eq!(ledger.get(new.intent.id).await.unwrap(), Some(entry));
    assert_eq!(ledger.events(new.intent.id).await.unwrap(), new.events);
}

async fn a_key_is_one_restore(ledger: Arc<dyn Ledger>) {
    let first = take(&*ledger, ask("ann", Some("k"), volume("v1"), 0)).await;
    let again = ledger.accept(ask("ann", Some("k"), volume("v1"), 1)).await.unwrap();
    assert_eq!(again, Accept::Replayed(first.clone()));
    let other = ledger.accept(ask("ann", Some("k"), volume("v2"), 2)).await.unwrap();
    assert_eq!(other, Accept::KeyConflict(first.intent.id));
}

/// What the routes make of a request is not its content; the names that a compatibility endpoint has for backups are.
async fn a_key_keeps_its_request_when_the_routes_change(ledger: Arc<dyn Ledger>) {
    let first = take(&*ledger, ask("ann", Some("k"), volume("v1"), 0)).await;
    let mut moved = ask("ann", Some("k"), volume("v1"), 1);
    moved.intent.route.generation = "vbs-v2".to_owned();
    moved.intent.fingerprint = moved.intent.own_fingerprint();
    assert_eq!(ledger.accept(moved.clone()).await.unwrap(), Accept::Replayed(first.clone()));
    let mut at_a_door = moved;
    at_a_door.intent.id = ask("ann", None, volume("v1"), 2).intent.id;
    at_a_door.intent.origin = Some(Origin {
        source_api: "vbs-v2".to_owned(),
        generation: "vbs-v2".to_owned(),
        upstream: None,
        closed: false,
        echo: serde_json::Value::Null,
    });
    assert_eq!(ledger.accept(at_a_door).await.unwrap(), Accept::KeyConflict(first.intent.id));
}

/// F46: what the routes make of a request is not its content, also where it has no key.
async fn f46_a_repetition_without_a_key_is_one_when_the_routes_change(ledger: Arc<dyn Ledger>) {
    let moved = |seconds| {
        let mut moved = ask("ann", None, volume("v1"), seconds);
        moved.intent.route.generation = "vbs-v2".to_owned();
        moved
    };
    let first = take(&*ledger, ask("ann", None, volume("v1"), 0)).await;
    assert_eq!(ledger.accept(moved(1)).await.unwrap(), Accept::Replayed(first.clone()));
    let ended = succeed(&*ledger, &first, 2).await;
    assert_eq!(ledger.accept(moved(3)).await.unwrap(), Accept::Replayed(ended.clone()));
    // In the names of another generation the same words are another backup.
    let mut at_a_door = moved(4);
    at_a_door.intent.origin = Some(Origin {
        source_api: "vbs-v2".to_owned(),
        generation: "vbs-v2".to_owned(),
        upstream: None,
        closed: false,
        echo: serde_json::Value::Null,
    });
    take(&*ledger, at_a_door).await;
}

async fn a_key_answers_for_its_window(ledger: Arc<dyn Ledger>) {
    let open = take(&*ledger, ask("ann", Some("k"), volume("v1"), 0)).await;
    // Unfinished: however late.
    let late = ledger.accept(ask("ann", Some("k"), volume("v1"), 10 * KEY_WINDOW)).await.unwrap();
    assert_eq!(late, Accept::Replayed(open.clone()));

    let end = 20 * KEY_WINDOW;
    let ended = push(&*ledger, &open, end, vec![EventKind::Rejected { problem: problem() }]).await;
    let inside = ask("ann", Some("k"), volume("v1"), end + KEY_WINDOW);
    assert_eq!(ledger.accept(inside).await.unwrap(), Accept::Replayed(ended));
    let conflict = ask("ann", Some("k"), volume("v9"), end + KEY_WINDOW);
    assert_eq!(ledger.accept(conflict).await.unwrap(), Accept::KeyConflict(open.intent.id));

    // Past the window the key is free, and belongs to whoever takes it next.
    let next = take(&*ledger, ask("ann", Some("k"), volume("v9"), end + KEY_WINDOW + 1)).await;
    let again = ask("ann", Some("k"), volume("v9"), end + KEY_WINDOW + 2);
    assert_eq!(ledger.accept(again).await.unwrap(), Accept::Replayed(next.clone()));
    let old = ask("ann", Some("k"), volume("v1"), end + KEY_WINDOW + 3);
    assert_eq!(ledger.accept(old).await.unwrap(), Accept::KeyConflict(next.intent.id));
}

async fn keys_of_two_callers_are_two_keys(ledger: Arc<dyn Ledger>) {
    let ann = take(&*ledger, ask("ann", Some("k"), volume("v1"), 0)).await;
    let bob = take(&*ledger, ask("bob", Some("k"), volume("v2"), 0)).await;
    assert_ne!(ann.intent.id, bob.intent.id);
}

async fn a_new_key_is_a_new_intent_but_the_lock_holds(ledger: Arc<dyn Ledger>) {
    let first = take(&*ledger, ask("ann", Some("k1"), volume("v1"), 0)).await;
    let second = ask("ann", Some("k2"), volume("v1"), 1);
    assert_eq!(ledger.accept(second).await.unwrap(), Accept::Busy(first.clone()));
    succeed(&*ledger, &first, 2).await;
    take(&*ledger, ask("ann", Some("k2"), volume("v1"), 3)).await;
}

async fn an_equal_request_without_a_key_is_replayed(ledger: Arc<dyn Ledger>) {
    let first = take(&*ledger, ask("ann", None, volume("v1"), 0)).await;
    let while_open = ledger.accept(ask("ann", None, volume("v1"), 9999)).await.unwrap();
    assert_eq!(while_open, Accept::Replayed(first.clone()));
    // Of the same caller only.
    let stranger = ledger.accept(ask("bob", None, volume("v1"), 1)).await.unwrap();
    assert_eq!(stranger, Accept::Busy(first.clone()));

    let ended = succeed(&*ledger, &first, 10).await;
    let inside = ledger.accept(ask("ann", None, volume("v1"), 10 + DUPLICATE_WINDOW)).await.unwrap();
    assert_eq!(inside, Accept::Replayed(ended));
    take(&*ledger, ask("bob", None, volume("v2"), 11)).await;
    let next = take(&*ledger, ask("ann", None, volume("v1"), 11 + DUPLICATE_WINDOW)).await;
    assert_ne!(next.intent.id, first.intent.id);
}

async fn what_had_no_effect_may_be_asked_again_at_once(ledger: Arc<dyn Ledger>) {
    for (turn, end) in [EventKind::Rejected { problem: problem() }, EventKind::Cancelled, EventKind::Expired]
        .into_iter()
        .enumerate()
    {
        let seconds = i64::try_from(turn).unwrap();
        let entry = take(&*ledger, ask("ann", None, volume("v1"), seconds)).await;
        push(&*ledger, &entry, seconds, vec![end]).await;
    }
    let entry = take(&*ledger, ask("ann", None, volume("v1"), 4)).await;
    let failed =
        vec![EventKind::Submitting { attempt: 1, step: 0 }, EventKind::Failed { problem: problem() }];
    let failed = push(&*ledger, &entry, 5, failed).await;
    let again = ledger.accept(ask("ann", None, volume("v1"), 6)).await.unwrap();
    assert_eq!(again, Accept::Replayed(failed), "what may have changed a disk is not sent again");
}

async fn the_last_end_with_an_effect_answers(ledger: Arc<dyn Ledger>) {
    let first = take(&*ledger, ask("ann", Some("k1"), volume("v1"), 0)).await;
    succeed(&*ledger, &first, 1).await;
    let second = take(&*ledger, ask("ann", Some("k2"), volume("v1"), 2)).await;
    let second = succeed(&*ledger, &second, 3).await;
    let third = take(&*ledger, ask("ann", Some("k3"), volume("v1"), 4)).await;
    push(&*ledger, &third, 5, vec![EventKind::Cancelled]).await;
    let again = ledger.accept(ask("ann", None, volume("v1"), 6)).await.unwrap();
    assert_eq!(again, Accept::Replayed(second));
}

/// The caller who hears of a success is to find that backup on the disk, and not another one.
async fn what_was_overwritten_since_is_restored_again(ledger: Arc<dyn Ledger>) {
    let of = |backup: &str| RestoreRequest {
        source: Source { backup_id: backup.parse().unwrap(), checkpoint_id: None },
        ..volume("v1")
    };
    let third = take(&*ledger, ask("ann", None, of("b3"), 0)).await;
    let third = succeed(&*ledger, &third, 1).await;
    // What had no effect leaves it as it was, and so does what went on elsewhere.
    let refused = take(&*ledger, ask("bob", None, of("b2"), 2)).await;
    push(&*ledger, &refused, 3, vec![EventKind::Rejected { problem: problem() }]).await;
    let elsewhere = take(&*ledger, ask("bob", None, volume("v2"), 3)).await;
    succeed(&*ledger, &elsewhere, 3).await;
    let replayed = ledger.accept(ask("ann", None, of("b3"), 4)).await.unwrap();
    assert_eq!(replayed, Accept::Replayed(third.clone()));

    let second = take(&*ledger, ask("bob", Some("k"), of("b2"), 5)).await;
    // What may be changing it right now does not answer for it either.
    let meanwhile = ledger.accept(ask("ann", None, of("b3"), 6)).await.unwrap();
    assert_eq!(meanwhile, Accept::Busy(second.clone()));
    let failed =
        vec![EventKind::Submitting { attempt: 1, step: 0 }, EventKind::Failed { problem: problem() }];
    push(&*ledger, &second, 7, failed).await;
    let again = take(&*ledger, ask("ann", None, of("b3"), 8)).await;
    assert_ne!(again.intent.id, third.intent.id);
    // It is the one that answers from now on, while it runs and when it is over.
    assert_eq!(ledger.accept(ask("ann", None, of("b3"), 8)).await.unwrap(), Accept::Replayed(again.clone()));
    let again = succeed(&*ledger, &again, 9).await;
    assert_eq!(ledger.accept(ask("ann", None, of("b3"), 10)).await.unwrap(), Accept::Replayed(again));
}

async fn a_restore_of_one_of_its_disks_overwrites_a_server(ledger: Arc<dyn Ledger>) {
    let whole = take(&*ledger, ask("ann", None, server("s1", &["v1", "v2"]), 0)).await;
    let whole = succeed(&*ledger, &whole, 1).await;
    let disk = take(&*ledger, ask("ann", None, volume("V2"), 2)).await;
    let disk = succeed(&*ledger, &disk, 3).await;
    // The disk is what it was restored to, and the server is not.
    assert_eq!(ledger.accept(ask("ann", None, volume("v2"), 4)).await.unwrap(), Accept::Replayed(disk));
    let again = take(&*ledger, ask("ann", None, server("s1", &["v1", "v2"]), 5)).await;
    assert_ne!(again.intent.id, whole.intent.id);
}

async fn what_came_in_later_counts_as_later_whatever_its_clock_says(ledger: Arc<dyn Ledger>) {
    let first = take(&*ledger, ask("ann", None, volume("v1"), 600)).await;
    succeed(&*ledger, &first, 601).await;
    let other = RestoreRequest {
        source: Source { backup_id: "b2".parse().unwrap(), checkpoint_id: None },
        ..volume("v1")
    };
    let slow = take(&*ledger, ask("bob", None, other, 0)).await;
    assert!(slow.intent.id < first.intent.id);
    succeed(&*ledger, &slow, 1).await;
    take(&*ledger, ask("ann", None, volume("v1"), 602)).await;
}

async fn a_held_target_is_busy(ledger: Arc<dyn Ledger>) {
    let holder = take(&*ledger, ask("ann", None, volume("C0FFEE-01"), 0)).await;
    let running =
        push(&*ledger, &holder, 1, vec![EventKind::Submitting { attempt: 1, step: 0 }, started("h")]).await;
    let other = ledger.accept(ask("bob", None, volume("c0ffee01"), 2)).await.unwrap();
    assert_eq!(other, Accept::Busy(running), "another spelling of the same disk");
}

async fn a_server_and_its_disk_exclude_each_other(ledger: Arc<dyn Ledger>) {
    let whole = take(&*ledger, ask("ann", None, server("s1", &["v1", "v2"]), 0)).await;
    for request in [volume("v2"), server("s1", &["v9"]), server("s2", &["v1"])] {
        let answer = ledger.accept(ask("bob", Some("k"), request, 1)).await.unwrap();
        assert_eq!(answer, Accept::Busy(whole.clone()));
    }
    // Nothing of the refused requests stays behind: not their other locks, not their key.
    let free = take(&*ledger, ask("bob", Some("k"), server("s2", &["v9"]), 2)).await;
    let disk = ledger.accept(ask("ann", None, volume("v9"), 3)).await.unwrap();
    assert_eq!(disk, Accept::Busy(free));
}

async fn projects_do_not_share_targets(ledger: Arc<dyn Ledger>) {
    take(&*ledger, ask("ann", None, volume("v1"), 0)).await;
    let elsewhere = RestoreRequest { project_id: "f".repeat(32).parse().unwrap(), ..volume("v1") };
    take(&*ledger, ask("ann", None, elsewhere, 1)).await;
}

async fn fifty_with_one_key_are_one_restore(ledger: Arc<dyn Ledger>) {
    let tasks = (0..50).map(|n| {
        let ledger = Arc::clone(&ledger);
        tokio::spawn(async move { ledger.accept(ask("ann", Some("k"), volume("v1"), n)).await.unwrap() })
    });
    let answers: Vec<Accept> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    let new: Vec<_> =
        answers.iter().filter_map(|a| if let Accept::New(entry) = a { Some(entry) } else { None }).collect();
    assert_eq!(new.len(), 1);
    let replayed = answers.iter().filter(|a| **a == Accept::Replayed(new[0].clone())).count();
    assert_eq!(replayed, 49);
}

async fn two_clashing_targets_at_once_are_one_restore(ledger: Arc<dyn Ledger>) {
    for round in 0..20 {
        let disk = format!("v{round}");
        let whole = ask("ann", None, server(&format!("s{round}"), &["w", &disk]), round);
        let part = ask("bob", None, volume(&disk), round);
        let (whole, part) = tokio::join!(ledger.accept(whole), ledger.accept(part));
        let (whole, part) = (whole.unwrap(), part.unwrap());
        let (winner, loser) = if matches!(whole, Accept::New(_)) { (whole, part) } else { (part, whole) };
        let Accept::New(winner) = winner else { panic!("neither came in") };
        assert_eq!(loser, Accept::Busy(winner.clone()));
        push(&*ledger, &winner, round, vec![EventKind::Cancelled]).await;
    }
}

async fn equal_requests_at_once_are_one_restore(ledger: Arc<dyn Ledger>) {
    let asks = (0..20).map(|n| ledger.accept(ask("ann", None, volume("v1"), n)));
    let answers = join_all(asks).await;
    let new = answers.iter().filter(|a| matches!(a, Ok(Accept::New(_)))).count();
    let replayed = answers.iter().filter(|a| matches!(a, Ok(Accept::Replayed(_)))).count();
    assert_eq!((new, replayed), (1, 19));
}

async fn a_restore_that_begins_at_its_end_holds_nothing(ledger: Arc<dyn Ledger>) {
    let mut new = ask("ann", Some("k"), volume("v1"), 0);
    new.events.push(event(2, at(0), EventKind::Rejected { problem: problem() }));
    let entry = take(&*ledger, new).await;
    assert_eq!(entry.state.status, Status::Rejected);
    assert!(unfinished(&*ledger).await.is_empty());
    take(&*ledger, ask("ann", None, volume("v1"), 1)).await;
}

async fn an_illegal_beginning_writes_nothing(ledger: Arc<dyn Ledger>) {
    let mut new = ask("ann", Some("k"), volume("v1"), 0);
    new.events.push(event(2, at(0), EventKind::Succeeded));
    let id = new.intent.id;
    assert!(matches!(ledger.accept(new).await, Err(LedgerError::Illegal(_))));
    assert_eq!(ledger.get(id).await.unwrap(), None);
    take(&*ledger, ask("ann", Some("k"), volume("v1"), 1)).await;
}

async fn an_id_is_used_once(ledger: Arc<dyn Ledger>) {
    let entry = take(&*ledger, ask("ann", None, volume("v1"), 0)).await;
    let mut other = ask("bob", Some("k"), volume("v2"), 1);
    other.intent.id = entry.intent.id;
    assert!(matches!(ledger.accept(other).await, Err(LedgerError::Stale(_))));
    assert_eq!(ledger.get(entry.intent.id).await.unwrap(), Some(entry));
    take(&*ledger, ask("bob", Some("k"), volume("v2"), 2)).await;
}

async fn a_caller_at_its_maximum_of_keys_gets_an_error(ledger: Arc<dyn Ledger>) {
    let no_more = |new: NewEntry| NewEntry { may_keep_key: false, ..new };
    let kept = take(&*ledger, ask("ann", Some("k"), volume("v1"), 0)).await;
    let new = no_more(ask("ann", Some("k2"), volume("v2"), 1));
    assert_eq!(ledger.accept(new.clone()).await.unwrap(), Accept::TooManyKeys);
    assert_eq!(ledger.get(new.intent.id).await.unwrap(), None);
    let known = no_more(ask("ann", Some("k"), volume("v1"), 1));
    assert_eq!(ledger.accept(known).await.unwrap(), Accept::Replayed(kept));
    take(&*ledger, no_more(ask("ann", None, volume("v2"), 1))).await;
}

/// The clock of a process that asked at one time and is heard at a later one.
struct Later(Timestamp);

impl Clock for Later {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// A process may be stopped between the arrival of a request and the decision. What it then brings in must not seem to
/// have been open while another restore held the target.
async fn an_acceptance_is_dated_when_the_ledger_decides(ledger: Arc<dyn Ledger>) {
    let heard =
        |new: NewEntry, seconds| NewEntry { clock: Some(AcceptClock(Arc::new(Later(at(seconds))))), ..new };
    let first = take(&*ledger, ask("ann", Some("k"), volume("v1"), 0)).await;
    let first = succeed(&*ledger, &first, 20).await;
    let ended = first.state.finished_at.unwrap();

    let second = take(&*ledger, heard(ask("bob", None, volume("v1"), 10), 30)).await;
    assert_eq!(second.intent.created_at, at(30));
    assert!(second.intent.created_at > ended);
    assert_eq!(ledger.get(second.intent.id).await.unwrap(), Some(second.clone()));
    let events = ledger.events(second.intent.id).await.unwrap();
    assert!(events.iter().all(|event| event.at == at(30)), "{events:?}");

    // The window of a key is judged by the same time.
    let within = heard(ask("ann", Some("k"), volume("v1"), 0), 20 + KEY_WINDOW - 1);
    assert_eq!(ledger.accept(within).await.unwrap(), Accept::Replayed(first));
    succeed(&*ledger, &second, 40).await;
    let past = take(&*ledger, heard(ask("ann", Some("k"), volume("v1"), 0), 20 + KEY_WINDOW + 1)).await;
    assert_eq!(past.intent.created_at, at(20 + KEY_WINDOW + 1));
}
