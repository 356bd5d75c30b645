//! The feed, audits, recovery mode, and who holds what.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use restore_ledger::{Claim, Ledger, Position, Recovery};
use restore_model::{EventKind, RestoreId, Timestamp};

use crate::support::{ask, at, push, server, started, succeed, take, told, volume};

crate::on_every_store!(
    the_feed_has_every_event_once_in_order,
    no_event_appears_before_an_earlier_one,
    a_position_is_the_end_of_the_feed_so_far,
    an_audit_sees_everything_in_the_order_of_ids,
    recovery_mode_is_kept_until_it_is_ended,
    what_came_in_here_is_held_here,
    a_read_is_reserved,
);

async fn the_feed_has_every_event_once_in_order(ledger: Arc<dyn Ledger>) {
    assert!(ledger.feed(Position::START, 9).await.unwrap().is_empty());
    let one = take(&*ledger, ask("ann", None, volume("v1"), 0)).await;
    let two = take(&*ledger, ask("ann", None, volume("v2"), 1)).await;
    let one =
        push(&*ledger, &one, 2, vec![EventKind::Submitting { attempt: 1, step: 0 }, started("h")]).await;
    let expected = [(&one, 1), (&two, 1), (&one, 2), (&one, 3)];

    let all = told(&*ledger, Position::START, expected.len()).await;
    let names: Vec<_> = all.iter().map(|told| (&told.entry, told.event.seq)).collect();
    assert_eq!(names, expected, "entries as they stand now");
    assert!(all.windows(2).all(|pair| pair[0].position < pair[1].position));
    for told in &all {
        let history = ledger.events(told.entry.intent.id).await.unwrap();
        assert_eq!(history[usize::try_from(told.event.seq).unwrap() - 1], told.event);
    }
    // Page by page it is the same.
    let (mut paged, mut after) = (Vec::new(), Position::START);
    loop {
        let page = ledger.feed(after, 3).await.unwrap();
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        after = last.position.to_string().parse().unwrap();
        paged.extend(page);
    }
    assert_eq!(paged, all);
}

async fn no_event_appears_before_an_earlier_one(ledger: Arc<dyn Ledger>) {
    const RESTORES: usize = 60;
    let writers = (0..RESTORES).map(|n| {
        let ledger = Arc::clone(&ledger);
        tokio::spawn(async move {
            let seconds = i64::try_from(n).unwrap();
            let entry = take(&*ledger, ask("ann", None, volume(&format!("v{n}")), seconds)).await;
            succeed(&*ledger, &entry, seconds).await;
        })
    });
    let writers: Vec<_> = writers.collect();
    let (mut after, mut seen) = (Position::START, Vec::new());
    while seen.len() < RESTORES * 4 {
        for told in told(&*ledger, after, 1).await {
            assert!(told.position > after);
            after = told.position;
            seen.push((told.entry.intent.id, told.event.seq));
        }
    }
    join_all(writers).await.into_iter().for_each(Result::unwrap);
    let once: BTreeSet<(RestoreId, u32)> = seen.iter().copied().collect();
    assert_eq!((once.len(), seen.len()), (RESTORES * 4, RESTORES * 4));
    for id in once.iter().map(|(id, _)| *id).collect::<BTreeSet<_>>() {
        let numbers: Vec<u32> = seen.iter().filter(|(of, _)| *of == id).map(|(_, seq)| *seq).collect();
        assert_eq!(numbers, [1, 2, 3, 4]);
    }
}

async fn a_position_is_the_end_of_the_feed_so_far(ledger: Arc<dyn Ledger>) {
    assert!(ledger.position().await.unwrap() >= Position::START);
    take(&*ledger, ask("ann", None, volume("v1"), 0)).await;
    let last = told(&*ledger, Position::START, 1).await[0].position;
    let end = ledger.position().await.unwrap();
    assert!(end >= last);
    assert!(ledger.feed(end, 9).await.unwrap().is_empty());
    let next = take(&*ledger, ask("ann", None, volume("v2"), 1)).await;
    let after = told(&*ledger, end, 1).await;
    assert_eq!((after.len(), &after[0].entry), (1, &next));
}

async fn an_audit_sees_everything_in_the_order_of_ids(ledger: Arc<dyn Ledger>) {
    let held = take(&*ledger, ask("ann", None, server("s1", &["v1", "v2"]), 0)).await;
    let over = take(&*ledger, ask("ann", None, volume("v3"), 1)).await;
    let over = succeed(&*ledger, &over, 2).await;
    let last = take(&*ledger, ask("bob", None, volume("v4"), 3)).await;
    let page = ledger.audit(None, 2).await.unwrap();
    let rest = ledger.audit(Some(page[1].entry.intent.id), 2).await.unwrap();
    let records = [page, rest].concat();
    assert_eq!(records.iter().map(|record| &record.entry).collect::<Vec<_>>(), [&held, &over, &last]);
    for record in &records {
        assert_eq!(record.events, ledger.events(record.entry.intent.id).await.unwrap());
        let mut locks = record.entry.intent.request.locks();
        if record.entry.state.status.is_final() {
            locks.clear();
        }
        assert_eq!(record.locks, locks);
    }
}

async fn recovery_mode_is_kept_until_it_is_ended(ledger: Arc<dyn Ledger>) {
    assert_eq!(ledger.recovery().await.unwrap(), None);
    for reason in ["a copy", "another \"copy\""] {
        let recovery = Some(Recovery { since: at(1), reason: reason.to_owned() });
        ledger.set_recovery(recovery.clone()).await.unwrap();
        assert_eq!(ledger.recovery().await.unwrap(), recovery);
    }
    ledger.set_recovery(None).await.unwrap();
    ledger.set_recovery(None).await.unwrap();
    assert_eq!(ledger.recovery().await.unwrap(), None);
}

async fn what_came_in_here_is_held_here(ledger: Arc<dyn Ledger>) {
    let open = take(&*ledger, ask("ann", None, volume("v1"), 0)).await;
    let over = take(&*ledger, ask("ann", None, volume("v2"), 0)).await;
    let over = succeed(&*ledger, &over, 1).await;
    assert!(ledger.claim(Claim::All, 9).await.unwrap().is_empty());
    assert!(ledger.take(open.intent.id).await.unwrap());
    assert!(!ledger.take(over.intent.id).await.unwrap(), "what is over is held by nobody");
    assert!(!ledger.take(RestoreId::at(Timestamp::from_micros(0))).await.unwrap());
    assert!(ledger.lease().is_current());
}

async fn a_read_is_reserved(ledger: Arc<dyn Ledger>) {
    let entry = take(&*ledger, ask("ann", None, volume("v1"), 0)).await;
    assert!(ledger.reserve_read(entry.intent.id, Duration::from_secs(60)).await.unwrap());
    let again = ledger.reserve_read(entry.intent.id, Duration::from_secs(60)).await.unwrap();
    assert_eq!(again, !ledger.is_shared());
}
