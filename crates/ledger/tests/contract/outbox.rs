//! The outbox: what was put in once is handed out until it has arrived or was given up.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use restore_ledger::{Delivery, Hook, Ledger, MessageRef, Position, Waiting};
use restore_model::Timestamp;

use crate::support::{ask, at, take, told, volume};

crate::on_every_store!(
    a_cursor_moves_only_from_where_it_stands,
    letters_are_due_at_once_and_in_turn,
    what_is_handed_out_is_reserved,
    one_that_failed_is_due_again_later,
    one_that_is_given_up_is_kept_as_dead,
    a_disabled_hook_keeps_what_waits,
    hooks_do_not_share_letters,
    of_many_who_post_at_once_one_does,
);

const MINUTE: Duration = Duration::from_secs(60);

/// So many restores, and their first events as letters.
async fn message_refs(ledger: &dyn Ledger, count: usize) -> (Vec<MessageRef>, Position) {
    for n in 0..count {
        take(ledger, ask("ann", None, volume(&format!("v{n}")), i64::try_from(n).unwrap())).await;
    }
    let told = told(ledger, Position::START, count).await;
    let message_refs =
        told.iter().map(|told| MessageRef { restore: told.entry.intent.id, seq: told.event.seq });
    (message_refs.collect(), told[count - 1].position)
}

fn delivery(message_ref: MessageRef, attempts: u32) -> Delivery {
    Delivery { restore: message_ref.restore, seq: message_ref.seq, attempts }
}

async fn a_cursor_moves_only_from_where_it_stands(ledger: Arc<dyn Ledger>) {
    assert_eq!(ledger.hook("h").await.unwrap(), None);
    let (message_refs, end) = message_refs(&*ledger, 1).await;
    assert!(!ledger.post("h", Some(end), end, message_refs.clone()).await.unwrap(), "it is new");
    assert!(ledger.post("h", None, Position::START, vec![]).await.unwrap());
    assert!(!ledger.post("h", None, end, message_refs.clone()).await.unwrap(), "it is not new");
    assert_eq!(ledger.hook("h").await.unwrap(), Some(Hook { cursor: Position::START, disabled: None }));
    assert_eq!(ledger.waiting("h").await.unwrap(), Waiting::default());
    assert!(ledger.post("h", Some(Position::START), end, message_refs.clone()).await.unwrap());
    assert!(!ledger.post("h", Some(Position::START), end, message_refs).await.unwrap());
    assert_eq!(ledger.hook("h").await.unwrap().unwrap().cursor, end);
    assert_eq!(ledger.waiting("h").await.unwrap(), Waiting { waiting: 1, dead: 0 });
}

async fn letters_are_due_at_once_and_in_turn(ledger: Arc<dyn Ledger>) {
    let (message_refs, end) = message_refs(&*ledger, 5).await;
    assert_eq!(ledger.next_due("h").await.unwrap(), None);
    let twice = [message_refs.clone(), message_refs.clone()].concat();
    assert!(ledger.post("h", None, end, twice).await.unwrap());
    assert_eq!(ledger.next_due("h").await.unwrap(), Some(Timestamp::from_micros(0)));
    let first = ledger.due("h", at(0), MINUTE, 3).await.unwrap();
    assert_eq!(
        first,
        message_refs[..3].iter().map(|message_ref| delivery(*message_ref, 0)).collect::<Vec<_>>()
    );
    let rest = ledger.due("h", at(0), MINUTE, 3).await.unwrap();
    assert_eq!(
        rest,
        message_refs[3..].iter().map(|message_ref| delivery(*message_ref, 0)).collect::<Vec<_>>()
    );
    for message_ref in &message_refs {
        ledger.delivered("h", *message_ref).await.unwrap();
        ledger.delivered("h", *message_ref).await.unwrap();
    }
    assert_eq!(ledger.waiting("h").await.unwrap(), Waiting::default());
    assert_eq!(ledger.next_due("h").await.unwrap(), None);
}

async fn what_is_handed_out_is_reserved(ledger: Arc<dyn Ledger>) {
    let (message_refs, end) = message_refs(&*ledger, 1).await;
    ledger.post("h", None, end, message_refs.clone()).await.unwrap();
    assert_eq!(ledger.due("h", at(0), MINUTE, 9).await.unwrap().len(), 1);
    assert!(ledger.due("h", at(59), MINUTE, 9).await.unwrap().is_empty());
    assert_eq!(ledger.next_due("h").await.unwrap(), Some(at(60)));
    // Whoever had it never said what became of it.
    assert_eq!(ledger.due("h", at(60), MINUTE, 9).await.unwrap(), [delivery(message_refs[0], 0)]);
}

async fn one_that_failed_is_due_again_later(ledger: Arc<dyn Ledger>) {
    let (message_refs, end) = message_refs(&*ledger, 2).await;
    ledger.post("h", None, end, message_refs.clone()).await.unwrap();
    ledger.due("h", at(0), MINUTE, 9).await.unwrap();
    ledger.put_off("h", message_refs[0], 1, at(500), "500".to_owned()).await.unwrap();
    ledger.put_off("h", message_refs[1], 2, at(400), "500".to_owned()).await.unwrap();
    assert_eq!(ledger.next_due("h").await.unwrap(), Some(at(400)));
    assert!(ledger.due("h", at(399), MINUTE, 9).await.unwrap().is_empty());
    let due = ledger.due("h", at(500), MINUTE, 9).await.unwrap();
    assert_eq!(due, [delivery(message_refs[1], 2), delivery(message_refs[0], 1)], "the longest due first");
}

async fn one_that_is_given_up_is_kept_as_dead(ledger: Arc<dyn Ledger>) {
    let (message_refs, end) = message_refs(&*ledger, 2).await;
    ledger.post("h", None, end, message_refs.clone()).await.unwrap();
    ledger.give_up("h", message_refs[0], "410 Gone".to_owned()).await.unwrap();
    assert_eq!(ledger.waiting("h").await.unwrap(), Waiting { waiting: 1, dead: 1 });
    assert_eq!(ledger.due("h", at(0), MINUTE, 9).await.unwrap(), [delivery(message_refs[1], 0)]);
    ledger.delivered("h", message_refs[1]).await.unwrap();
    assert_eq!(ledger.next_due("h").await.unwrap(), None);
    assert_eq!(ledger.waiting("h").await.unwrap(), Waiting { waiting: 0, dead: 1 });
}

async fn a_disabled_hook_keeps_what_waits(ledger: Arc<dyn Ledger>) {
    let (message_refs, end) = message_refs(&*ledger, 2).await;
    ledger.set_disabled("h", Some("never seen".to_owned())).await.unwrap();
    assert_eq!(ledger.hook("h").await.unwrap(), None);
    ledger.post("h", None, end, message_refs[..1].to_vec()).await.unwrap();
    ledger.set_disabled("h", Some("410 Gone".to_owned())).await.unwrap();
    let hook = ledger.hook("h").await.unwrap().unwrap();
    assert_eq!(hook, Hook { cursor: end, disabled: Some("410 Gone".to_owned()) });
    assert!(ledger.post("h", Some(end), end, message_refs[1..].to_vec()).await.unwrap());
    assert!(ledger.due("h", at(0), MINUTE, 9).await.unwrap().is_empty());
    assert_eq!(ledger.next_due("h").await.unwrap(), None);
    assert_eq!(ledger.waiting("h").await.unwrap(), Waiting { waiting: 2, dead: 0 });
    ledger.set_disabled("h", None).await.unwrap();
    assert_eq!(ledger.due("h", at(0), MINUTE, 9).await.unwrap().len(), 2);
}

async fn hooks_do_not_share_letters(ledger: Arc<dyn Ledger>) {
    let (message_refs, end) = message_refs(&*ledger, 1).await;
    ledger.post("one", None, end, message_refs.clone()).await.unwrap();
    ledger.post("two", None, end, message_refs.clone()).await.unwrap();
    ledger.delivered("one", message_refs[0]).await.unwrap();
    assert_eq!(ledger.due("two", at(0), MINUTE, 9).await.unwrap(), [delivery(message_refs[0], 0)]);
}

async fn of_many_who_post_at_once_one_does(ledger: Arc<dyn Ledger>) {
    let (message_refs, end) = message_refs(&*ledger, 4).await;
    for from in [None, Some(Position::START)] {
        let to = if from.is_none() { Position::START } else { end };
        let posts = (0..10).map(|_| ledger.post("h", from, to, message_refs.clone()));
        let done = join_all(posts).await.into_iter().filter(|posted| matches!(posted, Ok(true))).count();
        assert_eq!(done, 1);
    }
    let due = (0..4).map(|_| ledger.due("h", at(0), MINUTE, 3));
    let due: Vec<Delivery> = join_all(due).await.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(due.len(), 4, "each is handed out once: {due:?}");
}
