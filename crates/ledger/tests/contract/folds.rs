//! I12: what is stored as the state is the fold of what is stored as events, whatever happened.

use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use restore_ledger::{Ledger, LedgerError};
use restore_model::{EventKind, Proof, State, TaskRef};
use serde_json::json;

use crate::support::{
    ask, at, event, in_a_file, in_memory, in_postgres, problem, started, take, unfinished, volume,
};

fn kind() -> impl Strategy<Value = EventKind> {
    prop_oneof![
        Just(EventKind::Checking),
        Just(EventKind::Checked {
            notes: json!({"a": [1, 2.5, "\u{0}\"'"]}),
            clock_offset_ms: Some(4),
            sent_as: None
        }),
        (1..4_u32).prop_map(|attempt| EventKind::Submitting { attempt, step: 0 }),
        Just(EventKind::NotSent { proof: Proof::Throttled }),
        Just(started("h")),
        Just(EventKind::OutcomeUnclear { reason: "reset".into(), problem: Some(problem()) }),
        Just(EventKind::Progress {
            task: Some(TaskRef { kind: "job".into(), id: "j\u{1f5dd}".into() }),
            upstream_status: Some("x".into()),
            progress: Some(50),
            notes: Some(json!(null)),
        }),
        Just(EventKind::NotFound),
        Just(EventKind::Stale { awaiting_credential: true }),
        Just(EventKind::Overdue),
        Just(EventKind::NeedsOperator { reason: "lost".into() }),
        Just(EventKind::Anomaly { what: "two logs".into() }),
        Just(EventKind::Succeeded),
        Just(EventKind::Failed { problem: problem() }),
        Just(EventKind::NotApplied),
        Just(EventKind::Expired),
    ]
}

/// Tries each batch of events; what is refused must leave no trace.
async fn live(ledger: &dyn Ledger, target: &str, batches: Vec<Vec<EventKind>>) -> Result<(), TestCaseError> {
    let mut entry = take(ledger, ask("ann", None, volume(target), 0)).await;
    let id = entry.intent.id;
    let mut told = ledger.events(id).await.unwrap();
    for (seconds, kinds) in (1..).zip(batches) {
        let seen = entry.state.seq;
        let events: Vec<_> =
            (seen + 1..).zip(kinds).map(|(seq, kind)| event(seq, at(seconds), kind)).collect();
        match ledger.append(id, seen, events.clone()).await {
            Ok(after) => {
                told.extend(events);
                entry = after;
            }
            // Or its task was bound to another history of the same ledger.
            Err(LedgerError::Illegal(_) | LedgerError::TaskTaken { .. }) => {}
            Err(other) => return Err(TestCaseError::fail(other.to_string())),
        }
    }
    prop_assert_eq!(&ledger.events(id).await.unwrap(), &told);
    prop_assert_eq!(State::fold(&[], &told).unwrap(), entry.state.clone());
    prop_assert_eq!(ledger.get(id).await.unwrap().unwrap(), entry.clone());
    let open = unfinished(ledger).await.contains(&entry);
    prop_assert_eq!(open, !entry.state.status.is_final());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_stored_state_is_the_fold_of_the_stored_events(
        batches in prop::collection::vec(prop::collection::vec(kind(), 1..3), 0..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            live(&*in_memory().ledger, "v1", batches.clone()).await?;
            live(&*in_a_file().await.ledger, "v1", batches).await
        })?;
    }
}

/// All histories in one ledger, each of a target of its own: a database for each would take its time.
#[test]
fn so_it_is_in_postgres() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = runtime.block_on(in_postgres());
    let config = ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() };
    let batches = prop::collection::vec(prop::collection::vec(kind(), 1..3), 0..20);
    let target = AtomicU32::new(0);
    let case = |batches| {
        let target = format!("v{}", target.fetch_add(1, Ordering::Relaxed));
        runtime.block_on(live(&*store.ledger, &target, batches))
    };
    TestRunner::new(config).run(&batches, case).unwrap();
    runtime.block_on(store.ledger.close());
}
