//! What happens to a restore that is in: I5, I6 and I8 as the store keeps them.

use std::sync::Arc;

use restore_ledger::{Accept, Ledger, LedgerError};
use restore_model::{Cause, EventKind, RestoreId, Status};

use crate::support::{ask, at, event, problem, push, server, started, succeed, take, unfinished, volume};

crate::on_every_store!(
    events_move_the_state,
    no_events_change_nothing,
    a_stale_number_writes_nothing,
    of_two_writers_one_is_stale,
    an_illegal_event_writes_nothing_of_its_batch,
    a_final_event_releases_every_lock,
    a_late_anomaly_releases_nobody_elses_lock,
    an_unknown_restore_is_not_found,
    a_restart_ends_nothing,
);

async fn events_move_the_state(ledger: Arc<dyn Ledger>) {
    let entry = take(&*ledger, ask("ann", None, volume("v1"), 0)).await;
    let entry =
        push(&*ledger, &entry, 1, vec![EventKind::Submitting { attempt: 1, step: 0 }, started("h")]).await;
    assert_eq!((entry.state.status, entry.state.seq), (Status::Running, 3));
    assert_eq!(ledger.get(entry.intent.id).await.unwrap(), Some(entry.clone()));
    let words: Vec<_> =
        ledger.events(entry.intent.id).await.unwrap().iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(words, ["accepted", "submitting", "started"]);
}

async fn no_events_change_nothing(ledger: Arc<dyn Ledger>) {
    let entry = take(&*ledger, ask("ann", None, volume("v1"), 0)).await;
    assert_eq!(ledger.append(entry.intent.id, 1, vec![]).await.unwrap(), entry);
    assert!(matches!(ledger.append(entry.intent.id, 2, vec![]).await, Err(LedgerError::Stale(_))));
}

async fn a_stale_number_writes_nothing(ledger: Arc<dyn Ledger>) {
    let entry = take(&*ledger, ask("ann", None, volume("v1"), 0)).await;
    let id = entry.intent.id;
    for seen in [0, 2, 7] {
        let events = vec![event(seen + 1, at(1), EventKind::Checking)];
        assert!(
            matches!(ledger.append(id, seen, events).await, Err(LedgerError::Stale(stale)) if stale == id)
        );
    }
    assert_eq!(ledger.get(id).await.unwrap(), Some(entry));
    assert_eq!(ledger.events(id).await.unwrap().len(), 1);
}

async fn of_two_writers_one_is_stale(ledger: Arc<dyn Ledger>) {
    let entry = take(&*ledger, ask("ann", None, volume("v1"), 0)).await;
    let id = entry.intent.id;
    let submit =
        || ledger.append(id, 1, vec![event(2, at(1), EventKind::Submitting { attempt: 1, step: 0 })]);
    let (one, two) = tokio::join!(submit(), submit());
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    assert!(matches!(one.and(two), Err(LedgerError::Stale(_))));
}

async fn an_illegal_event_writes_nothing_of_its_batch(ledger: Arc<dyn Ledger>) {
    let entry = take(&*ledger, ask("ann", None, volume("v1"), 0)).await;
    let id = entry.intent.id;
    let events = vec![event(2, at(1), EventKind::Checking), event(3, at(1), EventKind::Succeeded)];
    assert!(matches!(ledger.append(id, 1, events).await, Err(LedgerError::Illegal(_))));
    let gap = vec![event(3, at(1), EventKind::Checking)];
    assert!(matches!(ledger.append(id, 1, gap).await, Err(LedgerError::Illegal(_))));
    assert_eq!(ledger.get(id).await.unwrap(), Some(entry.clone()));
    assert_eq!(ledger.events(id).await.unwrap().len(), 1);
    // Nor were its locks let go.
    assert_eq!(ledger.accept(ask("bob", None, volume("v1"), 2)).await.unwrap(), Accept::Busy(entry));
}

async fn a_final_event_releases_every_lock(ledger: Arc<dyn Ledger>) {
    let entry = take(&*ledger, ask("ann", None, server("s1", &["v1", "v2"]), 0)).await;
    let ended = succeed(&*ledger, &entry, 1).await;
    assert_eq!(ended.state.finished_at, Some(at(1)));
    assert!(unfinished(&*ledger).await.is_empty());
    for (request, key) in [(volume("v1"), "a"), (volume("v2"), "b"), (server("s1", &["v3"]), "c")] {
        take(&*ledger, ask("ann", Some(key), request, 2)).await;
    }
}

async fn a_late_anomaly_releases_nobody_elses_lock(ledger: Arc<dyn Ledger>) {
    let first = take(&*ledger, ask("ann", None, volume("v1"), 0)).await;
    let first = succeed(&*ledger, &first, 1).await;
    let second = take(&*ledger, ask("bob", None, volume("v1"), 2)).await;
    let anomaly = EventKind::Anomaly { what: "a second log".into() };
    let first = push(&*ledger, &first, 3, vec![anomaly]).await;
    assert_eq!((first.state.status, first.state.finished_at), (Status::Succeeded, Some(at(1))));
    assert_eq!(ledger.accept(ask("eve", None, volume("v1"), 4)).await.unwrap(), Accept::Busy(second));
}

async fn an_unknown_restore_is_not_found(ledger: Arc<dyn Ledger>) {
    let id = RestoreId::at(at(0));
    let events = vec![event(2, at(0), EventKind::Checking)];
    assert!(
        matches!(ledger.append(id, 1, events).await, Err(LedgerError::NotFound(missing)) if missing == id)
    );
    assert_eq!(ledger.get(id).await.unwrap(), None);
    assert!(ledger.events(id).await.unwrap().is_empty());
}

async fn a_restart_ends_nothing(ledger: Arc<dyn Ledger>) {
    let entry = take(&*ledger, ask("ann", None, volume("v1"), 0)).await;
    let mut end = event(2, at(1), EventKind::Rejected { problem: problem() });
    end.cause = Cause::Restart;
    assert!(matches!(ledger.append(entry.intent.id, 1, vec![end]).await, Err(LedgerError::Illegal(_))));
    assert_eq!(unfinished(&*ledger).await, [entry]);
}
