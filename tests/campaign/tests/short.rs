//! A short campaign for every run of the tests: fixed seeds, so that a failure can be seen again.

use restore_campaign::{Store, Tally, run};
use restore_test_postgres::Postgres;

async fn short(store: Store, seeds: std::ops::Range<u64>, postgres: Option<&Postgres>) {
    let mut tally = Tally::default();
    for seed in seeds {
        match run(seed, store, postgres).await {
            Ok(one) => tally.add(&one),
            Err(why) => panic!("{why}"),
        }
    }
    println!("{}: {tally:?}", store.as_str());
    assert!(tally.accepted > 0 && tally.applied > 0, "the schedules do nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_restored_twice_over_sqlite() {
    short(Store::Sqlite, 1..9, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_restored_twice_by_two_replicas_over_postgres() {
    let postgres = Postgres::start();
    short(Store::Postgres, 1..9, Some(&postgres)).await;
}
