//! Forgetting: what is over and old goes with all that is said of it, and nothing else does.

use std::sync::Arc;
use std::time::Duration;

use restore_ledger::{Accept, Ledger, MessageRef, Position, Pruned, Waiting};
use restore_model::EventKind;

use crate::support::{ask, at, push, succeed, take, told, unfinished, volume};

crate::on_every_store!(
    what_is_over_and_old_is_forgotten,
    a_restore_is_kept_for_as_long_as_its_key_is,
    nothing_unfinished_is_forgotten,
    positions_of_the_forgotten_are_not_used_again,
    at_most_so_many_at_once,
    keys_are_counted_by_caller,
);

const ALL: usize = 1000;

async fn what_is_over_and_old_is_forgotten(ledger: Arc<dyn Ledger>) {
    let old = take(&*ledger, ask("ann", Some("old"), volume("v1"), 0)).await;
    let old = succeed(&*ledger, &old, 10).await;
    let new = take(&*ledger, ask("ann", Some("new"), volume("v2"), 1)).await;
    let new = succeed(&*ledger, &new, 20).await;
    let message_refs = [&old, &new].map(|entry| MessageRef { restore: entry.intent.id, seq: 1 });
    let end = told(&*ledger, Position::START, 8).await[7].position;
    assert!(ledger.post("hook", None, end, message_refs.to_vec()).await.unwrap());

    let pruned = ledger.prune(Some(at(20)), at(20), ALL).await.unwrap();
    assert_eq!(pruned, Pruned { restores: 1, keys: 1 });
    assert_eq!(ledger.get(old.intent.id).await.unwrap(), None);
    assert!(ledger.events(old.intent.id).await.unwrap().is_empty());
    assert_eq!(ledger.audit(None, ALL).await.unwrap().len(), 1);
    assert!(told(&*ledger, Position::START, 4).await.iter().all(|told| told.entry == new));
    let due = ledger.due("hook", at(30), Duration::from_secs(1), 9).await.unwrap();
    assert_eq!(due.iter().map(|due| due.restore).collect::<Vec<_>>(), [new.intent.id]);
    assert_eq!(ledger.waiting("hook").await.unwrap(), Waiting { waiting: 1, dead: 0 });

    // Its key is free, and the other's is not.
    let kept = ledger.accept(ask("ann", Some("new"), volume("v2"), 21)).await.unwrap();
    assert_eq!(kept, Accept::Replayed(new));
    take(&*ledger, ask("ann", Some("old"), volume("v9"), 21)).await;
    assert_eq!(ledger.prune(Some(at(20)), at(20), ALL).await.unwrap(), Pruned::default());
}

async fn a_restore_is_kept_for_as_long_as_its_key_is(ledger: Arc<dyn Ledger>) {
    let keyed = take(&*ledger, ask("ann", Some("k"), volume("v1"), 0)).await;
    let keyed = succeed(&*ledger, &keyed, 10).await;
    let keyless = take(&*ledger, ask("ann", None, volume("v2"), 0)).await;
    let keyless = succeed(&*ledger, &keyless, 10).await;
    let pruned = ledger.prune(Some(at(50)), at(5), ALL).await.unwrap();
    assert_eq!(pruned, Pruned { restores: 1, keys: 0 });
    assert_eq!(ledger.get(keyless.intent.id).await.unwrap(), None);
    assert_eq!(ledger.get(keyed.intent.id).await.unwrap().as_ref(), Some(&keyed));

    // A key alone may go, and then the restore without it.
    assert_eq!(ledger.prune(None, at(50), ALL).await.unwrap(), Pruned { restores: 0, keys: 1 });
    assert_eq!(ledger.get(keyed.intent.id).await.unwrap(), Some(keyed));
    assert_eq!(ledger.prune(Some(at(50)), at(50), ALL).await.unwrap(), Pruned { restores: 1, keys: 0 });
}

async fn nothing_unfinished_is_forgotten(ledger: Arc<dyn Ledger>) {
    let open = take(&*ledger, ask("ann", Some("k"), volume("v1"), 0)).await;
    let late = at(1_000_000);
    assert_eq!(ledger.prune(Some(late), late, ALL).await.unwrap(), Pruned::default());
    assert_eq!(unfinished(&*ledger).await, std::slice::from_ref(&open));
    let again = ledger.accept(ask("ann", Some("k"), volume("v1"), 2_000_000)).await.unwrap();
    assert_eq!(again, Accept::Replayed(open));
}

async fn positions_of_the_forgotten_are_not_used_again(ledger: Arc<dyn Ledger>) {
    let first = take(&*ledger, ask("ann", None, volume("v1"), 0)).await;
    succeed(&*ledger, &first, 1).await;
    let last = told(&*ledger, Position::START, 4).await[3].position;
    ledger.prune(Some(at(5)), at(5), ALL).await.unwrap();
    let second = take(&*ledger, ask("ann", None, volume("v1"), 2)).await;
    let after = told(&*ledger, last, 1).await;
    assert_eq!((after.len(), &after[0].entry), (1, &second));
    assert!(ledger.position().await.unwrap() >= last);
}

async fn at_most_so_many_at_once(ledger: Arc<dyn Ledger>) {
    for n in 0..5 {
        let entry = take(&*ledger, ask("ann", Some(&format!("k{n}")), volume("v1"), n)).await;
        push(&*ledger, &entry, n, vec![EventKind::Cancelled]).await;
    }
    let mut rounds = Vec::new();
    loop {
        let Pruned { restores, keys } = ledger.prune(Some(at(9)), at(9), 2).await.unwrap();
        assert!(restores <= 2 && keys <= 2);
        if (restores, keys) == (0, 0) {
            break;
        }
        rounds.push(restores);
    }
    assert_eq!(rounds.iter().sum::<usize>(), 5);
    assert!(ledger.audit(None, ALL).await.unwrap().is_empty());
}

async fn keys_are_counted_by_caller(ledger: Arc<dyn Ledger>) {
    assert_eq!(ledger.keys("ann", 10).await.unwrap(), 0);
    for n in 0..4 {
        take(&*ledger, ask("ann", Some(&format!("k{n}")), volume(&format!("v{n}")), n)).await;
    }
    take(&*ledger, ask("bob", Some("k"), volume("w"), 0)).await;
    take(&*ledger, ask("bob", None, volume("x"), 0)).await;
    assert_eq!(ledger.keys("ann", 10).await.unwrap(), 4);
    assert_eq!(ledger.keys("ann", 3).await.unwrap(), 3);
    assert_eq!(ledger.keys("bob", 3).await.unwrap(), 1);
}
