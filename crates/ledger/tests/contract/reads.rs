//! Lists, the unfinished, handles.

use std::sync::Arc;

use restore_ledger::memory::MemoryLedger;
use restore_ledger::{Accept, Entry, Ledger, LedgerError, Query, Unfinished};
use restore_model::{EventKind, RestoreRequest, Status};

use crate::support::{
    KEY_WINDOW, PROJECT, ask, at, event, push, server, started, succeed, take, unfinished, volume,
};

crate::on_every_store!(
    lists_are_newest_first_and_paged,
    every_filter_filters,
    the_unfinished_are_oldest_first,
    the_unfinished_are_counted_and_nothing_else_is,
    f48_a_task_belongs_to_one_restore,
    a_live_store_is_ready_and_a_closed_one_answers_no_more_writes,
);

async fn lists_are_newest_first_and_paged(ledger: Arc<dyn Ledger>) {
    let mut ids = Vec::new();
    for n in 0..7 {
        ids.push(take(&*ledger, ask("ann", None, volume(&format!("v{n}")), n)).await.intent.id);
    }
    ids.reverse();
    let mut seen = Vec::new();
    let mut query = Query { limit: 3, ..Query::default() };
    loop {
        let page = ledger.list(query.clone()).await.unwrap();
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        query.before = Some(last.intent.id);
        seen.extend(page.iter().map(|entry| entry.intent.id));
    }
    assert_eq!(seen, ids);
}

async fn every_filter_filters(ledger: Arc<dyn Ledger>) {
    let elsewhere = RestoreRequest { project_id: "f".repeat(32).parse().unwrap(), ..volume("v1") };
    let whole = take(&*ledger, ask("ann", None, server("S-1", &["C0FFEE-01", "v2"]), 0)).await;
    let disk = take(&*ledger, ask("bob", None, volume("v3"), 1)).await;
    let other = take(&*ledger, ask("ann", None, elsewhere, 2)).await;
    let disk = succeed(&*ledger, &disk, 3).await;

    let all = || Query { limit: 10, ..Query::default() };
    let cases: Vec<(Query, Vec<&Entry>)> = vec![
        (all(), vec![&other, &disk, &whole]),
        (Query { caller: Some("ann".into()), ..all() }, vec![&other, &whole]),
        (Query { project_id: Some(PROJECT.parse().unwrap()), ..all() }, vec![&disk, &whole]),
        (Query { status: vec![Status::Succeeded], ..all() }, vec![&disk]),
        (Query { status: vec![Status::Succeeded, Status::Accepted], ..all() }, vec![&other, &disk, &whole]),
        (Query { status: vec![Status::Unknown], ..all() }, vec![]),
        (Query { target: Some("c0ffee01".into()), ..all() }, vec![&whole]),
        (Query { target: Some("s1".into()), ..all() }, vec![&whole]),
        (Query { target: Some("v3".into()), ..all() }, vec![&disk]),
        (Query { target: Some("C0FFEE-01".into()), ..all() }, vec![]),
        (Query { status: vec![Status::Accepted, Status::Running], ..all() }, vec![&other, &whole]),
        (
            Query { status: vec![Status::Accepted], project_id: Some(PROJECT.parse().unwrap()), ..all() },
            vec![&whole],
        ),
        (Query { ended_since: Some(at(3)), ..all() }, vec![&disk]),
        (
            Query { ended_since: Some(at(3)), project_id: Some(PROJECT.parse().unwrap()), ..all() },
            vec![&disk],
        ),
        (Query { ended_since: Some(at(3)), before: Some(other.intent.id), ..all() }, vec![&disk]),
        (Query { ended_since: Some(at(3)), before: Some(disk.intent.id), ..all() }, vec![]),
        (Query { ended_since: Some(at(4)), ..all() }, vec![]),
        (Query { ended_since: Some(at(0)), status: vec![Status::Failed], ..all() }, vec![]),
        (Query { before: Some(disk.intent.id), ..all() }, vec![&whole]),
        (Query { caller: Some("ann".into()), target: Some("v2".into()), ..all() }, vec![&whole]),
        (Query { caller: Some("bob".into()), target: Some("v2".into()), ..all() }, vec![]),
        (Query::default(), vec![]),
    ];
    for (query, expected) in cases {
        let found = ledger.list(query.clone()).await.unwrap();
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{query:?}");
    }
}

async fn the_unfinished_are_oldest_first(ledger: Arc<dyn Ledger>) {
    let one = take(&*ledger, ask("ann", None, volume("v1"), 0)).await;
    let two = take(&*ledger, ask("ann", None, volume("v2"), 1)).await;
    let three = take(&*ledger, ask("ann", None, volume("v3"), 2)).await;
    succeed(&*ledger, &two, 3).await;
    assert_eq!(unfinished(&*ledger).await, [one, three]);
}

async fn the_unfinished_are_counted_and_nothing_else_is(ledger: Arc<dyn Ledger>) {
    assert_eq!(ledger.unfinished().await.unwrap(), Unfinished::default());
    let ended = take(&*ledger, ask("ann", None, volume("v0"), 0)).await;
    let accepted = take(&*ledger, ask("ann", None, server("s1", &["v1", "v2"]), 1)).await;
    let running = take(&*ledger, ask("bob", None, volume("v3"), 2)).await;
    let waits = take(&*ledger, ask("bob", None, volume("v4"), 3)).await;
    succeed(&*ledger, &ended, 4).await;
    let begun = |task| vec![EventKind::Submitting { attempt: 1, step: 0 }, started(task)];
    let running = push(&*ledger, &running, 5, begun("h3")).await;
    push(&*ledger, &running, 6, vec![EventKind::Overdue, EventKind::Stale { awaiting_credential: false }])
        .await;
    // Words of a stranger that look like a flag are none.
    let unsure = EventKind::OutcomeUnclear { reason: r#"","overdue":true,"x":""#.into(), problem: None };
    let waits = push(&*ledger, &waits, 7, vec![EventKind::Submitting { attempt: 1, step: 0 }, unsure]).await;
    let flagged = vec![
        EventKind::NeedsOperator { reason: "overdue\":true".into() },
        EventKind::Stale { awaiting_credential: true },
    ];
    push(&*ledger, &waits, 8, flagged).await;

    let mut tally = ledger.unfinished().await.unwrap();
    tally.by_status.sort_by_key(|(status, _)| status.as_str());
    let by_status = vec![(Status::Accepted, 1), (Status::Running, 1), (Status::Unknown, 1)];
    let oldest = Some(accepted.intent.created_at);
    let expected =
        Unfinished { by_status, overdue: 1, needs_operator: 1, stale: 2, awaiting_credential: 1, oldest };
    assert_eq!(tally, expected);
}

async fn f48_a_task_belongs_to_one_restore(ledger: Arc<dyn Ledger>) {
    const DASHED: &str = "7D2F6C1E-3B0A-4C55-9A51-0F6C2B9E8D14";
    const FOLDED: &str = "7d2f6c1e3b0a4c559a510f6c2b9e8d14";
    let elsewhere = RestoreRequest { project_id: "f".repeat(32).parse().unwrap(), ..volume("v3") };
    let one = take(&*ledger, ask("ann", None, volume("v1"), 0)).await;
    let two = take(&*ledger, ask("ann", None, volume("v2"), 1)).await;
    let third = take(&*ledger, ask("ann", None, elsewhere, 1)).await;
    let project = one.intent.request.project_id.clone();
    let holder = |task| ledger.task_holder(&project, task);
    assert_eq!(holder(DASHED).await.unwrap(), None);

    let begun = |task| vec![EventKind::Submitting { attempt: 1, step: 0 }, started(task)];
    let entry = push(&*ledger, &one, 2, begun(DASHED)).await;
    // Whatever the configuration calls the upstream, and however the id is spelled.
    let sent = push(&*ledger, &two, 2, vec![EventKind::Submitting { attempt: 1, step: 0 }]).await;
    let seen = sent.state.seq;
    let refused = ledger.append(two.intent.id, seen, vec![event(seen + 1, at(3), started(FOLDED))]).await;
    let holds = one.intent.id;
    assert!(matches!(refused, Err(LedgerError::TaskTaken { holder, .. }) if holder == holds), "{refused:?}");
    assert_eq!(ledger.get(two.intent.id).await.unwrap().unwrap(), sent, "nothing was written");
    // In another project it is another task.
    push(&*ledger, &third, 3, begun(DASHED)).await;

    // It stays bound, also under another name and when the restore is over.
    let EventKind::Started { task, .. } = started("h2") else { unreachable!() };
    let renamed = EventKind::Progress { task, upstream_status: None, progress: None, notes: None };
    push(&*ledger, &entry, 4, vec![renamed, EventKind::Succeeded]).await;
    for task in [DASHED, FOLDED, "h2"] {
        assert_eq!(holder(task).await.unwrap(), Some(one.intent.id), "{task}");
    }
    let refused = ledger.append(two.intent.id, seen, vec![event(seen + 1, at(5), started("h2"))]).await;
    assert!(matches!(refused, Err(LedgerError::TaskTaken { .. })), "{refused:?}");
}

async fn a_live_store_is_ready_and_a_closed_one_answers_no_more_writes(ledger: Arc<dyn Ledger>) {
    ledger.ready().await.unwrap();
    take(&*ledger, ask("ann", None, volume("v1"), 0)).await;
    ledger.close().await;
    ledger.close().await;
}

#[tokio::test]
async fn memory_forgets_the_oldest_finished_and_nothing_else() {
    let ledger = MemoryLedger::with_capacity(2);
    let open = take(&ledger, ask("ann", Some("k"), volume("open"), 0)).await;
    let mut ended = Vec::new();
    // Each after the windows of the one before it.
    let later = |n: i64| n * (KEY_WINDOW + 1);
    for n in 1..=4 {
        let entry = take(&ledger, ask("ann", Some(&format!("k{n}")), volume("v"), later(n))).await;
        ended.push(succeed(&ledger, &entry, later(n)).await);
    }
    for (index, entry) in ended.iter().enumerate() {
        let kept = ledger.get(entry.intent.id).await.unwrap();
        assert_eq!(kept.as_ref(), (index >= 2).then_some(entry));
        assert_eq!(ledger.events(entry.intent.id).await.unwrap().is_empty(), index < 2);
    }
    assert_eq!(unfinished(&ledger).await, [open]);
    // The key of a forgotten one is free; that of a kept one is not.
    let kept = ledger.accept(ask("ann", Some("k4"), volume("v"), later(4) + 1)).await.unwrap();
    assert_eq!(kept, Accept::Replayed(ended[3].clone()));
    take(&ledger, ask("ann", Some("k1"), volume("v"), later(4) + 2)).await;
    let project = ended[0].intent.request.project_id.clone();
    let task = |entry: &Entry| entry.intent.id.to_string();
    // A task of a forgotten one stays its own for a day, as long as it could be taken for another one's evidence.
    for entry in [&ended[0], &ended[3]] {
        assert_eq!(ledger.task_holder(&project, &task(entry)).await.unwrap(), Some(entry.intent.id));
    }
    for n in 1..=4 {
        let late = n * 100_000;
        let entry = take(&ledger, ask("ann", Some(&format!("late{n}")), volume("v2"), late)).await;
        succeed(&ledger, &entry, late).await;
    }
    assert_eq!(ledger.task_holder(&project, &task(&ended[0])).await.unwrap(), None);
}

/// F43: a bound of memory shortens no window; where too much is within one, new restores are refused.
#[tokio::test]
async fn f43_memory_forgets_nothing_within_a_window() {
    const CAPACITY: usize = 2;
    let ledger = MemoryLedger::with_capacity(CAPACITY);
    let key = |n: i64| format!("k{n}");
    let mut ended = Vec::new();
    for n in 1..=8 {
        let entry = take(&ledger, ask("ann", Some(&key(n)), volume(&format!("v{n}")), n)).await;
        ended.push(succeed(&ledger, &entry, n).await);
    }
    // Four times as many are kept, and each key still means its restore.
    for (n, entry) in (1..).zip(&ended) {
        let again = ask("ann", Some(&key(n)), volume(&format!("v{n}")), 20 + n);
        assert_eq!(ledger.accept(again).await.unwrap(), Accept::Replayed(entry.clone()));
    }
    let refused = ledger.accept(ask("ann", Some("new"), volume("w"), 40)).await;
    let Err(LedgerError::Unavailable(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("windows are not over"), "{why}");
    // Once they are over there is room again.
    take(&ledger, ask("ann", Some("new"), volume("w"), KEY_WINDOW + 10)).await;
    assert!(ledger.get(ended[0].intent.id).await.unwrap().is_none());
}
